//! A QEMU process, which ends with the process that started it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::wait;

/// Within this time QEMU connects to its sockets, and answers what it is told. It takes some 20 ms, but not on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A QEMU process. Dropping it kills it.
#[derive(Debug)]
pub struct Qemu {
    child: Child,
    /// What it says on standard error.
    messages: PathBuf,
    /// Where it connects for its monitor.
    listener: UnixListener,
    monitor: Option<BufReader<UnixStream>>,
}

impl Qemu {
    /// Starts `emulator`. Its sockets and messages are in `folder`, which is its own. It dies when this process dies, however that may come about, where
    /// there is `setpriv` (every Linux distribution has it).
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start<A: AsRef<OsStr>>(
        emulator: &str,
        folder: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let (messages, socket) = (folder.join("messages"), folder.join("monitor"));
        let listener = listen(&socket)?;
        let mut command = dying_with_us(emulator);
        command.args(["-nodefaults", "-display", "none", "-mon", "chardev=monitor,mode=control", "-chardev"]);
        command.arg(connected("monitor", &socket)).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&messages)?);
        let child = spawn(command).with_context(|| format!("cannot start {emulator}"))?;
        Ok(Self { child, messages, listener, monitor: None })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until QEMU connects to one of its sockets.
    ///
    /// # Errors
    /// It ended before, with what it said, or does not connect.
    pub fn accept(&mut self, listener: &UnixListener) -> Result<UnixStream> {
        let (child, messages) = (&mut self.child, &self.messages);
        wait::accept(listener, Instant::now() + PATIENCE, || alive(child, messages))
    }

    /// Nothing, while it runs.
    ///
    /// # Errors
    /// It ended: with which status, and what it said.
    pub fn alive(&mut self) -> Result<()> {
        alive(&mut self.child, &self.messages)
    }

    /// Kills it (SIGKILL), as a loss of power would.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// It does not in this time.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "QEMU does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Has a command of QEMU's monitor protocol (QMP) executed; its answer.
    ///
    /// # Errors
    /// The command was refused, or QEMU is gone.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        if self.monitor.is_none() {
            let stream = {
                let (child, messages) = (&mut self.child, &self.messages);
                wait::accept(&self.listener, Instant::now() + PATIENCE, || alive(child, messages))?
            };
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut monitor = BufReader::new(stream);
            message(&mut monitor).context("no greeting from QEMU's monitor")?;
            self.monitor = Some(monitor);
            self.execute("qmp_capabilities", json!({}))?;
        }
        let monitor = self.monitor.as_mut().context("no monitor")?;
        writeln!(monitor.get_mut(), "{}", json!({ "execute": command, "arguments": arguments }))?;
        loop {
            // Events come in between.
            let mut message = message(monitor).with_context(|| format!("no answer to {command}"))?;
            if let Some(error) = message.get("error") {
                bail!("QEMU refused {command}: {error}");
            }
            if let Some(answer) = message.get_mut("return") {
                return Ok(answer.take());
            }
        }
    }

    /// Halts its processors and its clock: a hang.
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn stop(&mut self) -> Result<()> {
        self.execute("stop", json!({})).map(drop)
    }

    /// Goes on after [`Qemu::stop`].
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn resume(&mut self) -> Result<()> {
        self.execute("cont", json!({})).map(drop)
    }

    /// Resets the machine; memory keeps what it holds, but for what the image covers.
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn reset(&mut self) -> Result<()> {
        self.execute("system_reset", json!({})).map(drop)
    }

    /// Writes guest memory to a file.
    ///
    /// # Errors
    /// There is no such memory, or the file cannot be written.
    pub fn save_memory(&mut self, address: u32, length: u32, file: &Path) -> Result<()> {
        self.execute("pmemsave", json!({ "val": address, "size": length, "filename": file })).map(drop)
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// A socket that QEMU will connect to, in place of what may be there.
///
/// # Errors
/// It cannot be made: its path may be too long for a socket.
pub fn listen(socket: &Path) -> Result<UnixListener> {
    let _ = std::fs::remove_file(socket);
    UnixListener::bind(socket).with_context(|| format!("no socket at {}", socket.display()))
}

/// The value of QEMU's `-chardev` for a character device that connects to this socket at its start.
#[must_use]
pub fn connected(name: &str, socket: &Path) -> OsString {
    let mut value = OsString::from(format!("socket,id={name},server=off,path="));
    value.push(socket);
    value
}

fn message(monitor: &mut BufReader<UnixStream>) -> Result<Value> {
    let mut line = String::new();
    ensure!(monitor.read_line(&mut line)? != 0, "QEMU closed its monitor");
    Ok(serde_json::from_str(&line)?)
}

fn alive(child: &mut Child, messages: &Path) -> Result<()> {
    let Some(status) = child.try_wait()? else { return Ok(()) };
    bail!("QEMU ended: {status}: {}", std::fs::read_to_string(messages).unwrap_or_default().trim())
}

/// A command that the kernel kills when the thread that spawned it ends.
fn dying_with_us(program: &str) -> Command {
    static HAS_SETPRIV: OnceLock<bool> = OnceLock::new();
    let probe = || Command::new("setpriv").args(["--pdeathsig", "KILL", "true"]).stderr(Stdio::null()).status();
    if *HAS_SETPRIV.get_or_init(|| probe().is_ok_and(|status| status.success())) {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", program]);
        command
    } else {
        Command::new(program)
    }
}

/// Spawns from a thread that lives as long as the process, whoever asks: the end of the spawning thread would be the end of the child.
fn spawn(command: Command) -> Result<Child> {
    type Order = (Command, Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, taken) = channel::<Order>();
        std::thread::spawn(move || taken.iter().for_each(|(mut command, answer)| drop(answer.send(command.spawn()))));
        orders
    });
    let (answer, spawned) = channel();
    spawner.send((command, answer)).ok().context("no thread that spawns")?;
    Ok(spawned.recv().context("no thread that spawns")??)
}

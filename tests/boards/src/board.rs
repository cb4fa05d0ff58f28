//! An emulated mps2-an385: Cortex-M3, Ethernet, flash, and a client line.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::flash::Flash;
use crate::line::{Line, Said};
use crate::qemu::{Qemu, connected, listen};
use crate::setup::QEMU_ARM;

/// Within this time a board says that it is ready. It takes 50 ms, but not on a busy machine.
pub const BOOT: Duration = Duration::from_secs(60);

/// A station's address on the boards' Ethernet.
pub type Mac = [u8; 6];

/// The address of this node in a cluster of so many voters.
#[must_use]
pub const fn mac(voters: u8, node: u8) -> Mac {
    [0x02, 0x51, 0x55, 0x00, voters, node]
}

/// What a board is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The image that it runs.
    pub image: &'a Path,
    /// How many voters its cluster has.
    pub voters: u8,
    /// The node that it is.
    pub node: u8,
    /// Its medium, on which no other board runs.
    pub flash: &'a Flash,
    /// The socket of its port at a switch; none leaves its Ethernet unconnected.
    pub port: Option<&'a Path>,
    /// A folder of its own, for sockets and messages.
    pub folder: &'a Path,
    /// More arguments for QEMU.
    pub extra: &'a [OsString],
}

/// A board that runs. Dropping it takes its power.
#[derive(Debug)]
pub struct Board {
    /// The machine.
    pub qemu: Qemu,
    /// Its client line. The first that comes in tells whether the node has started.
    pub line: Line,
}

impl Board {
    /// Gives a board power, and waits for nothing.
    ///
    /// # Errors
    /// QEMU cannot be started, or refuses its arguments.
    pub fn start(parts: &Parts<'_>) -> Result<Self> {
        std::fs::create_dir_all(parts.folder)?;
        let socket = parts.folder.join("line");
        let listener = listen(&socket)?;
        let mut qemu = Qemu::start(QEMU_ARM, parts.folder, arguments(parts, &socket))?;
        let line = qemu.accept(&listener).with_context(|| format!("board {} has no client line", parts.node))?;
        Ok(Self { qemu, line: Line::new(line)? })
    }

    /// Waits until the node has started: after that it answers requests. Whether a switch has seen the board is the switch's to tell.
    ///
    /// # Errors
    /// It could not start; the error is the board's reason.
    pub fn ready(&mut self) -> Result<()> {
        match self.line.wait(BOOT)? {
            Said::Ready(_) => Ok(()),
            Said::Failed(reason) => bail!("{reason}"),
            Said::Answer(answer) => bail!("an answer before any request: {answer:?}"),
        }
    }

    /// Pulls the cable of its Ethernet, or puts it back in.
    ///
    /// # Errors
    /// QEMU is gone, or the board has no Ethernet.
    pub fn connect(&mut self, cable: Cable) -> Result<()> {
        self.qemu.execute("set_link", json!({ "name": "cable", "up": cable == Cable::In })).map(drop)
    }
}

/// Where the plug of a board's cable is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cable {
    /// In the board.
    In,
    /// Not there.
    Out,
}

fn arguments(parts: &Parts<'_>, line: &Path) -> Vec<OsString> {
    let [a, b, c, d, e, f] = mac(parts.voters, parts.node);
    let mac = format!("macaddr={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
    let mut arguments: Vec<OsString> = Vec::new();
    let mut push = |option: &str, value: OsString| arguments.extend([option.into(), value]);
    push("-M", "mps2-an385,memory-backend=nvm".into());
    push("-object", join("memory-backend-file,id=nvm,size=16M,share=on,mem-path=", parts.flash.path()));
    push("-kernel", parts.image.into());
    push("-chardev", connected("line", line));
    push("-serial", "chardev:line".into());
    match parts.port {
        Some(port) => {
            push("-netdev", join("stream,id=cable,server=off,addr.type=unix,addr.path=", port));
            push("-net", format!("nic,model=lan9118,netdev=cable,{mac}").into());
        }
        None => push("-net", format!("nic,model=lan9118,{mac}").into()),
    }
    arguments.extend_from_slice(parts.extra);
    arguments
}

fn join(prefix: &str, path: &Path) -> OsString {
    let mut whole = OsString::from(prefix);
    whole.push(path);
    whole
}

//! Emulated micro:bits: a Cortex-M0 with 16 KiB of RAM, its own flash, and one serial line.
//!
//! A board's flash is in the memory of its QEMU: it outlives a [reset](Cluster::reset), but not QEMU.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tempfile::TempDir;

use crate::answer::{Answer, Status};
use crate::firmware::{self, Firmware};
use crate::history::{Get, History, Put, REGISTERS};
use crate::qemu::{Qemu, connected, listen};
use crate::serial::Switch;
use crate::setup::{self, QEMU_ARM};

/// Whatever is waited for comes within this time, or never.
const PATIENCE: Duration = Duration::from_secs(90);

/// Where the image looks for the node's number and, in the next word, the bits of those who vote: in the last page of the flash.
const IDENTITY: u32 = 0x3_FC00;

/// Where the chip's RAM begins, and its bytes.
const RAM: (u32, u32) = (0x2000_0000, 16 * 1024);

/// The node on a micro:bit, its stack painted at its start.
pub const FIRMWARE: Firmware =
    Firmware { package: "quoring-microbit", target: "thumbv6m-none-eabi", features: "paint-stack" };

/// Three nodes and a client who asks one thing after the other, whichever node. What it sees is checked at once: see [`History`]. Dropping
/// it takes all power.
#[derive(Debug)]
pub struct Cluster {
    boards: Vec<Board>,
    switch: Switch,
    history: History,
    tag: u32,
    folder: TempDir,
}

#[derive(Debug)]
struct Board {
    qemu: Qemu,
    is_ready: bool,
    is_dead: bool,
}

impl Cluster {
    /// Starts three boards on erased flash. `None` where the set-up is missing: the test is to end, see [`setup::ready`].
    ///
    /// # Errors
    /// A board does not start.
    pub fn start(seed: u64) -> Result<Option<Self>> {
        if !setup::ready(QEMU_ARM, FIRMWARE.target)? {
            return Ok(None);
        }
        let image = firmware::build(&FIRMWARE)?;
        let folder = tempfile::tempdir()?;
        let (mut boards, mut lines) = (Vec::new(), Vec::new());
        for node in 0..3 {
            let place = folder.path().join(format!("board-{node}"));
            std::fs::create_dir(&place)?;
            let socket = place.join("line");
            let listener = listen(&socket)?;
            let mut qemu = Qemu::start(QEMU_ARM, &place, arguments(&image, &place, node, &socket)?)?;
            lines.push(qemu.accept(&listener).with_context(|| format!("board {node} has no line"))?);
            boards.push(Board { qemu, is_ready: false, is_dead: false });
        }
        let switch = Switch::new(lines, seed)?;
        let mut cluster = Self { boards, switch, history: History::new(), tag: 0, folder };
        cluster.until("boards start", |cluster| cluster.boards.iter().all(|board| board.is_ready))?;
        Ok(Some(cluster))
    }

    /// The switch between the boards.
    pub const fn switch(&mut self) -> &mut Switch {
        &mut self.switch
    }

    /// What the client has seen so far.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// Resets boards at once: what was in their RAM is lost. Waits until they have started again.
    ///
    /// # Errors
    /// One does not start.
    pub fn reset(&mut self, nodes: &[usize]) -> Result<()> {
        for &node in nodes {
            let board = &mut self.boards[node];
            board.is_ready = false;
            self.history.boot(node as u8);
            board.qemu.reset()?;
        }
        self.until("boards start again", |cluster| cluster.boards.iter().all(|board| board.is_ready || board.is_dead))
    }

    /// A board is dead from now on: it stands still.
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn stop(&mut self, node: usize) -> Result<()> {
        self.boards[node].is_dead = true;
        self.boards[node].qemu.stop()
    }

    /// Who leads. Waits until one of those that are alive does and another one follows it.
    ///
    /// # Errors
    /// None does.
    pub fn leader(&mut self) -> Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let statuses = self.statuses()?;
            let leader = statuses.iter().filter(|status| status.leads()).max_by_key(|status| status.term);
            let follows = |leader: &Status| {
                let follower = |other: &Status| !other.leads() && other.leader == Some(leader.node);
                statuses.iter().any(|other| other.term == leader.term && follower(other))
            };
            if let Some(leader) = leader.filter(|leader| follows(leader)) {
                return Ok(leader.node.into());
            }
            ensure!(Instant::now() < deadline, "nobody leads: {statuses:?}");
        }
    }

    /// How the boards that are alive stand.
    ///
    /// # Errors
    /// One does not answer, or they contradict each other.
    pub fn statuses(&mut self) -> Result<Vec<Status>> {
        let mut statuses = Vec::new();
        for node in self.alive() {
            match self.ask(node, "status")? {
                Answer::Status(status) => {
                    self.history.status(&status)?;
                    statuses.push(status);
                }
                other => bail!("{other:?} in answer to status"),
            }
        }
        Ok(statuses)
    }

    /// Puts a value into each of these registers, again and again until it is acknowledged.
    ///
    /// # Errors
    /// One never is, or the answers contradict each other.
    pub fn put(&mut self, keys: impl IntoIterator<Item = u8>) -> Result<()> {
        let mut leader = self.leader()?;
        for key in keys {
            let deadline = Instant::now() + PATIENCE;
            while !self.try_put(leader, key)? {
                ensure!(Instant::now() < deadline, "register {key} takes no value");
                leader = self.leader()?;
            }
        }
        Ok(())
    }

    fn try_put(&mut self, node: usize, key: u8) -> Result<bool> {
        let put: Put = self.history.put(key);
        match self.ask(node, &format!("put {key} {}", put.value))? {
            Answer::Applied(index) => self.history.applied(put, index).map(|()| true),
            Answer::Refused(_) => {
                self.history.refused(put);
                Ok(false)
            }
            Answer::Lost(_) => Ok(false),
            other => bail!("{other:?} in answer to {put:?}"),
        }
    }

    /// Reads every register on every board that is alive.
    ///
    /// # Errors
    /// One is not what it must be, or cannot be read.
    pub fn read_back(&mut self) -> Result<()> {
        for (node, key) in self.alive().into_iter().flat_map(|node| (0..REGISTERS).map(move |key| (node, key))) {
            let deadline = Instant::now() + PATIENCE;
            let get: Get = self.history.get(key);
            loop {
                match self.ask(node, &format!("get {key}"))? {
                    Answer::Value(value) => break self.history.read(get, value)?,
                    Answer::Lost(_) => ensure!(Instant::now() < deadline, "node {node} cannot be read"),
                    other => bail!("{other:?} in answer to {get:?}"),
                }
            }
        }
        Ok(())
    }

    /// Waits until all boards that are alive have applied the same.
    ///
    /// # Errors
    /// They never have, or contradict each other.
    pub fn agree(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let statuses = self.statuses()?;
            let key = |status: &Status| (status.term, status.last, status.committed, status.applied, status.digest);
            let is_settled = |status: &Status| status.last == status.committed && status.leader.is_some();
            if statuses.iter().all(|status| is_settled(status) && key(status) == key(&statuses[0])) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "boards do not agree: {statuses:?}");
        }
    }

    /// Has a command of the client's line executed; its answer.
    ///
    /// # Errors
    /// There is none.
    pub fn ask(&mut self, node: usize, request: &str) -> Result<Answer> {
        self.tag += 1;
        let tag = format!("{} ", self.tag);
        self.switch.tell(node, &format!("{tag}{request}\n"));
        let deadline = Instant::now() + PATIENCE;
        loop {
            for (from, text) in self.pump()? {
                // Answers to a board's earlier life may still be on the line.
                if let Some(answer) = text.strip_prefix(&tag).filter(|_| from == node) {
                    return Answer::parse(answer.trim_end());
                }
            }
            ensure!(Instant::now() < deadline, "board {node} does not answer to {request}: {:?}", self.switch.counts());
        }
    }

    /// A copy of a board's RAM.
    ///
    /// # Errors
    /// QEMU does not give it.
    pub fn memory(&mut self, node: usize) -> Result<Vec<u8>> {
        let file = self.folder.path().join("memory");
        // As the processor sees it: the chip's memory is not in the machine's.
        let arguments = json!({ "val": RAM.0, "size": RAM.1, "filename": file });
        self.boards[node].qemu.execute("memsave", arguments)?;
        Ok(std::fs::read(file)?)
    }

    fn alive(&self) -> Vec<usize> {
        (0..self.boards.len()).filter(|&node| !self.boards[node].is_dead).collect()
    }

    fn until(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            ensure!(Instant::now() < deadline, "in vain: {what}");
            self.pump()?;
        }
        Ok(())
    }

    /// Moves frames, and notes who has started.
    fn pump(&mut self) -> Result<Vec<(usize, String)>> {
        let told = match self.switch.pump(Duration::from_millis(50)) {
            Ok(told) => told,
            Err(error) => {
                // What QEMU has to say of its end tells more.
                self.boards.iter_mut().try_for_each(|board| board.qemu.alive())?;
                return Err(error);
            }
        };
        for (node, text) in &told {
            match text.trim_end().strip_prefix("0 ").and_then(|text| text.split_once(' ')) {
                Some(("ready", number)) => {
                    ensure!(*number == node.to_string(), "board {node} says that it is node {number}");
                    self.boards[*node].is_ready = true;
                }
                Some(_) => bail!("board {node} says: {text}"),
                None => {}
            }
        }
        Ok(told)
    }
}

fn arguments(image: &Path, folder: &Path, node: u32, line: &Path) -> Result<Vec<OsString>> {
    let identity: PathBuf = folder.join("identity");
    std::fs::write(&identity, [node.to_le_bytes(), 0b111_u32.to_le_bytes()].concat())?;
    let mut loader = OsString::from(format!("loader,addr={IDENTITY:#x},force-raw=on,file="));
    loader.push(&identity);
    let mut arguments: Vec<OsString> = Vec::new();
    let mut push = |option: &str, value: OsString| arguments.extend([option.into(), value]);
    push("-M", "microbit".into());
    push("-device", loader);
    push("-kernel", image.into());
    push("-chardev", connected("line", line));
    push("-serial", "chardev:line".into());
    Ok(arguments)
}

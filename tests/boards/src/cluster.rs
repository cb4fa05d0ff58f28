//! A cluster of boards, the clients at their lines, and the account of what they see.

mod node;

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use tempfile::TempDir;

use self::node::{Node, Work};
use crate::answer::Status;
use crate::board::{Board, Cable, Parts, mac};
use crate::firmware::{self, Firmware};
use crate::flash::Flash;
use crate::history::{History, REGISTERS};
use crate::setup::{self, QEMU_ARM};
use crate::switch::Switch;
use crate::wait;

/// Whatever is waited for comes within this time, or never. It is long, since machines may be busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// Boards, a switch, and a client at the line of each, who asks one thing after the other. Clients put only where a node says that it leads, and
/// each to registers of its own. What they see is checked at once: see [`History`]. Dropping it takes all power.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    switch: Switch,
    history: History,
    work: Work,
    rng: Rng,
    image: PathBuf,
    _folder: TempDir,
}

impl Cluster {
    /// Starts 1, 3 or 5 voters of the ordinary image: see [`Cluster::of`].
    ///
    /// # Errors
    /// See there.
    pub fn start(voters: u8, seed: u64) -> Result<Option<Self>> {
        Self::of(&if voters > 3 { Firmware::MPS2_FIVE } else { Firmware::MPS2 }, voters, seed)
    }

    /// Starts voters of this image on erased flash, and waits until all have started and one leads. `None` where the set-up is missing: the test is to
    /// end, see [`setup::ready`]. `seed` draws what clients and the switch do.
    ///
    /// # Errors
    /// The image cannot be built, a board does not start, or none leads.
    pub fn of(firmware: &Firmware, voters: u8, seed: u64) -> Result<Option<Self>> {
        if !setup::ready(QEMU_ARM, firmware.target)? {
            return Ok(None);
        }
        let image = firmware::build(firmware)?;
        let folder = tempfile::tempdir()?;
        let stations: Vec<_> = (0..voters).map(|node| mac(voters, node)).collect();
        let switch = Switch::start(folder.path(), &stations, seed)?;
        let node = |id| Node::new(id, voters, &folder.path().join(format!("board-{id}")));
        let nodes = (0..voters).map(node).collect::<Result<_>>()?;
        let rng = Rng::with_seed(seed);
        let mut cluster =
            Self { nodes, switch, history: History::new(), work: Work::Load, rng, image, _folder: folder };
        (0..cluster.nodes.len()).try_for_each(|node| cluster.boot(node))?;
        cluster.all_ready()?;
        cluster.leader()?;
        Ok(Some(cluster))
    }

    /// How many nodes there are.
    #[must_use]
    pub fn voters(&self) -> usize {
        self.nodes.len()
    }

    /// The switch between the boards: a node's port has the node's number.
    #[must_use]
    pub const fn switch(&self) -> &Switch {
        &self.switch
    }

    /// What clients have seen so far.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// Chance, of the cluster's seed.
    pub const fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// What a node told of itself last, since it started.
    #[must_use]
    pub fn status(&self, node: usize) -> Option<&Status> {
        self.nodes[node].status.as_ref()
    }

    /// A node's medium. Only what has no power may be changed.
    #[must_use]
    pub fn flash(&self, node: usize) -> &Flash {
        &self.nodes[node].flash
    }

    /// Gives a board power. It is an error, seen later, if its node does not start.
    ///
    /// # Errors
    /// QEMU does not start.
    pub fn boot(&mut self, node: usize) -> Result<()> {
        let voters = u8::try_from(self.nodes.len())?;
        let Node { id, flash, folder, .. } = &self.nodes[node];
        let port = Some(self.switch.socket(node));
        let parts = Parts { image: &self.image, voters, node: *id, flash, port, folder, extra: &[] };
        let before = self.switch.connections(node);
        let board = Board::start(&parts)?;
        self.switch.connected(node, before, PATIENCE)?;
        self.history.boot(*id);
        self.nodes[node].boots(board);
        Ok(())
    }

    /// Gives a board power, and goes on until its node has started, or has told why it does not: the reason. Then it has no power any more.
    ///
    /// # Errors
    /// As [`Cluster::until`].
    pub fn try_boot(&mut self, node: usize) -> Result<Option<String>> {
        self.boot(node)?;
        self.nodes[node].may_fail = true;
        self.until("it starts or says why not", |cluster| {
            cluster.nodes[node].is_ready || cluster.nodes[node].failed.is_some()
        })?;
        let failed = self.nodes[node].failed.take();
        if failed.is_some() {
            self.kill(node)?;
        }
        Ok(failed)
    }

    /// Takes a board's power, at any instruction.
    ///
    /// # Errors
    /// It has none.
    pub fn kill(&mut self, node: usize) -> Result<()> {
        self.nodes[node].kill()
    }

    /// Halts a board, and its time.
    ///
    /// # Errors
    /// It has no power.
    pub fn hang(&mut self, node: usize) -> Result<()> {
        self.nodes[node].hang()
    }

    /// Lets a board that hangs go on.
    ///
    /// # Errors
    /// It has no power.
    pub fn resume(&mut self, node: usize) -> Result<()> {
        self.nodes[node].resume()
    }

    /// Pulls the cable of a board, or puts it back in.
    ///
    /// # Errors
    /// It has no power.
    pub fn connect(&mut self, node: usize, cable: Cable) -> Result<()> {
        self.nodes[node].board()?.connect(cable)
    }

    /// Goes on until this is so.
    ///
    /// # Errors
    /// It never is, a board fails, or what clients see cannot be.
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            if Instant::now() > deadline {
                bail!("in vain: {what}: {}", self.describe());
            }
            self.step(deadline)?;
        }
        Ok(())
    }

    /// Goes on for a while.
    ///
    /// # Errors
    /// A board fails, or what clients see cannot be.
    pub fn pass(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.step(end)?;
        }
        Ok(())
    }

    /// Goes on until so many more puts are acknowledged.
    ///
    /// # Errors
    /// As [`Cluster::until`].
    pub fn acknowledge(&mut self, puts: u64) -> Result<()> {
        let enough = self.history.acknowledged() + puts;
        self.until("puts are acknowledged", |cluster| cluster.history.acknowledged() >= enough)
    }

    /// Goes on until all boards that have power are ready.
    ///
    /// # Errors
    /// As [`Cluster::until`].
    pub fn all_ready(&mut self) -> Result<()> {
        self.until("boards start", |cluster| cluster.nodes.iter().all(|node| node.board.is_none() || node.is_ready))
    }

    /// Goes on until some node says that it leads; which one. Of more than one, that of the newest term.
    ///
    /// # Errors
    /// As [`Cluster::until`].
    pub fn leader(&mut self) -> Result<usize> {
        self.other_leader(None)
    }

    /// Goes on until another node than `former` says that it leads, in a term that none has gone beyond; which one.
    ///
    /// # Errors
    /// As [`Cluster::until`].
    pub fn leader_after(&mut self, former: usize) -> Result<usize> {
        self.other_leader(Some(former))
    }

    fn other_leader(&mut self, former: Option<usize>) -> Result<usize> {
        self.until("a node leads", |cluster| cluster.leading().is_some_and(|leader| Some(leader) != former))?;
        self.leading().context("a leader")
    }

    /// Who said last of itself that it leads, in the newest term.
    fn leading(&self) -> Option<usize> {
        let leads = |node: &&Node| node.status.as_ref().is_some_and(Status::leads);
        let newest =
            self.nodes.iter().filter(leads).max_by_key(|node| node.status.as_ref().map(|status| status.term))?;
        Some(usize::from(newest.id))
    }

    /// Stops putting, and goes on until all boards that have power agree on everything; then the cluster must take a put, and every board must read
    /// every register back.
    ///
    /// # Errors
    /// As [`Cluster::until`].
    pub fn settle(&mut self) -> Result<()> {
        self.work = Work::Statuses;
        self.nodes.iter_mut().for_each(|node| node.status = None);
        self.until("boards agree", Self::agree)?;
        self.work = Work::Load;
        self.acknowledge(1)?;
        self.work = Work::ReadBack;
        self.nodes.iter_mut().for_each(|node| node.next_read = 0);
        self.until("registers are read back", |cluster| {
            cluster.nodes.iter().all(|node| node.board.is_none() || node.next_read >= REGISTERS)
        })?;
        self.work = Work::Load;
        Ok(())
    }

    /// Whether all nodes that have power have the same entries, all of them committed, and have applied the same commands: the last entries may be none.
    fn agree(&self) -> bool {
        let powered = || self.nodes.iter().filter(|node| node.board.is_some());
        let key = |status: &Status| (status.term, status.leader, status.last, status.committed, status.applied);
        let first = powered().find_map(|node| node.status.as_ref()).map(key);
        let is_settled = |(_, leader, last, committed, applied): (u64, Option<u8>, u64, u64, u64)| {
            leader.is_some() && last == committed && applied >= self.history.newest()
        };
        first.is_some_and(is_settled) && powered().all(|node| node.status.as_ref().map(key) == first)
    }

    /// Sends what clients want to ask, waits for answers, not beyond `deadline`, and takes them.
    fn step(&mut self, deadline: Instant) -> Result<()> {
        let Self { nodes, history, work, rng, .. } = self;
        for node in nodes.iter_mut() {
            node.ask(*work, history, rng)?;
        }
        let next = nodes.iter().filter_map(Node::asks_at).fold(deadline, Instant::min);
        let next = next.min(Instant::now() + Duration::from_secs(1)).saturating_duration_since(Instant::now());
        let lines = nodes.iter().filter_map(|node| node.board.as_ref()).map(|board| board.line.as_fd());
        wait::readable(lines, next)?;
        for node in nodes.iter_mut() {
            if let Err(error) = node.hear(history).and_then(|()| node.is_in_time(PATIENCE)) {
                let id = node.id;
                return Err(error.context(format!("board {id}: {}", self.describe())));
            }
        }
        Ok(())
    }

    /// How everything stands, for who has to find out why it does not go on.
    fn describe(&self) -> String {
        let nodes: Vec<_> = self.nodes.iter().map(Node::describe).collect();
        format!(
            "{} puts acknowledged; {:?}\n  {}",
            self.history.acknowledged(),
            self.switch.counts(),
            nodes.join("\n  ")
        )
    }
}

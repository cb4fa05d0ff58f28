//! Who sends commands: at the leader, in sessions on every node, in a stream from one; and who reads, on every node.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;

use quoring::{Duration, Node, ProposalError, ProposeError};

use crate::application::COMMAND;
use crate::clock::Hand;
use crate::node::{self, Host};
use crate::task::Task;

/// Clients of the leader, each with one command in flight.
const PROPOSERS: usize = 8;
/// Of them when there is a crowd: more than the ring takes.
const CROWD: usize = 24;
/// Pause of each of them between two commands if there is no crowd, so that a peer can catch up.
const CALM: Duration = Duration::from_millis(5);
/// Commands of a session before another one is opened, so that old ones expire.
const SESSION: usize = 50;
/// Pause of those who were refused, or have no leader.
const PATIENCE: Duration = Duration::from_millis(10);
/// Pause of sessions, streams and readers after each success.
const PAUSE: Duration = Duration::from_millis(10);

/// What all clients know.
#[derive(Debug)]
pub(crate) struct Clients {
    nodes: Box<[node::Node]>,
    clock: Hand,
    /// The number of the next command.
    next: Cell<u64>,
    is_crowded: Cell<bool>,
    is_over: Cell<bool>,
    done: Cell<Done>,
}

/// What clients have brought to a good end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Done {
    /// Commands proposed at the leader and answered.
    pub proposed: u64,
    /// Commands of sessions that were answered.
    pub in_sessions: u64,
    /// Commands of streams that were answered.
    pub in_streams: u64,
    /// Linearizable reads.
    pub read: u64,
    /// Reads that did not see what was acknowledged before: none, if all is well.
    pub stale: u64,
}

impl Clients {
    pub(crate) fn new(nodes: &[node::Node], clock: &Hand) -> Rc<Self> {
        let (next, is_crowded, is_over, done) = Default::default();
        Rc::new(Self { nodes: nodes.into(), clock: clock.clone(), next, is_crowded, is_over, done })
    }

    /// All of them, as tasks.
    pub(crate) fn spawn(self: &Rc<Self>, tasks: &mut Vec<Task>) {
        for number in 0..CROWD {
            tasks.push(Task::new(Rc::clone(self).propose(number)));
        }
        for node in &self.nodes {
            tasks.push(Task::new(Rc::clone(self).propose_in_sessions(node.handle)));
            tasks.push(Task::new(Rc::clone(self).read(node.clone())));
        }
        if let Some(node) = self.nodes.last() {
            tasks.push(Task::new(Rc::clone(self).stream(node.handle)));
        }
    }

    /// More clients come than there is room for, or they go.
    pub(crate) fn crowd(&self, comes: bool) {
        self.is_crowded.set(comes);
    }

    /// Nobody sends anything more.
    pub(crate) fn end(&self) {
        self.is_over.set(true);
    }

    pub(crate) fn done(&self) -> Done {
        self.done.get()
    }

    async fn propose(self: Rc<Self>, number: usize) {
        let mut leader = self.nodes[0].handle;
        loop {
            match self.is_crowded.get() {
                true => {}
                false if number < PROPOSERS => self.clock.sleep(CALM).await,
                false => {
                    self.clock.sleep(PATIENCE).await;
                    continue;
                }
            }
            let command = self.command().await;
            match leader.propose(&command).await {
                Ok(_) => self.count(|done| &mut done.proposed),
                Err(ProposalError::Refused(ProposeError::NotLeader { leader: Some(other) })) => {
                    leader = self.nodes[usize::from(other.get())].handle;
                    self.clock.sleep(PAUSE).await;
                }
                Err(_) => {
                    self.clock.sleep(PATIENCE).await;
                    // Whoever led may be cut off: any other node knows more.
                    leader = self.nodes[self.next.get() as usize % self.nodes.len()].handle;
                }
            }
        }
    }

    async fn propose_in_sessions(self: Rc<Self>, node: Node<'static, Host>) {
        loop {
            let Ok(mut session) = node.session().await else {
                self.clock.sleep(PATIENCE).await;
                continue;
            };
            for _ in 0..SESSION {
                let command = self.command().await;
                if session.propose(&command).await.is_err() {
                    break;
                }
                self.count(|done| &mut done.in_sessions);
                self.clock.sleep(PAUSE).await;
            }
        }
    }

    async fn stream(self: Rc<Self>, node: Node<'static, Host>) {
        loop {
            let Ok(mut stream) = node.stream().await else {
                self.clock.sleep(PATIENCE).await;
                continue;
            };
            loop {
                let commands = [self.command().await, self.command().await];
                let Ok(sent) = stream.send_batch([&commands[0], &commands[1]]).await else { break };
                for sent in sent {
                    if sent.await.is_ok() {
                        self.count(|done| &mut done.in_streams);
                    }
                }
                self.clock.sleep(PAUSE).await;
            }
        }
    }

    async fn read(self: Rc<Self>, node: node::Node) {
        loop {
            let before = self.nodes.iter().map(|node| node.application.count()).max();
            if node.handle.read().await.is_err() {
                self.clock.sleep(PATIENCE).await;
                continue;
            }
            self.count(|done| &mut done.read);
            if Some(node.application.count()) < before {
                self.count(|done| &mut done.stale);
            }
            self.clock.sleep(PAUSE).await;
            if self.is_over.get() {
                pending::<()>().await;
            }
        }
    }

    /// The next command. There is none when all is over.
    async fn command(&self) -> [u8; COMMAND] {
        if self.is_over.get() {
            pending::<()>().await;
        }
        let number = self.next.replace(self.next.get() + 1);
        let mut command = [0; COMMAND];
        command[..8].copy_from_slice(&number.to_le_bytes());
        command
    }

    fn count(&self, kind: impl Fn(&mut Done) -> &mut u64) {
        let mut done = self.done.get();
        *kind(&mut done) += 1;
        self.done.set(done);
    }
}

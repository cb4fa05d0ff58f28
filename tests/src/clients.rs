//! What clients wait for at each node: reads and windows; and that they are told the truth, and in time.

use std::collections::BTreeMap;

use quoring_core::{LogIndex, NodeId, ReadRound, Role, WindowState, WindowStatus};

use crate::node::{Node, Running};
use crate::oracle::Oracle;

/// The waiting clients of all nodes.
#[derive(Default)]
pub struct Clients {
    reads: Vec<Reading>,
    named: u32,
    /// What each node's clients saw last.
    seen: BTreeMap<NodeId, Seen>,
    /// Reads that were answered.
    pub done: u32,
    /// Reads that were not.
    pub lost: u32,
    /// Items that windows brought into a leader's log.
    pub accepted: u32,
}

/// A client that waits to read.
struct Reading {
    /// How a script calls it.
    name: u32,
    node: NodeId,
    round: ReadRound,
    /// What was committed anywhere when it asked.
    asked: LogIndex,
    /// `client_news` when it last looked: it looks again when that has changed.
    looked: Option<u32>,
}

#[derive(Clone, Copy)]
struct Seen {
    /// `window_news`.
    window_news: u32,
    window: WindowStatus,
}

impl Clients {
    /// A client of the node waits for this round; its name. What is committed anywhere by now, it must see.
    pub fn wait(&mut self, node: NodeId, round: ReadRound, asked: LogIndex) -> u32 {
        self.named += 1;
        self.reads.push(Reading { name: self.named, node, round, asked, looked: None });
        self.named
    }

    /// How many clients of the node wait to read.
    #[must_use]
    pub fn waiting(&self, node: NodeId) -> usize {
        self.reads.iter().filter(|read| read.node == node).count()
    }

    /// The node was stepped: what its clients learn by it, one line each.
    ///
    /// # Panics
    /// They are told what is not so, or not told that there is news.
    pub fn stepped(&mut self, id: NodeId, node: &Node, oracle: &Oracle) -> Vec<String> {
        let Some(running) = &node.running else { return self.lose_power(id) };
        let mut lines = self.end_reads(id, running, oracle);
        let raft = &running.raft;
        let now = Seen { window_news: running.window_news, window: raft.window() };
        let before = self.seen.insert(id, now);
        let (state, accepted) = before.map_or((WindowState::Unused, 0), |before| {
            let same = before.window.client == now.window.client;
            if same { (before.window.state, before.window.accepted) } else { (WindowState::Unused, 0) }
        });
        let changed = (now.window.state, now.window.accepted) != (state, accepted);
        let is_own_doing = now.window.state == WindowState::Opening;
        assert!(
            !changed || is_own_doing || before.is_none_or(|before| before.window_news != now.window_news),
            "node {id}: its clients are not told of {:?}",
            now.window
        );
        oracle.accepted(running.raft.status().term, &now.window, accepted);
        self.accepted += now.window.accepted.wrapping_sub(accepted);
        if now.window.state != state && !is_own_doing {
            lines.push(format!("{id} window {} is {:?}", now.window.client, now.window.state));
        }
        lines
    }

    fn end_reads(&mut self, id: NodeId, running: &Running, oracle: &Oracle) -> Vec<String> {
        let (mut lines, status) = (Vec::new(), running.raft.status());
        let news = Some(running.client_news);
        let (own, others): (Vec<_>, Vec<_>) = self.reads.drain(..).partition(|read| read.node == id);
        self.reads = others;
        for read in own {
            let ended = running.raft.poll_read(read.round).filter(|_| read.looked != news);
            match ended {
                None => self.reads.push(Reading { looked: news, ..read }),
                Some(Ok(index)) => {
                    oracle.may_read(id, read.asked, index);
                    assert!(
                        status.role != Role::Leader || oracle.commits_own(running.log(), &status),
                        "node {id} leads, and does not know yet what is committed (Raft section 8): {status:?}"
                    );
                    self.done += 1;
                    lines.push(format!("{id} r{} may read at {index}", read.name));
                }
                Some(Err(error)) => {
                    self.lost += 1;
                    lines.push(format!("{id} r{} is lost: {error:?}", read.name));
                }
            }
        }
        lines
    }

    fn lose_power(&mut self, id: NodeId) -> Vec<String> {
        self.seen.remove(&id);
        self.reads.retain(|read| read.node != id);
        Vec::new()
    }
}

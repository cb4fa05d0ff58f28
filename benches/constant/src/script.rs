//! What happens to the cluster while clients keep it busy.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use anyhow::{Context, Result, anyhow, bail, ensure};
use quoring::{Clock, Duration, Instant, NodeId, Role};

use crate::clients::Clients;
use crate::clock::Hand;
use crate::link::Cuts;
use crate::node::Node;

/// How often all of it happens in a run.
pub(crate) const CYCLES: u64 = 10;
/// Nothing that is waited for takes longer, in the time of the cluster.
const PATIENCE: Duration = Duration::from_millis(600_000);
/// How long all applications do nothing.
const STALL: Duration = Duration::from_millis(500);
/// Entries that no ring keeps, and every log does: a peer that misses so many is caught up from the store.
const BRIEFLY: u64 = 100;

/// The script, and the switches it has its hands on.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    nodes: Rc<[Node]>,
    cuts: Cuts,
    clock: Hand,
    clients: Rc<Clients>,
    told: Rc<Told>,
}

/// What happened to a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// It was elected.
    Leads,
    /// Its links are cut, all of them or those it hears by; or it is kept from its flash.
    CutOff,
    /// They work again.
    Back,
    /// It has caught up with what had left the leader's ring, out of the leader's store.
    CaughtUp,
    /// A leader's snapshot took the place of its log.
    Installed,
    /// It made a snapshot.
    Saved,
    /// More clients come than there is room for in the leader's ring.
    Crowded,
    /// All applications do nothing for a while.
    Stalled,
}

/// Something that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Commands that had been applied by then.
    pub applied: u64,
    /// To whom.
    pub node: NodeId,
    /// What.
    pub what: What,
}

/// What script and cluster tell each other.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The next thing that the script has done, to be taken before there is another.
    pub(crate) done: Cell<Option<(NodeId, What)>>,
    /// How many snapshots were installed.
    pub(crate) installed: Cell<u64>,
}

impl Script {
    pub(crate) fn new(nodes: &[Node], cuts: Cuts, clock: Hand, clients: Rc<Clients>, told: Rc<Told>) -> Self {
        Self { nodes: nodes.into(), cuts, clock, clients, told }
    }

    /// Commands that were applied on any node.
    pub(crate) fn applied(&self) -> u64 {
        self.nodes.iter().map(|node| node.application.count()).max().unwrap_or(0)
    }

    /// Who leads in the newest term.
    pub(crate) fn leader(&self) -> Option<&Node> {
        let leaders = self.nodes.iter().filter(|node| node.handle.status().role == Role::Leader);
        leaders.max_by_key(|node| node.handle.status().term)
    }

    /// All that can happen, again and again, until `entries` commands are applied.
    pub(crate) async fn run(self, entries: u64) -> Result<()> {
        let length = entries / CYCLES;
        for cycle in 0..CYCLES {
            let at = |percent: u64| cycle * length + length * percent / 100;
            self.until_applied(at(5)).await?;
            self.hand_over().await?;
            self.until_applied(at(15)).await?;
            self.replace(|leader| self.cut(leader), "whose links are cut").await?;
            self.until_applied(at(25)).await?;
            self.miss(BRIEFLY).await?;
            self.until_applied(at(35)).await?;
            self.miss(length / 4).await?;
            self.until_applied(at(65)).await?;
            self.crowd(length / 100).await?;
            self.until_applied(at(70)).await?;
            self.replace(|leader| leader.hangs.set(true), "whose flash hangs").await?;
            self.until_applied(at(80)).await?;
            self.stall().await;
            self.until_applied(at(90)).await?;
            self.replace(|leader| self.cuts.deafen(leader.id), "who hears nobody").await?;
            self.until_applied(at(100)).await?;
        }
        Ok(())
    }

    /// A leader hands over (E10).
    async fn hand_over(&self) -> Result<()> {
        for _ in 0..10 {
            self.until(|| self.leader().is_some()).await.context("nobody leads")?;
            let leader = self.leader().context("just seen")?;
            if leader.handle.transfer(None).await.is_ok() {
                return self.until(|| self.leader().is_some_and(|next| next.id != leader.id)).await;
            }
        }
        bail!("no leader can hand over")
    }

    /// Something happens to the leader, and another one is elected.
    async fn replace(&self, what: impl Fn(&Node), who: &str) -> Result<()> {
        self.until(|| self.leader().is_some()).await.context("nobody leads")?;
        let leader = self.leader().context("just seen")?;
        what(leader);
        self.mark(leader, What::CutOff).await;
        let replaced = self.until(|| self.leader().is_some_and(|next| next.id != leader.id)).await;
        replaced.with_context(|| format!("nobody replaces a leader {who}"))?;
        self.until_applied(self.applied() + BRIEFLY).await?;
        self.heal(leader).await
    }

    /// A peer is cut off while so many entries are applied, and comes back: what it has missed comes from the store if it is `BRIEFLY`, else as a snapshot.
    async fn miss(&self, entries: u64) -> Result<()> {
        let leads = |node: &Node| self.leader().is_some_and(|leader| leader.id == node.id);
        let peer = self.nodes.iter().rfind(|node| !leads(node)).context("no peer")?;
        self.cut(peer);
        self.mark(peer, What::CutOff).await;
        self.until_applied(self.applied() + entries).await?;
        let installed = self.told.installed.get();
        self.heal(peer).await?;
        let comes_from_store = self.told.installed.get() == installed;
        ensure!(
            comes_from_store == (entries == BRIEFLY),
            "node {} was caught up otherwise than meant after {entries} entries",
            peer.id
        );
        if comes_from_store {
            self.mark(peer, What::CaughtUp).await;
        }
        Ok(())
    }

    /// More clients come than there is room for in the leader's ring, and go again.
    async fn crowd(&self, entries: u64) -> Result<()> {
        self.clients.crowd(true);
        self.mark_all(What::Crowded).await;
        self.until_applied(self.applied() + entries).await?;
        self.clients.crowd(false);
        Ok(())
    }

    /// No application does anything, and nobody is answered.
    async fn stall(&self) {
        self.nodes.iter().for_each(|node| node.application.stall(true));
        self.mark_all(What::Stalled).await;
        self.clock.sleep(STALL).await;
        self.nodes.iter().for_each(|node| node.application.stall(false));
    }

    fn cut(&self, node: &Node) {
        self.cuts.mute(node.id);
        self.cuts.deafen(node.id);
    }

    /// All works again, and the node catches up.
    async fn heal(&self, node: &Node) -> Result<()> {
        self.cuts.heal();
        node.hangs.set(false);
        self.mark(node, What::Back).await;
        let goal = self.applied();
        let caught_up = self.until(|| node.application.count() >= goal).await;
        caught_up.with_context(|| format!("node {} does not catch up", node.id))
    }

    async fn mark(&self, node: &Node, what: What) {
        self.told.done.set(Some((node.id, what)));
        // The mark is taken before the script goes on.
        self.until(|| self.told.done.get().is_none()).await.ok();
    }

    async fn mark_all(&self, what: What) {
        for node in &*self.nodes {
            self.mark(node, what).await;
        }
    }

    async fn until_applied(&self, goal: u64) -> Result<()> {
        self.until(|| self.applied() >= goal)
            .await
            .with_context(|| format!("{} entries are applied, no more", self.applied()))
    }

    /// Waits until it is so. The script is asked again after each step of the cluster.
    async fn until(&self, mut holds: impl FnMut() -> bool) -> Result<()> {
        let mut progress = (self.applied(), self.clock.now());
        poll_fn(|_| {
            let now = self.clock.now();
            if holds() {
                return Poll::Ready(Ok(()));
            }
            if self.applied() > progress.0 {
                progress = (self.applied(), now);
            }
            let is_late = now > Instant(progress.1.0 + PATIENCE.0);
            if is_late { Poll::Ready(Err(anyhow!("nothing happens any more"))) } else { Poll::Pending }
        })
        .await
    }
}

//! `openraft` on one thread of tokio: clients are tasks, nodes are tasks and channels; a network of streams, which is its faster one.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Display};
use std::future::Future;
use std::io;
use std::mem::forget;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::{Stream, StreamExt, TryStreamExt};
use openraft::alias::{CommittedLeaderIdOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf};
use openraft::base::{BoxFuture, BoxStream};
use openraft::error::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::impls::leader_id_adv::LeaderId;
use openraft::impls::{BoxedErrorSource, InlineBatch, OneshotResponder, TokioRuntime};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, VoteRequest, VoteResponse,
};
use openraft::storage::{EntryResponder, IOFlushed, RaftLogStorage, RaftStateMachine, Snapshot, SnapshotMeta};
use openraft::{
    Config, EmptyNode, EntryPayload, LogState, OptionalSend, Raft, RaftLogReader, RaftNetworkFactory, RaftNetworkV2,
    RaftSnapshotBuilder, RaftTypeConfig, SnapshotPolicy, Vote,
};
use quoring_benches::cluster::Load;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, yield_now};

use crate::rafts::cluster::{Applied, Command, NODES, WINDOW, agreed, command};
use crate::rafts::log::Log;

/// Entries after which each node makes a snapshot, which is the sum of what it applied, and purges its log.
const SNAPSHOT: u64 = 512;

/// A command as its application's data.
#[derive(Clone, Debug)]
pub(crate) struct Item(Command);

impl Display for Item {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        Debug::fmt(&self.0, to)
    }
}

/// Its types: the defaults, but for an answer that waits for nothing but the end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(crate) struct Types;

impl RaftTypeConfig for Types {
    type D = Item;
    type R = ();
    type NodeId = u64;
    type Node = EmptyNode;
    type Term = u64;
    type LeaderId = LeaderId<u64, u64>;
    type Vote = Vote<Self::LeaderId>;
    type Payload = EntryPayload<Item, u64, EmptyNode>;
    type Entry = openraft::Entry<CommittedLeaderIdOf<Self>, Self::Payload>;
    type AsyncRuntime = TokioRuntime;
    type Responder<T>
        = OneshotResponder<Self, T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

type Entry = <Types as RaftTypeConfig>::Entry;
type Node = Raft<Types, Machine>;
type Nodes = Arc<Mutex<BTreeMap<u64, Node>>>;

/// Replicates so many commands; what every node has applied then. The cluster stays in memory, so that what it holds can be counted at the end of the
/// program.
///
/// # Panics
/// Not all nodes have applied the same, or not as much.
pub(crate) fn replicate(load: Load, entries: u64) -> Applied {
    let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let (nodes, machines) = runtime.block_on(start());
    let leader = locked(&nodes)[&0].clone();
    match load {
        Load::Closed => runtime.block_on(clients(leader, 1, entries)),
        Load::Pipe => runtime.block_on(clients(leader, WINDOW, entries)),
        Load::Batch => runtime.block_on(batches(leader, entries)),
    }
    let applied = || machines.each_ref().map(|machine| locked(&machine.0).applied);
    runtime.block_on(async {
        while applied().iter().any(|node| node.count < entries) {
            yield_now().await;
        }
    });
    forget((runtime, nodes));
    agreed(applied(), entries)
}

/// Three nodes, the first of which leads.
async fn start() -> (Nodes, [Machine; NODES]) {
    let config = Config {
        // Nothing is lost and nobody fails: time has no part in it.
        enable_tick: false,
        enable_heartbeat: false,
        enable_elect: false,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT),
        max_in_snapshot_log_to_keep: SNAPSHOT / 2,
        purge_batch_size: SNAPSHOT / 2,
        max_payload_entries: 1024,
        ..Config::default()
    };
    let config = Arc::new(config.validate().expect("configuration"));
    let nodes = Nodes::default();
    let machines = [(); NODES].map(|()| Machine::default());
    for (id, machine) in (0..).zip(&machines) {
        let network = Network(nodes.clone());
        let node = Raft::new(id, config.clone(), network, Store::default(), machine.clone()).await.expect("a node");
        locked(&nodes).insert(id, node);
    }
    let leader = locked(&nodes)[&0].clone();
    leader
        .initialize((0..NODES as u64).map(|id| (id, EmptyNode {})).collect::<BTreeMap<_, _>>())
        .await
        .expect("members");
    while !leader.is_leader() {
        yield_now().await;
    }
    (nodes, machines)
}

/// A client, one of so many: it proposes the next command when its last one is applied.
async fn client(leader: Node, next: Arc<AtomicU64>, entries: u64) {
    loop {
        let number = next.fetch_add(1, Relaxed);
        if number >= entries {
            return;
        }
        leader.client_write(Item(command(number))).await.expect("a leader");
    }
}

async fn clients(leader: Node, count: usize, entries: u64) {
    let (next, mut clients) = (Arc::default(), JoinSet::new());
    for _ in 0..count {
        clients.spawn(client(leader.clone(), Arc::clone(&next), entries));
    }
    clients.join_all().await;
}

/// Many commands with one call.
async fn batches(leader: Node, entries: u64) {
    for first in (0..entries).step_by(WINDOW) {
        let commands = (first..first + WINDOW as u64).map(|number| Item(command(number)));
        let mut answers = leader.client_write_many(commands).await.expect("a leader");
        while let Some(answer) = answers.try_next().await.expect("a leader") {
            answer.expect("a leader");
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panicked")
}

/// Its log store: one lock, never waited for.
#[derive(Clone)]
struct Store(Arc<Mutex<Stored>>);

struct Stored {
    vote: Option<VoteOf<Types>>,
    log: Log<Entry>,
    purged: Option<LogIdOf<Types>>,
}

impl Default for Store {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Stored { vote: None, log: Log::new(0), purged: None })))
    }
}

impl RaftLogReader<Types> for Store {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, io::Error> {
        let stored = locked(&self.0);
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => stored.log.first(),
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(to) => *to,
            Bound::Unbounded => stored.log.end(),
        };
        Ok(stored.log.range(from, to).cloned().collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Types>>, io::Error> {
        Ok(locked(&self.0).vote)
    }
}

impl RaftLogStorage<Types> for Store {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let stored = locked(&self.0);
        let last = stored.log.end().checked_sub(1).and_then(|last| stored.log.get(last)).map(|entry| entry.log_id);
        Ok(LogState { last_purged_log_id: stored.purged, last_log_id: last.or(stored.purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> Result<(), io::Error> {
        locked(&self.0).vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut stored = locked(&self.0);
        entries.into_iter().for_each(|entry| stored.log.push(entry));
        drop(stored);
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> Result<(), io::Error> {
        locked(&self.0).log.truncate(last.map_or(0, |last| last.index + 1));
        Ok(())
    }

    async fn purge(&mut self, last: LogIdOf<Types>) -> Result<(), io::Error> {
        let mut stored = locked(&self.0);
        stored.purged = Some(last);
        stored.log.purge(last.index + 1);
        Ok(())
    }
}

/// What a node applies its commands to.
#[derive(Clone, Default)]
struct Machine(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    applied: Applied,
    last: Option<LogIdOf<Types>>,
    members: StoredMembershipOf<Types>,
}

impl Machine {
    fn snapshot(&self) -> SnapshotOf<Types, Applied> {
        let state = locked(&self.0);
        let meta = SnapshotMeta { last_log_id: state.last, last_membership: state.members.clone() };
        Snapshot { meta, snapshot: state.applied }
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = Applied;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, Applied>, io::Error> {
        Ok(self.snapshot())
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Applied;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>), io::Error> {
        let state = locked(&self.0);
        Ok((state.last, state.members.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut state = locked(&self.0);
            state.last = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Normal(Item(command)) => state.applied.apply(&command),
                EntryPayload::Membership(members) => {
                    state.members = StoredMembershipOf::<Types>::new(Some(entry.log_id), members);
                }
            }
            drop(state);
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, _meta: &SnapshotMetaOf<Types>, _snapshot: Applied) -> Result<(), io::Error> {
        unreachable!("nobody lags behind")
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, Applied>>, io::Error> {
        Ok(None)
    }
}

/// Knows all nodes.
#[derive(Clone)]
struct Network(Nodes);

/// The way to one of them.
struct Link(Node);

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Link {
        Link(locked(&self.0)[&target].clone())
    }
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = Applied;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.0.append_entries(request).await.map_err(|error| Unreachable::new(&error).into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        requests: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let answers =
            self.0.stream_append(requests).map(|answer| answer.map_err(|error| Unreachable::new(&error).into()));
        Box::pin(async move { Ok(Box::pin(answers) as BoxStream<'s, _>) })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.0.vote(request).await.map_err(|error| Unreachable::new(&error).into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: VoteOf<Types>,
        _snapshot: SnapshotOf<Types, Applied>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        unreachable!("nobody lags behind")
    }
}

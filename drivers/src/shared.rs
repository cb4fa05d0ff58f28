//! What the tasks and handles of a node share: the core under its lock, the ring, the devices, and who waits for what.

use core::cell::RefCell;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};

use embassy_futures::yield_now;
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::mutex::{Mutex as StoreMutex, MutexGuard};
use quoring_core::{EntryId, Instant, LogIndex, News, NodeId, NodeSet, Raft};
use quoring_ring::{Checksum, Crc32c, Position, Reader};

use crate::answer::Answer;
use crate::clock::Clock;
use crate::halt::Halt;
use crate::node::Lost;
use crate::platform::Platform;
use crate::proposals::{Proposals, RequestKey, Woken};
use crate::read::Readers;
use crate::resources::Devices;
use crate::sessions::SessionTable;
use crate::store::LogStore;
use crate::stream::{Broken, Streams};
use crate::waiting::{Left, Waiting};
use crate::wake::{Cell, Line, Wake};

/// Everything but the ends of the ring.
pub(crate) struct Shared<'a, P: Platform> {
    pub(crate) state: Mutex<P::Mutex, RefCell<State<'a>>>,
    pub(crate) ring: Reader<'a>,
    pub(crate) checksum: Checksum,
    pub(crate) crc: Crc32c,
    /// The most bytes the store takes as a snapshot.
    pub(crate) snapshot_limit: u64,
    store: &'a StoreMutex<P::Mutex, P::Store>,
    pub(crate) transport: &'a P::Transport,
    pub(crate) clock: &'a P::Clock,
    pub(crate) peers: NodeSet,
    pub(crate) wakes: Watchers<'a, P>,
    /// How many sessions the cluster keeps, if this node opens one.
    pub(crate) sessions: u32,
    /// The newest stream, and whether it is broken (C5).
    pub(crate) latch: AtomicU32,
    /// The node has stopped; the reason is in `state`.
    halted: AtomicBool,
    /// The application should look whether there is a snapshot to make or to restore.
    pub(crate) detour: AtomicBool,
    /// The log writer should look whether more may be purged.
    pub(crate) purges: AtomicBool,
    /// A task waits for the store.
    contended: AtomicBool,
    /// The log writer does.
    write_waits: AtomicBool,
}

/// The tasks that sleep until a pointer moves.
pub(crate) struct Watchers<'a, P: Platform> {
    pub(crate) log_writer: Wake<P::Mutex>,
    pub(crate) receiver: Wake<P::Mutex>,
    pub(crate) ticker: Wake<P::Mutex>,
    pub(crate) committed: Wake<P::Mutex>,
    /// Who waits for room in the stream,
    pub(crate) stream: Wake<P::Mutex>,
    /// and who waits for its end.
    pub(crate) broken: Wake<P::Mutex>,
    pub(crate) replicators: &'a [Line<P::Mutex>],
    pub(crate) proposals: &'a [Cell<P::Mutex>],
}

/// What the lock guards.
pub(crate) struct State<'a> {
    pub(crate) raft: Raft<'a>,
    pub(crate) proposals: Proposals<'a>,
    /// When the ticker will wake up by itself.
    pub(crate) armed: Option<Instant>,
    /// Clients that wait for news of who leads, and of what they may read.
    pub(crate) waiting: Waiting,
    pub(crate) readers: Readers,
    pub(crate) streams: Streams,
    /// A session's request waits for room.
    pub(crate) requests_wait: bool,
    /// How many snapshots the application has restored.
    pub(crate) restores: u32,
    halt: Option<Halt>,
}

/// Who has something to do after a step.
#[derive(Default)]
struct Effects {
    ready: NodeSet,
    accepted: bool,
    committed: bool,
    earlier: bool,
    /// The application should make a snapshot.
    wants: bool,
    woken: Woken,
    waiting: Left,
    /// The window or the leader is another.
    streams: bool,
    broken: Option<(u16, Broken)>,
}

impl<'a, P: Platform> Shared<'a, P> {
    #[allow(clippy::too_many_arguments)] // Called once, by `new`, with what it has just taken apart.
    pub(crate) fn new(
        raft: Raft<'a>,
        proposals: Proposals<'a>,
        ring: Reader<'a>,
        checksum: Checksum,
        snapshot_limit: u64,
        devices: &'a Devices<P>,
        replicators: &'a [Line<P::Mutex>],
        waiting: &'a [Cell<P::Mutex>],
        sessions: u32,
    ) -> Self {
        let peers = raft.config().peers();
        let (crc, restores) = (raft.config().crc, raft.snapshot().is_some());
        Self {
            state: Mutex::new(RefCell::new(State {
                raft,
                proposals,
                armed: None,
                waiting: Waiting::default(),
                readers: Readers::default(),
                streams: Streams::default(),
                requests_wait: false,
                restores: 0,
                halt: None,
            })),
            ring,
            checksum,
            crc,
            snapshot_limit,
            store: &devices.store,
            transport: &devices.transport,
            clock: &devices.clock,
            peers,
            wakes: Watchers {
                log_writer: Wake::new(Cell::new()),
                receiver: Wake::new(Cell::new()),
                ticker: Wake::new(Cell::new()),
                committed: Wake::new(Cell::new()),
                stream: Wake::new(Cell::new()),
                broken: Wake::new(Cell::new()),
                replicators,
                proposals: waiting,
            },
            sessions,
            latch: AtomicU32::new(0),
            halted: AtomicBool::new(false),
            detour: AtomicBool::new(restores),
            purges: AtomicBool::new(true),
            contended: AtomicBool::new(false),
            write_waits: AtomicBool::new(false),
        }
    }

    /// Looks at the state, or moves something nobody watches.
    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut State<'a>) -> R) -> R {
        self.state.lock(|state| look(&mut state.borrow_mut()))
    }

    /// Steps the core with one input, then wakes who has something to do.
    pub(crate) fn step<R>(&self, input: impl FnOnce(&mut State<'a>) -> R) -> R {
        let (result, effects) = self.with(|state| {
            let before = Pointers::of(&state.raft);
            let result = input(state);
            let effects = state.effects(before);
            (result, effects)
        });
        self.wake(effects);
        result
    }

    /// The log writer has moved `flushed`: answers may leave, entries may be committed, proposers may have room. Up to where the log may be purged then.
    pub(crate) fn flushed(&self) -> LogIndex {
        let now = self.clock.now();
        let (woken, allowed, waits) = self.step(|state| {
            state.raft.handle_flushed(now);
            (state.room(), state.raft.may_purge(), state.raft.applied() < state.raft.committed())
        });
        // Whatever is committed from now on is told of then.
        if waits {
            self.wakes.committed.notify();
        }
        self.wake_room(woken);
        allowed
    }

    /// What the store has dropped is known before anybody else uses the store, and looks for it there in vain.
    pub(crate) fn note_space(&self, store: &P::Store) {
        let space = store.space();
        self.with(|state| state.raft.handle_space(&space));
    }

    /// The application has moved `applied` past `entry`, which named this request.
    pub(crate) fn applied(&self, entry: EntryId, request: Option<RequestKey>, outcome: Result<&Answer, Lost>) {
        let (room, wants, waiting, resumes) = self.with(|state| {
            let woken = match request {
                Some(request) => state.proposals.applied_request(request, outcome),
                None => state.proposals.applied(entry, outcome),
            };
            let room = state.room().and(woken);
            (room, state.raft.wants_snapshot(), state.applied_to(entry.index), state.raft.intakes_wait())
        });
        self.ask_for_snapshot(wants);
        waiting.wake();
        self.wake_room(room);
        if resumes {
            self.step(|state| state.raft.resume_intakes());
        }
    }

    /// The application has restored a snapshot that covers the log up to `index`.
    pub(crate) fn restored(&self, index: LogIndex, sessions: &SessionTable<'_>) {
        let (room, waiting) = self.step(|state| {
            state.raft.resume_intakes();
            let woken = state.proposals.restored(index, sessions);
            // Those that still wait are handed in again.
            state.restores = state.restores.wrapping_add(1);
            let woken = woken.and(state.proposals.requesting());
            (state.room().and(woken), state.applied_to(index))
        });
        waiting.wake();
        self.wake_room(room);
    }

    /// A snapshot is durable: the log below it may go, and if it came from a leader, the application has something to restore.
    pub(crate) fn snapshot_is_durable(&self) {
        self.purges.store(true, Ordering::Release);
        self.wakes.log_writer.notify();
        self.detour.store(true, Ordering::Release);
        self.wakes.committed.notify();
    }

    fn ask_for_snapshot(&self, wanted: bool) {
        if wanted && self.snapshot_limit > 0 {
            self.detour.store(true, Ordering::Release);
        }
    }

    /// The medium cannot be trusted any more: the node stops, and everybody who waits for it learns so.
    pub(crate) fn halt(&self, halt: Halt) -> Halt {
        let (halt, woken) = self.step(|state| {
            state.raft.halt();
            let woken = state.proposals.room().and(state.proposals.lose(Lost::Halted));
            (*state.halt.get_or_insert(halt), woken)
        });
        self.halted.store(true, Ordering::Release);
        self.wake_proposals(woken);
        self.notify_all();
        halt
    }

    /// Why the node stopped, if it did.
    pub(crate) fn halted(&self) -> Option<Halt> {
        if self.halted.load(Ordering::Acquire) { self.with(|state| state.halt) } else { None }
    }

    /// To be asked by who is about to write to the store: another task may have found meanwhile that it has failed ([`LogStore`], rule 4).
    pub(crate) fn check_halted(&self) -> Result<(), Halt> {
        self.halted().map_or(Ok(()), Err)
    }

    /// What the replicator to `peer` watches.
    pub(crate) fn replicator(&self, peer: NodeId) -> Option<&Line<P::Mutex>> {
        self.wakes.replicators.get(self.peers.rank(peer))
    }

    /// Writes to the store once nobody reads from it. The log writer goes first: all the others wait for what it makes durable.
    pub(crate) async fn write_store<R>(&self, work: impl AsyncFnOnce(&mut P::Store) -> R) -> R {
        // Dropped after the lock is, also when this future is cancelled.
        let _released = Released(self);
        let mut store = self.wakes.log_writer.until(|| self.try_write()).await;
        self.write_waits.store(false, Ordering::Relaxed);
        work(&mut store).await
    }

    /// Uses the store once no other task does. `watcher` is the calling task's own. One frame of entries or one chunk at a time, so that the log writer
    /// waits for one at most.
    ///
    /// Waiting tasks watch the lock like any other pointer, because an async mutex with one waker cell would let two of them wake each other
    /// for as long as a slow medium takes.
    pub(crate) async fn use_store<R>(&self, watcher: &Wake<P::Mutex>, work: impl AsyncFnOnce(&mut P::Store) -> R) -> R {
        let result = {
            let _released = Released(self);
            let mut store = watcher.until(|| self.try_use()).await;
            work(&mut store).await
        };
        // Who goes on and on lets the others in between.
        yield_now().await;
        result
    }

    fn try_write(&self) -> Option<MutexGuard<'_, P::Mutex, P::Store>> {
        self.write_waits.store(true, Ordering::Relaxed);
        self.store.try_lock().ok().or_else(|| self.wait_for_store(|| self.store.try_lock().ok()))
    }

    fn try_use(&self) -> Option<MutexGuard<'_, P::Mutex, P::Store>> {
        let try_lock = || if self.write_waits.load(Ordering::Relaxed) { None } else { self.store.try_lock().ok() };
        try_lock().or_else(|| self.wait_for_store(try_lock))
    }

    /// Says that somebody waits, then looks again: the store may have been released before that was known.
    fn wait_for_store<G>(&self, try_lock: impl FnOnce() -> Option<G>) -> Option<G> {
        self.contended.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        try_lock()
    }

    fn wake(&self, effects: Effects) {
        self.ask_for_snapshot(effects.wants);
        if effects.committed || effects.wants {
            self.wakes.committed.notify();
        }
        if effects.earlier {
            self.wakes.ticker.notify();
        }
        self.call(effects.ready);
        // After them: the peers write at the same time.
        if effects.accepted {
            self.wakes.log_writer.notify();
        }
        self.wake_proposals(effects.woken);
        effects.waiting.wake();
        if effects.streams {
            self.wakes.stream.notify();
        }
        if let Some((number, broken)) = effects.broken {
            self.break_stream(number, broken);
        }
    }

    /// There may be something for these peers.
    pub(crate) fn call(&self, ready: NodeSet) {
        ready.iter().filter_map(|peer| self.replicator(peer)).for_each(Line::call);
    }

    fn wake_room(&self, room: Room) {
        self.wake_proposals(room.woken);
        if room.streams {
            self.wakes.stream.notify();
        }
    }

    fn wake_proposals(&self, woken: Woken) {
        let mut rest = woken.0;
        while rest != 0 {
            if let Some(cell) = self.wakes.proposals.get(rest.trailing_zeros() as usize) {
                quoring_ring::WakerCell::wake(cell);
            }
            rest &= rest - 1;
        }
    }

    fn notify_all(&self) {
        let Watchers { log_writer, receiver, ticker, committed, replicators, .. } = &self.wakes;
        let replicators = replicators.iter().map(|line| &line.wake);
        [log_writer, receiver, ticker, committed].into_iter().chain(replicators).for_each(Wake::notify);
    }
}

/// The pointers that a step may move.
#[derive(Clone, Copy, PartialEq)]
struct Pointers {
    accepted: Position,
    committed: LogIndex,
}

impl Pointers {
    fn of(raft: &Raft<'_>) -> Self {
        Self { accepted: raft.accepted(), committed: raft.committed() }
    }
}

impl State<'_> {
    /// What a step has changed.
    fn effects(&mut self, before: Pointers) -> Effects {
        let (after, news) = (Pointers::of(&self.raft), self.raft.take_news());
        let effects = Effects {
            ready: self.raft.take_ready(),
            accepted: before.accepted != after.accepted,
            committed: before.committed != after.committed,
            wants: self.raft.wants_snapshot(),
            ..Effects::default()
        };
        if news == News::NONE { effects } else { self.rare_effects(news, effects) }
    }

    /// What clients and the ticker learn. Clients of a leader that is one no longer are told so at once: their outcome is open.
    #[cold]
    fn rare_effects(&mut self, news: News, mut effects: Effects) -> Effects {
        let deadline = self.raft.poll_timeout();
        effects.earlier = deadline.is_some_and(|deadline| self.armed.is_some_and(|armed| deadline < armed));
        if news.has(News::OFFICE) {
            effects.woken = self.proposals.room().and(self.proposals.lose(Lost::LeadershipLost));
        }
        if news.has(News::CLIENTS) {
            effects.waiting = self.waiting.wake_all();
            // A round may have been what stood in the way of a request.
            let room = self.room();
            effects.woken = effects.woken.and(room.woken);
            effects.streams = room.streams;
        }
        let leader_changed = news.has(News::LEADER);
        if leader_changed || news.has(News::WINDOW) {
            let (settled, broken) = self.settle_stream(leader_changed);
            effects.woken = effects.woken.and(settled).and(self.proposals.requesting());
            effects.streams = true;
            effects.broken = broken;
        }
        effects
    }

    /// There may be room for those who wait for it.
    fn room(&mut self) -> Room {
        let requesting = core::mem::replace(&mut self.requests_wait, false);
        let requests = if requesting { self.proposals.requesting() } else { Woken::default() };
        Room { woken: self.proposals.room().and(requests), streams: self.streams() }
    }

    /// The application has come to `index`.
    fn applied_to(&mut self, index: LogIndex) -> Left {
        if self.readers.may_go_on(index) { self.waiting.wake_all() } else { Left::default() }
    }
}

/// Who waits for room.
#[derive(Clone, Copy)]
struct Room {
    woken: Woken,
    /// A stream does, or may.
    streams: bool,
}

impl Room {
    /// And who has to be woken besides.
    const fn and(self, woken: Woken) -> Self {
        Self { woken: self.woken.and(woken), ..self }
    }
}

/// Tells the watchers that the store may be free, if one of them waits for it.
struct Released<'s, 'a, P: Platform>(&'s Shared<'a, P>);

impl<P: Platform> Drop for Released<'_, '_, P> {
    fn drop(&mut self) {
        fence(Ordering::SeqCst);
        if self.0.contended.load(Ordering::Relaxed) {
            self.0.contended.store(false, Ordering::Relaxed);
            self.0.notify_all();
        }
    }
}

//! One life of one node, from power-on to power loss: the driver's own tasks, an application, and the desk where clients propose.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use allocation_counter::{measure, opt_out};
use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use quoring::{
    Committed, Config, Event, Halt, Node, Pending, Platform, ProposalError, ProposeError, Resources, StartError, Step,
    Tasks as Drivers,
};
use quoring_core::{LogIndex, Term};

use crate::application::{REPLY, Reply};
use crate::clock::SimClock;
use crate::desk::{Outcome, Request};
use crate::executor::{Ready, Tasks};
use crate::network::SimTransport;
use crate::options::Planted;
use crate::prng::Prng;
use crate::saves::{restore, save};
use crate::store::SimStore;
use crate::tally::Fault;
use crate::timeline::Micros;
use crate::trace::Source;
use crate::world::World;

/// How many clients' requests a node works on at a time; more than it has memory for, so that it must refuse some.
const COUNTERS: usize = 16;
/// How many proposals can wait for their answers.
pub(crate) const PROPOSALS: usize = 12;

/// What the simulated nodes stand on; their records have up to `RECORD` bytes.
pub(crate) struct SimPlatform<const RECORD: usize>;

impl<const RECORD: usize> Platform for SimPlatform<RECORD> {
    type Mutex = NoopRawMutex;
    type Store = SimStore<RECORD>;
    type Transport = SimTransport;
    type Clock = SimClock;
}

/// What an incarnation is given.
#[derive(Clone)]
pub(crate) struct Birth {
    pub(crate) world: Rc<World>,
    pub(crate) node: usize,
    pub(crate) config: Config,
    pub(crate) ready: Ready,
    /// For the order of its tasks.
    pub(crate) prng: Prng,
    /// Ready tasks that are set aside, per million.
    pub(crate) task_delays: u32,
    /// Entries that the application takes its time for, per million.
    pub(crate) dawdling: u32,
    /// Snapshots that the application makes or restores only in part, per million.
    pub(crate) abandoning: u32,
    /// The largest command the node takes.
    pub(crate) limit: usize,
}

/// The memory of a simulated node.
pub(crate) type Memory<'a, const UNITS: usize, const SLOTS: usize, const PEERS: usize, const FRAME: usize> =
    Resources<'a, SimPlatform<FRAME>, UNITS, SLOTS, PEERS, FRAME, PROPOSALS>;

/// Lives until it is dropped, or until it cannot start. Each poll is one poll of one task.
pub(crate) async fn live<const UNITS: usize, const SLOTS: usize, const PEERS: usize, const FRAME: usize>(birth: Birth) {
    let (world, id) = (Rc::clone(&birth.world), birth.node);
    let mut resources = Memory::<UNITS, SLOTS, PEERS, FRAME>::new();
    let store = SimStore::new(Rc::clone(&world), id, birth.config.seed as u32);
    let transport = SimTransport { world: Rc::clone(&world), node: id };
    let clock = SimClock { world: Rc::clone(&world), node: id };
    let (node, committed, runner) = match quoring::new(birth.config, store, transport, clock, &mut resources).await {
        Ok(parts) => parts,
        // Whether it has cause to, recovery's own checker knows.
        Err(StartError::Store(_) | StartError::Recovery(_)) => return,
        Err(error) => return world.oracle.borrow_mut().stops(world.now(), id, &format!("did not start: {error:?}")),
    };
    world.oracle.borrow_mut().starts(world.now(), id, &node.status());
    world.network.borrow_mut().set_open(id, true);
    world.open_desk(id);

    let counters = Counters::default();
    let mut tasks = Tasks::new(birth.ready.clone());
    let Drivers { log_writer, replicators, receiver, ticker } = runner.split();
    tasks.spawn("log writer", async { Some(log_writer.run().await) });
    tasks.spawn("receiver", async { Some(receiver.run().await) });
    tasks.spawn("ticker", async { Some(ticker.run().await) });
    for replicator in replicators.into_iter().filter(|replicator| replicator.peer().is_some()) {
        tasks.spawn("replicator", async { Some(replicator.run().await) });
    }
    let mut prng = birth.prng.clone();
    tasks.spawn("application", apply(&birth, committed, Prng::new(prng.next(), "application")));
    tasks.spawn("desk", serve(&birth, node, &counters));
    for counter in &counters.each {
        tasks.spawn("client", wait(&world, id, node, &counters, counter));
    }
    poll_fn(|_| {
        step(&birth, &mut prng, &node, &mut tasks);
        Poll::<()>::Pending
    })
    .await;
}

/// Polls one task, with everybody looking on.
fn step<const RECORD: usize>(
    birth: &Birth,
    prng: &mut Prng,
    node: &Node<'_, SimPlatform<RECORD>>,
    tasks: &mut Tasks<'_, Option<Halt>>,
) {
    let (world, id) = (&birth.world, birth.node);
    let Some(task) = tasks.choose(prng) else { return };
    if prng.chance(birth.task_delays)
        && let Some(waker) = tasks.waker(task)
    {
        world.count(Fault::TaskDelays);
        return world.wake_at(world.now() + prng.octaves(1, 5_000), waker);
    }
    let mut polled = None;
    let mut status = None;
    let info = measure(|| {
        polled = tasks.poll(task);
        node.assert_invariants();
        status = Some(node.status());
    });
    let Some((polled, status)) = polled.zip(status) else { return };
    let now = world.now();
    world.polls(polled.name);
    if info.count_total > 0 {
        world.oracle.borrow_mut().allocates(now, id, polled.name, info);
    }
    while let Some(event) = node.poll_event() {
        world.oracle.borrow_mut().event(now, id, &event);
        world.counts(&event);
        world.trace(Source::Node(id), "event", format_args!("{event:?}"));
    }
    world.trace_status(id, world.seen[id].get(), &status);
    world.seen[id].set(Some(status));
    world.oracle.borrow_mut().status(now, id, &status);
    if let Some(halt) = polled.end.flatten() {
        world.halts[id].set(Some(halt));
    }
}

/// The application: applies each committed command and answers it, and saves and restores its state.
async fn apply<const RECORD: usize>(
    birth: &Birth,
    mut committed: Committed<'_, SimPlatform<RECORD>>,
    mut prng: Prng,
) -> Option<Halt> {
    let (world, id) = (&birth.world, birth.node);
    let mut previous = [0; REPLY];
    loop {
        let entry = match committed.next().await {
            Ok(Step::Apply(entry)) => entry,
            Ok(Step::Save(step)) => {
                save(world, id, step, birth.abandoning, &mut prng).await;
                continue;
            }
            Ok(Step::Restore(step)) => {
                restore(world, id, step, birth.abandoning, &mut prng).await;
                continue;
            }
            Err(halt) => return Some(halt),
        };
        let (index, term) = (entry.index().0, entry.term().0);
        match index {
            300 if world.has(Planted::Allocate) => drop(std::hint::black_box(vec![1u8; 24])),
            300 if world.has(Planted::Panic) => panic!("as planted"),
            300 if world.has(Planted::SkipEntry) => continue,
            _ => {}
        }
        if prng.chance(birth.dawdling) {
            world.count(Fault::Dawdled);
            world.sleep_until(world.now() + prng.octaves(10, 20_000)).await;
        }
        let mut reply = None;
        opt_out(|| reply = world.apply(id, index, term, entry.command()));
        let Some(reply) = reply else { continue };
        let answer = reply.encode();
        let of_another = std::mem::replace(&mut previous, answer);
        // An entry that is dropped without an answer must not keep its client waiting.
        if !prng.chance(birth.dawdling / 4) {
            entry.answer(if world.has(Planted::AnswerOfAnother) { &of_another } else { &answer });
        }
    }
}

impl World {
    fn counts(&self, event: &Event) {
        match event {
            Event::Saves { .. } => self.saved.set(self.saved.get() + 1),
            Event::Installs { .. } => self.count(Fault::SnapshotsSent),
            _ => {}
        }
    }

    fn apply(&self, node: usize, index: u64, term: u32, command: &[u8]) -> Option<Reply> {
        let (application, oracle) = (&mut *self.applications[node].borrow_mut(), &mut *self.oracle.borrow_mut());
        oracle.applies(self.now(), node, index, term, command);
        let reply = application.apply(index, command);
        oracle.becomes(self.now(), node, index, application.digest());
        let effect = reply.map(|reply| reply.effect);
        self.trace(Source::Node(node), "apply", format_args!("entry {index} of term {term}: {effect:?}"));
        reply
    }
}

/// Where requests wait for their answers.
#[derive(Default)]
struct Counters<'a, const RECORD: usize> {
    each: [Counter<'a, RECORD>; COUNTERS],
    desk: RefCell<Option<Waker>>,
}

/// One of them.
#[derive(Default)]
struct Counter<'a, const RECORD: usize> {
    work: RefCell<Option<(Request, Option<Pending<'a, SimPlatform<RECORD>>>)>>,
    /// Work is being done, or laid down to be.
    busy: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// The desk: proposes each request in the order they came, and hands it on to a free counter.
async fn serve<'a, const RECORD: usize>(
    birth: &Birth,
    node: Node<'a, SimPlatform<RECORD>>,
    counters: &Counters<'a, RECORD>,
) -> Option<Halt> {
    let (world, id) = (&birth.world, birth.node);
    loop {
        let counter = poll_fn(|cx| counters.free(cx)).await;
        let request = world.take_request(id).await;
        // Who may take it back waits for room; the others are refused.
        let pending = if request.patience.is_some() { Ok(None) } else { node.try_propose(&request.command).map(Some) };
        match pending {
            Ok(pending) => {
                let size = request.command.len();
                if pending.is_some() && size > birth.limit {
                    world.oracle.borrow_mut().takes_too_large(world.now(), id, size);
                }
                counter.put(request, pending);
            }
            Err(error) => world.answer(id, request.ticket, refusal(error)),
        }
    }
}

/// A counter: waits for the answer to one request after another.
async fn wait<'a, const RECORD: usize>(
    world: &World,
    id: usize,
    node: Node<'a, SimPlatform<RECORD>>,
    counters: &Counters<'a, RECORD>,
    counter: &Counter<'a, RECORD>,
) -> Option<Halt> {
    loop {
        let (request, pending) = poll_fn(|cx| counter.take(cx)).await;
        let outcome = match pending {
            Some(pending) => {
                let (index, term) = (pending.index(), pending.term());
                if world.has(Planted::EagerDesk) {
                    let applied = quoring::Answer::new(&[0; REPLY]).unwrap_or(quoring::Answer::EMPTY);
                    world.outcome(id, &request, Some((index, term)), Ok(applied));
                }
                world.outcome(id, &request, Some((index, term)), pending.await.map_err(ProposalError::Lost))
            }
            None => {
                let patience = world.sleep_until(world.now() + request.patience.unwrap_or(Micros::MAX));
                match select(node.propose(&request.command), patience).await {
                    Either::First(result) => world.outcome(id, &request, None, result),
                    Either::Second(()) => {
                        world.count(Fault::Cancelled);
                        Outcome::Unknown
                    }
                }
            }
        };
        world.answer(id, request.ticket, outcome);
        counter.busy.set(false);
        if let Some(waker) = counters.desk.take() {
            waker.wake();
        }
    }
}

impl World {
    /// What a client is told, after the checkers were.
    fn outcome(
        &self,
        id: usize,
        request: &Request,
        place: Option<(LogIndex, Term)>,
        result: Result<quoring::Answer, ProposalError>,
    ) -> Outcome {
        let now = self.now();
        match result {
            Ok(answer) => {
                let Ok(answer) = <[u8; REPLY]>::try_from(&*answer) else { return Outcome::Unknown };
                let claimed = || Some((Reply::decode(&answer)?.index, None));
                let place = place.map(|(index, term)| (index.0, Some(term.0))).or_else(claimed).unwrap_or_default();
                opt_out(|| self.oracle.borrow_mut().acknowledges(now, id, &request.command, place, &answer));
                Outcome::Applied(answer)
            }
            Err(ProposalError::Lost(_)) => Outcome::Unknown,
            Err(ProposalError::Refused(error)) => refusal(error),
        }
    }
}

fn refusal(error: ProposeError) -> Outcome {
    match error {
        ProposeError::NotLeader { leader } => Outcome::NotLeader(leader.map(|leader| leader.get().into())),
        ProposeError::TooLarge { .. } => Outcome::TooLarge,
        ProposeError::Halted => Outcome::Disconnected,
        _ => Outcome::Busy,
    }
}

impl<'a, const RECORD: usize> Counters<'a, RECORD> {
    fn free(&self, cx: &Context<'_>) -> Poll<&Counter<'a, RECORD>> {
        self.desk.replace(Some(cx.waker().clone()));
        self.each.iter().find(|counter| !counter.busy.get()).map_or(Poll::Pending, Poll::Ready)
    }
}

impl<'a, const RECORD: usize> Counter<'a, RECORD> {
    fn put(&self, request: Request, pending: Option<Pending<'a, SimPlatform<RECORD>>>) {
        self.busy.set(true);
        self.work.replace(Some((request, pending)));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn take(&self, cx: &Context<'_>) -> Poll<(Request, Option<Pending<'a, SimPlatform<RECORD>>>)> {
        self.waker.replace(Some(cx.waker().clone()));
        self.work.take().map_or(Poll::Pending, Poll::Ready)
    }
}

//! One life of one node, from power-on to power loss: the driver's own tasks, an application, and what serves clients.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use allocation_counter::{measure, opt_out};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use quoring::{Committed, Config, Entry, Event, Halt, Node, Platform, Resources, StartError, Step, Tasks as Drivers};

use crate::application::{REPLY, Reply, digest};
use crate::clock::SimClock;
use crate::executor::{Ready, Tasks};
use crate::network::SimTransport;
use crate::options::Planted;
use crate::prng::Prng;
use crate::saves::{restore, save};
use crate::service::{Counters, serve, work};
use crate::store::SimStore;
use crate::streaming::{Items, collect, stream};
use crate::tally::Fault;
use crate::trace::Source;
use crate::world::World;

/// How many proposals can wait for their answers.
pub(crate) const PROPOSALS: usize = 12;
/// How many sessions the cluster keeps; fewer than there can be clients, so that some expire.
pub(crate) const SESSIONS: usize = 4;

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
    /// Which life of the node it is, counted from 1.
    pub(crate) life: u64,
}

/// The memory of a simulated node.
pub(crate) type Memory<'a, const UNITS: usize, const SLOTS: usize, const PEERS: usize, const FRAME: usize> =
    Resources<'a, SimPlatform<FRAME>, UNITS, SLOTS, PEERS, FRAME, PROPOSALS, SESSIONS>;

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

    let (counters, items) = (Counters::default(), Items::default());
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
    tasks.spawn("stream", stream(&birth, node, &items, Prng::new(prng.next(), "stream")));
    tasks.spawn("collector", collect(&birth, &items));
    for counter in &counters.each {
        tasks.spawn("client", work(&birth, node, &counters, counter));
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
        let index = entry.index().0;
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
        opt_out(|| reply = world.apply(id, &entry));
        let Some(reply) = reply else { continue };
        let answer = reply.encode();
        let of_another = std::mem::replace(&mut previous, answer);
        // An entry that is dropped without an answer must not keep its client waiting.
        if birth.answers(index) {
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

    fn apply<const RECORD: usize>(&self, node: usize, entry: &Entry<'_, '_, SimPlatform<RECORD>>) -> Option<Reply> {
        let (application, oracle) = (&mut *self.applications[node].borrow_mut(), &mut *self.oracle.borrow_mut());
        let (index, term, command) = (entry.index().0, entry.term().0, entry.command());
        oracle.applies(self.now(), node, (index, term), entry.request(), command);
        let reply = application.apply(index, command);
        oracle.becomes(self.now(), node, index, application.digest());
        if let Some(Reply { client, sequence, effect, .. }) = reply {
            let what = format_args!("entry {index} of term {term}, command {sequence} of c{client}: {effect:?}");
            self.trace(Source::Node(node), "apply", what);
        }
        reply
    }
}

impl Birth {
    /// Whether the application answers this entry. All nodes do, or none: what a session's command was answered is part of the state.
    fn answers(&self, index: u64) -> bool {
        digest(index, b"answers") % 1_000_000 >= u64::from(self.dawdling / 4)
    }
}

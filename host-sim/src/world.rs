//! What the nodes of a simulation share: time, links, chips, the checkers and the record of what happened.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use allocation_counter::opt_out;
use quoring::Halt;
use quoring_core::{ClusterId, Status};

use crate::application::Application;
use crate::checker::Oracle;
use crate::chip::Chip;
use crate::clock::LocalClock;
use crate::desk::Desk;
use crate::event::Event;
use crate::hardware::Hardware;
use crate::network::Network;
use crate::options::{Options, Planted};
use crate::store::{Found, Observer, Unsettled};
use crate::tally::{Action, Fault, Tally};
use crate::timeline::{Micros, SleepId, Timeline};
use crate::trace::{Source, Trace};
use crate::transfer::Transfers;

/// The cluster that all simulated nodes belong to.
pub(crate) const CLUSTER: ClusterId = ClusterId(0x5155_4F52);

/// The world of one simulation. Nodes reach it through their devices only; what a device does is not counted as the node's.
pub(crate) struct World {
    timeline: RefCell<Timeline<Event>>,
    pub(crate) network: RefCell<Network>,
    pub(crate) transfers: RefCell<Transfers>,
    pub(crate) hardware: Hardware,
    pub(crate) observer: Observer,
    /// One of each for each node.
    pub(crate) chips: Vec<RefCell<Chip>>,
    pub(crate) unsettled: Vec<RefCell<Unsettled>>,
    /// What was last found on each chip, in that state of it.
    pub(crate) findings: Vec<RefCell<Option<Found>>>,
    pub(crate) clocks: Vec<RefCell<LocalClock>>,
    pub(crate) desks: Vec<RefCell<Desk>>,
    pub(crate) seen: Vec<Cell<Option<Status>>>,
    /// What each node's application has come to since it started.
    pub(crate) applications: Vec<RefCell<Application>>,
    /// Up to where each node's application last began to save its state.
    pub(crate) saving: Vec<Cell<Option<u64>>>,
    /// Why a node has stopped.
    pub(crate) halts: Vec<Cell<Option<Halt>>>,
    pub(crate) oracle: RefCell<Oracle>,
    /// The tasks that were polled last, the next place first.
    polled: Cell<([&'static str; 8], usize)>,
    /// How often clocks were read since then.
    looks: Cell<u32>,
    tally: Cell<Tally>,
    /// Snapshots that the applications have made.
    pub(crate) saved: Cell<u64>,
    trace: Trace,
    planted: Option<Planted>,
}

impl World {
    pub(crate) fn new(
        network: Network,
        (hardware, chips): (Hardware, Vec<Chip>),
        oracle: Oracle,
        trace: Trace,
        options: &Options,
    ) -> Self {
        let each = |_: &Chip| ();
        let nodes = chips.iter().map(each);
        Self {
            timeline: RefCell::new(Timeline::new()),
            network: RefCell::new(network),
            transfers: RefCell::new(Transfers::new(chips.len())),
            hardware,
            observer: options.observer(),
            findings: nodes.clone().map(|()| RefCell::default()).collect(),
            unsettled: nodes.clone().map(|()| RefCell::default()).collect(),
            clocks: nodes.clone().map(|()| RefCell::new(LocalClock::new(0, 0))).collect(),
            desks: nodes.clone().map(|()| RefCell::default()).collect(),
            seen: nodes.clone().map(|()| Cell::new(None)).collect(),
            saving: nodes.clone().map(|()| Cell::new(None)).collect(),
            halts: nodes.clone().map(|()| Cell::new(None)).collect(),
            applications: nodes.map(|()| RefCell::default()).collect(),
            chips: chips.into_iter().map(RefCell::new).collect(),
            oracle: RefCell::new(oracle),
            polled: Cell::default(),
            looks: Cell::new(0),
            tally: Cell::default(),
            saved: Cell::new(0),
            trace,
            planted: options.planted,
        }
    }

    pub(crate) fn nodes(&self) -> usize {
        self.chips.len()
    }

    pub(crate) fn now(&self) -> Micros {
        self.timeline.borrow().now()
    }

    pub(crate) fn arrange(&self, at: Micros, event: Event) {
        opt_out(|| self.timeline.borrow_mut().arrange(at, event));
    }

    /// The next event, if it comes before somebody wakes up.
    pub(crate) fn advance(&self) -> Option<Event> {
        self.timeline.borrow_mut().advance()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.timeline.borrow().is_over()
    }

    /// Wakes a task at this moment of the world.
    pub(crate) fn wake_at(&self, moment: Micros, waker: Waker) {
        opt_out(|| _ = self.timeline.borrow_mut().sleep(moment, waker));
    }

    /// Returns at this moment of the world.
    pub(crate) const fn sleep_until(&self, moment: Micros) -> Sleep<'_> {
        Sleep { world: self, moment, id: None }
    }

    pub(crate) fn count(&self, fault: Fault) {
        let mut tally = self.tally.get();
        tally.count(fault);
        self.tally.set(tally);
    }

    pub(crate) fn act(&self, action: Action) {
        let mut tally = self.tally.get();
        tally.act(action);
        self.tally.set(tally);
    }

    pub(crate) const fn tally(&self) -> Tally {
        self.tally.get()
    }

    /// A task was polled.
    pub(crate) fn polls(&self, task: &'static str) {
        let (mut tasks, place) = self.polled.get();
        tasks[place] = task;
        self.polled.set((tasks, (place + 1) % tasks.len()));
        self.looks.set(0);
    }

    /// A task reads its clock.
    ///
    /// # Panics
    /// It does so again and again and never returns.
    pub(crate) fn looks_at_clock(&self) {
        assert!(self.looks.get() < 100_000, "a poll never ends; the ones before it were {}", self.last_polled());
        self.looks.set(self.looks.get() + 1);
    }

    /// The last few tasks that were polled, latest last.
    pub(crate) fn last_polled(&self) -> String {
        let (mut tasks, place) = self.polled.get();
        tasks.rotate_left(place);
        tasks.join(", ")
    }

    /// Writes a line of the trace, if one is wanted.
    pub(crate) fn trace(&self, source: Source, what: &str, detail: fmt::Arguments<'_>) {
        if self.trace.is_on() {
            opt_out(|| self.trace.line(self.now(), source, what, detail));
        }
    }

    /// Whether this fault was planted.
    pub(crate) fn has(&self, fault: Planted) -> bool {
        self.planted == Some(fault)
    }

    /// Writes out what is buffered of the trace.
    pub(crate) fn flush_trace(&self) {
        self.trace.flush();
    }

    pub(crate) fn is_traced(&self) -> bool {
        self.trace.is_on()
    }
}

/// Waits for a moment of the world. Dropping it cancels the wait.
pub(crate) struct Sleep<'w> {
    world: &'w World,
    moment: Micros,
    id: Option<SleepId>,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.world.now() >= self.moment {
            return Poll::Ready(());
        }
        if self.id.is_none() {
            opt_out(|| {
                let mut timeline = self.world.timeline.borrow_mut();
                let id = timeline.sleep(self.moment, cx.waker().clone());
                drop(timeline);
                self.id = Some(id);
            });
        }
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            opt_out(|| self.world.timeline.borrow_mut().cancel(id));
        }
    }
}

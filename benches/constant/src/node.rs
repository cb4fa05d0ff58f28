//! One whole node: the drivers' tasks, its log on flash, and its application.

use std::cell::Cell;
use std::rc::Rc;

use anyhow::{Context, Result, anyhow};
use embassy_futures::block_on;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use quoring::store::paged::{Owner, PagedLog};
use quoring::{ClusterId, Config, Halt, NodeId, NodeSet, Platform, Resources};

use crate::application::Application;
use crate::clock::Hand;
use crate::flash::{self, Flash, LAYOUT};
use crate::link::{Cuts, Link, Network};
use crate::task::Task;

/// Nodes of the cluster.
pub(crate) const NODES: usize = 3;
/// Bytes of a frame.
pub(crate) const FRAME: usize = 256;
const CLUSTER: ClusterId = ClusterId(0xC0_57A7);
/// The largest record of the log on flash.
const RECORD: usize = 272;
/// Entries between two snapshots of a node.
const SNAPSHOT_AFTER: u32 = 400;

pub(crate) struct Host;

impl Platform for Host {
    type Mutex = NoopRawMutex;
    type Store = PagedLog<Flash, { LAYOUT.log_pages as usize }, 8, RECORD>;
    type Transport = Link;
    type Clock = Hand;
}

/// 1 KiB of ring for some 20 commands, which is full all the time; 32 clients that wait, 8 sessions.
type Memory = Resources<'static, Host, 128, 32, { NODES - 1 }, FRAME, 32, 8>;
pub(crate) type Handle = quoring::Node<'static, Host>;

/// A node that runs, and what the script may do to it.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) handle: Handle,
    pub(crate) application: Rc<Application>,
    /// Its flash hangs.
    pub(crate) hangs: Rc<Cell<bool>>,
    /// Why it stopped.
    pub(crate) halted: Rc<Cell<Option<Halt>>>,
}

/// Bytes of one node, constant by type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sizes {
    /// Its [`Resources`]: ring, frames, peers, waiting clients, sessions, and what the store keeps in RAM.
    pub resources: usize,
    /// The future of its [`Runner`](quoring::Runner): all tasks.
    pub tasks: usize,
    /// The future of its application, with the application's state.
    pub application: usize,
    /// Its flash, which would not be RAM.
    pub flash: usize,
}

impl Sizes {
    /// Bytes of RAM.
    #[must_use]
    pub const fn ram(&self) -> usize {
        self.resources + self.tasks + self.application
    }
}

/// Starts a node with an empty log. Its tasks join `tasks`.
pub(crate) fn start(
    id: NodeId,
    clock: &Hand,
    network: &'static Network,
    cuts: &Cuts,
    application: Application,
    tasks: &mut Vec<Task>,
) -> Result<(Node, Sizes)> {
    let mut config = Config::new(id, CLUSTER, NodeSet::first(NODES as u32));
    config.snapshot_after = SNAPSHOT_AFTER;
    let hangs = Rc::<Cell<bool>>::default();
    let medium = Flash::new(clock.clone(), Rc::clone(&hangs));
    let store = PagedLog::new(medium, Owner { cluster: CLUSTER, node: id }, LAYOUT)?;
    let link = Link::new(id, network, cuts.clone()).context("no such node")?;
    let memory: &'static mut Memory = Box::leak(Box::default());
    let started = block_on(quoring::new(config, store, link, clock.clone(), memory));
    let (handle, committed, runner) = started.map_err(|error| anyhow!("node {id} does not start: {error:?}"))?;

    let (application, halted) = (Rc::new(application), Rc::<Cell<Option<Halt>>>::default());
    let runs = runner.run();
    let applies = application.run(committed, clock.clone());
    let sizes = Sizes {
        resources: size_of::<Memory>(),
        tasks: size_of_val(&runs),
        application: size_of_val(&applies) + size_of::<Application>(),
        flash: flash::BYTES,
    };
    let outcome = Rc::clone(&halted);
    tasks.push(Task::new(async move { outcome.set(Some(runs.await)) }));
    tasks.push(Task::new(applies));
    Ok((Node { id, handle, application: Rc::clone(&application), hangs, halted }, sizes))
}

//! Clients in the leader's process.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_executor::LocalExecutor;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use quoring::Node;

use crate::disk::COMMAND;
use crate::node::{Host, PLACES};
use crate::samples::Samples;

/// A command; what is in it does not matter.
const BYTES: [u8; COMMAND] = [0x5A; COMMAND];

/// Commands that were sent through the stream and are not applied yet, oldest first, and how long the others took.
#[derive(Default)]
pub(crate) struct Passage {
    sent: RefCell<VecDeque<Instant>>,
    times: RefCell<Vec<Duration>>,
    applied: Signal<NoopRawMutex, ()>,
}

impl Passage {
    /// The application has applied the oldest.
    pub(crate) fn applied(&self) {
        if let Some(sent) = self.sent.borrow_mut().pop_front() {
            self.times.borrow_mut().push(sent.elapsed());
            self.applied.signal(());
        }
    }

    async fn until_at_most(&self, count: usize) {
        while self.sent.borrow().len() > count {
            self.applied.wait().await;
        }
    }
}

/// Keeps so many commands in flight for so long: each a client of its own, or if they are more than those that may wait, all of them one stream. How long each took.
pub(crate) async fn run(
    executor: &LocalExecutor<'static>,
    node: Node<'static, Host>,
    passage: &Rc<Passage>,
    in_flight: usize,
    duration: Duration,
) -> Result<Samples> {
    let end = Instant::now() + duration;
    if in_flight > PLACES {
        return stream(node, passage, in_flight, end).await;
    }
    let clients: Vec<_> = (0..in_flight).map(|_| executor.spawn(client(node, end))).collect();
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.await?);
    }
    Ok(times.into_iter().collect())
}

/// Proposes one command after the other.
async fn client(node: Node<'static, Host>, end: Instant) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    loop {
        let start = Instant::now();
        if start >= end {
            return Ok(times);
        }
        node.propose(&BYTES).await.map_err(|error| anyhow::anyhow!("{error}"))?;
        times.push(start.elapsed());
    }
}

/// Sends command after command, and learns of each from the application alone: who waits for an answer needs a place to wait.
async fn stream(node: Node<'static, Host>, passage: &Passage, in_flight: usize, end: Instant) -> Result<Samples> {
    let mut stream = node.stream().await.context("no stream")?;
    while Instant::now() < end {
        passage.until_at_most(in_flight - 1).await;
        passage.sent.borrow_mut().push_back(Instant::now());
        drop(stream.send(&BYTES).await.context("the stream is broken")?);
    }
    passage.until_at_most(0).await;
    Ok(passage.times.take().into_iter().collect())
}

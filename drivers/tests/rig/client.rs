//! Clients beside the test.

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use quoring::Answer;

use super::world::World;

/// A client that runs beside the test, and in time what it found.
pub(crate) struct Client<T> {
    outcome: Rc<RefCell<Option<T>>>,
    polls: Rc<Cell<usize>>,
    task: usize,
}

impl World {
    /// Starts a client.
    pub(crate) fn client<T: 'static>(&self, client: impl Future<Output = T> + 'static) -> Client<T> {
        let outcome: Rc<RefCell<Option<T>>> = Rc::default();
        let polls = Rc::<Cell<usize>>::default();
        let (found, counted) = (Rc::clone(&outcome), Counted { polls: Rc::clone(&polls), client: Box::pin(client) });
        let task = self.spawn(async move {
            let outcome = counted.await;
            *found.borrow_mut() = Some(outcome);
        });
        Client { outcome, polls, task }
    }

    /// The client goes away.
    pub(crate) fn dismiss<T>(&self, client: &Client<T>) {
        self.kill(client.task);
    }
}

impl<T: Debug> Client<T> {
    pub(crate) fn is_done(&self) -> bool {
        self.outcome.borrow().is_some()
    }

    /// What it found.
    pub(crate) fn outcome(&self) -> T {
        self.outcome.take().expect("the client has its outcome, and is asked once")
    }

    /// How often it ran.
    pub(crate) fn polls(&self) -> usize {
        self.polls.get()
    }
}

struct Counted<F> {
    polls: Rc<Cell<usize>>,
    client: Pin<Box<F>>,
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.set(self.polls.get() + 1);
        self.client.as_mut().poll(cx)
    }
}

/// What the application says to its `count`th command.
pub(crate) fn answer(count: usize) -> Answer {
    Answer::new(count.to_string().as_bytes()).unwrap()
}

pub(crate) fn commands(commands: &[&str]) -> Vec<Vec<u8>> {
    commands.iter().map(|command| command.as_bytes().to_vec()).collect()
}

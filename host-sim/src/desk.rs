//! Where a node takes its clients' requests. Whatever happens to the node, each request is answered once, with "connection lost" at worst.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::application::REPLY;
use crate::event::Event;
use crate::timeline::Micros;
use crate::world::World;
use allocation_counter::opt_out;

/// How long a request or an answer travels between a client and a node.
const WAY: Micros = 100;

/// Which attempt of which client at which command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket {
    pub(crate) client: usize,
    pub(crate) sequence: u32,
    pub(crate) attempt: u32,
}

/// A command on its way to a node.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) ticket: Ticket,
    pub(crate) node: usize,
    pub(crate) command: Rc<[u8]>,
    /// The client takes the proposal back after this long.
    pub(crate) patience: Option<Micros>,
}

/// What came of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) ticket: Ticket,
    pub(crate) node: usize,
    pub(crate) outcome: Outcome,
}

/// The ways a request can end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// Applied, with this answer of the application.
    Applied([u8; REPLY]),
    /// Another node leads, if anybody does.
    NotLeader(Option<usize>),
    /// The leader is short of room.
    Busy,
    /// It may be applied or not.
    Unknown,
    /// The node is down, or went down meanwhile.
    Disconnected,
    /// The command is larger than the node takes.
    TooLarge,
}

/// The requests at one node.
#[derive(Default)]
pub(crate) struct Desk {
    open: bool,
    waiting: VecDeque<Request>,
    /// Taken, not yet answered.
    taken: Vec<Ticket>,
    waker: Option<Waker>,
}

impl World {
    /// A client sends a request.
    pub(crate) fn request(&self, request: Request) {
        self.arrange(self.now() + WAY, Event::Requests(request));
    }

    /// A request has come to its node.
    pub(crate) fn receive_request(&self, request: Request) {
        let desk = &mut *self.desks[request.node].borrow_mut();
        if !desk.open {
            return self.reply(Answer { ticket: request.ticket, node: request.node, outcome: Outcome::Disconnected });
        }
        desk.waiting.push_back(request);
        if let Some(waker) = desk.waker.take() {
            waker.wake();
        }
    }

    /// The node takes the next request.
    pub(crate) async fn take_request(&self, node: usize) -> Request {
        std::future::poll_fn(|cx| {
            let desk = &mut *self.desks[node].borrow_mut();
            let Some(request) = desk.waiting.pop_front() else {
                desk.waker = Some(cx.waker().clone());
                return Poll::Pending;
            };
            opt_out(|| desk.taken.push(request.ticket));
            Poll::Ready(request)
        })
        .await
    }

    /// The node answers a request that it took.
    pub(crate) fn answer(&self, node: usize, ticket: Ticket, outcome: Outcome) {
        self.desks[node].borrow_mut().taken.retain(|taken| *taken != ticket);
        self.reply(Answer { ticket, node, outcome });
    }

    /// The node serves clients from now on.
    pub(crate) fn open_desk(&self, node: usize) {
        self.desks[node].borrow_mut().open = true;
    }

    /// The node is gone; whoever waits for it learns so.
    pub(crate) fn close_desk(&self, node: usize) {
        let desk = std::mem::take(&mut *self.desks[node].borrow_mut());
        for ticket in desk.taken.into_iter().chain(desk.waiting.into_iter().map(|request| request.ticket)) {
            self.reply(Answer { ticket, node, outcome: Outcome::Disconnected });
        }
    }

    fn reply(&self, answer: Answer) {
        self.arrange(self.now() + WAY, Event::Replies(answer));
    }
}

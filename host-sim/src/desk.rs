//! Where a node takes its clients' requests. Whatever happens to the node, each request is answered once, with "connection lost" at worst.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Poll, Waker};

use allocation_counter::opt_out;
use quoring::SessionId;

use crate::application::{Query, REPLY};
use crate::event::Event;
use crate::timeline::Micros;
use crate::world::World;

/// How long a request or an answer travels between a client and a node.
const WAY: Micros = 100;

/// Which attempt of which client at what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket {
    pub(crate) client: usize,
    pub(crate) errand: Errand,
    /// The command, or read, counted among the client's own.
    pub(crate) sequence: u32,
    pub(crate) attempt: u32,
}

/// What a client is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Errand {
    /// To have its command applied, or to get a session or stream to do it with.
    Command,
    /// To read.
    Read,
    /// Nothing that it waits for.
    Aside,
}

/// A request on its way to a node.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) ticket: Ticket,
    pub(crate) node: usize,
    pub(crate) ask: Ask,
    /// The client takes it back after this long.
    pub(crate) patience: Option<Micros>,
}

/// What a client wants of a node.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// To apply a command.
    Apply(Manner, Rc<[u8]>),
    OpenSession,
    OpenStream(u32),
    CloseStream(u32),
    /// To read, as this read of the client's.
    Read(Query, u32),
    /// To hand over leadership, to this node or to any.
    Transfer(Option<usize>),
}

/// How a command is handed in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    /// Proposed at the leader.
    Proposal,
    /// As this command of a session.
    Session { session: SessionId, number: u32 },
    /// As this item of a stream.
    Item { stream: u32, item: u32 },
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
    /// Applied, with this answer of the application; it need not give one.
    Applied(Option<[u8; REPLY]>),
    /// The client has a session with this name.
    Session(SessionId),
    /// The client has a stream.
    Stream,
    /// The stream was closed, or leadership handed over.
    Done,
    /// What the query answers in the state after entry `index`.
    Read { value: Option<u64>, index: u64 },
    /// Another node leads, if anybody does.
    NotLeader(Option<usize>),
    /// The node, or the leader, is short of room.
    Busy,
    /// It may be applied or not.
    Unknown,
    /// It is not applied, and will not be.
    NotStored,
    /// The session has expired.
    Expired,
    /// The node is down, or went down meanwhile.
    Disconnected,
    /// The command is larger than the node takes, or forbidden. Nothing of it is stored.
    Refused,
}

/// The requests at one node.
#[derive(Default)]
pub(crate) struct Desk {
    open: bool,
    /// What has to do with streams,
    streaming: Queue,
    /// and all else.
    waiting: Queue,
    /// Taken, not yet answered.
    taken: Vec<Ticket>,
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<Request>,
    waker: Option<Waker>,
}

/// One of a desk's queues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Line {
    Streaming,
    Waiting,
}

impl Ask {
    const fn line(&self) -> Line {
        match self {
            Self::OpenStream(_) | Self::CloseStream(_) | Self::Apply(Manner::Item { .. }, _) => Line::Streaming,
            _ => Line::Waiting,
        }
    }
}

impl Desk {
    /// Whether nobody waits for an answer.
    pub(crate) fn is_idle(&self) -> bool {
        self.taken.is_empty() && self.streaming.requests.is_empty() && self.waiting.requests.is_empty()
    }

    const fn queue(&mut self, line: Line) -> &mut Queue {
        match line {
            Line::Streaming => &mut self.streaming,
            Line::Waiting => &mut self.waiting,
        }
    }

    fn take(&mut self, line: Line) -> Option<Request> {
        let request = self.queue(line).requests.pop_front()?;
        opt_out(|| self.taken.push(request.ticket));
        Some(request)
    }
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
        let queue = desk.queue(request.ask.line());
        queue.requests.push_back(request);
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
    }

    /// The node takes the next request.
    pub(crate) async fn take_request(&self, node: usize, line: Line) -> Request {
        std::future::poll_fn(|cx| {
            let desk = &mut *self.desks[node].borrow_mut();
            let taken = desk.take(line);
            if taken.is_none() {
                desk.queue(line).waker = Some(cx.waker().clone());
            }
            taken.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// The node takes the next request too, if it is such a one.
    pub(crate) fn take_next(&self, node: usize, line: Line, is_such: impl Fn(&Request) -> bool) -> Option<Request> {
        let desk = &mut *self.desks[node].borrow_mut();
        desk.queue(line).requests.front().filter(|request| is_such(request))?;
        desk.take(line)
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
        let Desk { streaming, waiting, taken, .. } = std::mem::take(&mut *self.desks[node].borrow_mut());
        let queued = streaming.requests.into_iter().chain(waiting.requests).map(|request| request.ticket);
        for ticket in taken.into_iter().chain(queued) {
            self.reply(Answer { ticket, node, outcome: Outcome::Disconnected });
        }
    }

    fn reply(&self, answer: Answer) {
        self.arrange(self.now() + WAY, Event::Replies(answer));
    }
}

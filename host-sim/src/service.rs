//! What a node does for its clients: it takes requests from its desk and works on each at one of a fixed number of counters; streams are served by
//! `streaming`.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use allocation_counter::opt_out;
use embassy_futures::select::{Either, select};
use quoring::{
    Halt, Lost, Node, NodeId, Pending, ProposalError, ProposeError, ReadError, Role, SessionError, SessionId,
    TransferError,
};
use quoring_core::{LogIndex, Term};

use crate::application::{Query, REPLY};
use crate::client::PATIENCE;
use crate::desk::{Ask, Line, Manner, Outcome, Request};
use crate::incarnation::{Birth, SimPlatform};
use crate::options::Planted;
use crate::tally::{Action, Fault};
use crate::timeline::Micros;
use crate::trace::Source;
use crate::world::World;

/// How many clients' requests a node works on at a time; more than it has memory for, so that it must refuse some.
pub(crate) const COUNTERS: usize = 16;

/// Where requests wait for their answers.
#[derive(Default)]
pub(crate) struct Counters<'a, const RECORD: usize> {
    pub(crate) each: [Counter<'a, RECORD>; COUNTERS],
    desk: RefCell<Option<Waker>>,
}

/// One of them.
#[derive(Default)]
pub(crate) struct Counter<'a, const RECORD: usize> {
    work: RefCell<Option<(Request, Option<Pending<'a, SimPlatform<RECORD>>>)>>,
    /// Work is being done, or laid down to be.
    busy: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// The desk: proposes each request in the order they came, and hands it on to a free counter.
pub(crate) async fn serve<'a, const RECORD: usize>(
    birth: &Birth,
    node: Node<'a, SimPlatform<RECORD>>,
    counters: &Counters<'a, RECORD>,
) -> Option<Halt> {
    let (world, id) = (&birth.world, birth.node);
    loop {
        let counter = poll_fn(|cx| counters.free(cx)).await;
        let request = world.take_request(id, Line::Waiting).await;
        // Who may take it back waits for room; the others are refused.
        let pending = match &request.ask {
            Ask::Apply(Manner::Proposal, command) if request.patience.is_none() => {
                node.try_propose(command).map(Some).inspect(|_| birth.check_size(command))
            }
            _ => Ok(None),
        };
        match pending {
            Ok(pending) => counter.put(request, pending),
            Err(error) => world.answer(id, request.ticket, world.refuses(id, error)),
        }
    }
}

impl Birth {
    /// The node has taken this command.
    fn check_size(&self, command: &[u8]) {
        if command.len() > self.limit {
            self.world.oracle.borrow_mut().takes_too_large(self.world.now(), self.node, command.len());
        }
    }
}

/// A counter: works on one request after another.
pub(crate) async fn work<'a, const RECORD: usize>(
    birth: &Birth,
    node: Node<'a, SimPlatform<RECORD>>,
    counters: &Counters<'a, RECORD>,
    counter: &Counter<'a, RECORD>,
) -> Option<Halt> {
    let (world, id) = (&birth.world, birth.node);
    loop {
        let (request, pending) = poll_fn(|cx| counter.take(cx)).await;
        let patience = world.sleep_until(world.now().saturating_add(request.patience.unwrap_or(Micros::MAX)));
        let outcome = match (&request.ask, pending) {
            (_, Some(pending)) => wait(world, id, &request, pending).await,
            (ask, None) => match select(perform(birth, node, ask, &request), patience).await {
                Either::First(outcome) => outcome,
                Either::Second(()) => {
                    // Long patience is no whim.
                    if request.patience < Some(PATIENCE) {
                        world.count(Fault::Cancelled);
                    }
                    Outcome::Unknown
                }
            },
        };
        world.answer(id, request.ticket, outcome);
        counter.busy.set(false);
        if let Some(waker) = counters.desk.take() {
            waker.wake();
        }
    }
}

/// Waits for the outcome of a proposal that was accepted.
async fn wait<const RECORD: usize>(
    world: &World,
    id: usize,
    request: &Request,
    pending: Pending<'_, SimPlatform<RECORD>>,
) -> Outcome {
    let place = (pending.index(), pending.term());
    if world.has(Planted::EagerDesk) {
        let applied = quoring::Answer::new(&[0; REPLY]).unwrap_or(quoring::Answer::EMPTY);
        world.acknowledges(id, &request.ask, Some(place), &applied);
    }
    match pending.await {
        Ok(answer) => world.acknowledges(id, &request.ask, Some(place), &answer),
        Err(_) => Outcome::Unknown,
    }
}

/// Does what is asked for.
async fn perform<const RECORD: usize>(
    birth: &Birth,
    node: Node<'_, SimPlatform<RECORD>>,
    ask: &Ask,
    request: &Request,
) -> Outcome {
    let (world, id) = (&*birth.world, birth.node);
    match ask {
        Ask::Apply(Manner::Session { session, number }, command) => {
            match node.resume_session(*session, *number).propose(command).await {
                Ok(answer) => world.acknowledges(id, ask, None, &answer),
                Err(error) => world.fails(id, Some((*session, *number)), error),
            }
        }
        Ask::Apply(_, command) => match node.propose(command).await {
            Ok(answer) => world.acknowledges(id, ask, None, &answer),
            Err(ProposalError::Lost(_)) => Outcome::Unknown,
            Err(ProposalError::Refused(error)) => world.refuses(id, error),
        },
        Ask::OpenSession => match node.session().await {
            Ok(session) => world.opens_session(birth, session.id()),
            Err(error) => world.fails(id, None, error),
        },
        Ask::Read(query, number) => read(birth, node, (*query, *number), request).await,
        Ask::Transfer(to) => {
            let to = to.and_then(|to| NodeId::new(to as u8));
            let result = node.transfer(to).await;
            world.trace(Source::Node(id), "transfer", format_args!("to {to:?}: {result:?}"));
            match result {
                Ok(_) => {
                    world.act(Action::Transfers);
                    Outcome::Done
                }
                Err(TransferError::Halted) => Outcome::Disconnected,
                Err(_) => Outcome::Busy,
            }
        }
        // Those wait in the other line.
        Ask::OpenStream(_) | Ask::CloseStream(_) => Outcome::Disconnected,
    }
}

/// Looks at the application's state as soon as it may.
async fn read<const RECORD: usize>(
    birth: &Birth,
    node: Node<'_, SimPlatform<RECORD>>,
    which: (Query, u32),
    request: &Request,
) -> Outcome {
    let (world, id) = (&birth.world, birth.node);
    let mut reading = pin!(node.read());
    let at_once = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await;
    let by_lease = at_once.is_ready() && birth.config.lease_drift.is_some() && world.nodes() > 1;
    let result = match at_once {
        Poll::Ready(result) => result,
        Poll::Pending => reading.await,
    };
    // Nothing is awaited from here on.
    match result {
        Ok(wanted) => {
            let leads = node.status().role == Role::Leader;
            world.act(if leads { Action::ReadsAtLeader } else { Action::ReadsAtFollower });
            if by_lease && leads {
                world.act(Action::LeaseReads);
            }
            world.lets_read(id, request.ticket.client, wanted, which)
        }
        Err(ReadError::NoLeader) => Outcome::NotLeader(None),
        Err(_) => Outcome::Disconnected,
    }
}

impl World {
    fn lets_read(&self, id: usize, client: usize, wanted: LogIndex, (query, number): (Query, u32)) -> Outcome {
        let application = self.applications[id].borrow();
        let (value, applied) = (application.machine.query(query), application.applied);
        self.trace(Source::Node(id), "reads", format_args!("{query:?} is {value:?} at {applied}, wanted {wanted}"));
        opt_out(|| {
            let reader = (client as u8, number);
            self.oracle.borrow_mut().reads(self.now(), id, reader, (wanted.0, applied), (query, value));
        });
        Outcome::Read { value, index: applied.max(wanted.0) }
    }

    fn opens_session(&self, birth: &Birth, session: SessionId) -> Outcome {
        self.act(Action::SessionsOpened);
        self.trace(Source::Node(birth.node), "session", format_args!("{session} is open"));
        opt_out(|| self.oracle.borrow_mut().opens(self.now(), birth.node, session, birth.life));
        Outcome::Session(session)
    }

    /// What a client is told whose command is applied, after the checkers were.
    pub(crate) fn acknowledges(
        &self,
        id: usize,
        ask: &Ask,
        place: Option<(LogIndex, Term)>,
        answer: &quoring::Answer,
    ) -> Outcome {
        let Ask::Apply(manner, command) = ask else { return Outcome::Unknown };
        let answer = <[u8; REPLY]>::try_from(&**answer).ok();
        let place = place.map(|(index, term)| (index.0, term.0));
        opt_out(|| {
            self.oracle.borrow_mut().acknowledges(self.now(), id, (*manner, command), place, answer.as_ref());
        });
        Outcome::Applied(answer)
    }

    /// What a client is told whose command is refused.
    pub(crate) fn refuses(&self, id: usize, error: ProposeError) -> Outcome {
        match error {
            ProposeError::NotLeader { leader } => Outcome::NotLeader(leader.map(|leader| leader.get().into())),
            ProposeError::TooLarge { .. } => Outcome::Refused,
            ProposeError::Rejected(_) => self.rejects(id),
            ProposeError::Halted => Outcome::Disconnected,
            _ => Outcome::Busy,
        }
    }

    /// What a client is told whose command in a session has no answer.
    fn fails(&self, id: usize, session: Option<(SessionId, u32)>, error: SessionError) -> Outcome {
        let now = self.now();
        match (error, session) {
            (SessionError::TooLarge { .. }, _) => Outcome::Refused,
            (SessionError::Rejected(_), _) => self.rejects(id),
            (SessionError::TooManyPending, _) => Outcome::Busy,
            (SessionError::Expired, Some((session, _))) => {
                self.act(Action::SessionsExpired);
                self.trace(Source::Node(id), "session", format_args!("{session} has expired"));
                opt_out(|| self.oracle.borrow_mut().expires(now, id, session));
                Outcome::Expired
            }
            (SessionError::Superseded, Some((session, number))) => {
                opt_out(|| self.oracle.borrow_mut().supersedes(now, id, session, number));
                Outcome::Unknown
            }
            (SessionError::Halted, _) => Outcome::Disconnected,
            (error, _) => {
                opt_out(|| self.oracle.borrow_mut().stops(now, id, &format!("a session failed: {error}")));
                Outcome::Disconnected
            }
        }
    }

    /// The application refuses a command.
    pub(crate) fn rejects(&self, id: usize) -> Outcome {
        self.act(Action::Rejected);
        self.trace(Source::Node(id), "rejects", format_args!("a command that is forbidden"));
        Outcome::Refused
    }

    /// What a client is told whose item of a stream got lost, after the checkers were.
    pub(crate) fn loses(&self, id: usize, ask: &Ask, lost: Lost) -> Outcome {
        match (lost, ask) {
            (Lost::NotStored, Ask::Apply(manner, _)) => {
                opt_out(|| self.oracle.borrow_mut().refuses(self.now(), id, *manner));
                Outcome::NotStored
            }
            (Lost::Halted, _) => Outcome::Disconnected,
            _ => Outcome::Unknown,
        }
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

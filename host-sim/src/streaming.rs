//! A node's stream for one client at a time: a task that sends what the desk brings, and one that waits for all answers.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use embassy_futures::select::{Either, select};
use quoring::{Broken, Halt, Node, OpenError, Role, SendError, Sent, Stream};

use crate::client::PATIENCE;
use crate::desk::{Ask, Line, Manner, Outcome, Request};
use crate::incarnation::{Birth, SimPlatform};
use crate::options::Planted;
use crate::prng::Prng;
use crate::tally::{Action, Fault};
use crate::timeline::Micros;
use crate::trace::Source;
use crate::world::World;

/// How many items of streams wait for their answers at a time; more than the node has memory for.
const ITEMS: usize = 16;

/// Where items wait for their answers.
#[derive(Default)]
pub(crate) struct Items<'a, const RECORD: usize> {
    each: [RefCell<Option<Item<'a, RECORD>>>; ITEMS],
    /// Who waits for a place,
    sender: RefCell<Option<Waker>>,
    /// and who waits for items.
    collector: RefCell<Option<Waker>>,
}

struct Item<'a, const RECORD: usize> {
    request: Request,
    sent: Sent<'a, SimPlatform<RECORD>>,
}

/// Opens a stream whenever a client wants one, and serves it to its end.
pub(crate) async fn stream<'a, const RECORD: usize>(
    birth: &Birth,
    node: Node<'a, SimPlatform<RECORD>>,
    items: &Items<'a, RECORD>,
    mut prng: Prng,
) -> Option<Halt> {
    let (world, id) = (&birth.world, birth.node);
    loop {
        let request = world.take_request(id, Line::Streaming).await;
        let Ask::OpenStream(number) = request.ask else {
            // Of a stream that is no more.
            world.answer(id, request.ticket, Outcome::NotStored);
            continue;
        };
        let patience = world.sleep_until(world.now().saturating_add(request.patience.unwrap_or(Micros::MAX)));
        match select(node.stream(), patience).await {
            Either::First(Ok(stream)) => {
                let leads = node.status().role == Role::Leader;
                world.act(if leads { Action::StreamsAtLeader } else { Action::StreamsAtFollower });
                world.trace(Source::Node(id), "stream", format_args!("{number} is open"));
                world.answer(id, request.ticket, Outcome::Stream);
                Serving { birth, node, items, number, stream, leads }.until_closed(&mut prng).await;
            }
            Either::First(Err(error)) => world.does_not_open(id, &request, &error),
            Either::Second(()) => {
                if request.patience < Some(PATIENCE) {
                    world.count(Fault::Cancelled);
                }
                world.answer(id, request.ticket, Outcome::Busy);
            }
        }
    }
}

impl World {
    fn does_not_open(&self, id: usize, request: &Request, error: &OpenError) {
        self.trace(Source::Node(id), "stream", format_args!("not opened: {error}"));
        if *error == OpenError::Unsupported {
            allocation_counter::opt_out(|| self.oracle.borrow_mut().stops(self.now(), id, "streams are not supported"));
        }
        let halted = *error == OpenError::Halted;
        self.answer(id, request.ticket, if halted { Outcome::Disconnected } else { Outcome::Busy });
    }
}

/// A client's stream.
struct Serving<'s, 'a, const RECORD: usize> {
    birth: &'s Birth,
    node: Node<'a, SimPlatform<RECORD>>,
    items: &'s Items<'a, RECORD>,
    number: u32,
    stream: Stream<'a, SimPlatform<RECORD>>,
    leads: bool,
}

impl<'a, const RECORD: usize> Serving<'_, 'a, RECORD> {
    async fn until_closed(mut self, prng: &mut Prng) {
        let Birth { world, node: id, .. } = self.birth;
        let watch = self.stream.watch();
        loop {
            let next = select(world.take_request(*id, Line::Streaming), watch.until_broken()).await;
            let Either::First(request) = next else {
                return self.is_broken(watch.broken().unwrap_or(Broken::Owner));
            };
            match request.ask {
                Ask::CloseStream(number) if number == self.number => {
                    world.trace(Source::Node(*id), "stream", format_args!("{number} is closed"));
                    return world.answer(*id, request.ticket, Outcome::Done);
                }
                Ask::Apply(Manner::Item { stream, .. }, _) if stream == self.number => {
                    if let Err(broken) = self.send(request, prng).await {
                        return self.is_broken(broken);
                    }
                }
                Ask::OpenStream(_) => match self.node.stream().await {
                    Ok(_) => world.oracle.borrow_mut().stops(world.now(), *id, "opened a second stream"),
                    Err(error) => world.does_not_open(*id, &request, &error),
                },
                // Of a stream that is no more.
                _ => world.answer(*id, request.ticket, Outcome::NotStored),
            }
        }
    }

    fn is_broken(&self, broken: Broken) {
        let Birth { world, node, .. } = self.birth;
        world.act(Action::StreamsBroken);
        world.trace(Source::Node(*node), "stream", format_args!("{} is broken: {broken}", self.number));
    }

    /// Sends an item, and some of those behind it together with it.
    async fn send(&mut self, request: Request, prng: &mut Prng) -> Result<(), Broken> {
        let items = self.items;
        let batch = if prng.below(4) == 0 { prng.between(2, 3) as usize } else { 1 };
        poll_fn(|cx| items.has_places(cx, batch)).await;
        let mut requests = [Some(request), None, None];
        for place in 1..batch {
            requests[place] = self.next_of_batch(requests[place - 1].as_ref());
        }
        match requests {
            [Some(one), None, _] => self.send_all([one], prng).await,
            [Some(one), Some(two), None] => self.send_all([one, two], prng).await,
            [Some(one), Some(two), Some(three)] => self.send_all([one, two, three], prng).await,
            [None, ..] => Ok(()),
        }
    }

    /// What comes next, if it is a small item that may go with the one before.
    fn next_of_batch(&self, before: Option<&Request>) -> Option<Request> {
        let Birth { world, node, limit, .. } = self.birth;
        let is_such = |request: &Request| match &request.ask {
            Ask::Apply(Manner::Item { stream, .. }, command) => *stream == self.number && command.len() < limit / 4,
            _ => false,
        };
        before.filter(|before| is_such(before))?;
        world.take_next(*node, Line::Streaming, is_such)
    }

    async fn send_all<const N: usize>(&mut self, requests: [Request; N], prng: &mut Prng) -> Result<(), Broken> {
        let Birth { world, node, .. } = self.birth;
        let at_once = prng.below(2) == 0;
        let commands = requests.each_ref().map(|request| match &request.ask {
            Ask::Apply(_, command) => &**command,
            _ => &[],
        });
        let tried = if at_once { self.stream.try_send_batch(commands) } else { Err(SendError::NotReady) };
        let sent = match tried {
            Ok(sent) => Ok(sent),
            Err(SendError::NotReady) => self.stream.send_batch(commands).await,
            Err(SendError::Broken(broken)) => Err(broken),
        };
        match sent {
            Ok(sent) => {
                for (request, sent) in requests.into_iter().zip(sent) {
                    world.act(if self.leads { Action::ItemsAtLeader } else { Action::ItemsForwarded });
                    self.items.put(request, sent);
                }
                Ok(())
            }
            Err(broken) => {
                for request in &requests {
                    world.loses(*node, &request.ask, quoring::Lost::NotStored);
                    let rejected = matches!(broken, Broken::Rejected(_));
                    let outcome = if rejected { world.rejects(*node) } else { Outcome::NotStored };
                    world.answer(*node, request.ticket, outcome);
                }
                Err(broken)
            }
        }
    }
}

/// Waits for the outcomes of all items.
pub(crate) async fn collect<const RECORD: usize>(birth: &Birth, items: &Items<'_, RECORD>) -> Option<Halt> {
    let mut previous = quoring::Answer::EMPTY;
    poll_fn(|cx| {
        items.collector.replace(Some(cx.waker().clone()));
        for place in &items.each {
            items.look(birth, place, &mut previous, cx);
        }
        Poll::Pending
    })
    .await
}

impl<'a, const RECORD: usize> Items<'a, RECORD> {
    fn look(
        &self,
        birth: &Birth,
        place: &RefCell<Option<Item<'a, RECORD>>>,
        previous: &mut quoring::Answer,
        cx: &mut Context<'_>,
    ) {
        let (world, id) = (&birth.world, birth.node);
        let mut place = place.borrow_mut();
        let Some(Item { request, sent }) = &mut *place else { return };
        let Poll::Ready(result) = Pin::new(sent).poll(cx) else { return };
        let outcome = match result {
            Ok(answer) => {
                let before = std::mem::replace(previous, answer);
                let told = if world.has(Planted::AnswerOfAnotherItem) { before } else { answer };
                world.acknowledges(id, &request.ask, None, &told)
            }
            Err(lost) => world.loses(id, &request.ask, lost),
        };
        world.answer(id, request.ticket, outcome);
        *place = None;
        if let Some(waker) = self.sender.take() {
            waker.wake();
        }
    }

    fn has_places(&self, cx: &Context<'_>, count: usize) -> Poll<()> {
        self.sender.replace(Some(cx.waker().clone()));
        let free = self.each.iter().filter(|place| place.borrow().is_none()).count();
        if free >= count { Poll::Ready(()) } else { Poll::Pending }
    }

    fn put(&self, request: Request, sent: Sent<'a, SimPlatform<RECORD>>) {
        if let Some(place) = self.each.iter().find(|place| place.borrow().is_none()) {
            place.replace(Some(Item { request, sent }));
        }
        if let Some(waker) = self.collector.take() {
            waker.wake();
        }
    }
}

//! The clients: each keeps a window of commands on their way, looks for the leader, and repeats what was not answered until it is.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::application::{Effect, Reply};
use crate::desk::{Answer, Outcome, Request, Ticket};
use crate::event::Event;
use crate::prng::Prng;
use crate::timeline::Micros;
use crate::trace::Source;
use crate::workload::{Pace, Workload};
use crate::world::World;

/// An attempt without an answer after this long is repeated elsewhere.
const PATIENCE: Micros = 1_500_000;

/// All clients of a simulation.
pub(crate) struct Clients {
    clients: Vec<Client>,
    workload: Workload,
    pace: Pace,
    /// The largest command a node takes.
    limit: usize,
    whims: Whims,
    /// Commands that have been answered.
    done: u64,
}

/// What clients do that they need not, per million attempts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whims {
    /// Take the proposal back early.
    pub(crate) fickleness: u32,
    /// Send it to any node.
    pub(crate) straying: u32,
}

struct Client {
    /// The sequence of the command it begins next.
    next: u32,
    /// Begun and not all answered, in order.
    window: VecDeque<Begun>,
    width: usize,
    /// Where it believes the leader to be.
    node: usize,
    /// When it looks next whether there is something to do.
    alarm: Micros,
    prng: Prng,
}

struct Begun {
    sequence: u32,
    command: Rc<[u8]>,
    attempts: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be sent, not before this moment.
    Waiting(Micros),
    /// Sent; given up at this moment.
    Sent(Micros),
    Done,
}

impl Clients {
    pub(crate) fn new(seed: u64, workload: Workload, limit: usize, pace: Pace, whims: Whims) -> Self {
        let (count, width) = workload.clients(&mut Prng::new(seed, "clients"));
        let client = |id: usize| Client {
            next: 0,
            window: VecDeque::new(),
            width,
            node: 0,
            alarm: 0,
            prng: Prng::new(seed ^ (id as u64) << 56, "client"),
        };
        Self { clients: (0..count).map(client).collect(), workload, pace, limit, whims, done: 0 }
    }

    /// Every command has been answered.
    pub(crate) fn are_done(&self) -> bool {
        self.done == self.workload.entries()
    }

    /// How many commands have been answered.
    pub(crate) const fn done(&self) -> u64 {
        self.done
    }

    /// Lets every client begin.
    pub(crate) fn start(&mut self, world: &World) {
        (0..self.clients.len()).for_each(|id| self.act(world, id));
    }

    /// Lets a client begin, send and repeat what is due.
    pub(crate) fn act(&mut self, world: &World, id: usize) {
        let now = world.now();
        let unreleased = self.begin(world, id);
        let (nodes, whims, limit) = (world.nodes(), self.whims, self.limit);
        let client = &mut self.clients[id];
        client.give_up(now, nodes);
        client.send(world, id, whims, limit);
        client.set_alarm(world, id, unreleased);
    }

    /// An answer has come to its client.
    pub(crate) fn receive(&mut self, world: &World, answer: Answer) {
        let (id, nodes) = (answer.ticket.client, world.nodes());
        let Some(client) = self.clients.get_mut(id) else { return };
        if client.receive(world, nodes, &answer) {
            self.done += 1;
        }
        self.act(world, id);
    }

    /// Begins what the window has room for; when the next command may begin, if that is what it waits for.
    fn begin(&mut self, world: &World, id: usize) -> Option<Micros> {
        let count = self.clients.len() as u64;
        let client = &mut self.clients[id];
        while client.window.len() < client.width {
            let number = u64::from(client.next) * count + id as u64;
            if number >= self.workload.entries() {
                return None;
            }
            let release = self.pace.release(number);
            if release > world.now() {
                return Some(release);
            }
            let command = self.workload.command(id, client.next, self.limit, &mut client.prng);
            world.oracle.borrow_mut().begins(id as u8, client.next, &command);
            world.trace(Source::Client(id), "begins", format_args!("command {}, {} bytes", client.next, command.len()));
            client.window.push_back(Begun { sequence: client.next, command, attempts: 0, state: State::Waiting(0) });
            client.next += 1;
        }
        None
    }
}

impl Client {
    /// What was sent too long ago is sent again, elsewhere.
    fn give_up(&mut self, now: Micros, nodes: usize) {
        let mut lost = false;
        for begun in &mut self.window {
            if matches!(begun.state, State::Sent(until) if until <= now) {
                begun.state = State::Waiting(now);
                lost = true;
            }
        }
        if lost {
            self.node = self.prng.below(nodes as u64) as usize;
        }
    }

    /// Sends what waits, in order: nothing overtakes a command that has to wait longer.
    fn send(&mut self, world: &World, id: usize, whims: Whims, limit: usize) {
        let now = world.now();
        for begun in &mut self.window {
            match begun.state {
                State::Waiting(from) if from > now => return,
                State::Waiting(_) => {}
                State::Sent(_) | State::Done => continue,
            }
            begun.attempts += 1;
            begun.state = State::Sent(now + PATIENCE);
            let ticket = Ticket { client: id, sequence: begun.sequence, attempt: begun.attempts };
            let patience = self.prng.chance(whims.fickleness).then(|| self.prng.octaves(10, 100_000));
            let command = Rc::clone(&begun.command);
            let stray = self.prng.chance(whims.straying).then(|| self.prng.below(world.nodes() as u64) as usize);
            let node = stray.unwrap_or(self.node);
            if self.prng.chance(whims.fickleness / 10) {
                let (ticket, command) = (Ticket { attempt: 0, ..ticket }, vec![0; limit + 1].into());
                world.request(Request { ticket, node, command, patience });
            }
            world.request(Request { ticket, node, command, patience });
        }
    }

    /// True if a command has been answered for good.
    fn receive(&mut self, world: &World, nodes: usize, answer: &Answer) -> bool {
        let (now, ticket) = (world.now(), answer.ticket);
        let Some(begun) = self.window.iter_mut().find(|begun| begun.sequence == ticket.sequence) else { return false };
        if begun.attempts != ticket.attempt || !matches!(begun.state, State::Sent(_)) {
            return false;
        }
        let prng = &mut self.prng;
        let mut again = |soonest, latest| State::Waiting(now + prng.between(soonest, latest));
        begun.state = match answer.outcome {
            Outcome::Applied(answer) => match Reply::decode(&answer).map(|reply| reply.effect) {
                Some(Effect::Done(_) | Effect::Already) => State::Done,
                _ => again(500, 2_000),
            },
            Outcome::NotLeader(Some(leader)) if leader != answer.node => {
                self.node = leader;
                again(100, 1_000)
            }
            Outcome::NotLeader(_) | Outcome::Disconnected => {
                self.node = self.prng.below(nodes as u64) as usize;
                State::Waiting(now + self.prng.between(2_000, 40_000))
            }
            Outcome::Busy | Outcome::TooLarge => again(500, 10_000),
            Outcome::Unknown => again(0, 5_000),
        };
        if begun.state != State::Done {
            return false;
        }
        world.oracle.borrow_mut().returns(now, ticket.client as u8, ticket.sequence);
        world.trace(
            Source::Client(ticket.client),
            "done",
            format_args!("command {}, attempt {}", ticket.sequence, ticket.attempt),
        );
        while self.window.front().is_some_and(|begun| begun.state == State::Done) {
            self.window.pop_front();
        }
        true
    }

    /// Wakes the client when the first of what it waits for is due.
    fn set_alarm(&mut self, world: &World, id: usize, unreleased: Option<Micros>) {
        let now = world.now();
        let given_up = self
            .window
            .iter()
            .filter_map(|begun| if let State::Sent(until) = begun.state { Some(until) } else { None });
        // The first that waits holds up the others.
        let sent =
            self.window.iter().find_map(|begun| if let State::Waiting(from) = begun.state { Some(from) } else { None });
        let Some(due) = given_up.chain(sent).chain(unreleased).min() else { return };
        if self.alarm <= now || due < self.alarm {
            self.alarm = due;
            world.arrange(due, Event::Client(id));
        }
    }
}

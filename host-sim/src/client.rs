//! The clients: each keeps a window of commands on their way, in its own manner, and repeats what was not answered until it is. Some read in between.

mod session;
mod stream;

use std::collections::VecDeque;
use std::rc::Rc;

use self::session::Session;
use self::stream::Stream;
use crate::application::{Command, Effect, ITEM, Op, Query, REGISTERS, REPLY, Reply, Via};
use crate::desk::{Answer, Ask, Errand, Manner, Outcome, Request, Ticket};
use crate::event::Event;
use crate::operations::{End, Operations, Process};
use crate::prng::Prng;
use crate::timeline::Micros;
use crate::trace::Source;
use crate::workload::{Pace, Workload};
use crate::world::World;

/// An attempt without an answer after this long is repeated elsewhere.
pub(crate) const PATIENCE: Micros = 1_500_000;
/// Bytes of an entry that name the client, in a session or from another node's stream.
const REQUEST: usize = 16;

/// All clients of a simulation.
pub(crate) struct Clients {
    clients: Vec<Client>,
    workload: Workload,
    pace: Pace,
    /// Commands that have been answered.
    done: u64,
    scene: Scene,
}

/// What all clients share.
struct Scene {
    whims: Whims,
    nodes: usize,
    /// The largest command a node takes.
    limit: usize,
    /// How many streams there have been.
    streams: u32,
    operations: Operations,
}

/// What clients do that they need not, per million attempts, or commands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whims {
    /// Take the proposal back early.
    pub(crate) fickleness: u32,
    /// Send it to any node.
    pub(crate) straying: u32,
    /// Send something before it that must be refused.
    pub(crate) offending: u32,
    /// Give up a session or stream for no reason, or ask for an answer again.
    pub(crate) forgetting: u32,
    /// Read; more than a million are more reads than commands.
    pub(crate) reading: u32,
}

struct Client {
    id: usize,
    way: Way,
    /// The sequence of the command it begins next.
    next: u32,
    /// Begun and not all answered, in order.
    window: VecDeque<Begun>,
    width: usize,
    /// Where it believes the leader to be, or what node it works through.
    node: usize,
    /// Reads that are not over.
    reads: Vec<Reading>,
    /// How many reads it has begun.
    read: u32,
    /// Requests that it does not wait for.
    asides: u32,
    /// When it looks next whether there is something to do.
    alarm: Micros,
    prng: Prng,
}

/// How a client gets its commands applied.
enum Way {
    /// It looks for the leader and proposes there.
    Proposals,
    /// In a session, one at a time, through any node.
    Session(Session),
    /// In a stream, through any node.
    Stream(Stream),
}

struct Begun {
    sequence: u32,
    command: Rc<[u8]>,
    process: Process,
    attempts: u32,
    /// Terms that had had a leader when it was begun.
    elections: u64,
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

struct Reading {
    number: u32,
    process: Option<Process>,
}

impl Clients {
    pub(crate) fn new(
        seed: u64,
        workload: Workload,
        (nodes, limit): (usize, usize),
        pace: Pace,
        whims: Whims,
        operations: Operations,
    ) -> Self {
        let (count, width) = workload.clients(&mut Prng::new(seed, "clients"));
        let mut ways = Prng::new(seed, "ways");
        let is_text = matches!(workload, Workload::Lines(_));
        let client = |id: usize| {
            let mut prng = Prng::new(seed ^ (id as u64) << 56, "client");
            let way = match ways.below(3) {
                _ if is_text => Way::Proposals,
                0 => Way::Proposals,
                1 => Way::Session(Session::default()),
                _ => Way::Stream(Stream::default()),
            };
            // Who works through any node begins at any.
            let node = if matches!(way, Way::Proposals) { 0 } else { prng.below(nodes as u64) as usize };
            let width = if matches!(way, Way::Session(_)) { 1 } else { width };
            let (window, reads) = (VecDeque::new(), Vec::new());
            Client { id, way, next: 0, window, width, node, reads, read: 0, asides: 0, alarm: 0, prng }
        };
        let clients = (0..count).map(client).collect();
        Self { clients, workload, pace, done: 0, scene: Scene { whims, nodes, limit, streams: 0, operations } }
    }

    /// Every command has been answered, and nobody reads.
    pub(crate) fn are_done(&self) -> bool {
        self.done == self.workload.entries() && self.clients.iter().all(|client| client.reads.is_empty())
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
        let unreleased = self.begin(world, id);
        let (client, scene) = (&mut self.clients[id], &mut self.scene);
        if client.window.is_empty() && unreleased.is_none_or(|release| release > world.now() + PATIENCE) {
            // Others want one too.
            client.leave_stream(world);
        }
        client.give_up(world, scene);
        client.send(world, scene);
        client.set_alarm(world, unreleased);
    }

    /// An answer has come to its client.
    pub(crate) fn receive(&mut self, world: &World, answer: Answer) {
        let Some(client) = self.clients.get_mut(answer.ticket.client) else { return };
        match answer.ticket.errand {
            Errand::Command => self.done += u64::from(client.receive(world, &mut self.scene, &answer)),
            Errand::Read => client.receive_read(world, &mut self.scene, &answer),
            Errand::Aside => return,
        }
        self.act(world, answer.ticket.client);
    }

    /// The simulation is over: the outcome of what is still going on is open.
    pub(crate) fn finish(&mut self, now: Micros) {
        self.scene.operations.finish(now);
    }

    /// Begins what the window has room for; when the next command may begin, if that is what it waits for.
    fn begin(&mut self, world: &World, id: usize) -> Option<Micros> {
        let count = self.clients.len() as u64;
        let (client, scene) = (&mut self.clients[id], &mut self.scene);
        // What names a client has less room for a command.
        let limit = match client.way {
            Way::Proposals => scene.limit,
            Way::Session(_) | Way::Stream(_) => scene.limit.saturating_sub(REQUEST + ITEM),
        };
        while client.window.len() < client.width {
            let number = u64::from(client.next) * count + id as u64;
            if number >= self.workload.entries() {
                return None;
            }
            let release = self.pace.release(number);
            if release > world.now() {
                return Some(release);
            }
            let command = self.workload.command(id, client.next, limit, &mut client.prng);
            let elections = world.oracle.borrow().elections();
            world.oracle.borrow_mut().begins(id as u8, client.next, &command);
            world.trace(Source::Client(id), "begins", format_args!("command {}, {} bytes", client.next, command.len()));
            let process = scene.operations.invokes(world.now(), Command::decode(&command).map(|command| command.op));
            let (sequence, attempts, state) = (client.next, 0, State::Waiting(0));
            client.window.push_back(Begun { sequence, command, process, attempts, elections, state });
            client.next += 1;
            let Whims { reading, .. } = scene.whims;
            for _ in 0..reading / 1_000_000 + u32::from(client.prng.chance(reading % 1_000_000)) {
                client.begin_read(world, scene);
            }
        }
        None
    }
}

impl Scene {
    fn any_node(&self, prng: &mut Prng) -> usize {
        prng.below(self.nodes as u64) as usize
    }
}

impl Client {
    /// What was sent too long ago is sent again, elsewhere.
    fn give_up(&mut self, world: &World, scene: &Scene) {
        let now = world.now();
        let is_lost = |begun: &Begun| matches!(begun.state, State::Sent(until) if until <= now);
        if !self.window.iter().any(is_lost) {
            return;
        }
        self.leave_stream(world);
        self.window.iter_mut().filter(|begun| is_lost(begun)).for_each(|begun| begun.state = State::Waiting(now));
        self.node = scene.any_node(&mut self.prng);
    }

    /// Sends what waits, in order: nothing overtakes a command that has to wait longer.
    fn send(&mut self, world: &World, scene: &mut Scene) {
        let now = world.now();
        for place in 0..self.window.len() {
            match self.window[place].state {
                State::Waiting(from) if from > now => return,
                State::Waiting(_) => {}
                State::Sent(_) | State::Done => continue,
            }
            match self.way {
                Way::Proposals => self.propose(world, scene, place),
                Way::Session(_) => self.send_in_session(world, scene, place),
                Way::Stream(_) => {
                    if !self.send_in_stream(world, scene, place) {
                        return;
                    }
                }
            }
        }
    }

    fn propose(&mut self, world: &World, scene: &Scene, place: usize) {
        let patience = self.patience(scene);
        let stray = self.prng.chance(scene.whims.straying).then(|| scene.any_node(&mut self.prng));
        let node = stray.unwrap_or(self.node);
        if let Some(command) = self.offence(scene, Via::Proposal) {
            self.ask_aside(world, node, Ask::Apply(Manner::Proposal, command));
        }
        let command = Rc::clone(&self.window[place].command);
        self.ask(world, (place, node), Ask::Apply(Manner::Proposal, command), patience);
    }

    /// Sends a request for the command in this place of the window.
    fn ask(&mut self, world: &World, (place, node): (usize, usize), ask: Ask, patience: Option<Micros>) {
        let begun = &mut self.window[place];
        begun.attempts += 1;
        begun.state = State::Sent(world.now() + PATIENCE);
        let (client, sequence, attempt) = (self.id, begun.sequence, begun.attempts);
        let ticket = Ticket { client, errand: Errand::Command, sequence, attempt };
        world.request(Request { ticket, node, ask, patience });
    }

    /// Sends a request whose answer is of no interest.
    fn ask_aside(&mut self, world: &World, node: usize, ask: Ask) {
        self.asides += 1;
        let ticket = Ticket { client: self.id, errand: Errand::Aside, sequence: 0, attempt: self.asides };
        world.request(Request { ticket, node, ask, patience: Some(PATIENCE) });
    }

    /// After how long it takes back what it sends, if that is its mood.
    fn patience(&mut self, scene: &Scene) -> Option<Micros> {
        self.prng.chance(scene.whims.fickleness).then(|| self.prng.octaves(10, 100_000))
    }

    /// A command that must be refused, if that is its mood: too large, or forbidden.
    fn offence(&mut self, scene: &Scene, via: Via) -> Option<Rc<[u8]>> {
        if !self.prng.chance(scene.whims.offending) {
            return None;
        }
        let mut command = Vec::new();
        Command { client: self.id as u8, sequence: u32::MAX, via, op: Op::Forbidden }.encode(&mut command);
        if self.prng.below(2) == 0 {
            command.resize(scene.limit + 1, 0);
        }
        Some(command.into())
    }

    /// True if a command has been answered for good.
    fn receive(&mut self, world: &World, scene: &mut Scene, answer: &Answer) -> bool {
        let ticket = &answer.ticket;
        let Some(place) = self.window.iter().position(|begun| begun.sequence == ticket.sequence) else { return false };
        let begun = &self.window[place];
        if begun.attempts != ticket.attempt || !matches!(begun.state, State::Sent(_)) {
            return false;
        }
        let end = match self.way {
            Way::Proposals => self.receive_answer(world, scene, place, answer),
            Way::Session(_) => self.receive_in_session(world, scene, place, answer),
            Way::Stream(_) => self.receive_in_stream(world, scene, place, answer),
        };
        let Some(reply) = end else { return false };
        self.is_done(world, scene, place, reply);
        true
    }

    /// The command in this place took effect, with this answer, if it is known.
    fn is_done(&mut self, world: &World, scene: &mut Scene, place: usize, reply: Option<[u8; REPLY]>) {
        let now = world.now();
        let begun = &mut self.window[place];
        begun.state = State::Done;
        let (sequence, attempts) = (begun.sequence, begun.attempts);
        let value = match reply.and_then(|reply| Reply::decode(&reply)).map(|reply| reply.effect) {
            Some(Effect::Done(value)) => Some(value),
            _ => None,
        };
        scene.operations.ends(now, begun.process, End::Effect(value));
        world.oracle.borrow_mut().returns(now, self.id as u8, sequence);
        world.trace(Source::Client(self.id), "done", format_args!("command {sequence}, attempt {attempts}"));
        while self.window.front().is_some_and(|begun| begun.state == State::Done) {
            self.window.pop_front();
        }
    }

    /// The application's answer, if there is one at last.
    fn receive_answer(
        &mut self,
        world: &World,
        scene: &Scene,
        place: usize,
        answer: &Answer,
    ) -> Option<Option<[u8; REPLY]>> {
        let soonest = match answer.outcome {
            Outcome::Applied(Some(reply)) if took_effect(&reply) => return Some(Some(reply)),
            Outcome::NotLeader(Some(leader)) if leader != answer.node => {
                self.node = leader;
                self.prng.between(100, 1_000)
            }
            Outcome::NotLeader(_) | Outcome::Disconnected => {
                self.node = scene.any_node(&mut self.prng);
                self.prng.between(2_000, 40_000)
            }
            Outcome::Busy | Outcome::Refused => self.prng.between(500, 10_000),
            Outcome::Applied(Some(_)) => self.prng.between(500, 2_000),
            _ => self.prng.between(0, 5_000),
        };
        self.window[place].state = State::Waiting(world.now() + soonest);
        None
    }

    /// Begins to read, on any node.
    fn begin_read(&mut self, world: &World, scene: &mut Scene) {
        let query = match self.prng.below(4) {
            0 => Query::Effects(self.id as u8),
            _ => Query::Register(self.prng.below(REGISTERS as u64) as u8),
        };
        let process = match query {
            Query::Register(register) => Some(scene.operations.invokes_read(world.now(), register)),
            Query::Effects(_) => None,
        };
        let (node, patience) = (scene.any_node(&mut self.prng), self.patience(scene));
        let number = self.number_read(world);
        self.reads.push(Reading { number, process });
        let ticket = Ticket { client: self.id, errand: Errand::Read, sequence: number, attempt: 0 };
        world.request(Request { ticket, node, ask: Ask::Read(query, number), patience });
    }

    /// A number for a read that begins now.
    fn number_read(&mut self, world: &World) -> u32 {
        self.read += 1;
        world.oracle.borrow_mut().begins_read(self.id as u8, self.read);
        self.read
    }

    /// A read is over, whether anything was read or not.
    fn receive_read(&mut self, world: &World, scene: &mut Scene, answer: &Answer) {
        let number = answer.ticket.sequence;
        let Some(place) = self.reads.iter().position(|reading| reading.number == number) else { return };
        let reading = self.reads.swap_remove(place);
        let (end, index) = match answer.outcome {
            Outcome::Read { value: Some(value), index } => (End::Effect(Some(value)), Some(index)),
            _ => (End::Nothing, None),
        };
        world.oracle.borrow_mut().returns_read(self.id as u8, number, index);
        if let Some(process) = reading.process {
            scene.operations.ends(world.now(), process, end);
        }
    }

    /// Wakes the client when the first of what it waits for is due.
    fn set_alarm(&mut self, world: &World, unreleased: Option<Micros>) {
        let now = world.now();
        let given_up = self
            .window
            .iter()
            .filter_map(|begun| if let State::Sent(until) = begun.state { Some(until) } else { None });
        // The first that waits holds up the others.
        let sent =
            self.window.iter().find_map(|begun| if let State::Waiting(from) = begun.state { Some(from) } else { None });
        let sent = sent.filter(|_| !self.is_opening());
        let Some(due) = given_up.chain(sent).chain(unreleased).min() else { return };
        if self.alarm <= now || due < self.alarm {
            self.alarm = due;
            world.arrange(due, Event::Client(self.id));
        }
    }
}

/// Whether the application says that the command took effect, now or before.
fn took_effect(reply: &[u8; REPLY]) -> bool {
    matches!(Reply::decode(reply).map(|reply| reply.effect), Some(Effect::Done(_) | Effect::Already))
}

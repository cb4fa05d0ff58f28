//! A client with a session: one command at a time, through any node, sent again under the same number until it is answered. The application does not look
//! whether it has had it before.
//!
//! ```text
//!   no session --OpenSession--> open --command--> answered, or sent again
//!       ^                        |
//!       '------ expired ---------'    the command may have taken effect or not: the client reads how many of its commands did
//! ```

use super::{Client, PATIENCE, Scene, State, Way};
use crate::application::{Command, Query, REPLY, Via};
use crate::desk::{Answer, Ask, Manner, Outcome};
use crate::tally::Action;
use crate::world::World;
use quoring::SessionId;

/// A client's session.
#[derive(Default)]
pub(super) struct Session {
    open: Option<SessionId>,
    /// The number of the next command, beginning with 1.
    next: u32,
    /// The number of the present one.
    number: Option<u32>,
    /// What it was answered, if it is asked for again only to see whether it is the same.
    first: Option<Option<[u8; REPLY]>>,
    /// Whether the present command took effect must be read.
    unsure: bool,
    /// The number of that read.
    read: u32,
}

impl Session {
    /// Goes on without a session.
    fn leave(&mut self) {
        (self.open, self.number) = (None, None);
    }
}

impl Client {
    fn session(&mut self) -> Option<&mut Session> {
        if let Way::Session(session) = &mut self.way { Some(session) } else { None }
    }

    /// Sends the command in this place, or what has to come before it.
    pub(super) fn send_in_session(&mut self, world: &World, scene: &Scene, place: usize) {
        let (node, patience) = (self.node, Some(self.patience(scene).unwrap_or(PATIENCE)));
        let unsure = self.session().is_some_and(|session| session.unsure);
        if unsure {
            let number = self.number_read(world);
            self.session().into_iter().for_each(|session| session.read = number);
            let query = Query::Effects(self.id as u8);
            return self.ask(world, (place, node), Ask::Read(query, number), patience);
        }
        let offence = self.offence(scene, Via::Session);
        let Some(session) = self.session() else { return };
        let Some(open) = session.open else {
            return self.ask(world, (place, node), Ask::OpenSession, patience);
        };
        let mut aside = None;
        if let Some(command) = offence.filter(|_| session.number.is_none()) {
            aside = Some(Ask::Apply(Manner::Session { session: open, number: session.next }, command));
            session.next += 1;
        }
        let number = *session.number.get_or_insert(session.next);
        if number == session.next {
            session.next += 1;
        }
        if let Some(ask) = aside {
            self.ask_aside(world, node, ask);
        }
        let command = Command::sent(&self.window[place].command, Via::Session).into();
        self.ask(world, (place, node), Ask::Apply(Manner::Session { session: open, number }, command), patience);
    }

    /// The application's answer, if there is one at last.
    pub(super) fn receive_in_session(
        &mut self,
        world: &World,
        scene: &Scene,
        place: usize,
        answer: &Answer,
    ) -> Option<Option<[u8; REPLY]>> {
        let now = world.now();
        let sequence = self.window[place].sequence;
        let forgets = self.prng.chance(scene.whims.forgetting);
        let (other, later) = (scene.any_node(&mut self.prng), now + self.prng.between(100, 20_000));
        let repeats = self.prng.chance(scene.whims.forgetting);
        let id = self.id as u8;
        let session = self.session()?;
        if session.unsure {
            let (value, index) = match answer.outcome {
                Outcome::Read { value, index } => (value, Some(index)),
                _ => (None, None),
            };
            world.oracle.borrow_mut().returns_read(id, session.read, index);
            session.unsure = value.is_none();
            if value.is_some_and(|effects| effects > u64::from(sequence)) {
                return Some(None);
            }
            self.node = other;
            self.window[place].state = State::Waiting(if value.is_some() { now } else { later });
            return None;
        }
        let mut due = later;
        match answer.outcome {
            Outcome::Session(open) => {
                *session = Session { open: Some(open), next: 1, ..Session::default() };
                due = now;
            }
            Outcome::Applied(reply) => {
                let repeated = session.first.take();
                if let Some(first) = repeated.filter(|first| *first != reply) {
                    let what = format!("command {sequence} of client {id} was answered with {first:?}, then {reply:?}");
                    world.oracle.borrow_mut().contradicts(now, what);
                } else if repeated.is_some() {
                    world.act(Action::SessionRepeats);
                } else if repeats {
                    session.first = Some(reply);
                    self.node = other;
                    self.window[place].state = State::Waiting(now);
                    return None;
                }
                session.number = None;
                if forgets {
                    session.leave();
                    self.node = other;
                }
                let begun = &self.window[place];
                if begun.elections > 0 && begun.elections != world.oracle.borrow().elections() {
                    world.act(Action::SessionRetries);
                }
                return Some(reply);
            }
            Outcome::Expired => {
                session.leave();
                if let Some(first) = session.first.take() {
                    return Some(first);
                }
                // Even if it was sent but once: the node may have handed it in twice, and have slept through the first time.
                session.unsure = true;
                due = now;
            }
            Outcome::Busy | Outcome::Refused => {}
            _ => self.node = other,
        }
        self.window[place].state = State::Waiting(due);
        None
    }
}

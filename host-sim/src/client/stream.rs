//! A client with a stream: many commands on their way, in order, through one node; when the stream breaks it opens another, and sends again what was not
//! answered. The application knows a command that it has had.

use super::{Client, PATIENCE, Scene, State, Way, took_effect};
use crate::application::{Command, REPLY, Via};
use crate::desk::{Answer, Ask, Manner, Outcome};
use crate::world::World;

/// A client's stream.
#[derive(Default)]
pub(super) struct Stream {
    open: Option<Open>,
}

#[derive(Clone, Copy)]
struct Open {
    number: u32,
    node: usize,
    /// The next item.
    next: u32,
    /// The node has not answered yet.
    opening: bool,
}

impl Client {
    fn stream(&mut self) -> Option<&mut Open> {
        if let Way::Stream(stream) = &mut self.way { stream.open.as_mut() } else { None }
    }

    /// Whether it waits for a stream before it can send anything.
    pub(super) fn is_opening(&self) -> bool {
        matches!(&self.way, Way::Stream(Stream { open: Some(open) }) if open.opening)
    }

    /// Sends the command in this place, or what has to come before it. False if nothing more can be sent now.
    pub(super) fn send_in_stream(&mut self, world: &World, scene: &mut Scene, place: usize) -> bool {
        let offence = self.offence(scene, Via::Proposal);
        let node = self.node;
        let Some(stream) = self.stream() else {
            let number = scene.streams;
            scene.streams += 1;
            let patience = Some(self.patience(scene).unwrap_or(PATIENCE));
            self.ask(world, (place, node), Ask::OpenStream(number), patience);
            self.way = Way::Stream(Stream { open: Some(Open { number, node, next: 0, opening: true }) });
            return false;
        };
        if stream.opening {
            return false;
        }
        let Open { number: stream, node, next, .. } = *stream;
        let items = 1 + u32::from(offence.is_some());
        self.stream().into_iter().for_each(|stream| stream.next += items);
        let apply = |item: u32, command: &[u8]| {
            let sent = Command::sent(command, Via::Stream { stream, item });
            Ask::Apply(Manner::Item { stream, item }, sent.into())
        };
        if let Some(command) = offence {
            self.ask_aside(world, node, apply(next, &command));
        }
        let ask = apply(next + items - 1, &self.window[place].command);
        self.ask(world, (place, node), ask, None);
        true
    }

    /// Goes on without the stream: what was sent in it and not answered will be sent again.
    pub(super) fn leave_stream(&mut self, world: &World) {
        let now = world.now();
        let Way::Stream(stream) = &mut self.way else { return };
        let Some(Open { number, node, .. }) = stream.open.take() else { return };
        self.ask_aside(world, node, Ask::CloseStream(number));
        let sent = self.window.iter_mut().filter(|begun| matches!(begun.state, State::Sent(_)));
        sent.for_each(|begun| begun.state = State::Waiting(now));
    }

    /// The application's answer, if there is one at last.
    pub(super) fn receive_in_stream(
        &mut self,
        world: &World,
        scene: &Scene,
        place: usize,
        answer: &Answer,
    ) -> Option<Option<[u8; REPLY]>> {
        let now = world.now();
        let forgets = self.prng.chance(scene.whims.forgetting);
        let later = now + self.prng.between(100, 20_000);
        let due = match answer.outcome {
            Outcome::Applied(Some(reply)) if took_effect(&reply) => {
                // There is one stream a node: whoever has no more to send makes place for others now and then.
                if forgets || self.window.len() == 1 && self.prng.below(4) == 0 {
                    self.leave_stream(world);
                    self.node = scene.any_node(&mut self.prng);
                }
                return Some(Some(reply));
            }
            // Not answered, or behind what did not take effect.
            Outcome::Applied(_) => now,
            Outcome::Stream => {
                self.stream().into_iter().for_each(|stream| stream.opening = false);
                now
            }
            _ => {
                self.leave_stream(world);
                self.node = scene.any_node(&mut self.prng);
                later
            }
        };
        self.window[place].state = State::Waiting(due);
        None
    }
}

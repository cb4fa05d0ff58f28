//! Linearizability (Herlihy and Wing), by a witness: the log index at which a command took effect is its place in one order. That order
//! must keep real time, and every answer must be the one a plain model gives in that order. Deciding this needs no search.

use std::collections::{BTreeMap, HashMap};

use super::Verdict;
use crate::application::{Command, Effect, Op, REPLY, Reply, digest};

/// What clients did and saw, and a model of what they should see.
#[derive(Default)]
pub(crate) struct History {
    model: Model,
    /// The last index that the model was given.
    frontier: u64,
    replies: HashMap<u64, [u8; REPLY]>,
    commands: HashMap<(u8, u32), Begun>,
    /// The highest index of a command that has returned.
    returned: u64,
}

/// A command that a client has begun.
struct Begun {
    digest: u64,
    /// Every command that had returned before this one began took effect at this index or before it.
    floor: u64,
    index: Option<u64>,
}

/// The registers and the text, written as plainly as can be, and apart from what the nodes run.
#[derive(Default)]
struct Model {
    next: BTreeMap<u8, u32>,
    registers: BTreeMap<u8, u64>,
    lines: u64,
    effects: u64,
}

impl History {
    /// How many commands took effect.
    pub(crate) const fn effects(&self) -> u64 {
        self.model.effects
    }

    /// A client begins a command.
    pub(crate) fn begins(&mut self, client: u8, sequence: u32, command: &[u8]) {
        let begun = Begun { digest: digest(0, command), floor: self.returned, index: None };
        self.commands.insert((client, sequence), begun);
    }

    /// A node applies the command at `index`; the first to do so shows it to the model.
    pub(crate) fn applies(&mut self, index: u64, bytes: &[u8]) -> Verdict {
        if index <= self.frontier {
            return Ok(());
        }
        self.frontier = index;
        let command =
            Command::decode(bytes).ok_or_else(|| format!("entry {index} is no command that a client sent"))?;
        let Command { client, sequence, .. } = command;
        let effect = self.model.apply(&command);
        self.replies.insert(index, Reply { client, sequence, index, effect }.encode());
        let begun = self.commands.get_mut(&(client, sequence)).filter(|begun| begun.digest == digest(0, bytes));
        let begun = begun.ok_or_else(|| format!("entry {index} is no command that client {client} has begun"))?;
        if let Effect::Done(_) = effect {
            begun.index = Some(index);
            if index <= begun.floor {
                return Err(format!(
                    "command {sequence} of client {client} took effect at index {index}; one that had returned before it began, at {}",
                    begun.floor
                ));
            }
        }
        Ok(())
    }

    /// A node answers the command at `index`.
    pub(crate) fn answers(&self, index: u64, answer: &[u8; REPLY]) -> Verdict {
        let expected =
            self.replies.get(&index).ok_or_else(|| format!("answered entry {index}, which nobody has applied"))?;
        if expected == answer {
            return Ok(());
        }
        Err(format!("answered entry {index} with {:?}; right is {:?}", Reply::decode(answer), Reply::decode(expected)))
    }

    /// A client has its answer.
    pub(crate) fn returns(&mut self, client: u8, sequence: u32) -> Verdict {
        match self.commands.get(&(client, sequence)).and_then(|begun| begun.index) {
            Some(index) => {
                self.returned = self.returned.max(index);
                Ok(())
            }
            None => Err(format!("command {sequence} of client {client} has returned and never took effect")),
        }
    }
}

impl Model {
    fn apply(&mut self, command: &Command<'_>) -> Effect {
        let next = self.next.entry(command.client).or_default();
        if command.sequence < *next {
            return Effect::Already;
        }
        if command.sequence > *next {
            return Effect::Expected(*next);
        }
        *next += 1;
        self.effects += 1;
        Effect::Done(match command.op {
            Op::Get { register } => self.registers.get(&register).copied().unwrap_or(0),
            Op::Put { register, value } => {
                self.registers.insert(register, value);
                value
            }
            Op::CompareAndSet { register, expected, value } => {
                let held = self.registers.entry(register).or_default();
                if *held == expected {
                    *held = value;
                }
                *held
            }
            Op::Line(_) => {
                self.lines += 1;
                self.lines
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(client: u8, sequence: u32, op: Op<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        Command { client, sequence, op }.encode(&mut bytes);
        bytes
    }

    fn put(client: u8, sequence: u32, value: u64) -> Vec<u8> {
        bytes(client, sequence, Op::Put { register: 0, value })
    }

    fn reply(client: u8, sequence: u32, index: u64, effect: Effect) -> [u8; REPLY] {
        Reply { client, sequence, index, effect }.encode()
    }

    #[test]
    fn concurrent_commands_may_take_effect_in_any_order() {
        let mut history = History::default();
        history.begins(0, 0, &put(0, 0, 7));
        history.begins(1, 0, &put(1, 0, 8));
        assert_eq!(history.applies(1, &put(1, 0, 8)), Ok(()));
        assert_eq!(history.applies(2, &put(0, 0, 7)), Ok(()));
        assert_eq!(history.applies(2, &put(0, 0, 7)), Ok(()), "another node");
        assert_eq!(history.answers(2, &reply(0, 0, 2, Effect::Done(7))), Ok(()));
        assert_eq!([history.returns(0, 0), history.returns(1, 0)], [Ok(()), Ok(())]);
        assert_eq!(history.effects(), 2);
    }

    #[test]
    fn an_effect_before_that_of_a_command_that_had_returned_is_refused() {
        let mut history = History::default();
        history.begins(0, 0, &put(0, 0, 7));
        history.applies(5, &put(0, 0, 7)).unwrap();
        history.returns(0, 0).unwrap();
        history.begins(1, 0, &put(1, 0, 8));
        history.frontier = 3;
        assert!(history.applies(4, &put(1, 0, 8)).is_err());
    }

    #[test]
    fn an_answer_that_the_model_does_not_give_is_refused() {
        let mut history = History::default();
        history.begins(0, 0, &put(0, 0, 7));
        history.begins(1, 0, &bytes(1, 0, Op::Get { register: 0 }));
        history.applies(1, &put(0, 0, 7)).unwrap();
        history.applies(2, &bytes(1, 0, Op::Get { register: 0 })).unwrap();
        assert_eq!(history.answers(2, &reply(1, 0, 2, Effect::Done(7))), Ok(()));
        assert!(history.answers(2, &reply(1, 0, 2, Effect::Done(0))).is_err(), "stale");
        assert!(history.answers(2, &reply(0, 0, 1, Effect::Done(7))).is_err(), "of another entry");
        assert!(history.answers(3, &reply(1, 0, 3, Effect::Done(7))).is_err(), "of no entry");
    }

    #[test]
    fn a_command_that_nobody_began_or_that_never_took_effect_is_refused() {
        let mut history = History::default();
        history.begins(0, 1, &put(0, 1, 7));
        assert!(history.applies(1, &put(0, 0, 7)).is_err());
        assert!(history.applies(2, &put(0, 1, 8)).is_err());
        assert!(history.applies(3, b"noise").is_err());
        history.begins(1, 0, &put(1, 0, 7));
        assert!(history.returns(1, 0).is_err());
    }

    #[test]
    fn a_repeated_command_takes_effect_once_and_a_gap_not_at_all() {
        let mut history = History::default();
        (0..3).for_each(|sequence| history.begins(0, sequence, &put(0, sequence, 7)));
        for (index, sequence) in [(1, 0), (2, 0), (3, 2)] {
            assert_eq!(history.applies(index, &put(0, sequence, 7)), Ok(()));
        }
        assert_eq!(history.answers(2, &reply(0, 0, 2, Effect::Already)), Ok(()));
        assert_eq!(history.answers(3, &reply(0, 2, 3, Effect::Expected(1))), Ok(()));
        assert_eq!(history.effects(), 1);
    }
}

//! Linearizability (Herlihy and Wing), by a witness: the log index at which a command took effect is its place in one order, and a read's is behind the
//! last entry of the state that it looked at. That order must keep real time, and every answer must be the one a plain model gives in that order.
//! Deciding this needs no search.

use std::collections::{BTreeMap, HashMap};

use super::Verdict;
use crate::application::{Command, Effect, Op, Query, REPLY, Reply, Via, digest};

/// What clients did and saw, and a model of what they should see.
#[derive(Default)]
pub(crate) struct History {
    model: Model,
    /// The last index that the model was given.
    frontier: u64,
    entries: HashMap<u64, Shown>,
    commands: HashMap<(u8, u32), Begun>,
    /// What had returned when each read began that is not over: the client, and the number of the read among its own.
    reads: HashMap<(u8, u32), u64>,
    /// The highest index of a command or read that has returned.
    returned: u64,
}

/// A command that a client has begun.
struct Begun {
    essence: u64,
    /// Every command that had returned before this one began took effect at this index or before it.
    floor: u64,
    index: Option<u64>,
}

/// An entry that the model was given.
struct Shown {
    command: u64,
    reply: [u8; REPLY],
}

/// The registers and the text, written as plainly as can be, and apart from what the nodes run.
#[derive(Default)]
struct Model {
    next: BTreeMap<u8, u32>,
    registers: BTreeMap<u8, u64>,
    lines: u64,
    effects: u64,
    /// What each query has answered from an index on.
    answers: BTreeMap<Query, BTreeMap<u64, u64>>,
}

impl History {
    /// How many commands took effect.
    pub(crate) const fn effects(&self) -> u64 {
        self.model.effects
    }

    /// Whether nobody has applied this entry before.
    pub(crate) const fn is_new(&self, index: u64) -> bool {
        index > self.frontier
    }

    /// A client begins a command.
    pub(crate) fn begins(&mut self, client: u8, sequence: u32, command: &[u8]) {
        let begun = Begun { essence: Command::essence(command), floor: self.returned, index: None };
        self.commands.insert((client, sequence), begun);
    }

    /// A node applies the command at `index`; the first to do so shows it to the model.
    pub(crate) fn applies(&mut self, index: u64, bytes: &[u8]) -> Verdict {
        if !self.is_new(index) {
            return Ok(());
        }
        self.frontier = index;
        let command =
            Command::decode(bytes).ok_or_else(|| format!("entry {index} is no command that a client sent"))?;
        let Command { client, sequence, .. } = command;
        let effect = self.model.apply(index, &command);
        let reply = Reply { client, sequence, index, effect }.encode();
        self.entries.insert(index, Shown { command: digest(0, bytes), reply });
        if effect == Effect::None {
            return Ok(());
        }
        let begun = self.commands.get_mut(&(client, sequence)).filter(|begun| begun.essence == Command::essence(bytes));
        let begun = begun.ok_or_else(|| format!("entry {index} is no command that client {client} has begun"))?;
        if let Effect::Done(_) = effect {
            if let Some(first) = begun.index.replace(index) {
                return Err(format!(
                    "command {sequence} of client {client} took effect at {first} and again at {index}"
                ));
            }
            if index <= begun.floor {
                return Err(format!(
                    "command {sequence} of client {client} took effect at index {index}; one that had returned before it began, at {}",
                    begun.floor
                ));
            }
        }
        Ok(())
    }

    /// A node answers the command at `index`, which is to be this one.
    pub(crate) fn answers(&self, index: u64, command: &[u8], answer: &[u8; REPLY]) -> Verdict {
        let shown =
            self.entries.get(&index).ok_or_else(|| format!("answered entry {index}, which nobody has applied"))?;
        if shown.command != digest(0, command) {
            return Err(format!(
                "gave a command the answer to entry {index}, which is another: {:?}",
                Reply::decode(answer)
            ));
        }
        if shown.reply == *answer {
            return Ok(());
        }
        let right = Reply::decode(&shown.reply);
        Err(format!("answered entry {index} with {:?}; right is {right:?}", Reply::decode(answer)))
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

    /// A client begins a read.
    pub(crate) fn begins_read(&mut self, client: u8, number: u32) {
        self.reads.insert((client, number), self.returned);
    }

    /// A node lets a client read, in the state after `index`, what the query answered there.
    pub(crate) fn reads(&self, (client, number): (u8, u32), index: u64, query: Query, value: Option<u64>) -> Verdict {
        let floor = *self.reads.get(&(client, number)).ok_or("served a read that nobody began")?;
        if index < floor {
            return Err(format!(
                "let client {client} read the state after entry {index}; what had returned before it asked, took effect at {floor}"
            ));
        }
        let right = self.model.query(index, query);
        if value == Some(right) {
            return Ok(());
        }
        Err(format!("read {value:?} for {query:?} in the state after entry {index}; right is {right}"))
    }

    /// A client has what it wanted to read, of the state after `index`; or nothing.
    pub(crate) fn returns_read(&mut self, client: u8, number: u32, index: Option<u64>) {
        self.reads.remove(&(client, number));
        self.returned = self.returned.max(index.unwrap_or(0));
    }
}

impl Model {
    fn apply(&mut self, index: u64, command: &Command<'_>) -> Effect {
        if command.op == Op::Forbidden {
            return Effect::None;
        }
        let next = self.next.entry(command.client).or_default();
        if command.via != Via::Session {
            if command.sequence < *next {
                return Effect::Already;
            }
            if command.sequence > *next {
                return Effect::Expected(*next);
            }
        }
        *next += 1;
        self.effects += 1;
        self.answers.entry(Query::Effects(command.client)).or_default().insert(index, u64::from(*next));
        Effect::Done(match command.op {
            Op::Get { register } => self.registers.get(&register).copied().unwrap_or(0),
            Op::Put { register, value } => self.set(index, register, value),
            Op::CompareAndSet { register, expected, value } => {
                let held = self.registers.get(&register).copied().unwrap_or(0);
                if held == expected { self.set(index, register, value) } else { held }
            }
            Op::Line(_) | Op::Forbidden => {
                self.lines += 1;
                self.lines
            }
        })
    }

    fn set(&mut self, index: u64, register: u8, value: u64) -> u64 {
        self.registers.insert(register, value);
        self.answers.entry(Query::Register(register)).or_default().insert(index, value);
        value
    }

    /// What the query answers in the state after `index`.
    fn query(&self, index: u64, query: Query) -> u64 {
        self.answers.get(&query).and_then(|answers| answers.range(..=index).next_back()).map_or(0, |(_, &value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(client: u8, sequence: u32, op: Op<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        Command { client, sequence, via: Via::Proposal, op }.encode(&mut bytes);
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
        assert_eq!(history.answers(2, &put(0, 0, 7), &reply(0, 0, 2, Effect::Done(7))), Ok(()));
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
        let get = bytes(1, 0, Op::Get { register: 0 });
        assert_eq!(history.answers(2, &get, &reply(1, 0, 2, Effect::Done(7))), Ok(()));
        assert!(history.answers(2, &get, &reply(1, 0, 2, Effect::Done(0))).is_err(), "stale");
        assert!(history.answers(2, &get, &reply(0, 0, 1, Effect::Done(7))).is_err(), "of another entry");
        assert!(history.answers(1, &get, &reply(0, 0, 1, Effect::Done(7))).is_err(), "to another command");
        assert!(history.answers(3, &get, &reply(1, 0, 3, Effect::Done(7))).is_err(), "of no entry");
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
        assert_eq!(history.answers(2, &put(0, 0, 7), &reply(0, 0, 2, Effect::Already)), Ok(()));
        assert_eq!(history.answers(3, &put(0, 2, 7), &reply(0, 2, 3, Effect::Expected(1))), Ok(()));
        assert_eq!(history.effects(), 1);
    }

    #[test]
    fn a_read_sees_the_state_of_one_index_that_is_not_before_what_had_returned() {
        let mut history = History::default();
        let query = Query::Register(0);
        (0..2).for_each(|sequence| history.begins(0, sequence, &put(0, sequence, 7 + u64::from(sequence))));
        history.begins_read(1, 0);
        history.applies(1, &put(0, 0, 7)).unwrap();
        history.returns(0, 0).unwrap();
        history.begins_read(1, 1);
        history.applies(2, &put(0, 1, 8)).unwrap();
        let reads =
            |history: &History, number, index, value| history.reads((1, number), index, query, Some(value)).is_ok();
        assert!(reads(&history, 0, 0, 0) && reads(&history, 0, 1, 7) && reads(&history, 1, 2, 8));
        assert!(!reads(&history, 1, 0, 0), "stale");
        assert!(!reads(&history, 1, 1, 8) && !reads(&history, 1, 2, 7), "of another state");
        assert!(!reads(&history, 2, 2, 8), "nobody asked");
        history.returns_read(1, 1, Some(2));
        history.begins_read(1, 2);
        assert!(!reads(&history, 2, 1, 7) && reads(&history, 2, 2, 8), "one read after another");
        assert_eq!(history.reads((1, 2), 2, Query::Effects(0), Some(2)), Ok(()));
    }

    #[test]
    fn what_is_forbidden_has_no_effect_and_a_sessions_command_has_one_whatever_came_before() {
        let mut history = History::default();
        let mut forbidden = Vec::new();
        Command { client: 0, sequence: 0, via: Via::Proposal, op: Op::Forbidden }.encode(&mut forbidden);
        assert_eq!(history.applies(1, &forbidden), Ok(()));
        assert_eq!(history.answers(1, &forbidden, &reply(0, 0, 1, Effect::None)), Ok(()));
        let command = Command::sent(&put(0, 3, 7), Via::Session);
        history.begins(0, 3, &put(0, 3, 7));
        assert_eq!(history.applies(2, &command), Ok(()));
        assert_eq!(history.answers(2, &command, &reply(0, 3, 2, Effect::Done(7))), Ok(()));
        assert_eq!(history.effects(), 1);
    }
}

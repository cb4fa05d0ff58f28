//! What the cluster replicates: a few registers and a text. The commands of a client take effect in order and once: what comes in a session because the
//! cluster sees to it, all else because the application does.
//!
//! ```text
//!   command   client u8 | sequence u32 | how u4, op u4 | in a stream: stream u32, item u32 | what the op needs, then filler, but for lines
//!                                                put: register u8, value u64
//!                                                get: register u8
//!                                                compare-and-set: register u8, expected u64, value u64
//!                                                line: its bytes
//!                                                forbidden: nothing; a node that is strict refuses it
//!   reply     tag u8 | client u8 | sequence u32 | value u64 | index u64
//!
//!   state     next sequence u32 x clients | registers u64 x 4 | lines u64 | digest u64 | journal u64 x its length | the text
//! ```
//! All integers are little-endian.

use quoring::Rejection;

/// How many clients there can be.
pub(crate) const CLIENTS: usize = 8;
/// How many registers there are.
pub(crate) const REGISTERS: usize = 4;
/// Bytes of a command before a line's own.
pub(crate) const LINE_HEADER: usize = 6;
/// Bytes of an encoded [`Reply`].
pub(crate) const REPLY: usize = 22;

/// Bytes of an encoded state without journal and text.
pub(crate) const STATE: usize = 4 * CLIENTS + 8 * REGISTERS + 16;
/// How many answers the journal holds at most.
pub(crate) const JOURNAL: usize = 1024;

/// Bytes of a command that say which item of which stream it is.
pub(crate) const ITEM: usize = 8;
/// Where a command says how it came and what it does.
const OP: usize = LINE_HEADER - 1;
const FORBIDDEN: u8 = 5;

/// A client's command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Command<'b> {
    pub(crate) client: u8,
    /// Counts the client's commands from 0.
    pub(crate) sequence: u32,
    pub(crate) via: Via,
    pub(crate) op: Op<'b>,
}

/// How a command came to the log. A command that is sent again in another stream is another item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Via {
    /// Proposed at the leader.
    Proposal,
    /// In a session: the application applies whatever it is given.
    Session,
    /// As this item of a stream; both count from 0, streams over the whole simulation.
    Stream { stream: u32, item: u32 },
}

/// What a client may ask of the application's state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Query {
    /// The value of this register.
    Register(u8),
    /// How many commands of this client took effect.
    Effects(u8),
}

/// What a command does. Its answer is the register's value afterwards, or the number of lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op<'b> {
    Put {
        register: u8,
        value: u64,
    },
    Get {
        register: u8,
    },
    CompareAndSet {
        register: u8,
        expected: u64,
        value: u64,
    },
    Line(&'b [u8]),
    /// Nothing; nodes that are strict refuse it.
    Forbidden,
}

/// What an entry answers to the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reply {
    pub(crate) client: u8,
    pub(crate) sequence: u32,
    /// The entry's index.
    pub(crate) index: u64,
    pub(crate) effect: Effect,
}

/// What became of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    /// It took effect here, with this answer.
    Done(u64),
    /// It took effect at an earlier index.
    Already,
    /// It did not: the client's command with this sequence comes first.
    Expected(u32),
    /// It has none.
    None,
}

/// The state of the application on one node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Machine {
    next: [u32; CLIENTS],
    registers: [u64; REGISTERS],
    lines: u64,
    /// Over all that took effect.
    digest: u64,
    /// The newest answers, each at the place of its number; it makes the state as long as one likes.
    journal: Vec<u64>,
}

/// The application of a running node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Application {
    pub(crate) machine: Machine,
    /// All lines that took effect, end to end.
    pub(crate) text: Vec<u8>,
    /// The entry whose state this is; not saved.
    pub(crate) applied: u64,
}

/// What a strict node decides about a command before anything of it is stored.
pub(crate) fn admit(command: &[u8]) -> Result<(), Rejection> {
    if command.get(OP).is_some_and(|op| op & 0x0F == FORBIDDEN) { Err(Rejection(FORBIDDEN)) } else { Ok(()) }
}

impl Application {
    /// One that nothing has been applied to.
    pub(crate) fn new(journal: usize) -> Self {
        Self { machine: Machine { journal: vec![0; journal], ..Machine::default() }, ..Self::default() }
    }

    /// Applies the command of entry `index`; `None` if it is no command of this application.
    pub(crate) fn apply(&mut self, index: u64, command: &[u8]) -> Option<Reply> {
        self.applied = index;
        let command = Command::decode(command)?;
        let reply = self.machine.apply(index, &command)?;
        if let (Effect::Done(_), Op::Line(line)) = (reply.effect, command.op) {
            self.text.extend_from_slice(line);
        }
        Some(reply)
    }

    /// All of its state.
    pub(crate) fn save(&self) -> Vec<u8> {
        let Machine { next, registers, lines, digest, journal } = &self.machine;
        let next = next.iter().flat_map(|next| next.to_le_bytes());
        let words = registers.iter().chain([lines, digest]).chain(journal).flat_map(|word| word.to_le_bytes());
        next.chain(words).chain(self.text.iter().copied()).collect()
    }

    /// The state that was saved, of an application with a journal of this length; `None` if this is none.
    pub(crate) fn restore(journal: usize, state: &[u8]) -> Option<Self> {
        let (state, text) = state.split_at_checked(STATE + 8 * journal)?;
        let (next, words) = state.split_at(4 * CLIENTS);
        let mut application = Self::new(journal);
        let Machine { next: counters, registers, lines, digest, journal } = &mut application.machine;
        counters.iter_mut().zip(next.as_chunks().0).for_each(|(to, from)| *to = u32::from_le_bytes(*from));
        let places = registers.iter_mut().chain([lines, digest]).chain(journal);
        places.zip(words.as_chunks().0).for_each(|(to, from)| *to = u64::from_le_bytes(*from));
        application.text = text.to_vec();
        Some(application)
    }

    /// Tells states apart that commands have made; whether the journal and the text are what those wrote, only all the bytes tell.
    pub(crate) fn digest(&self) -> u64 {
        let Machine { next, registers, lines, digest: effects, .. } = &self.machine;
        let next = next.iter().map(|&next| u64::from(next));
        let words = next.chain(registers.iter().chain([lines, effects]).copied());
        words.fold(self.text.len() as u64, mix)
    }
}

impl Machine {
    /// Applies the command of entry `index`; `None` if it is no command of this application.
    pub(crate) fn apply(&mut self, index: u64, command: &Command<'_>) -> Option<Reply> {
        let &Command { client, sequence, via, op } = command;
        let next = self.next.get_mut(usize::from(client))?;
        let effect = match sequence.cmp(next) {
            _ if op == Op::Forbidden => Effect::None,
            std::cmp::Ordering::Less if via != Via::Session => Effect::Already,
            std::cmp::Ordering::Greater if via != Via::Session => Effect::Expected(*next),
            _ => {
                *next += 1;
                let value = self.perform(op)?;
                self.digest = digest(self.digest ^ index, &value.to_le_bytes());
                self.note(index ^ value << 32);
                Effect::Done(value)
            }
        };
        Some(Reply { client, sequence, index, effect })
    }

    /// What a client sees that looks at this state.
    pub(crate) fn query(&self, query: Query) -> Option<u64> {
        match query {
            Query::Register(register) => self.registers.get(usize::from(register)).copied(),
            Query::Effects(client) => self.next.get(usize::from(client)).map(|&next| next.into()),
        }
    }

    /// How many commands took effect.
    pub(crate) fn effects(&self) -> u64 {
        self.next.iter().map(|&next| u64::from(next)).sum()
    }

    fn note(&mut self, answer: u64) {
        if let Some(place) = self.effects().checked_rem(self.journal.len() as u64) {
            self.journal[place as usize] = answer;
        }
    }

    fn perform(&mut self, op: Op<'_>) -> Option<u64> {
        Some(match op {
            Op::Put { register, value } => {
                *self.registers.get_mut(usize::from(register))? = value;
                value
            }
            Op::Get { register } => *self.registers.get(usize::from(register))?,
            Op::CompareAndSet { register, expected, value } => {
                let register = self.registers.get_mut(usize::from(register))?;
                if *register == expected {
                    *register = value;
                }
                *register
            }
            Op::Line(line) => {
                self.digest = digest(self.digest, line);
                self.lines += 1;
                self.lines
            }
            Op::Forbidden => return None,
        })
    }
}

impl<'b> Command<'b> {
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.client);
        bytes.extend(self.sequence.to_le_bytes());
        let op = match self.op {
            Op::Put { .. } => 1,
            Op::Get { .. } => 2,
            Op::CompareAndSet { .. } => 3,
            Op::Line(_) => 4,
            Op::Forbidden => FORBIDDEN,
        };
        match self.via {
            Via::Proposal => bytes.push(op),
            Via::Session => bytes.push(1 << 4 | op),
            Via::Stream { stream, item } => {
                bytes.push(2 << 4 | op);
                bytes.extend(stream.to_le_bytes());
                bytes.extend(item.to_le_bytes());
            }
        }
        match self.op {
            Op::Put { register, value } => {
                bytes.push(register);
                bytes.extend(value.to_le_bytes());
            }
            Op::Get { register } => bytes.push(register),
            Op::CompareAndSet { register, expected, value } => {
                bytes.push(register);
                bytes.extend(expected.to_le_bytes());
                bytes.extend(value.to_le_bytes());
            }
            Op::Line(line) => bytes.extend(line),
            Op::Forbidden => {}
        }
    }

    pub(crate) fn decode(bytes: &'b [u8]) -> Option<Self> {
        let (&[client, s0, s1, s2, s3, op], rest) = bytes.split_first_chunk()?;
        let (via, rest) = match op >> 4 {
            0 => (Via::Proposal, rest),
            1 => (Via::Session, rest),
            2 => {
                let (stream, rest) = rest.split_first_chunk()?;
                let (item, rest) = rest.split_first_chunk()?;
                (Via::Stream { stream: u32::from_le_bytes(*stream), item: u32::from_le_bytes(*item) }, rest)
            }
            _ => return None,
        };
        let word = |at: usize| rest.get(at..).and_then(<[u8]>::first_chunk).map(|word| u64::from_le_bytes(*word));
        let register = || rest.first().copied();
        let op = match op & 0x0F {
            1 => Op::Put { register: register()?, value: word(1)? },
            2 => Op::Get { register: register()? },
            3 => Op::CompareAndSet { register: register()?, expected: word(1)?, value: word(9)? },
            4 => Op::Line(rest),
            FORBIDDEN => Op::Forbidden,
            _ => return None,
        };
        Some(Self { client, sequence: u32::from_le_bytes([s0, s1, s2, s3]), via, op })
    }

    /// The command as an item of a stream, or as it was before.
    pub(crate) fn sent(bytes: &[u8], via: Via) -> Vec<u8> {
        let (head, rest) = bytes.split_at(LINE_HEADER.min(bytes.len()));
        let mut sent = head.to_vec();
        let how = match via {
            Via::Proposal => 0,
            Via::Session => 1,
            Via::Stream { .. } => 2,
        };
        sent.get_mut(OP).into_iter().for_each(|op| *op = how << 4 | *op & 0x0F);
        if let Via::Stream { stream, item } = via {
            sent.extend(stream.to_le_bytes());
            sent.extend(item.to_le_bytes());
        }
        sent.extend(rest);
        sent
    }

    /// What stays the same of a command however often and however it is sent.
    pub(crate) fn essence(bytes: &[u8]) -> u64 {
        let (head, rest) = bytes.split_at(LINE_HEADER.min(bytes.len()));
        let op = head.get(OP).copied().unwrap_or(0);
        let rest = if op >> 4 == 2 { rest.get(ITEM..).unwrap_or_default() } else { rest };
        digest(digest(u64::from(op & 0x0F), head.get(..OP).unwrap_or_default()), rest)
    }
}

impl Reply {
    pub(crate) fn encode(&self) -> [u8; REPLY] {
        let (tag, value) = match self.effect {
            Effect::Done(value) => (1, value),
            Effect::Already => (2, 0),
            Effect::Expected(sequence) => (3, sequence.into()),
            Effect::None => (4, 0),
        };
        let mut bytes = [0; REPLY];
        bytes[0] = tag;
        bytes[1] = self.client;
        bytes[2..6].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[6..14].copy_from_slice(&value.to_le_bytes());
        bytes[14..].copy_from_slice(&self.index.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[tag, client], rest) = bytes.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (value, rest) = rest.split_first_chunk()?;
        let value = u64::from_le_bytes(*value);
        let effect = match tag {
            1 => Effect::Done(value),
            2 => Effect::Already,
            3 => Effect::Expected(value as u32),
            4 => Effect::None,
            _ => return None,
        };
        let (sequence, index) = (u32::from_le_bytes(*sequence), u64::from_le_bytes(rest.try_into().ok()?));
        Some(Self { client, sequence, index, effect })
    }
}

/// 64 bits that tell byte strings apart. Not against an adversary.
pub(crate) fn digest(seed: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let start = mix(seed, bytes.len() as u64);
    let digest = words.iter().fold(start, |digest, word| mix(digest, u64::from_le_bytes(*word)));
    mix(digest, u64::from_le_bytes(last))
}

const fn mix(digest: u64, word: u64) -> u64 {
    let product = (digest ^ word) as u128 * 0x9E37_79B9_7F4A_7C15;
    (product >> 64) as u64 ^ product as u64 ^ digest.rotate_left(23)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(machine: &mut Machine, index: u64, client: u8, sequence: u32, op: Op<'_>) -> Effect {
        machine.apply(index, &Command { client, sequence, via: Via::Proposal, op }).unwrap().effect
    }

    #[test]
    fn a_command_takes_effect_once_and_in_its_clients_order() {
        let machine = &mut Machine::default();
        let put = |value| Op::Put { register: 1, value };
        assert_eq!(apply(machine, 1, 0, 0, put(7)), Effect::Done(7));
        assert_eq!(apply(machine, 2, 0, 0, put(7)), Effect::Already);
        assert_eq!(apply(machine, 3, 0, 2, put(9)), Effect::Expected(1));
        assert_eq!(apply(machine, 4, 1, 0, Op::Get { register: 1 }), Effect::Done(7));
        let swap = Op::CompareAndSet { register: 1, expected: 7, value: 8 };
        assert_eq!(apply(machine, 5, 1, 1, swap), Effect::Done(8));
        assert_eq!(apply(machine, 6, 1, 2, swap), Effect::Done(8));
        assert_eq!(apply(machine, 7, 0, 1, Op::Line(b"text")), Effect::Done(1));
        assert_eq!(machine.effects(), 5);
    }

    #[test]
    fn commands_and_replies_are_read_as_they_were_written() {
        let ops = [
            Op::Put { register: 3, value: u64::MAX },
            Op::Get { register: 0 },
            Op::CompareAndSet { register: 2, expected: 5, value: 6 },
            Op::Line(b""),
            Op::Line(b"\xFF\n"),
            Op::Forbidden,
        ];
        let vias = [Via::Proposal, Via::Session, Via::Stream { stream: 7, item: 1 << 20 }];
        for (op, via) in ops.into_iter().flat_map(|op| vias.map(|via| (op, via))) {
            let command = Command { client: 5, sequence: 70_000, via, op };
            let mut bytes = Vec::new();
            command.encode(&mut bytes);
            assert_eq!(Command::decode(&bytes), Some(command));
            assert_eq!(admit(&bytes).is_err(), op == Op::Forbidden);
            let mut first = Vec::new();
            Command { via: Via::Proposal, ..command }.encode(&mut first);
            assert_eq!(
                (Command::sent(&first, via), Command::essence(&first)),
                (bytes.clone(), Command::essence(&bytes))
            );
            assert!((0..LINE_HEADER).all(|len| Command::decode(&bytes[..len]).is_none()));
        }
        for effect in [Effect::Done(1 << 40), Effect::Already, Effect::Expected(17), Effect::None] {
            let reply = Reply { client: 7, sequence: 1 << 20, index: 1 << 33, effect };
            assert_eq!(Reply::decode(&reply.encode()), Some(reply));
            assert_eq!(Reply::decode(&reply.encode()[..REPLY - 1]), None);
        }
    }

    #[test]
    fn a_state_is_restored_as_it_was_saved_and_a_changed_one_is_told_apart() {
        let mut application = Application::new(3);
        for (index, sequence) in (1..).zip(0..5) {
            let mut command = Vec::new();
            Command { client: 1, sequence, via: Via::Proposal, op: Op::Put { register: 2, value: 7 + index } }
                .encode(&mut command);
            application.apply(index, &command);
        }
        let mut line = Vec::new();
        Command { client: 2, sequence: 0, via: Via::Proposal, op: Op::Line(b"text\n") }.encode(&mut line);
        application.apply(6, &line);
        let saved = application.save();
        assert_eq!(saved.len(), STATE + 3 * 8 + 5);
        application.applied = 0;
        assert_eq!(Application::restore(3, &saved), Some(application.clone()));
        assert_eq!(Application::restore(3, &saved[..STATE + 3 * 8 - 1]), None);
        let differs = |at: usize| {
            let mut other = saved.clone();
            other[at] ^= 1;
            Application::restore(3, &other).map(|other| other.digest()) != Some(application.digest())
        };
        assert!((0..STATE).all(differs));
        assert_ne!(
            Application::restore(3, &saved[..saved.len() - 1]).map(|other| other.digest()),
            Some(application.digest())
        );
    }

    #[test]
    fn digests_differ_by_seed_length_and_content() {
        let digests =
            [digest(0, b""), digest(1, b""), digest(0, b"\0"), digest(0, &[0; 8]), digest(0, &[0; 9]), digest(0, b"a")];
        assert!((0..6).all(|a| (0..a).all(|b| digests[a] != digests[b])));
    }
}

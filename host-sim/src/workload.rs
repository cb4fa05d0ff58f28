//! What the clients want done: commands drawn from a seed, or the lines of a text; and when they may begin with each.

use std::rc::Rc;
use std::sync::Arc;

use crate::application::{CLIENTS, Command, LINE_HEADER, Op, REGISTERS, Via};
use crate::prng::Prng;
use crate::timeline::Micros;

/// What a simulated cluster is asked to replicate.
#[derive(Clone, Debug)]
pub enum Workload {
    /// This many commands on a few registers, from several clients at once.
    Registers(u32),
    /// These lines, in their order, from one client. A line ends with its newline, if it has one.
    Lines(Arc<[Vec<u8>]>),
}

impl Workload {
    /// The lines of `text`; put together they are the text again.
    pub fn lines(text: &[u8]) -> Self {
        Self::Lines(text.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect())
    }

    /// How many commands there are.
    pub fn entries(&self) -> u64 {
        match self {
            Self::Registers(entries) => (*entries).into(),
            Self::Lines(lines) => lines.len() as u64,
        }
    }

    /// How many clients issue them, and how many commands each has on its way at most.
    pub(crate) fn clients(&self, prng: &mut Prng) -> (usize, usize) {
        match self {
            Self::Registers(_) => (prng.between(1, CLIENTS as u64) as usize, prng.octaves(1, 24) as usize),
            Self::Lines(_) => (1, prng.between(4, 16) as usize),
        }
    }

    /// The command `sequence` of `client`; `limit` is the largest a node takes.
    pub(crate) fn command(&self, client: usize, sequence: u32, limit: usize, prng: &mut Prng) -> Rc<[u8]> {
        let op = match self {
            Self::Registers(_) => draw(prng),
            Self::Lines(lines) => Op::Line(lines.get(sequence as usize).map_or(&[], Vec::as_slice)),
        };
        let mut bytes = Vec::new();
        Command { client: client as u8, sequence, via: Via::Proposal, op }.encode(&mut bytes);
        if let Self::Registers(_) = self {
            let room = limit.saturating_sub(bytes.len()) as u64;
            let filler = match prng.below(20) {
                0 => room,
                1 => prng.below(room + 1),
                2..8 => prng.below(room.min(256) + 1),
                _ => 0,
            };
            bytes.resize(bytes.len() + filler as usize, client as u8);
        }
        bytes.into()
    }
}

fn draw(prng: &mut Prng) -> Op<'static> {
    let register = prng.below(REGISTERS as u64) as u8;
    // Few values, so that comparisons often hold.
    match prng.below(4) {
        0 => Op::Get { register },
        1 => Op::CompareAndSet { register, expected: prng.below(3), value: prng.below(3) },
        _ => Op::Put { register, value: prng.below(3) },
    }
}

/// The longest line, its newline included, where a node takes commands up to `limit` bytes.
pub(crate) const fn line_limit(limit: usize) -> usize {
    limit.saturating_sub(LINE_HEADER)
}

/// When each command may begin, so that the work spans the time of the faults.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The last command begins about then; 0 for all at once.
    pub(crate) span: Micros,
    /// How many commands begin together.
    pub(crate) burst: u64,
    pub(crate) entries: u64,
}

impl Pace {
    /// When command number `number` of all clients may begin.
    pub(crate) const fn release(&self, number: u64) -> Micros {
        if self.entries == 0 {
            return 0;
        }
        number / self.burst * self.burst * self.span / self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_text_put_together_are_the_text() {
        for text in [&b""[..], b"\n", b"a\n\nb", b"no end", b"\xFF\xFE\n\r\n", b"\n\n"] {
            let Workload::Lines(lines) = Workload::lines(text) else { panic!("a text has lines") };
            assert_eq!(lines.concat(), text);
            assert!(lines.iter().all(|line| !line.is_empty()));
        }
        assert_eq!(Workload::lines(b"").entries(), 0);
        assert_eq!(Workload::lines(b"a\n\nb").entries(), 3);
    }

    #[test]
    fn a_drawn_command_keeps_the_limit_and_some_reach_it() {
        let (workload, mut prng) = (Workload::Registers(10), Prng::new(1, "test"));
        let sizes: Vec<usize> = (0..500).map(|n| workload.command(3, n, 300, &mut prng).len()).collect();
        assert_eq!(sizes.iter().max(), Some(&300));
        assert!(sizes.iter().filter(|&&size| size < 30).count() > 250);
        let bytes = workload.command(3, 77, 300, &mut prng);
        let command = Command::decode(&bytes).unwrap();
        assert_eq!((command.client, command.sequence), (3, 77));
    }

    #[test]
    fn commands_begin_in_bursts_over_the_span() {
        let pace = Pace { span: 1000, burst: 5, entries: 10 };
        assert_eq!([0, 4, 5, 9].map(|number| pace.release(number)), [0, 0, 500, 500]);
        assert_eq!(Pace { span: 0, ..pace }.release(9), 0);
    }
}

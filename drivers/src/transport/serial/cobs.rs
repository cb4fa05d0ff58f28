//! Consistent overhead byte stuffing: a frame without zeros, so that a zero always ends it.

/// What ends a frame on the line.
pub(super) const DELIMITER: u8 = 0;

/// The longest run of bytes behind one code.
const LONGEST: u8 = 254;

/// The stuffed form of `bytes`, byte by byte, without delimiters. It looks ahead in a clone of the bytes, and so needs no buffer.
#[derive(Clone, Debug)]
pub(super) struct Encoder<I> {
    bytes: I,
    /// What is left of the run behind the last code.
    left: u8,
    after: After,
}

/// What follows a run.
#[derive(Clone, Copy, Debug)]
enum After {
    /// Another run, without a zero between them.
    Run,
    /// A zero that the code stands for, and another run, which may be empty.
    Zero,
    /// The end of the frame.
    End,
}

impl<I: Iterator<Item = u8> + Clone> Encoder<I> {
    pub(super) const fn new(bytes: I) -> Self {
        Self { bytes, left: 0, after: After::Run }
    }

    /// The code of the run that comes next.
    fn begin_run(&mut self) -> u8 {
        let (mut ahead, mut run) = (self.bytes.clone(), 0);
        self.after = loop {
            match ahead.next() {
                None => break After::End,
                Some(_) if run == LONGEST => break After::Run,
                Some(DELIMITER) => break After::Zero,
                Some(_) => run += 1,
            }
        };
        self.left = run;
        run + 1
    }
}

impl<I: Iterator<Item = u8> + Clone> Iterator for Encoder<I> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if self.left > 0 {
            self.left -= 1;
            return self.bytes.next();
        }
        match self.after {
            After::End => return None,
            After::Zero => drop(self.bytes.next()),
            After::Run => {}
        }
        Some(self.begin_run())
    }
}

/// Undoes an [`Encoder`], byte by byte.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    left: u8,
    /// The next code stands for a zero too.
    zero: bool,
}

/// What a byte of the line meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decoded {
    /// Nothing yet.
    Nothing,
    /// The next byte of the frame.
    Byte(u8),
    /// The frame ends here, between two runs.
    End,
    /// The frame ends in the middle of a run: bytes are missing.
    Broken,
}

impl Decoder {
    pub(super) const fn feed(&mut self, byte: u8) -> Decoded {
        if byte == DELIMITER {
            let broken = self.left > 0;
            *self = Self { left: 0, zero: false };
            return if broken { Decoded::Broken } else { Decoded::End };
        }
        if self.left > 0 {
            self.left -= 1;
            return Decoded::Byte(byte);
        }
        let zero = self.zero;
        self.left = byte - 1;
        self.zero = self.left < LONGEST;
        if zero { Decoded::Byte(DELIMITER) } else { Decoded::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

    fn encode(bytes: &[u8]) -> Vec<u8> {
        Encoder::new(bytes.iter().copied()).collect()
    }

    fn decode(line: &[u8]) -> Vec<u8> {
        let mut decoder = Decoder::default();
        let mut bytes = Vec::new();
        for &byte in line {
            match decoder.feed(byte) {
                Decoded::Byte(byte) => bytes.push(byte),
                Decoded::Nothing => {}
                ended => panic!("{ended:?}"),
            }
        }
        assert_eq!(decoder.feed(DELIMITER), Decoded::End);
        bytes
    }

    /// covers: T1
    #[test]
    fn the_stuffed_form_is_the_one_of_the_paper() {
        let run: Vec<u8> = (1..=254).collect();
        let cases: [(&[u8], Vec<u8>); 6] = [
            (&[], vec![1]),
            (&[0], vec![1, 1]),
            (&[0, 0], vec![1, 1, 1]),
            (&[0x11, 0x22, 0, 0x33], vec![3, 0x11, 0x22, 2, 0x33]),
            (&[0x11, 0, 0, 0], vec![2, 0x11, 1, 1, 1]),
            (&run, [&[255], &run[..]].concat()),
        ];
        for (bytes, line) in cases {
            assert_eq!(encode(bytes), line);
        }
        assert_eq!(encode(&[&run[..], &[0]].concat()), [&[255], &run[..], &[1, 1]].concat());
        assert_eq!(encode(&[&run[..], &[255]].concat()), [&[255], &run[..], &[2, 255]].concat());
    }

    /// covers: T1
    #[test]
    fn every_length_comes_back_without_a_zero_on_the_line() {
        for len in 0..600 {
            for zero_every in [1, 2, 7, 253, 254, 255, 256, 1000] {
                let bytes: Vec<u8> = (0..len).map(|at| if at % zero_every == 0 { 0 } else { at as u8 | 1 }).collect();
                let line = encode(&bytes);
                assert!(!line.contains(&DELIMITER) && line.len() <= len + 1 + len / 254);
                assert_eq!(decode(&line), bytes);
            }
        }
    }

    /// covers: T2
    #[test]
    fn a_run_that_is_cut_is_told_and_the_next_frame_is_whole() {
        let mut decoder = Decoder::default();
        let line = [3, 9, DELIMITER, 2, 7, DELIMITER];
        let decoded = line.map(|byte| decoder.feed(byte));
        let (nothing, byte) = (Decoded::Nothing, Decoded::Byte);
        assert_eq!(decoded, [nothing, byte(9), Decoded::Broken, nothing, byte(7), Decoded::End]);
    }
}

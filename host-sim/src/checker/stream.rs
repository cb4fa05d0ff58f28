//! Streams: what takes effect of a stream is a prefix of what was sent in it, in order and without a gap, nothing of it twice, and none of what its sender was
//! told is not stored (C1, C4, C6).

use std::collections::HashMap;

use super::Verdict;

/// All streams of a simulation.
#[derive(Default)]
pub(crate) struct Streams(HashMap<u32, Stream>);

#[derive(Default)]
struct Stream {
    /// Items below this one took effect.
    next: u32,
    /// Items from this one on are not stored.
    end: Option<u32>,
}

impl Streams {
    /// The first application is given this item.
    pub(crate) fn applies(&mut self, stream: u32, item: u32) -> Verdict {
        let Stream { next, end } = self.0.entry(stream).or_default();
        if item != *next {
            return Err(format!("item {item} of stream {stream} took effect where item {next} was expected"));
        }
        *next += 1;
        match end {
            Some(end) if item >= *end => {
                Err(format!("item {item} of stream {stream} took effect; item {end} is not stored"))
            }
            _ => Ok(()),
        }
    }

    /// The sender of an item is told that it is not stored, and so neither is what was sent behind it.
    pub(crate) fn refuses(&mut self, stream: u32, item: u32) -> Verdict {
        let Stream { next, end } = self.0.entry(stream).or_default();
        *end = Some(end.map_or(item, |end| end.min(item)));
        if item < *next {
            return Err(format!("told a client that item {item} of stream {stream} is not stored; it took effect"));
        }
        Ok(())
    }

    /// The sender of an item is told that it took effect.
    pub(crate) fn answers(&self, stream: u32, item: u32) -> Verdict {
        let next = self.0.get(&stream).map_or(0, |stream| stream.next);
        if item < next {
            Ok(())
        } else {
            Err(format!("answered item {item} of stream {stream}, which never took effect"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_takes_effect_in_order() {
        let mut streams = Streams::default();
        assert_eq!([streams.applies(1, 0), streams.applies(2, 0), streams.applies(1, 1)], [Ok(()), Ok(()), Ok(())]);
        assert_eq!([streams.answers(1, 1), streams.refuses(1, 2)], [Ok(()), Ok(())]);
        assert!(streams.answers(1, 2).is_err() && streams.answers(3, 0).is_err());
    }

    #[test]
    fn a_gap_a_repetition_and_what_was_said_not_to_be_stored_are_refused() {
        let with_one = || {
            let mut streams = Streams::default();
            streams.applies(1, 0).unwrap();
            streams
        };
        assert!(with_one().applies(1, 2).is_err(), "a gap");
        assert!(with_one().applies(1, 0).is_err(), "again");
        assert!(with_one().refuses(1, 0).is_err(), "it is");
        let mut streams = with_one();
        streams.refuses(1, 1).unwrap();
        assert!(streams.applies(1, 1).is_err());
    }
}

//! The sizes that nodes come in: chosen at run time, fixed at compile time.

use std::future::Future;
use std::pin::Pin;

use quoring_core::command_limit;
use quoring_ring::UNIT;

use crate::incarnation::{Birth, Memory, live};
use crate::options::{Options, RingSize};
use crate::store::{Observer, observe};

/// Calls a function with the constants of the options' size: units, slots, peers and bytes of a frame.
macro_rules! with_size {
    ($options:expr, $function:ident $arguments:tt) => {
        with_size!($options, $function $arguments,
            Small 0..=3 => (256, 64, 2, 256), Small 4..=5 => (256, 64, 4, 256), Small _ => (256, 64, 31, 256),
            Medium 0..=3 => (2048, 256, 2, 1024), Medium 4..=5 => (2048, 256, 4, 1024), Medium _ => (2048, 256, 31, 1024),
            Wide 0..=3 => (2048, 256, 2, 8256), Wide 4..=5 => (2048, 256, 4, 8256), Wide _ => (2048, 256, 31, 8256))
    };
    ($options:expr, $function:ident $arguments:tt, $($ring:ident $nodes:pat => ($($size:literal),*)),*) => {
        match ($options.ring, $options.nodes) {
            $((RingSize::$ring, $nodes) => $function::<$($size),*> $arguments,)*
        }
    };
}

impl Options {
    /// The largest command a node takes.
    pub(crate) fn command_limit(&self) -> usize {
        with_size!(self, limit())
    }

    /// Bytes of a frame at most.
    pub(crate) fn frame(&self) -> usize {
        with_size!(self, frame())
    }

    /// The memory of one node, all of it.
    pub(crate) fn ram(&self) -> usize {
        with_size!(self, ram())
    }

    /// Who looks at what lies on a chip.
    pub(crate) fn observer(&self) -> Observer {
        with_size!(self, observer())
    }

    /// A node's life.
    pub(crate) fn life(&self, birth: Birth) -> Life {
        with_size!(self, boxed(birth))
    }
}

/// Lives until it is dropped.
pub(crate) type Life = Pin<Box<dyn Future<Output = ()>>>;

fn limit<const UNITS: usize, const SLOTS: usize, const PEERS: usize, const FRAME: usize>() -> usize {
    command_limit(UNITS * UNIT, FRAME).unwrap_or(0)
}

fn observer<const UNITS: usize, const SLOTS: usize, const PEERS: usize, const FRAME: usize>() -> Observer {
    observe::<FRAME>
}

const fn frame<const UNITS: usize, const SLOTS: usize, const PEERS: usize, const FRAME: usize>() -> usize {
    FRAME
}

const fn ram<const UNITS: usize, const SLOTS: usize, const PEERS: usize, const FRAME: usize>() -> usize {
    size_of::<Memory<'_, UNITS, SLOTS, PEERS, FRAME>>()
}

fn boxed<const UNITS: usize, const SLOTS: usize, const PEERS: usize, const FRAME: usize>(birth: Birth) -> Life {
    Box::pin(live::<UNITS, SLOTS, PEERS, FRAME>(birth))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;

    #[test]
    fn memory_grows_with_the_number_of_peers_and_the_ring_and_with_nothing_else() {
        let ram = |nodes, ring, entries| Options { ring, ..Options::new(1, nodes, Workload::Registers(entries)) }.ram();
        assert_eq!(ram(5, RingSize::Medium, 10), ram(5, RingSize::Medium, 1_000_000));
        assert!(ram(3, RingSize::Small, 10) < ram(5, RingSize::Small, 10));
        assert!(ram(5, RingSize::Small, 10) < ram(5, RingSize::Medium, 10));
        assert!(ram(32, RingSize::Medium, 10) < ram(32, RingSize::Wide, 10));
    }

    #[test]
    fn the_wide_ring_takes_lines_up_to_its_record_limit() {
        let limit = |ring| Options { ring, ..Options::new(1, 3, Workload::Registers(1)) }.command_limit();
        assert_eq!(limit(RingSize::Wide), 16 * 1024 / 2 - 16);
        assert_eq!(limit(RingSize::Medium), 1024 - 48 - 16);
    }
}

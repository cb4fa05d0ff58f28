//! The node's pointers, without its lock.

use quoring_core::{LogIndex, Term};
use quoring_ring::{Position, Reader};

/// How far a node is, readable at any moment and from any interrupt: each reading is one load of 32 bits, which waits for nobody and which nobody waits for
/// (F2). From [`Node::pointers`](crate::Node::pointers), which takes the lock once.
///
/// This holds for an interrupt too that the node's critical sections do not hold back, and that may therefore come in the middle of a step of the core. Such a one must
/// wake no task and ask nothing else of the node.
///
/// Each reading is true of the moment it is made. Of two readings the later one may be further: who needs a pair in order reads the one that may not
/// be ahead first, as `applied` before `committed`.
///
/// ```text
/// applied <= committed      flushed <= accepted      none of these ever goes back
/// ```
#[derive(Clone, Debug)]
pub struct Pointers<'a> {
    ring: Reader<'a>,
    /// The last readings: what is read is the lower half of an index.
    committed: u64,
    applied: u64,
}

impl<'a> Pointers<'a> {
    pub(crate) const fn new(ring: Reader<'a>, committed: LogIndex, applied: LogIndex) -> Self {
        Self { ring, committed: committed.0, applied: applied.0 }
    }

    /// The end of what the ring has accepted.
    #[must_use]
    pub fn accepted(&self) -> Position {
        self.ring.accepted()
    }

    /// The end of what is durable here.
    #[must_use]
    pub fn flushed(&self) -> Position {
        self.ring.flushed()
    }

    /// The last entry known to be committed. To be asked at least once in 2^31 entries.
    pub fn committed(&mut self) -> LogIndex {
        self.committed = self.ring.committed(self.committed);
        LogIndex(self.committed)
    }

    /// The last entry that the application has finished. To be asked at least once in 2^31 entries.
    pub fn applied(&mut self) -> LogIndex {
        self.applied = self.ring.applied(self.applied);
        LogIndex(self.applied)
    }

    /// The term in which this node leads, if it does. Another may lead in a later one and this node not know it yet: what must not be done twice goes through the log.
    #[must_use]
    pub fn leading(&self) -> Option<Term> {
        Some(Term(self.ring.leading())).filter(|term| *term != Term::ZERO)
    }
}

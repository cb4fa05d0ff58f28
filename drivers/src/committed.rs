//! The application's end: a stream of committed entries that takes their answers, and of snapshots to make and to restore.

mod restore;
mod save;

use core::fmt;
use core::sync::atomic::Ordering;

use quoring_core::{EntryId, LogIndex, RequestId, Snapshot, Term};
use quoring_ring::{Applier, CopyError, HEADER, Header, Kind, Record, Records};

pub use self::restore::{Restore, RestoreError};
pub use self::save::{Save, SaveError};

use crate::answer::Answer;
use crate::clock::Clock;
use crate::halt::Halt;
use crate::node::Lost;
use crate::platform::Platform;
use crate::proposals::RequestKey;
use crate::sessions::{SessionTable, Verdict};
use crate::shared::Shared;
use crate::store::{LogStore, ReadError};

/// The committed entries in order, each once, none before it is durable here (P5); and in between, snapshots.
pub struct Committed<'a, P: Platform> {
    shared: &'a Shared<'a, P>,
    applier: Applier<'a>,
    buffer: &'a mut [u8],
    /// The last entry that the application has finished, or that the snapshot covers which it has restored.
    applied: EntryId,
    /// What they are after that entry; while a snapshot is being restored, anything.
    sessions: SessionTable<'a>,
    lent: Lent,
}

/// What the application has in its hands.
#[derive(Clone, Copy, Debug)]
enum Lent {
    Nothing,
    Entry(Passing),
    Save,
}

/// An entry of which somebody may wait for the outcome.
#[derive(Clone, Copy, Debug)]
struct Passing {
    entry: EntryId,
    /// For the kinds whose entries name one.
    request: Option<RequestKey>,
}

/// What the application should do next.
pub enum Step<'s, 'a, P: Platform> {
    /// Apply this command.
    Apply(Entry<'s, 'a, P>),
    /// Make a snapshot of your state as it is now, so that the log can be purged. Dropping it declines: you will be asked again later.
    Save(Save<'s, 'a, P>),
    /// Replace your state by this snapshot. The first step after most restarts, and after a long absence.
    Restore(Restore<'s, 'a, P>),
}

/// A committed entry, lent until the next step is asked for.
///
/// Dropping it without an answer is fine: its proposer gets an empty one once the next step is asked for (P14, R7).
pub struct Entry<'e, 'a, P: Platform> {
    committed: &'e mut Committed<'a, P>,
    passing: Passing,
    /// Bytes of the record without its padding.
    len: usize,
}

/// What was found while looking for the next entry.
enum Found {
    /// It is in the buffer, copied from the ring.
    Copied(Header),
    /// It is no longer in the ring: it is in the store, or a snapshot covers it.
    Left,
    /// There may be something to do with a snapshot.
    Detour,
    /// The node has stopped.
    Halted(Halt),
}

/// What there is to do.
enum Next {
    Entry(Header),
    Save,
    Restore(Snapshot),
}

/// What becomes of an entry.
enum Judged {
    /// The application should apply it.
    Lend,
    /// It is not for the application.
    Pass(Result<Answer, Lost>),
    /// The node cannot go on.
    Halt(Halt),
}

impl<'a, P: Platform> Committed<'a, P> {
    pub(crate) const fn new(
        shared: &'a Shared<'a, P>,
        applier: Applier<'a>,
        buffer: &'a mut [u8],
        sessions: SessionTable<'a>,
    ) -> Self {
        Self { shared, applier, buffer, applied: EntryId::ZERO, sessions, lent: Lent::Nothing }
    }

    /// Waits for the next step. After a restart it begins with the newest snapshot, or if there is none with the first entry again.
    ///
    /// Cancel-safe: what was not lent is lent next time.
    ///
    /// # Errors
    /// The node has stopped; see [`Halt`].
    pub async fn next(&mut self) -> Result<Step<'_, 'a, P>, Halt> {
        match core::mem::replace(&mut self.lent, Lent::Nothing) {
            Lent::Nothing => {}
            Lent::Entry(passing) => self.finish(passing, &Answer::EMPTY),
            Lent::Save => {
                let now = self.shared.clock.now();
                self.shared.with(|state| state.raft.handle_declined(now, self.applied.index));
            }
        }
        loop {
            let index = self.applied.index.next();
            match self.look(index).await? {
                Next::Save => {
                    self.lent = Lent::Save;
                    return Ok(Step::Save(Save::new(self)));
                }
                Next::Restore(snapshot) if self.shared.skips_restore() => self.jump(snapshot.last),
                Next::Restore(snapshot) => {
                    if let Some(read) = self.read_sessions(snapshot).await? {
                        return Ok(Step::Restore(Restore::new(self, snapshot, read)));
                    }
                }
                Next::Entry(header) => {
                    let (passing, judged) = self.judge(EntryId { term: Term(header.term), index }, &header);
                    match judged {
                        Judged::Lend => {
                            self.lent = Lent::Entry(passing);
                            let len = HEADER + usize::from(header.len);
                            return Ok(Step::Apply(Entry { committed: self, passing, len }));
                        }
                        Judged::Pass(outcome) => self.pass(passing, outcome.as_ref().map_err(|lost| *lost)),
                        Judged::Halt(halt) => return Err(self.shared.halt(halt)),
                    }
                }
            }
        }
    }

    /// Waits until there is something to do. An entry is then in the buffer.
    async fn look(&mut self, index: LogIndex) -> Result<Next, Halt> {
        loop {
            match self.find(index).await {
                Found::Halted(halt) => return Err(halt),
                Found::Copied(header) => return Ok(Next::Entry(header)),
                Found::Detour => {
                    if let Some(next) = self.detour() {
                        return Ok(next);
                    }
                }
                // What was installed under the application has taken the place of the entries before: those in the store count no more.
                Found::Left => match self.awaits_restore() {
                    Some(snapshot) => return Ok(Next::Restore(snapshot)),
                    None => {
                        if let Some(header) = self.read(index).await? {
                            return Ok(Next::Entry(header));
                        }
                    }
                },
            }
        }
    }

    /// Waits until `index` may be applied, or there is a detour.
    async fn find(&mut self, index: LogIndex) -> Found {
        let (shared, reader) = (self.shared, self.applier.reader());
        let buffer = &mut *self.buffer;
        let found = shared.wakes.committed.until_next(|| {
            if let Some(halt) = shared.halted() {
                return Some(Found::Halted(halt));
            }
            if shared.detour.load(Ordering::Acquire) {
                return Some(Found::Detour);
            }
            if !shared.may_apply(index) {
                return None;
            }
            match reader.copy(index.0, buffer) {
                // The start of a durable record precedes `flushed`, which lies on record boundaries.
                Ok(copied) if copied.position.precedes(reader.flushed()) || shared.applies_accepted() => {
                    Some(Found::Copied(copied.header))
                }
                Ok(_) => None,
                // Only what is durable leaves the ring (ring rule 3). A record larger than any frame cannot have come from one.
                Err(CopyError::Gone) => Some(Found::Left),
                Err(_) => Some(Found::Halted(shared.halt(Halt::Corrupt(index)))),
            }
        });
        found.await
    }

    /// Whether there is a snapshot to restore or to make. The flag goes down first: what comes after the look sets it again.
    fn detour(&mut self) -> Option<Next> {
        self.shared.detour.store(false, Ordering::Relaxed);
        if let Some(snapshot) = self.awaits_restore() {
            return Some(Next::Restore(snapshot));
        }
        let wanted = self.shared.snapshot_limit > 0 && self.shared.with(|state| state.raft.wants_snapshot());
        wanted.then_some(Next::Save)
    }

    /// The newest snapshot, if it is ahead of the application: it was installed, or found at the start. Those that the application made are not.
    fn awaits_restore(&self) -> Option<Snapshot> {
        let newest = self.shared.with(|state| state.raft.snapshot().copied());
        newest.filter(|newest| newest.last.index > self.applied.index)
    }

    /// Reads the entry back from the store, and trusts it no further than its checksum. `None` if a snapshot was installed meanwhile.
    async fn read(&mut self, index: LogIndex) -> Result<Option<Header>, Halt> {
        let (shared, buffer) = (self.shared, &mut *self.buffer);
        let read = shared.use_store(&shared.wakes.committed, async |store| store.read(index, buffer).await).await;
        let failed = matches!(read, Err(ReadError::Store(_)));
        if !failed && shared.is_covered(index) {
            return Ok(None);
        }
        let Ok(len) = read else { return Err(shared.halt(Halt::Read(index))) };
        match self.buffer.get(..len).and_then(|bytes| Records::new(bytes).next()) {
            Some(Ok(record)) if shared.is_entry(&record, index) => Ok(Some(record.header)),
            _ => Err(shared.halt(Halt::Corrupt(index))),
        }
    }

    /// What to do with the entry in the buffer. One whose payload does not begin with a request as its kind demands has been appended by no correct node, and does
    /// nothing.
    fn judge(&mut self, entry: EntryId, header: &Header) -> (Passing, Judged) {
        let mut passing = Passing { entry, request: None };
        let judged = match header.kind {
            Kind::Command => Judged::Lend,
            Kind::Session | Kind::Stream => {
                let payload = self.buffer.get(HEADER..HEADER + usize::from(header.len)).unwrap_or_default();
                passing.request =
                    RequestId::decode(payload).map(|(request, _)| RequestKey { kind: header.kind, request });
                passing.request.map_or(Judged::Pass(Ok(Answer::EMPTY)), |key| self.judge_request(entry, key))
            }
            _ => Judged::Pass(Ok(Answer::EMPTY)),
        };
        (passing, judged)
    }

    fn judge_request(&mut self, entry: EntryId, RequestKey { kind, request }: RequestKey) -> Judged {
        if kind == Kind::Stream {
            return Judged::Lend;
        }
        match self.sessions.judge(entry.index, &request) {
            Verdict::Apply => Judged::Lend,
            Verdict::Done(Ok(_)) if request.sequence > 0 && self.shared.applies_twice() => Judged::Lend,
            Verdict::Done(outcome) => Judged::Pass(outcome),
            Verdict::TooMany(needed) => Judged::Halt(Halt::Sessions { needed }),
        }
    }

    /// The application has finished the entry.
    fn finish(&mut self, passing: Passing, answer: &Answer) {
        if let Some(RequestKey { kind: Kind::Session, request }) = passing.request {
            self.sessions.keep(passing.entry.index, &request, answer);
        }
        self.pass(passing, Ok(answer));
    }

    /// The entry has its effect: who waits for it learns the outcome.
    fn pass(&mut self, passing: Passing, outcome: Result<&Answer, Lost>) {
        self.applied = passing.entry;
        self.applier.publish(passing.entry.index.0);
        self.shared.applied(passing.entry, passing.request, outcome);
    }

    /// The application's state is that after `entry`, which may be far ahead.
    fn jump(&mut self, entry: EntryId) {
        self.applied = entry;
        self.shared.step(|state| state.raft.handle_restored(entry.index));
        self.applier.publish(entry.index.0);
        self.shared.restored(entry.index, &self.sessions);
    }
}

impl<P: Platform> Shared<'_, P> {
    /// Whether the entry is committed.
    fn may_apply(&self, index: LogIndex) -> bool {
        self.ring.committed(index.0) >= index.0 || self.applies_accepted() && self.ring.last(index.0) >= index.0
    }

    /// Whether the newest snapshot covers the entry. It may have been installed just now.
    fn is_covered(&self, index: LogIndex) -> bool {
        self.with(|state| state.raft.snapshot().is_some_and(|newest| newest.last.index >= index))
    }

    /// Whether the record is this entry, undamaged.
    pub(crate) fn is_entry(&self, record: &Record<'_>, index: LogIndex) -> bool {
        record.header.kind.is_entry()
            && record.header.index_low == index.0 as u32
            && self.checksum.verify(record, (index.0 >> 32) as u32).is_ok()
    }

    /// Whether a test asked for P5 to be broken.
    fn applies_accepted(&self) -> bool {
        #[cfg(feature = "planted-faults")]
        {
            self.breaks(quoring_core::Planted::ApplyAccepted)
        }
        #[cfg(not(feature = "planted-faults"))]
        {
            false
        }
    }

    /// Whether a test asked for S4 to be broken.
    fn skips_restore(&self) -> bool {
        #[cfg(feature = "planted-faults")]
        {
            self.breaks(quoring_core::Planted::SkipRestore)
        }
        #[cfg(not(feature = "planted-faults"))]
        {
            false
        }
    }

    /// Whether a test asked for C11 to be broken.
    fn applies_twice(&self) -> bool {
        #[cfg(feature = "planted-faults")]
        {
            self.breaks(quoring_core::Planted::ApplyTwice)
        }
        #[cfg(not(feature = "planted-faults"))]
        {
            false
        }
    }

    #[cfg(feature = "planted-faults")]
    fn breaks(&self, rule: quoring_core::Planted) -> bool {
        self.with(|state| state.raft.config().planted == Some(rule))
    }
}

impl<P: Platform> Entry<'_, '_, P> {
    /// The command as it was proposed.
    pub fn command(&self) -> &[u8] {
        let start = if self.passing.request.is_some() { HEADER + RequestId::SIZE } else { HEADER };
        self.committed.buffer.get(start..self.len).unwrap_or_default()
    }

    /// Whose command it is, and which among the client's own, if it came in a session or a stream. None of a session is lent twice with the same number (C11).
    pub fn request(&self) -> Option<RequestId> {
        self.passing.request.map(|key| key.request)
    }

    /// Its place in the log.
    pub const fn index(&self) -> LogIndex {
        self.passing.entry.index
    }

    /// The term in which it was proposed.
    pub const fn term(&self) -> Term {
        self.passing.entry.term
    }

    /// Finishes the entry and gives its proposer, if it waits on this node, the answer. What exceeds [`ANSWER`](crate::ANSWER) bytes is cut off.
    pub fn answer(self, answer: &[u8]) {
        let cut = answer.get(..answer.len().min(crate::ANSWER)).unwrap_or_default();
        self.committed.lent = Lent::Nothing;
        self.committed.finish(self.passing, &Answer::new(cut).unwrap_or(Answer::EMPTY));
    }
}

impl<P: Platform> fmt::Debug for Committed<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committed").field("applied", &self.applied).field("lent", &self.lent).finish()
    }
}

impl<P: Platform> fmt::Debug for Step<'_, '_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apply(entry) => entry.fmt(f),
            Self::Save(save) => save.fmt(f),
            Self::Restore(restore) => restore.fmt(f),
        }
    }
}

impl<P: Platform> fmt::Debug for Entry<'_, '_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("id", &self.passing.entry).field("command", &self.command()).finish()
    }
}

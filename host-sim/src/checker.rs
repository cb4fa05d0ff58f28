//! The checkers: each looks on from outside, after every step of every node, and knows nothing of how the nodes work inside.

mod apply;
mod commit;
mod completeness;
mod conduct;
mod election;
mod history;
mod matching;
mod memory;
mod pointer;
mod promise;
mod recovery;
mod session;
mod snapshot;
mod stream;

use std::fmt;

use allocation_counter::AllocationInfo;
use quoring::SessionId;
use quoring::store::mock;
use quoring_core::{Event, RequestId, Snapshot, Status};
use quoring_ring::{Kind, RecordError, Records};

use self::apply::Apply;
use self::commit::Commit;
use self::completeness::Completeness;
use self::election::Election;
use self::history::History;
pub(crate) use self::matching::Entry;
use self::matching::Logs;
use self::memory::Memory;
use self::pointer::Pointers;
use self::session::Sessions;
use self::stream::Streams;
use crate::application::{Command, Op, Query, REPLY, Reply, Via};
use crate::desk::Manner;
use crate::findings::Findings;
use crate::store::{Durable, Unsettled};
use crate::timeline::Micros;

/// Who looks on, and at what.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Checker {
    /// One leader a term, one vote a term.
    ElectionSafety,
    /// Logs on media and on the wire that share an entry share all before it.
    LogMatching,
    /// A new leader has every committed entry.
    LeaderCompleteness,
    /// What is committed is on the media of a majority, and stays.
    Commit,
    /// All nodes apply the same commands, in order, durable and committed.
    StateMachineSafety,
    /// What a client is told to be applied is committed, hence durable.
    AcknowledgedIsDurable,
    /// What a node says to others, its own medium holds.
    Promise,
    /// Pointers only go forward and keep their order.
    Pointers,
    /// A snapshot covers what is committed, and the log is purged no further than one covers it.
    Snapshots,
    /// Clients see one history: linearizable, each command once, and reads are part of it.
    Linearizability,
    /// A command of a session takes effect once, and every answer to it is the first.
    Sessions,
    /// A prefix of what is sent in a stream takes effect, and each item has its own answer.
    Streams,
    /// A node that has started allocates nothing.
    ConstantMemory,
    /// A node goes on from all that was durable, and nothing else.
    Recovery,
    /// A node keeps its store's contract and the store its chip's, the node takes nothing too large and stops only with cause.
    Conduct,
    /// When the faults have ended, everything gets done.
    Liveness,
    /// No panic.
    NoPanic,
}

impl Checker {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::ElectionSafety,
        Self::LogMatching,
        Self::LeaderCompleteness,
        Self::Commit,
        Self::StateMachineSafety,
        Self::AcknowledgedIsDurable,
        Self::Promise,
        Self::Pointers,
        Self::Snapshots,
        Self::Linearizability,
        Self::Sessions,
        Self::Streams,
        Self::ConstantMemory,
        Self::Recovery,
        Self::Conduct,
        Self::Liveness,
        Self::NoPanic,
    ];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ElectionSafety => "election safety",
            Self::LogMatching => "log matching",
            Self::LeaderCompleteness => "leader completeness",
            Self::Commit => "commit",
            Self::StateMachineSafety => "state machine safety",
            Self::AcknowledgedIsDurable => "acknowledged is durable",
            Self::Promise => "promise",
            Self::Pointers => "pointers",
            Self::Snapshots => "snapshots",
            Self::Linearizability => "linearizability",
            Self::Sessions => "sessions",
            Self::Streams => "streams",
            Self::ConstantMemory => "constant memory",
            Self::Recovery => "recovery",
            Self::Conduct => "conduct",
            Self::Liveness => "liveness",
            Self::NoPanic => "no panic",
        }
    }
}

/// Right, or what is wrong.
type Verdict = Result<(), String>;

/// A rule that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The rule.
    pub checker: Checker,
    /// When, in microseconds of virtual time.
    pub micros: u64,
    /// Where, if it was one node.
    pub node: Option<usize>,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}.{:06} s", self.checker.name(), self.micros / 1_000_000, self.micros % 1_000_000)?;
        if let Some(node) = self.node {
            write!(f, " on node {node}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What flipped bits did to a medium.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rot {
    /// They were where nothing counts.
    Harmless,
    /// The node goes on from its older snapshot.
    Survived,
    /// The node does not start.
    Noticed,
    /// The node would start and not know what it has lost.
    Unnoticed,
}

/// All checkers, and what they know.
pub(crate) struct Oracle {
    logs: Logs,
    election: Election,
    completeness: Completeness,
    commit: Commit,
    apply: Apply,
    pointers: Pointers,
    history: History,
    sessions: Sessions,
    streams: Streams,
    memory: Memory,
    /// Nodes that refuse what is forbidden, one bit each.
    strict: u32,
    /// Nodes whose media have lost something.
    lost: Vec<bool>,
    violations: Vec<Violation>,
}

impl Oracle {
    /// For so many nodes, whose applications begin with this state; `strict` are those that refuse what is forbidden, one bit each.
    pub(crate) fn new(nodes: usize, state: u64, strict: u32) -> Self {
        Self {
            logs: Logs::new(nodes),
            election: Election::default(),
            completeness: Completeness::new(nodes),
            commit: Commit::new(nodes),
            apply: Apply::new(nodes, state),
            pointers: Pointers::new(nodes),
            history: History::default(),
            sessions: Sessions::default(),
            streams: Streams::default(),
            memory: Memory::default(),
            strict,
            lost: vec![false; nodes],
            violations: Vec::new(),
        }
    }

    pub(crate) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How many elections were won.
    pub(crate) fn elections(&self) -> u64 {
        self.election.won()
    }

    /// How many durable entries were replaced by those of another leader.
    pub(crate) const fn replaced(&self) -> u64 {
        self.logs.replaced()
    }

    /// How many commands of clients are committed and took effect.
    pub(crate) fn effects(&self) -> u64 {
        self.history.effects()
    }

    /// The last entry known to be committed.
    pub(crate) fn committed(&self) -> u64 {
        self.commit.last()
    }

    /// The last committed entry that is a command.
    pub(crate) fn last_command(&self) -> u64 {
        self.commit.last_command()
    }

    pub(crate) const fn memory(&self) -> &Memory {
        &self.memory
    }

    // A node's life.

    /// A node has lost power; this is what its medium shows, and what was being written.
    pub(crate) fn settles(
        &mut self,
        now: Micros,
        node: usize,
        found: &Result<Findings, String>,
        unsettled: &Unsettled,
    ) {
        let verdict = match found {
            Ok(found) => recovery::settles(self.logs.of(node), found, unsettled),
            Err(error) => Err(error.clone()),
        };
        let (durable, finished) = match verdict {
            Ok(settled) => settled,
            Err(what) => return self.judge(Checker::Recovery, now, node, Err(what)),
        };
        if let Some(snapshot) = unsettled.snapshot.filter(|_| finished) {
            self.snapshot(now, node, &snapshot);
        }
        for record in Records::new(&unsettled.batch).flatten().take(durable) {
            self.durable(now, node, Durable::of(&record, self.last(node)));
        }
        if let Ok(found) = found {
            self.purges(now, node, found.start);
        }
    }

    /// An incarnation has recovered its log, and this is what it found; `touched` if it wrote anything.
    pub(crate) fn recovers(&mut self, now: Micros, node: usize, found: &Result<Findings, String>, touched: bool) {
        let verdict = match found {
            Ok(_) if self.lost[node] => Err("started from a medium that has lost something".into()),
            Ok(found) => recovery::agrees(self.logs.of(node), found),
            Err(_) if self.lost[node] => Ok(()),
            Err(error) => Err(error.clone()),
        };
        self.judge(Checker::Recovery, now, node, verdict);
        self.judge(Checker::Conduct, now, node, conduct::recovers(touched));
    }

    /// Bits have flipped on the node's medium, which shows this now. What that did to it.
    pub(crate) fn rots(&mut self, node: usize, found: &Result<Findings, String>) -> Rot {
        let Ok(found) = found else { return Rot::Noticed };
        let log = self.logs.of_mut(node);
        if recovery::agrees(log, found).is_ok() {
            Rot::Harmless
        } else if recovery::falls_back(log, found) {
            Rot::Survived
        } else {
            Rot::Unnoticed
        }
    }

    /// Bits have flipped where it cannot look as if the last write had been torn, and that was not noticed.
    pub(crate) fn forgets(&mut self, now: Micros, node: usize, offset: u32) {
        let what =
            format!("does not notice that a word at {offset:#x} has changed, and finds another log than was written");
        self.judge(Checker::Recovery, now, node, Err(what));
    }

    /// The node's medium counts no more, and the node must not start from it. What others made of it while it did count stays right: who has
    /// acknowledged an entry and never votes again elects nobody without it.
    pub(crate) fn lose(&mut self, node: usize) {
        self.lost[node] = true;
    }

    /// Whether the node's medium counts no more.
    pub(crate) fn is_lost(&self, node: usize) -> bool {
        self.lost[node]
    }

    /// The last entry of the node's durable log.
    pub(crate) fn last(&self, node: usize) -> u64 {
        self.logs.of(node).last()
    }

    /// The newest boot number of the node that is durable.
    pub(crate) fn boot(&self, node: usize) -> u32 {
        self.logs.of(node).boot
    }

    /// An incarnation has started; this is its first status.
    pub(crate) fn starts(&mut self, now: Micros, node: usize, status: &Status) {
        self.completeness.restart(node);
        self.apply.restart(node);
        let verdict = self.pointers.starts(node, status, self.logs.of(node));
        self.judge(Checker::Recovery, now, node, verdict);
    }

    /// A task of the node was polled; this is the node's status now.
    pub(crate) fn status(&mut self, now: Micros, node: usize, status: &Status) {
        if !self.pointers.changes(node, status) {
            return;
        }
        let verdict = self.pointers.moves(node, status, self.logs.of(node));
        self.judge(Checker::Pointers, now, node, verdict);
        let verdict = snapshot::believes(self.logs.of(node), status);
        self.judge(Checker::Snapshots, now, node, verdict);
        let verdict = self.election.role(node, status);
        self.judge(Checker::ElectionSafety, now, node, verdict);
        let verdict = self.commit.advance(node, status, &self.logs);
        self.judge(Checker::Commit, now, node, verdict);
        self.sessions.follow(&self.commit);
        let verdict = self.completeness.look(node, status, &self.logs, &self.commit);
        self.judge(Checker::LeaderCompleteness, now, node, verdict);
    }

    /// The node told an event.
    pub(crate) fn event(&mut self, now: Micros, node: usize, event: &Event) {
        if let Event::Leads { term } = event {
            let verdict = self.election.leads(node, term.0);
            self.judge(Checker::ElectionSafety, now, node, verdict);
        }
    }

    /// A poll of the node's task allocated.
    pub(crate) fn allocates(&mut self, now: Micros, node: usize, task: &str, info: AllocationInfo) {
        let verdict = self.memory.allocates(task, info);
        self.judge(Checker::ConstantMemory, now, node, verdict);
    }

    /// The node stopped though its store had not failed, or did not start.
    pub(crate) fn stops(&mut self, now: Micros, node: usize, why: &str) {
        self.judge(Checker::Conduct, now, node, Err(format!("stopped without cause: {why}")));
    }

    /// The node took a command that is larger than it says it takes.
    pub(crate) fn takes_too_large(&mut self, now: Micros, node: usize, size: usize) {
        self.judge(Checker::Conduct, now, node, Err(format!("accepted a command of {size} bytes, above its limit")));
    }

    // What leaves a node: to its medium, to others, to its application.

    /// The node begins a write; `clean` if the store was ready for one.
    pub(crate) fn writes(&mut self, now: Micros, node: usize, clean: bool) {
        self.judge(Checker::Conduct, now, node, conduct::writes(clean));
    }

    /// The node wrote something other than whole records.
    pub(crate) fn wrote_nonsense(&mut self, now: Micros, node: usize, error: RecordError) {
        self.judge(Checker::Conduct, now, node, Err(format!("wrote a batch that is not whole records: {error}")));
    }

    /// The store asked of its chip what chips cannot do.
    pub(crate) fn abuses(&mut self, now: Micros, node: usize, error: mock::Error) {
        self.judge(Checker::Conduct, now, node, Err(conduct::abuses(error)));
    }

    /// The node has written all of a leader's snapshot, and tells its store to make it the newest.
    pub(crate) fn finishes(&mut self, now: Micros, node: usize, snapshot: &Snapshot) {
        let verdict = snapshot::finishes(self.logs.of(node), snapshot, &self.commit);
        self.judge(Checker::Snapshots, now, node, verdict);
    }

    /// A snapshot has become the newest.
    pub(crate) fn snapshot(&mut self, now: Micros, node: usize, snapshot: &Snapshot) {
        self.finishes(now, node, snapshot);
        self.logs.of_mut(node).snapshot = Some(*snapshot);
    }

    /// The node's log begins behind entry `start` now; true if that is news.
    pub(crate) fn purges(&mut self, now: Micros, node: usize, start: u64) -> bool {
        if start == self.logs.of(node).start {
            return false;
        }
        let verdict = snapshot::purges(self.logs.of(node), start);
        self.judge(Checker::Snapshots, now, node, verdict);
        self.logs.of_mut(node).start = start;
        true
    }

    /// A record has become durable.
    pub(crate) fn durable(&mut self, now: Micros, node: usize, record: Durable<'_>) {
        match record {
            Durable::Vote { term, flags, boot } => {
                let verdict = self.election.votes(node, term, flags);
                self.judge(Checker::ElectionSafety, now, node, verdict);
                self.logs.vote(node, term, flags, boot);
            }
            Durable::Start { index, term } => {
                let verdict = snapshot::begins(self.logs.of(node), index);
                self.judge(Checker::Snapshots, now, node, verdict);
                let verdict = self.commit.cuts_off(self.logs.of(node), index);
                self.judge(Checker::Commit, now, node, verdict);
                let verdict = self.logs.begin(node, index, term);
                self.judge(Checker::LogMatching, now, node, verdict);
            }
            Durable::Entry { index, term, kind, payload } => {
                let entry = Entry::new(term, kind, payload);
                let verdict = self.commit.keeps(self.logs.of(node), index, &entry);
                self.judge(Checker::Commit, now, node, verdict);
                let verdict = self.logs.append(node, index, entry);
                self.judge(Checker::LogMatching, now, node, verdict);
            }
        }
    }

    /// The node sends a frame.
    pub(crate) fn sends(&mut self, now: Micros, node: usize, frame: &[u8]) {
        let verdict = promise::sends(node, frame, &self.logs, &self.commit);
        self.judge(Checker::Promise, now, node, verdict);
        let verdict = promise::carries(frame, &mut self.logs);
        self.judge(Checker::LogMatching, now, node, verdict);
    }

    /// The node's application is given an entry, which names this request if it came in a session or from another node's stream.
    pub(crate) fn applies(
        &mut self,
        now: Micros,
        node: usize,
        (index, term): (u64, u32),
        request: Option<RequestId>,
        command: &[u8],
    ) {
        let decoded = Command::decode(command);
        let (kind, head) = match (request, decoded.map(|command| command.via)) {
            (Some(request), Some(Via::Session)) => (Kind::Session, request.encode().to_vec()),
            (Some(request), _) => (Kind::Stream, request.encode().to_vec()),
            (None, _) => (Kind::Command, Vec::new()),
        };
        let entry = Entry::new(term, kind, &[&head, command].concat());
        let seen = (self.logs.of(node), &self.commit, &self.sessions);
        let verdict = self.apply.applies(node, index, &entry, seen);
        self.judge(Checker::StateMachineSafety, now, node, verdict);
        if self.history.is_new(index) {
            if let Some(decoded) = decoded {
                self.takes_effect(now, node, (index, term), request, &decoded);
            }
            let verdict = self.history.applies(index, command);
            self.judge(Checker::Linearizability, now, node, verdict);
        }
    }

    /// The first application is given this command.
    fn takes_effect(
        &mut self,
        now: Micros,
        node: usize,
        (index, term): (u64, u32),
        request: Option<RequestId>,
        command: &Command<'_>,
    ) {
        match (command.via, request) {
            (Via::Session, Some(request)) => {
                let verdict = self.sessions.applies(index, &request);
                self.judge(Checker::Sessions, now, node, verdict);
            }
            (Via::Stream { stream, item }, _) => {
                let verdict = self.streams.applies(stream, item);
                self.judge(Checker::Streams, now, node, verdict);
            }
            _ => {}
        }
        let leader = self.election.leader(term);
        if command.op == Op::Forbidden && leader.is_some_and(|leader| self.strict >> leader & 1 != 0) {
            let what = format!("entry {index} is a command that the leader of term {term} refuses");
            self.judge(Checker::Conduct, now, node, Err(what));
        }
    }

    /// The node's application has come to this state by applying the command of `index`.
    pub(crate) fn becomes(&mut self, now: Micros, node: usize, index: u64, state: u64) {
        let verdict = self.apply.becomes(index, state);
        self.judge(Checker::StateMachineSafety, now, node, verdict);
    }

    /// The node's application saves its state, that after `index`, in these bytes.
    pub(crate) fn saves(&mut self, now: Micros, node: usize, index: u64, state: u64, bytes: &[u8]) {
        let verdict = self.apply.saves(index, state, bytes);
        self.judge(Checker::StateMachineSafety, now, node, verdict);
    }

    /// The node's application has restored the state after `index` from these bytes; nothing, if that is no state.
    pub(crate) fn restores(&mut self, now: Micros, node: usize, index: u64, state: Option<u64>, bytes: &[u8]) {
        let verdict = self.apply.restores(node, index, state, bytes, self.logs.of(node));
        self.judge(Checker::StateMachineSafety, now, node, verdict);
    }

    // What clients see.

    /// A client begins a command.
    pub(crate) fn begins(&mut self, client: u8, sequence: u32, command: &[u8]) {
        self.history.begins(client, sequence, command);
    }

    /// The node tells a client that its command was applied; at which index and in which term, if it knows. No answer is one too.
    pub(crate) fn acknowledges(
        &mut self,
        now: Micros,
        node: usize,
        (manner, command): (Manner, &[u8]),
        place: Option<(u64, u32)>,
        answer: Option<&[u8; REPLY]>,
    ) {
        let claimed = answer.and_then(|answer| Some(Reply::decode(answer)?.index));
        if let Some((index, term)) =
            place.map(|(index, term)| (index, Some(term))).or(claimed.map(|index| (index, None)))
        {
            let verdict = self.commit.acknowledges(index, term);
            self.judge(Checker::AcknowledgedIsDurable, now, node, verdict);
        }
        let checker = match manner {
            Manner::Proposal => Checker::Linearizability,
            Manner::Session { session, number } => {
                let verdict = self.sessions.answers(session, number, claimed).map(drop);
                self.judge(Checker::Sessions, now, node, verdict);
                Checker::Sessions
            }
            Manner::Item { stream, item } => {
                let verdict = self.streams.answers(stream, item);
                self.judge(Checker::Streams, now, node, verdict);
                Checker::Streams
            }
        };
        if let Some(answer) = answer {
            let index = place.map(|(index, _)| index).or(claimed).unwrap_or(0);
            let verdict = self.history.answers(index, command, answer);
            self.judge(checker, now, node, verdict);
        }
    }

    /// The node tells a client that a command is not stored and will not be.
    pub(crate) fn refuses(&mut self, now: Micros, node: usize, manner: Manner) {
        if let Manner::Item { stream, item } = manner {
            let verdict = self.streams.refuses(stream, item);
            self.judge(Checker::Streams, now, node, verdict);
        }
    }

    /// The node opens a session, in that life of its own.
    pub(crate) fn opens(&mut self, now: Micros, node: usize, session: SessionId, life: u64) {
        let verdict = self.sessions.names(session, node as u64, life);
        self.judge(Checker::Sessions, now, node, verdict);
    }

    /// The node tells a client that its session has expired.
    pub(crate) fn expires(&mut self, now: Micros, node: usize, session: SessionId) {
        let verdict = self.sessions.expires(session);
        self.judge(Checker::Sessions, now, node, verdict);
    }

    /// The node tells a client that a later command took the place of this one.
    pub(crate) fn supersedes(&mut self, now: Micros, node: usize, session: SessionId, number: u32) {
        let verdict = self.sessions.supersedes(session, number);
        self.judge(Checker::Sessions, now, node, verdict);
    }

    /// A client begins a read.
    pub(crate) fn begins_read(&mut self, client: u8, number: u32) {
        self.history.begins_read(client, number);
    }

    /// The node lets a client read after entry `wanted`; the last one that its application was given is `applied`.
    pub(crate) fn reads(
        &mut self,
        now: Micros,
        node: usize,
        reader: (u8, u32),
        (wanted, applied): (u64, u64),
        (query, value): (Query, Option<u64>),
    ) {
        // Not all entries are for the application.
        let verdict = match (applied + 1..=wanted).find(|&index| self.sessions.is_lent(index)) {
            Some(skipped) => Err(format!("let a client read after entry {wanted} without entry {skipped}")),
            None => self.history.reads(reader, wanted.max(applied), query, value),
        };
        self.judge(Checker::Linearizability, now, node, verdict);
    }

    /// A client has what it wanted to read, of the state after `index`; or gives it up.
    pub(crate) fn returns_read(&mut self, client: u8, number: u32, index: Option<u64>) {
        self.history.returns_read(client, number, index);
    }

    /// A client was told two different things about one command of its session.
    pub(crate) fn contradicts(&mut self, now: Micros, what: String) {
        self.record(Checker::Sessions, now, None, Err(what));
    }

    /// A client has its answer.
    pub(crate) fn returns(&mut self, now: Micros, client: u8, sequence: u32) {
        let verdict = self.history.returns(client, sequence);
        self.record(Checker::Linearizability, now, None, verdict);
    }

    // The simulation as a whole.

    /// The simulation ended without everything done.
    pub(crate) fn stuck(&mut self, now: Micros, what: String) {
        self.record(Checker::Liveness, now, None, Err(what));
    }

    /// After everything was done, nodes differ in what they hold.
    pub(crate) fn differs(&mut self, now: Micros, node: usize, what: String) {
        self.judge(Checker::StateMachineSafety, now, node, Err(what));
    }

    fn judge(&mut self, checker: Checker, now: Micros, node: usize, verdict: Verdict) {
        self.record(checker, now, Some(node), verdict);
    }

    fn record(&mut self, checker: Checker, micros: Micros, node: Option<usize>, verdict: Verdict) {
        if let Err(what) = verdict {
            self.violations.push(Violation { checker, micros, node, what });
        }
    }
}

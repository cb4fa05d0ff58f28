//! Protocol faults that can be switched on behind the private feature `planted-faults`: each breaks one rule, so that a test can show
//! that the checker of that rule sees it.

/// A rule to break.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Planted {
    /// Votes again in a term, for anybody (election safety).
    VoteTwice,
    /// Answers leave before the vote is durable (election safety after a crash).
    AnswerBeforeDurable,
    /// A vote is granted to a candidate with an older log (leader completeness).
    VoteForOlderLog,
    /// Entries of earlier terms are committed by counting (Raft figure 8).
    CommitByCounting,
    /// A follower acknowledges what is not durable (acknowledged is durable).
    AcknowledgeUnflushed,
    /// A leader tells peers to commit more than they are known to hold (L6), and they do it (L3; state machine safety).
    CommitUnmatched,
    /// A follower takes entries that do not follow on its log (log matching).
    SkipConsistencyCheck,
    /// Every append truncates, even when the entries are the same (L2).
    AlwaysTruncate,
    /// The application is given what is accepted but neither flushed nor committed (P5).
    ApplyAccepted,
    /// Probes are not repeated (liveness).
    NeverRetry,
    /// A follower installs a snapshot that is older than what it has committed (S2).
    InstallStale,
    /// The log may be purged as far as the application has come, snapshot or not (S3).
    PurgeUncovered,
    /// The application is not told to restore a snapshot that was installed under it (S4).
    SkipRestore,
    /// A lease that has run out still answers reads, also when its leader leads no longer (C12).
    StaleLease,
    /// A leader appends what was forwarded although something before it is missing (C1).
    StreamGap,
    /// A repeated command of a session is applied again (C11).
    ApplyTwice,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::VoteTwice,
        Self::AnswerBeforeDurable,
        Self::VoteForOlderLog,
        Self::CommitByCounting,
        Self::AcknowledgeUnflushed,
        Self::CommitUnmatched,
        Self::SkipConsistencyCheck,
        Self::AlwaysTruncate,
        Self::ApplyAccepted,
        Self::NeverRetry,
        Self::InstallStale,
        Self::PurgeUncovered,
        Self::SkipRestore,
        Self::StaleLease,
        Self::StreamGap,
        Self::ApplyTwice,
    ];
}

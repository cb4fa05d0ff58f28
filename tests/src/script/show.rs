//! How scripts show a node.

use quoring_core::{LogIndex, Refusals, Role};

use crate::disk::Log;
use crate::node::Node;

/// One line: `1 leads term 3: 1-1..2 | 3-3, committed 2`. What lies behind the bar is not known to be durable.
#[must_use]
pub fn status_line(node: &Node) -> String {
    let (id, Some(running)) = (node.id, &node.running) else {
        return format!("{} has no power: {}", node.id, log_line(node.disk.log(), node.disk.log().last()));
    };
    let status = running.raft.status();
    let (term, log) = (status.term, log_line(running.log(), status.durable));
    let role = match (status.role, status.leader) {
        (Role::Leader, _) => format!("leads term {term}"),
        (Role::Follower, Some(leader)) => format!("follows {leader} in term {term}"),
        (Role::Follower, None) => format!("waits in term {term}"),
        (Role::PreCandidate, _) => format!("asks in term {term}"),
        (Role::Candidate, _) => format!("campaigns in term {term}"),
        (Role::Halted, _) => format!("halted in term {term}"),
    };
    let applied =
        if status.applied == status.committed { String::new() } else { format!(", applied {}", status.applied) };
    format!("{id} {role}: {log}, committed {}{applied}", status.committed)
}

/// The terms of a log as runs: `1-1..3 | 4-4..5`.
#[must_use]
pub fn log_line(log: &Log, durable: LogIndex) -> String {
    let mut runs: Vec<(u32, u64, u64, bool)> = Vec::new();
    for (index, entry) in log.iter() {
        let safe = index <= durable;
        match runs.last_mut() {
            Some((term, _, end, same)) if *term == entry.term.0 && *same == safe => *end = index.0,
            _ => runs.push((entry.term.0, index.0, index.0, safe)),
        }
    }
    let mut parts = Vec::new();
    for (place, &(term, first, end, safe)) in runs.iter().enumerate() {
        if !safe && (place == 0 || runs[place - 1].3) {
            parts.push("|".into());
        }
        parts.push(if first == end { format!("{term}-{first}") } else { format!("{term}-{first}..{end}") });
    }
    if parts.is_empty() { "nothing".into() } else { parts.join(" ") }
}

/// One line with the counters that are not zero; none if all are.
pub(super) fn refusals_line(node: &Node) -> Option<String> {
    let Refusals {
        frame,
        stranger,
        stale_term,
        stale_answer,
        impossible,
        record,
        disruptive,
        ring_full,
        busy,
        unable,
        ..
    } = node.refusals()?;
    let counters = [
        ("frame", frame),
        ("stranger", stranger),
        ("stale term", stale_term),
        ("stale answer", stale_answer),
        ("impossible", impossible),
        ("record", record),
        ("disruptive", disruptive),
        ("ring full", ring_full),
        ("busy", busy),
        ("unable", unable),
    ];
    let told: Vec<_> =
        counters.iter().filter(|(_, count)| *count > 0).map(|(what, count)| format!("{what} {count}")).collect();
    if told.is_empty() { None } else { Some(told.join(", ")) }
}

//! How scripts show a node.

use quoring_core::{LogIndex, Role};

use crate::disk::Log;
use crate::node::Node;

/// One line: `1 leads term 3: 1-1..2 | 3-3, committed 2`. What lies behind the bar is not known to be durable. With a snapshot up to 2, and a log that
/// begins behind 1: `1 leads term 3: .. 1-2 | 3-3, committed 2, snapshot 2`.
#[must_use]
pub fn status_line(node: &Node) -> String {
    let (id, Some(running)) = (node.id, &node.running) else {
        let (log, covered) = (node.disk.log(), node.disk.snapshots().covered().index);
        let log = log_behind(log, node.disk.start(), log.last());
        return format!("{} has no power: {log}{}", node.id, snapshot(covered));
    };
    let status = running.raft.status();
    let (term, log) = (status.term, log_behind(running.log(), status.start, status.durable));
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
    let snapshot = snapshot(status.snapshot);
    format!("{id} {role}: {log}, committed {}{applied}{snapshot}", status.committed)
}

fn snapshot(covered: LogIndex) -> String {
    if covered > LogIndex::ZERO { format!(", snapshot {covered}") } else { String::new() }
}

/// The terms of a log as runs: `1-1..3 | 4-4..5`.
#[must_use]
pub fn log_line(log: &Log, durable: LogIndex) -> String {
    log_behind(log, LogIndex::ZERO, durable)
}

/// The same, with two dots for what is gone.
fn log_behind(log: &Log, start: LogIndex, durable: LogIndex) -> String {
    let mut runs: Vec<(u32, u64, u64, bool)> = Vec::new();
    for (index, entry) in log.iter().filter(|&(index, _)| index > start) {
        let safe = index <= durable;
        match runs.last_mut() {
            Some((term, _, end, same)) if *term == entry.term.0 && *same == safe => *end = index.0,
            _ => runs.push((entry.term.0, index.0, index.0, safe)),
        }
    }
    let mut parts: Vec<String> = (start > LogIndex::ZERO).then(|| "..".into()).into_iter().collect();
    for (place, &(term, first, end, safe)) in runs.iter().enumerate() {
        if !safe && (place == 0 || runs[place - 1].3) {
            parts.push("|".into());
        }
        parts.push(if first == end { format!("{term}-{first}") } else { format!("{term}-{first}..{end}") });
    }
    if parts.is_empty() { "nothing".into() } else { parts.join(" ") }
}

/// The window of a follower: `2.1.1 Open: 1 in the log, 3 sent, 4 given`.
pub(super) fn window_line(node: &Node) -> String {
    let Some(running) = &node.running else { return format!("{} has no power", node.id) };
    let window = running.raft.window();
    format!(
        "{} {:?}: {} in the log, {} sent, {} given",
        window.client, window.state, window.accepted, window.sent, window.next
    )
}

/// One line with the counters that are not zero; none if all are.
pub(super) fn refusals_line(node: &Node) -> Option<String> {
    let refusals = node.refusals()?;
    // Events that nobody took are none of them.
    let counted = refusals.iter().filter(|(what, count)| *what != "events" && *count > 0);
    let told: Vec<_> = counted.map(|(what, count)| format!("{} {count}", what.replace('_', " "))).collect();
    if told.is_empty() { None } else { Some(told.join(", ")) }
}

//! The contents of an image as text and as JSON.

use std::fmt::{Display, Write};

use quoring::store::medium::Geometry;
use quoring::store::paged::{Commit, Origin};
use quoring_core::{NodeId, Recovered};
use quoring_ring::Kind;
use serde_json::{Value, json};

use super::contents::{Contents, Page, Part, Piece, Run, Shown, State, Verdict, What};
use super::image::Place;

pub(super) fn text(contents: &Contents, entries: bool) -> String {
    let mut text = String::new();
    if let Some(place) = &contents.place {
        text += &heading(place);
        let _ = writeln!(text, "\npage  sequence  content");
    }
    for page in &contents.pages {
        let sequence = page.header().map_or_else(|| "-".into(), |header| header.sequence.to_string());
        let _ = writeln!(text, "{:>4}  {sequence:>8}  {}", page.number, summary(page));
        for piece in &page.pieces {
            show_piece(&mut text, piece, entries);
        }
    }
    for (slot, Commit { sequence, snapshot, .. }) in &contents.snapshots {
        let last = snapshot.last;
        let _ = writeln!(
            text,
            "snapshot {sequence} in slot {slot}: {} bytes, up to entry {} of term {}",
            snapshot.length, last.index, last.term
        );
    }
    text + "\n" + &sentence(&contents.verdict)
}

pub(super) fn json(contents: &Contents, entries: bool) -> String {
    let pages: Vec<Value> = contents.pages.iter().map(|page| page_json(page, entries)).collect();
    let snapshots = contents.snapshots.iter().map(|(slot, Commit { sequence, snapshot, .. })| {
        json!({
            "slot": slot, "sequence": sequence, "last_index": snapshot.last.index.0, "last_term": snapshot.last.term.0,
            "bytes": snapshot.length, "checksum": snapshot.checksum,
        })
    });
    json!({
        "medium": contents.place.as_ref().map(place_json),
        "pages": pages,
        "snapshots": snapshots.collect::<Vec<Value>>(),
        "healthy": contents.verdict.is_healthy(),
        "verdict": sentence(&contents.verdict),
        "state": match &contents.verdict {
            Verdict::Starts(recovered) => state_json(recovered),
            _ => Value::Null,
        },
    })
    .to_string()
}

fn heading(place: &Place) -> String {
    let Place { start, geometry, owner, layout, .. } = place;
    let Geometry { word, page, erased, .. } = geometry;
    let erased = erased.map_or_else(|| "never erased".into(), |byte| format!("erased to {byte:#04x}"));
    let slots = match layout.slot_pages {
        0 => "no snapshots".into(),
        pages => format!("two snapshots of {pages}"),
    };
    format!(
        "log of node {} of cluster {:#010x}\n{} pages of {page} bytes from byte {start} on, {slots}; words of {word}, {erased}\n",
        owner.node, owner.cluster.0, layout.log_pages
    )
}

fn summary(page: &Page) -> String {
    let State::Begun { header, part } = &page.state else {
        return match page.state {
            State::Unknown => "a header of another version".into(),
            State::CutOff => "cut off".into(),
            State::Free { blank: false } => "free, but not erased".into(),
            _ => "free".into(),
        };
    };
    let mut parts = vec![count(page.batches(), "batch", "batches")];
    parts.extend(page.runs().iter().map(describe));
    if page.votes() > 0 {
        parts.push(count(page.votes(), "vote", "votes"));
    }
    if header.boot > 0 {
        parts.push(format!("begun in boot {}", header.boot));
    }
    if header.origin == Origin::Merged {
        parts.push("merged".into());
    }
    match part {
        Part::Live => {}
        Part::Replaced => parts.push("replaced by a later page".into()),
        Part::Unfinished => parts.push("unfinished: those that it was to stand for still do".into()),
        Part::LeftOut => parts.push("left out: damaged, and covered by a snapshot".into()),
    }
    parts.join(", ")
}

fn describe(run: &Run) -> String {
    let Run { term, first, last } = run;
    if first == last {
        format!("entry {first} of term {term}")
    } else {
        format!("entries {first} to {last} of term {term}")
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A line for what is not as it should be, and for everything if that is wanted.
fn show_piece(text: &mut String, piece: &Piece, entries: bool) {
    let mut line = |offset: u32, what: &dyn Display| {
        let _ = writeln!(text, "{:>16} {offset:>8}  {what}", "at byte");
    };
    match &piece.what {
        What::Torn { bytes } => line(piece.offset, &format_args!("torn: a batch of {bytes} bytes, skipped for ever")),
        What::Stray => line(piece.offset, &"torn: the beginning of a batch, skipped for ever"),
        What::Damage(damage) => line(piece.offset, &format_args!("damaged: {damage}")),
        What::Batch { number, bytes, records } if entries => {
            line(piece.offset, &format_args!("batch {number}, {bytes} bytes"));
            records.iter().for_each(|record| line(record.offset, &record_line(record)));
        }
        What::Batch { .. } => {}
    }
}

fn record_line(record: &Shown) -> String {
    let (header, name) = (&record.header, name(record.header.kind));
    match record.index {
        Some(index) => format!("  entry {index} of term {}, {name}, {} bytes", header.term, header.len),
        None => {
            let boot = boot(record).filter(|&boot| boot > 0).map_or_else(String::new, |boot| format!(", boot {boot}"));
            match candidate(header.flags) {
                Some(candidate) => format!("  {name} in term {} for node {candidate}{boot}", header.term),
                None => format!("  {name} of term {}{boot}", header.term),
            }
        }
    }
}

/// The boot number of a vote record, which stands in the place of an index; 0 for none.
fn boot(record: &Shown) -> Option<u32> {
    (record.header.kind == Kind::Vote).then_some(record.header.index_low)
}

const fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Command => "command",
        Kind::NoOp => "no-op",
        Kind::Configuration => "configuration",
        Kind::Vote => "vote",
        Kind::Session => "session",
        Kind::Start => "start",
        Kind::Stream => "stream",
        Kind::Pad => "pad",
    }
}

/// Whom the flags of a vote record name.
fn candidate(flags: u8) -> Option<NodeId> {
    NodeId::new(flags ^ 0x80)
}

/// The verdict on one line.
fn sentence(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Starts(recovered) => format!("starts with {}", describe_state(recovered)),
        Verdict::Begins(reason) => format!("begins an empty log: {reason}"),
        Verdict::Refuses(reason) => format!("refuses to start: {reason}"),
        Verdict::NoLog(reason) => format!("no log: {reason}"),
    }
}

fn describe_state(recovered: &Recovered) -> String {
    let Recovered { term, vote, boot, snapshot, start, last, restart, .. } = recovered;
    let vote = vote.map_or_else(|| "no vote".into(), |vote| format!("a vote for node {vote}"));
    let boot = if *boot > 0 { format!("boot {boot}, ") } else { String::new() };
    let snapshot = match snapshot {
        Some(snapshot) => format!("the snapshot up to {}", snapshot.last.index),
        None => "no snapshot".into(),
    };
    let entries =
        if last == &start.index { "no entries".into() } else { format!("entries {} to {last}", start.index.next()) };
    let anew = if *restart { "; the log begins anew behind the snapshot" } else { "" };
    format!("term {term}, {vote}, {boot}{snapshot}, {entries}{anew}")
}

fn place_json(place: &Place) -> Value {
    let Place { start, geometry, owner, layout, .. } = place;
    json!({
        "cluster": owner.cluster.0, "node": owner.node.get(), "offset": start, "word": geometry.word, "page": geometry.page,
        "erased": geometry.erased, "log_pages": layout.log_pages, "slot_pages": layout.slot_pages,
    })
}

fn page_json(page: &Page, entries: bool) -> Value {
    let (state, header) = match &page.state {
        State::Begun { header, part: Part::Live } => ("live", Some(header)),
        State::Begun { header, part: Part::Replaced } => ("replaced", Some(header)),
        State::Begun { header, part: Part::Unfinished } => ("unfinished", Some(header)),
        State::Begun { header, part: Part::LeftOut } => ("left out", Some(header)),
        State::Free { blank: true } => ("free", None),
        State::Free { blank: false } => ("not erased", None),
        State::Unknown => ("unknown", None),
        State::CutOff => ("cut off", None),
    };
    let kinds = |wanted: fn(&What) -> bool| page.pieces.iter().filter(|piece| wanted(&piece.what)).count();
    let runs: Vec<Value> =
        page.runs().iter().map(|run| json!({ "term": run.term, "first": run.first, "last": run.last })).collect();
    let mut value = json!({
        "page": page.number, "state": state,
        "sequence": header.map(|header| header.sequence),
        "boot": header.map(|header| header.boot),
        "merged": header.map(|header| header.origin == Origin::Merged),
        "places": header.map(|header| [header.first, header.last]),
        "batches": page.batches(),
        "torn": kinds(|what| matches!(what, What::Torn { .. } | What::Stray)),
        "damaged": kinds(|what| matches!(what, What::Damage(_))),
        "entries": runs, "votes": page.votes(),
    });
    if entries {
        value["pieces"] = page.pieces.iter().map(piece_json).collect();
    }
    value
}

fn piece_json(piece: &Piece) -> Value {
    match &piece.what {
        What::Batch { number, bytes, records } => json!({
            "offset": piece.offset, "is": "batch", "number": number, "bytes": bytes,
            "records": records.iter().map(record_json).collect::<Vec<Value>>(),
        }),
        What::Torn { bytes } => json!({ "offset": piece.offset, "is": "torn", "bytes": bytes }),
        What::Stray => json!({ "offset": piece.offset, "is": "stray" }),
        What::Damage(damage) => json!({ "offset": piece.offset, "is": "damaged", "damage": damage }),
    }
}

fn record_json(record: &Shown) -> Value {
    let header = &record.header;
    json!({
        "offset": record.offset, "kind": name(header.kind), "term": header.term, "index": record.index, "bytes": header.len,
        "flags": header.flags, "boot": boot(record),
    })
}

fn state_json(recovered: &Recovered) -> Value {
    json!({
        "term": recovered.term.0, "vote": recovered.vote.map(NodeId::get), "boot": recovered.boot,
        "start": recovered.start.index.0, "last": recovered.last.0,
        "snapshot": recovered.snapshot.map(|snapshot| snapshot.last.index.0), "restart": recovered.restart,
    })
}

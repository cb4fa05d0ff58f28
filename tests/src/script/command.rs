//! The commands of scenario scripts. Nodes are called by their numbers, links `1>2`, frames `f7`, writes `w3`, entries `term-index`.
//!
//! ```text
//! cluster 1..5 [ring UNITSxSLOTS] [frame BYTES] [origin POSITION] [base TERM-INDEX] [window APPENDS] [window-bytes BYTES] [snapshot-after ENTRIES]
//!            ... [lease PPM] [clients BYTES] [pipelines no] [unable NODE]: leases, the memory of followers' windows, who does not know what clients send
//! boot NODE NUMBER              a boot number that its disk remembers; before the start
//! clock NODE PPM                its clock runs so much faster than time; before the start
//! blank NODE                    a new disk under a known name: it has not even the base
//! log 1: 1 1 4, term 6          what the disk holds before the start: the terms of its entries, and a later term
//! start [NODES] [ring UNITSxSLOTS]   power; after a crash from what is durable
//! crash NODE [keeping N] [torn] the power goes, N pending records and half of the next one get onto the disk
//! halt NODE                     its store fails
//!
//! quietly COMMAND               shows great events only, and no frames; so do run, elect and settle
//!
//! timeout NODE                  time goes on to the node's deadline, only this node notices
//! wait MS                       time goes on, nobody notices
//! run MS                        time goes on, and everything happens in its time
//! elect NODE [with NODES]       timeout, then the votes of these nodes; appends stay on their way
//! settle [NODES]                frames are delivered until there are none, those from or to others dropped; time stands still
//! propose NODE TEXT | propose NODE BYTES bytes [N times]
//!
//! propose-request NODE session TEXT      a new client proposes; propose-batch NODE TEXTS...
//! read NODE                     a client wants to read: `r1`; what becomes of it is shown when it is known
//! transfer NODE [to NODE]       the leader hands over
//! open NODE, forward NODE TEXTS..., close NODE    a follower's window; texts of one command are one batch
//! window NODE                   how far it has come
//!
//! frames [WHICH]                what is on its way; WHICH is *, f7, 1>2, *>2, 1>*, a kind, first, last: all must fit
//! deliver, drop, duplicate, corrupt, postpone WHICH
//! cut 1>2 | cut NODE | heal     links lose what is sent
//! refuse 1>3 of INDEX hint TERM-INDEX    what 1 would say if its disk let it: a refusal,
//! answer 1>3 received INDEX              or that it has received, and not made durable
//!
//! hold disk|application NODE, hold replicator 1>2, release ...
//! hold chunks NODE                       pieces of snapshots wait: first to be stored, then for the core to be told
//! store NODE, tell NODE
//! write NODE [N] -> w3, complete NODE w3, flush NODE [N], apply NODE
//! save NODE [BYTES bytes] [padded with CHARACTER]    its application makes a snapshot
//! purge NODE [N]                         its disk drops what may go, at most N records
//! plan 1>2, copy 1>2, finish 1>2
//!
//! status [NODES], refusals NODE, pending NODE
//! ```

use std::str::FromStr;

use quoring_core::wire::{AppendAnswer, AppendRefusal, Envelope, Message};
use quoring_core::{
    Closed, Duration, EntryId, LogIndex, NodeId, NodeSet, ProposeError, Rejection, RequestId, Stored, Term,
};
use quoring_ring::{Checksum, DEFAULT_CRC32C, HEADER, Header, Kind, Position};

use super::show::{refusals_line, status_line, window_line};
use crate::cluster::{CLUSTER, Cluster, Settings};
use crate::disk::Disk;
use crate::memory::RingSize;
use crate::network::InFlight;
use crate::replicator::Made;

/// Plays commands, one after the other.
#[derive(Default)]
pub struct Player {
    cluster: Option<Cluster>,
}

/// The words of a command that are left.
type Words<'w> = std::iter::Peekable<std::str::SplitAsciiWhitespace<'w>>;

impl Player {
    /// One that has played these commands, whatever they showed.
    ///
    /// # Panics
    /// One of them makes no sense.
    pub fn played(lines: &[&str]) -> Self {
        let mut player = Self::default();
        lines.iter().for_each(|line| drop(player.play(line)));
        player
    }

    /// Plays one command; what it shows.
    ///
    /// # Panics
    /// It makes no sense.
    pub fn play(&mut self, line: &str) -> Vec<String> {
        let mut words = line.split_ascii_whitespace().peekable();
        let quiet = follows(&mut words, "quietly");
        let command = words.next().expect("a command");
        if command == "cluster" {
            self.cluster = Some(Cluster::new(settings(&mut words)));
            return Vec::new();
        }
        let cluster = self.cluster();
        cluster.shows_all = !quiet && !matches!(command, "run" | "elect" | "settle");
        let words = &mut words;
        match command {
            "blank" => cluster.node(node(words)).disk = Disk::default(),
            "log" => set_log(cluster, line),
            "start" => start(cluster, words),
            "crash" => crash(cluster, words),
            "halt" => cluster.halt(node(words)),
            "timeout" => cluster.time_out(node(words)).expect("a deadline"),
            "wait" => cluster.now = cluster.now + Duration::from_millis(number(words)),
            "run" | "elect" | "settle" => happen(cluster, command, words),
            "propose" => propose(cluster, words),
            "propose-request" | "propose-batch" | "read" | "transfer" | "open" | "forward" | "close" | "window" => {
                use_as_client(cluster, command, words);
            }
            "clock" => {
                let id = node(words);
                assert!(cluster.nodes[&id].running.is_none(), "clocks are set before the start");
                cluster.drift.insert(id, parse(words.next().expect("PPM")));
            }
            "boot" => {
                let (id, boot) = (node(words), number(words));
                let disk = &mut cluster.node(id).disk;
                let (term, vote) = disk.vote();
                disk.push(record(Kind::Vote, term.0, boot, vote.map_or(0, |vote| 0x80 | vote.get())));
            }
            "frames" | "deliver" | "drop" | "duplicate" | "corrupt" | "postpone" => {
                handle_frames(cluster, command, words)
            }
            "cut" | "heal" => set_links(cluster, command, words),
            "refuse" | "answer" => speak_for(cluster, command, words),
            "hold" | "release" => hold(cluster, command == "hold", words),
            "write" | "complete" | "flush" | "apply" | "pending" => use_disk(cluster, command, words),
            "save" | "purge" | "store" | "tell" => use_snapshots(cluster, command, words),
            "plan" | "copy" | "finish" => replicate(cluster, command, words),
            "status" => {
                nodes(cluster, words).iter().for_each(|id| cluster.lines.push(status_line(&cluster.nodes[&id])))
            }
            "refusals" => cluster.lines.extend(refusals_line(&cluster.nodes[&node(words)])),
            _ => panic!("no command {command}"),
        }
        assert_eq!(words.next().filter(|_| command != "log"), None, "words left over");
        cluster.sent.clear();
        cluster.events.clear();
        std::mem::take(&mut cluster.lines)
    }

    /// The cluster.
    ///
    /// # Panics
    /// There is none yet.
    pub fn cluster(&mut self) -> &mut Cluster {
        self.cluster.as_mut().expect("scripts begin with a cluster")
    }
}

fn settings(words: &mut Words<'_>) -> Settings {
    let (first, last) = words.next().and_then(|range| range.split_once("..")).expect("cluster FIRST..LAST");
    let ids = parse::<u8>(first)..=parse::<u8>(last);
    let mut settings = Settings::new(ids.map(|id| NodeId::new(id).expect("0..=31")).collect());
    while let Some(word) = words.next() {
        let value = words.next().expect("a value");
        match word {
            "ring" => settings.ring = ring_size(value),
            "frame" => settings.frame = parse(value),
            "origin" => settings.origin = Position::new(parse(value)),
            "base" => {
                let (index, term) = entry(value);
                settings.base = EntryId { term, index };
            }
            "snapshot-after" => settings.snapshot_after = parse(value),
            "window" => settings.max_in_flight = parse(value),
            "window-bytes" => settings.max_in_flight_bytes = parse(value),
            "seed" => settings.seed = parse(value),
            "lease" => settings.lease_drift = Some(parse(value)),
            "clients" => settings.window.bytes = parse(value),
            "pipelines" => settings.window.pipelines = value != "no",
            "unable" => settings.unable.insert(NodeId::new(parse(value)).expect("0..=31")),
            "refuses" => {
                assert_eq!(value, "!", "commands that begin with it");
                settings.admit = refuse_shouting;
            }
            _ => panic!("no setting {word}"),
        }
    }
    settings
}

/// Admission of scripts: what begins with `!` is refused, for the reason of its second byte's number.
fn refuse_shouting(command: &[u8]) -> Result<(), Rejection> {
    match command {
        [b'!', reason, ..] => Err(Rejection(reason.wrapping_sub(b'0'))),
        _ => Ok(()),
    }
}

fn ring_size(value: &str) -> RingSize {
    let (units, slots) = value.split_once('x').expect("UNITSxSLOTS");
    RingSize { units: parse(units), slots: parse(slots) }
}

fn start(cluster: &mut Cluster, words: &mut Words<'_>) {
    let mut named = NodeSet::EMPTY;
    while words.peek().is_some_and(|word| *word != "ring") {
        named.insert(node(words));
    }
    let usual = cluster.settings.ring;
    if follows(words, "ring") {
        cluster.settings.ring = ring_size(words.next().expect("a size"));
    }
    let named = if named.is_empty() { cluster.settings.voters } else { named };
    named.iter().for_each(|id| cluster.start(id));
    cluster.settings.ring = usual;
}

/// Puts entries of these terms on the disk, and behind them the record of a later term.
fn set_log(cluster: &mut Cluster, line: &str) {
    let (id, rest) = line.trim_start_matches("log ").split_once(':').expect("log NODE: TERMS");
    let (terms, later) = rest.split_once(", term ").unwrap_or((rest, "0"));
    let (id, later) = (NodeId::new(parse(id)).expect("0..=31"), parse::<u32>(later));
    let terms: Vec<u32> = terms.split_ascii_whitespace().map(parse).collect();
    let disk = &mut cluster.node(id).disk;
    for (index, &term) in (disk.log().last().0 + 1..).zip(&terms) {
        disk.push(record(Kind::NoOp, term, index, 0));
    }
    if later > 0 {
        disk.push(record(Kind::Vote, later, disk.boot().into(), 0));
    }
}

fn record(kind: Kind, term: u32, index: u64, flags: u8) -> Vec<u8> {
    let header = Header { checksum: 0, term, index_low: index as u32, len: 0, kind, flags };
    let checksum = Checksum::new(CLUSTER.0, DEFAULT_CRC32C).of(&header, (index >> 32) as u32, &[]);
    Header { checksum, ..header }.encode().to_vec()
}

fn crash(cluster: &mut Cluster, words: &mut Words<'_>) {
    let id = node(words);
    let kept = if follows(words, "keeping") { number(words) as usize } else { 0 };
    let torn = if follows(words, "torn") { HEADER / 2 } else { 0 };
    cluster.crash(id, kept, torn);
}

/// Commands that show great events only.
fn happen(cluster: &mut Cluster, command: &str, words: &mut Words<'_>) {
    match command {
        "run" => cluster.run(Duration::from_millis(number(words))),
        "settle" => cluster.settle(nodes(cluster, words)),
        _ => {
            let id = node(words);
            follows(words, "with");
            let among = nodes(cluster, words).with(id);
            cluster.elect(id, among).expect("a deadline");
        }
    }
}

fn propose(cluster: &mut Cluster, words: &mut Words<'_>) {
    let (id, text) = (node(words), words.next().unwrap_or_default());
    let command = if follows(words, "bytes") { vec![b'.'; parse(text)] } else { text.as_bytes().to_vec() };
    let times =
        if words.peek().is_some_and(|word| word.starts_with(|c: char| c.is_ascii_digit())) { number(words) } else { 1 };
    follows(words, "times");
    let (mut taken, mut last) = (0, String::new());
    for _ in 0..times {
        match cluster.propose(id, &command) {
            Ok(entry) => (taken, last) = (taken + 1, format!("{}-{}", entry.term, entry.index)),
            Err(error) => {
                last = format!("refused: {error}");
                break;
            }
        }
    }
    let line = if times == 1 { last } else { format!("{taken} taken, {last}") };
    cluster.lines.insert(0, line);
}

fn use_as_client(cluster: &mut Cluster, command: &str, words: &mut Words<'_>) {
    let id = node(words);
    let line = match command {
        "read" => match cluster.read(id) {
            Ok(name) => format!("r{name}"),
            Err(error) => format!("refused: {error:?}"),
        },
        "transfer" => {
            let to = follows(words, "to").then(|| node(words));
            cluster
                .transfer(id, to)
                .map_or_else(|error| format!("refused: {error:?}"), |to| format!("hands over to {to}"))
        }
        "open" => {
            cluster.open(id).map_or_else(|error| format!("refused: {error:?}"), |client| format!("window {client}"))
        }
        "close" => {
            cluster.ask(id, |raft, _| raft.close_window(Closed::Owner));
            return;
        }
        "window" => window_line(&cluster.nodes[&id]),
        "propose-request" => {
            assert!(follows(words, "session"), "the kind");
            let text = words.next().unwrap_or_default().as_bytes();
            let proposed = cluster.ask(id, |raft, now| {
                let client = raft.new_client();
                raft.propose_request(now, Kind::Session, &RequestId { client, sequence: 0, table: 4 }, text)
            });
            said(proposed.expect("it has power"))
        }
        _ => {
            let texts: Vec<&[u8]> = words.by_ref().map(str::as_bytes).collect();
            if command == "propose-batch" {
                let proposed = cluster.ask(id, |raft, now| {
                    let client = raft.new_client();
                    let requests =
                        (0..).zip(&texts).map(|(sequence, text)| (RequestId { client, sequence, table: 0 }, *text));
                    raft.propose_batch(now, Kind::Session, requests)
                });
                said(proposed.expect("it has power"))
            } else {
                let all = texts.len() as u32;
                let first = cluster.forward(id, &texts);
                first.map_or_else(
                    |error| format!("refused: {error:?}"),
                    |first| format!("items {first}..{}", first.wrapping_add(all)),
                )
            }
        }
    };
    cluster.lines.insert(0, line);
}

fn said(proposed: Result<EntryId, ProposeError>) -> String {
    proposed.map_or_else(|error| format!("refused: {error}"), |id| format!("{}-{}", id.term, id.index))
}

fn handle_frames(cluster: &mut Cluster, command: &str, words: &mut Words<'_>) {
    for frame in select(cluster, words) {
        let name = frame.name;
        match command {
            "frames" => cluster.lines.push(frame.describe(CLUSTER)),
            "deliver" => cluster.deliver(name).expect("it is on its way"),
            "drop" => drop(cluster.network.take(name)),
            "duplicate" => {
                let copy = cluster.network.duplicate(name).map(|copy| copy.describe(CLUSTER));
                cluster.lines.extend(copy);
            }
            "postpone" => {
                let frame = cluster.network.take(name).expect("it is on its way");
                cluster.network.frames.push(frame);
            }
            _ => {
                let frame =
                    cluster.network.frames.iter_mut().find(|frame| frame.name == name).expect("it is on its way");
                // The last byte is one of a record, where there are any.
                if let Some(byte) = frame.bytes.last_mut() {
                    *byte ^= 0x10;
                }
            }
        }
    }
}

/// The frames that all words fit.
fn select(cluster: &Cluster, words: &mut Words<'_>) -> Vec<InFlight> {
    let mut frames = cluster.network.frames.clone();
    for word in words.by_ref() {
        match word {
            "first" => frames.truncate(1),
            "last" => drop(frames.drain(..frames.len().saturating_sub(1))),
            _ => frames.retain(|frame| fits(frame, word)),
        }
    }
    frames
}

fn fits(frame: &InFlight, word: &str) -> bool {
    if let Some((from, to)) = word.split_once('>') {
        let is = |node: NodeId, word: &str| word == "*" || parse::<u8>(word) == node.get();
        return is(frame.from, from) && is(frame.to, to);
    }
    word == "*"
        || word == frame.kind(CLUSTER)
        || word.strip_prefix('f').is_some_and(|name| name == frame.name.to_string())
}

fn set_links(cluster: &mut Cluster, command: &str, words: &mut Words<'_>) {
    let cut = command == "cut";
    let links: Vec<_> = match words.next() {
        Some(word) if word.contains('>') => vec![parse_link(word)],
        Some(word) => {
            let node = NodeId::new(parse(word)).expect("0..=31");
            cluster.settings.voters.without(node).iter().flat_map(|peer| [(node, peer), (peer, node)]).collect()
        }
        None => {
            let all = cluster.settings.voters;
            all.iter().flat_map(|from| all.iter().map(move |to| (from, to))).collect()
        }
    };
    links.into_iter().for_each(|(from, to)| cluster.network.set_cut(from, to, cut));
}

/// Says for a node what its disk does not let it say yet, about the newest pipeline on the link.
fn speak_for(cluster: &mut Cluster, command: &str, words: &mut Words<'_>) {
    let (from, to) = link(words);
    let ((term, session), room) = (cluster.pipelines[&(to, from)], 4096);
    assert!(follows(words, if command == "refuse" { "of" } else { "received" }), "see the list of commands");
    let index = LogIndex(number(words));
    let message = if follows(words, "hint") {
        let (hint, hint_term) = entry(words.next().expect("an entry"));
        Message::AppendRefusal(AppendRefusal { session, room, rejected: index, hint, hint_term })
    } else {
        Message::AppendAnswer(AppendAnswer { session, room, matched: LogIndex::ZERO, received: index })
    };
    let mut bytes = [0; 128];
    let len = Envelope { cluster: CLUSTER, node: from, crc: DEFAULT_CRC32C }
        .seal(to, term, &message, &mut bytes)
        .expect("it fits");
    cluster.hand_in(to, &bytes[..len]);
}

fn hold(cluster: &mut Cluster, hold: bool, words: &mut Words<'_>) {
    let what = words.next().expect("what to hold");
    if what == "replicator" {
        let link = link(words);
        if hold {
            cluster.slow_replicators.insert(link)
        } else {
            cluster.slow_replicators.remove(&link)
        };
        return;
    }
    let id = node(words);
    let slow = match what {
        "disk" => &mut cluster.slow_disks,
        "application" => &mut cluster.slow_applications,
        "chunks" => &mut cluster.slow_chunks,
        _ => panic!("cannot hold {what}"),
    };
    if hold {
        slow.insert(id);
        return;
    }
    slow.remove(id);
    match what {
        "disk" => drop(cluster.flush(id, usize::MAX)),
        "application" => cluster.apply(id),
        _ => {
            cluster.store_chunk(id);
            cluster.tell_stored(id);
        }
    }
}

fn use_snapshots(cluster: &mut Cluster, command: &str, words: &mut Words<'_>) {
    let id = node(words);
    let line = match command {
        "save" => {
            let length = words.next_if(|word| *word != "padded").map_or(0, parse);
            follows(words, "bytes");
            let filler = if follows(words, "padded") { words.nth(1).map_or(0, |word| word.as_bytes()[0]) } else { 0 };
            match cluster.save(id, length, filler) {
                Some(_) => return,
                None => "nothing new to save".into(),
            }
        }
        "purge" => {
            let start = cluster.purge(id, words.next().map_or(usize::MAX, parse));
            format!("the log begins behind {start}")
        }
        "store" => match cluster.store_chunk(id).expect("a piece that waits") {
            Stored::Yes => "stored".into(),
            refused => format!("{refused:?}"),
        },
        _ => {
            let (chunk, stored) = cluster.tell_stored(id).expect("a piece that was stored");
            let (from, to, last) = (chunk.offset, chunk.offset + chunk.len as u64, chunk.snapshot.last);
            format!("bytes {from}..{to} of {}-{}: {stored:?}", last.term, last.index)
        }
    };
    cluster.lines.insert(0, line);
}

fn use_disk(cluster: &mut Cluster, command: &str, words: &mut Words<'_>) {
    let id = node(words);
    match command {
        "apply" => cluster.apply(id),
        "pending" => {
            let names = pending(cluster, id).join(", ");
            cluster.lines.push(names);
        }
        "complete" => {
            let name = words.next().and_then(|name| name.strip_prefix('w')).expect("w and a number");
            let done = cluster.complete(id, parse(name)).expect("such a write");
            cluster.lines.insert(0, format!("{done} records become durable"));
        }
        _ => {
            let records = words.next().map_or(usize::MAX, parse);
            let names = pending(cluster, id);
            if command == "flush" {
                let done = cluster.flush(id, records);
                cluster.lines.insert(0, names[..done].join(", "));
            } else {
                let name = cluster.write(id, records).expect("something pending");
                cluster.lines.push(format!("w{name}: {}", names[..records.min(names.len())].join(", ")));
            }
        }
    }
}

fn pending(cluster: &Cluster, id: NodeId) -> Vec<String> {
    let node = &cluster.nodes[&id];
    node.running.as_ref().map(|running| running.pending_names(&node.disk)).unwrap_or_default()
}

fn replicate(cluster: &mut Cluster, command: &str, words: &mut Words<'_>) {
    let (from, to) = link(words);
    let line = match command {
        "plan" => {
            if cluster.plan(from, to) {
                "planned"
            } else {
                "nothing is due"
            }
        }
        "copy" => match cluster.copy(from, to) {
            Some(true) => "copied",
            Some(false) => "nothing left to copy",
            None => "gone",
        },
        _ => match cluster.finish(from, to).expect("a plan") {
            Made::Frame(_) => "sent",
            Made::Stale => "stale: not sent",
            Made::Gone => "gone: not sent",
        },
    };
    cluster.lines.insert(0, line.into());
}

/// The nodes named by the rest of the words; all if there are none.
fn nodes(cluster: &Cluster, words: &mut Words<'_>) -> NodeSet {
    let named: NodeSet = words.by_ref().map(|word| NodeId::new(parse(word)).expect("0..=31")).collect();
    if named.is_empty() { cluster.settings.voters } else { named }
}

fn node(words: &mut Words<'_>) -> NodeId {
    NodeId::new(number(words) as u8).expect("0..=31")
}

fn link(words: &mut Words<'_>) -> (NodeId, NodeId) {
    parse_link(words.next().expect("a link"))
}

fn parse_link(word: &str) -> (NodeId, NodeId) {
    let (from, to) = word.split_once('>').expect("FROM>TO");
    (NodeId::new(parse(from)).expect("0..=31"), NodeId::new(parse(to)).expect("0..=31"))
}

fn entry(word: &str) -> (LogIndex, Term) {
    let (term, index) = word.split_once('-').expect("TERM-INDEX");
    (LogIndex(parse(index)), Term(parse(term)))
}

fn number(words: &mut Words<'_>) -> u64 {
    parse(words.next().expect("a number"))
}

/// Takes the next word if it is this one.
fn follows(words: &mut Words<'_>, word: &str) -> bool {
    words.next_if_eq(&word).is_some()
}

fn parse<T: FromStr>(word: &str) -> T {
    word.trim().parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}

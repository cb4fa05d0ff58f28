//! The commands `quoring inspect` and `quoring wear` as their users call them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use embassy_futures::block_on;
use quoring::store::LogStore;
use quoring::store::file::{FileLog, FileSize};
use quoring::store::medium::{Geometry, Medium};
use quoring::store::mock::{MockFlash, Tear};
use quoring::store::paged::{Layout, Owner, PagedLog};
use quoring_core::{ClusterId, EntryId, LogIndex, NodeId, NodeSet, Recovery, Snapshot, Term};
use quoring_ring::{Checksum, DEFAULT_CRC32C, Header, Kind, record_size};
use quoring_sim::cli::wear::Cycle;
use serde_json::Value;

const CLUSTER: ClusterId = ClusterId(0xF1A5);
const FLASH: Geometry = Geometry { word: 8, page: 1024, pages: 6, erased: Some(0xFF), ordered: true };
const LAYOUT: Layout = Layout { log_pages: 4, slot_pages: 1 };

type Log<M> = PagedLog<M, 16, 32, 128>;

fn owner() -> Owner {
    Owner { cluster: CLUSTER, node: NodeId::new(2).unwrap() }
}

fn open<M: Medium>(medium: M, layout: Layout) -> Log<M>
where
    M::Error: std::fmt::Debug,
{
    let mut log = Log::new(medium, owner(), layout).unwrap();
    block_on(log.recover(&mut Recovery::new(CLUSTER, DEFAULT_CRC32C))).unwrap();
    log
}

fn record(kind: Kind, term: u32, index: u64, flags: u8, payload: &[u8]) -> Vec<u8> {
    let (len, index_low) = (payload.len() as u16, index as u32);
    let header = Header { checksum: 0, term, index_low, len, kind, flags };
    let checksum = Checksum::new(CLUSTER.0, DEFAULT_CRC32C).of(&header, (index >> 32) as u32, payload);
    let mut bytes = [&Header { checksum, ..header }.encode()[..], payload].concat();
    bytes.resize(record_size(payload.len()), 0);
    bytes
}

fn entry(index: u64) -> Vec<u8> {
    record(Kind::Command, 3, index, 0, &[0x5A; 32])
}

/// A vote for node 1 in term 3, entries 1 to 40, and a snapshot of the first 20; then as much of one more entry as power allows.
fn flash(cut: Option<(u64, Tear)>) -> MockFlash {
    let mut log = open(MockFlash::new(FLASH), LAYOUT);
    block_on(async {
        log.append(&record(Kind::Vote, 3, 0, 0x81, b"")).await.unwrap();
        for index in 1..=40 {
            log.append(&entry(index)).await.unwrap();
        }
        let (state, last) = (b"state of the application", EntryId { term: Term(3), index: LogIndex(20) });
        let (length, checksum) = (state.len() as u64, DEFAULT_CRC32C(0, state));
        log.begin_snapshot(last).await.unwrap();
        log.write_snapshot(last, 0, state).await.unwrap();
        log.finish_snapshot(&Snapshot { last, length, checksum, voters: NodeSet::first(3) }).await.unwrap();
        if let Some((operations, tear)) = cut {
            log.medium_mut().cut_after(operations, tear);
            log.append(&entry(41)).await.unwrap_err();
        }
    });
    log.into_medium()
}

/// A file that no other test uses.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("store-tools");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
    folder.join(name)
}

fn quoring(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quoring")).args(arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What the command says of a file, which it leaves as it is; with its exit code.
fn inspect(path: &Path, options: &[&str]) -> (i32, Value) {
    let before = fs::read(path).unwrap();
    let output = quoring(&[&["inspect", path.to_str().unwrap(), "--json"], options].concat());
    assert!(fs::read(path).unwrap() == before, "an image that is inspected stays as it is");
    assert!(matches!(code(&output), 0 | 1), "{options:?}: {}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["healthy"], Value::from(code(&output) == 0));
    (code(&output), report)
}

fn verdict(report: &Value) -> &str {
    report["verdict"].as_str().unwrap()
}

fn total(report: &Value, key: &str) -> u64 {
    report["pages"].as_array().unwrap().iter().map(|page| page[key].as_u64().unwrap()).sum()
}

#[test]
fn a_healthy_log_is_shown_with_all_that_is_in_it() {
    let path = file("healthy", flash(None).image());
    let (code, report) = inspect(&path, &["--entries"]);
    assert_eq!(code, 0, "{report}");
    assert_eq!(verdict(&report), "starts with term 3, a vote for node 1, the snapshot up to 20, entries 1 to 40");
    let medium = &report["medium"];
    for (key, value) in [
        ("node", 2),
        ("cluster", 0xF1A5),
        ("word", 8),
        ("page", 1024),
        ("log_pages", 4),
        ("slot_pages", 1),
        ("erased", 0xFF),
    ] {
        assert_eq!(medium[key], Value::from(value), "{key}");
    }
    assert_eq!(total(&report, "votes"), 1);
    assert_eq!((total(&report, "torn"), total(&report, "damaged")), (0, 0));
    assert_eq!((&report["state"]["term"], &report["state"]["vote"]), (&3.into(), &1.into()));
    assert_eq!((&report["snapshots"][0]["last_index"], &report["snapshots"][0]["bytes"]), (&20.into(), &24.into()));
    let pieces =
        report["pages"].as_array().unwrap().iter().flat_map(|page| page["pieces"].as_array().cloned().unwrap());
    let records = pieces.flat_map(|piece| piece["records"].as_array().cloned().unwrap());
    let found: Vec<u64> = records.filter_map(|record| record["index"].as_u64()).collect();
    assert_eq!(found, (1..=40).collect::<Vec<u64>>(), "each entry once, in order");
}

#[test]
fn the_text_ends_in_the_verdict_and_lists_entries_if_told_to() {
    let path = file("text", flash(None).image());
    let short = text(&quoring(&["inspect", path.to_str().unwrap()]).stdout);
    assert!(short.starts_with("log of node 2 of cluster 0x0000f1a5\n4 pages of 1024 bytes"), "{short}");
    assert!(short.lines().last().unwrap().starts_with("starts with term 3"), "{short}");
    let long = text(&quoring(&["inspect", path.to_str().unwrap(), "--entries"]).stdout);
    assert!(
        long.contains("vote in term 3 for node 1") && long.contains("entry 40 of term 3, command, 32 bytes"),
        "{long}"
    );
    assert_eq!(long.lines().count(), short.lines().count() + 2 * 41, "a line for each batch and each record");
}

/// covers: R15
#[test]
fn boot_numbers_of_votes_and_pages_are_shown_and_the_highest_is_that_of_the_log() {
    let mut log = open(flash(None), LAYOUT);
    // The second begins a page, and counts though it is of an older term.
    for (term, boot, flags) in [(3, 5, 0x81), (2, 6, 0)] {
        block_on(log.append(&record(Kind::Vote, term, boot, flags, b""))).unwrap();
    }
    let path = file("boots", log.medium().image());
    let (code, report) = inspect(&path, &["--entries"]);
    let pages = report["pages"].as_array().unwrap();
    let of_pages: Vec<u64> = pages.iter().filter_map(|page| page["boot"].as_u64()).collect();
    assert_eq!(of_pages, [0, 0, 0, 5]);
    let pieces = pages.iter().flat_map(|page| page["pieces"].as_array().unwrap());
    let records = pieces.filter_map(|piece| piece["records"].as_array()).flatten();
    let of_records: Vec<u64> = records.filter_map(|record| record["boot"].as_u64()).collect();
    assert_eq!(of_records, [0, 5, 6], "those of votes, and of nothing else");
    assert_eq!((code, &report["state"]["boot"]), (0, &6.into()), "{report}");
    assert!(verdict(&report).contains("a vote for node 1, boot 6, the snapshot up to 20"), "{report}");
    let shown = text(&quoring(&["inspect", path.to_str().unwrap(), "--entries"]).stdout);
    let votes = ["vote in term 3 for node 1\n", "vote in term 3 for node 1, boot 5\n", "vote of term 2, boot 6\n"];
    for line in votes.into_iter().chain(["1 vote, begun in boot 5\n"]) {
        assert!(shown.contains(line), "{line} {shown}");
    }
}

#[test]
fn the_largest_record_that_pages_allow_is_read() {
    fn check<const PAGE: u32, const RECORD: usize>() {
        let geometry = Geometry { page: PAGE, ..FLASH };
        let mut log = PagedLog::<_, 16, 32, RECORD>::new(MockFlash::new(geometry), owner(), LAYOUT).unwrap();
        block_on(async {
            log.recover(&mut Recovery::new(CLUSTER, DEFAULT_CRC32C)).await.unwrap();
            log.append(&record(Kind::Command, 1, 1, 0, &vec![0xA5; RECORD - 16])).await.unwrap();
        });
        let too_large = PagedLog::<_, 16, 32, { 1 << 17 }>::new(MockFlash::new(geometry), owner(), LAYOUT);
        assert!(too_large.is_err(), "a buffer for any record does not do");
        let (code, report) = inspect(&file(&format!("largest-{PAGE}"), log.medium().image()), &[]);
        assert_eq!((code, &report["state"]["last"]), (0, &1.into()), "{PAGE}: {report}");
    }
    check::<1024, 464>();
    check::<2048, 1280>();
    check::<4096, 2912>();
    check::<65536, 52064>();
}

/// covers: D2
#[test]
fn a_torn_tail_is_shown_and_no_reason_not_to_start() {
    for (operations, tear) in [(0, Tear::Partial), (3, Tear::Partial), (5, Tear::Random), (7, Tear::Slow)] {
        let path = file(&format!("torn-{operations}"), flash(Some((operations, tear))).image());
        let (code, report) = inspect(&path, &[]);
        assert_eq!((code, total(&report, "torn"), total(&report, "damaged")), (0, 1, 0), "{operations}: {report}");
        assert_eq!(report["state"]["last"], 40);
    }
}

/// covers: D5
#[test]
fn rot_in_the_middle_is_named_with_its_page_and_byte() {
    let mut flash = flash(None);
    // In the command of the first entry on the second page, the 14th: behind two headers, the batch's and the record's.
    flash.flip(1024 + 2 * 64 + 12 + 16 + 5, 3);
    let (code, report) = inspect(&file("rot", flash.image()), &[]);
    assert_eq!(code, 1, "{report}");
    assert!(verdict(&report).starts_with("refuses to start: page 1 is damaged at byte 128: "), "{report}");
    assert_eq!(total(&report, "damaged"), 1);
}

#[test]
fn a_damaged_page_that_a_snapshot_covers_is_shown_as_left_out() {
    let mut flash = flash(None);
    flash.flip(300, 3);
    let (code, report) = inspect(&file("left-out", flash.image()), &[]);
    assert_eq!((code, &report["pages"][0]["state"]), (0, &"left out".into()), "{report}");
    assert_eq!((&report["state"]["start"], &report["state"]["last"]), (&13.into(), &40.into()));
}

#[test]
fn a_page_that_is_free_but_not_erased_is_told_from_an_erased_one() {
    let mut flash = flash(None);
    let states = |report: &Value| {
        report["pages"].as_array().unwrap().iter().map(|page| page["state"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(states(&inspect(&file("blank", flash.image()), &[]).1), ["live", "live", "live", "free"]);
    flash.flip(4095, 0);
    assert_eq!(states(&inspect(&file("not-blank", flash.image()), &[]).1), ["live", "live", "live", "not erased"]);
}

#[test]
fn what_is_no_log_is_called_so() {
    let garbage: Vec<u8> = (0..5000_u32).map(|i| (i.wrapping_mul(0x9E37_79B1) >> 24) as u8).collect();
    for (name, bytes, due, says) in [
        ("empty", Vec::new(), 1, "no log: the image is empty"),
        ("garbage", garbage, 1, "no log: there is no page of one in it"),
        ("erased", vec![0xFF; 4096], 0, "begins an empty log: all bytes are 0xff"),
        ("zeros", vec![0; 4096], 0, "begins an empty log: all bytes are 0x00"),
        ("half-a-file", b"QUORLOG\0".to_vec(), 1, "refuses to start: "),
    ] {
        let (code, report) = inspect(&file(name, &bytes), &[]);
        assert_eq!(code, due, "{name}: {report}");
        assert!(verdict(&report).starts_with(says), "{name}: {report}");
    }
}

#[test]
fn a_truncated_image_is_refused_and_what_is_there_is_shown() {
    let whole = flash(None).image().to_vec();
    for (length, erased) in
        [64, 1000, 1024, 3000, 6143].into_iter().flat_map(|length| [(length, "ff"), (length, "none")])
    {
        let image = file(&format!("truncated-{length}"), &whole[..length]);
        let (code, report) = inspect(&image, &["--erased", erased]);
        assert_eq!(code, 1, "{length}: {report}");
        assert_eq!(verdict(&report), format!("refuses to start: the image ends at byte {length} of 6144"));
        let cut_off = report["pages"].as_array().unwrap().iter().filter(|page| page["state"] == "cut off").count();
        assert_eq!(cut_off, 4_usize.saturating_sub(length / 1024), "{length}: {report}");
        assert_eq!((total(&report, "torn"), total(&report, "damaged")), (0, 0), "{length}: {report}");
    }
}

#[test]
fn what_erased_bytes_read_as_is_found_out_or_told() {
    for (erased, options) in [(Some(0x00), &[][..]), (Some(0xFF), &[]), (None, &["--erased", "none"])] {
        let mut log = open(MockFlash::new(Geometry { erased, ..FLASH }), LAYOUT);
        let mut next = 1;
        fill(&mut log, &mut next, 200, 1);
        let (code, report) = inspect(&file(&format!("erased-{erased:?}"), log.medium().image()), options);
        // Entries are purged, and no snapshot covers them.
        assert_eq!((code, &report["medium"]["erased"]), (1, &Value::from(erased)), "{report}");
        assert!(verdict(&report).contains("no snapshot covers what is missing"), "{erased:?}: {report}");
    }
}

#[test]
fn a_log_in_a_larger_image_is_found_or_told() {
    let image = [vec![0x11; 100], flash(None).image().to_vec(), vec![0x22; 3000]].concat();
    let path = file("within", &image);
    // The alignment of pages can be found, but not which of them is the first: there is room for more.
    assert_eq!(inspect(&path, &["--offset", "100"]).1["state"]["last"], 40);
    let aligned = [vec![0x11; 32], flash(None).image().to_vec()].concat();
    assert_eq!(inspect(&file("aligned", &aligned), &[]).1["state"]["last"], 40);
}

#[test]
fn sizes_that_are_not_those_of_the_log_are_what_a_node_would_refuse() {
    let path = file("sizes", flash(None).image());
    for options in [["--word", "16"], ["--log-pages", "3"], ["--slot-pages", "0"]] {
        let (code, report) = inspect(&path, &options);
        assert_eq!(code, 1, "{options:?}: {report}");
        assert!(verdict(&report).contains("another word, page or layout"), "{options:?}: {report}");
    }
}

#[test]
fn the_file_of_a_log_in_a_folder_is_shown_like_any_other() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("store-tools-folder");
    let _ = fs::remove_dir_all(&folder);
    let size = FileSize { page: 1 << 17, log_pages: 3, snapshot_pages: 1 };
    let path = folder.join("log");
    {
        let mut log: FileLog = FileLog::open(&folder, CLUSTER, NodeId::new(2).unwrap(), size).unwrap();
        assert_eq!(verdict(&inspect(&path, &[]).1), "begins an empty log: the file holds no page yet");
        block_on(async {
            log.recover(&mut Recovery::new(CLUSTER, DEFAULT_CRC32C)).await.unwrap();
            for index in 1..=9 {
                log.append(&entry(index)).await.unwrap();
            }
        });
    }
    let (code, report) = inspect(&path, &[]);
    assert_eq!((code, &report["state"]["last"], &report["medium"]["erased"]), (0, &9.into(), &Value::Null), "{report}");
    assert_eq!((&report["medium"]["page"], &report["medium"]["offset"]), (&(1 << 17).into(), &4096.into()));
    let bytes = fs::read(&path).unwrap();
    let (code, report) = inspect(&file("short-file", &bytes[..bytes.len() - 1]), &[]);
    assert_eq!(code, 1, "{report}");
    assert!(verdict(&report).starts_with("refuses to start: "), "{report}");
}

#[test]
fn no_image_makes_the_command_fail_in_another_way() {
    let (whole, mut chance) = (flash(Some((4, Tear::Random))).image().to_vec(), 7_u64);
    let mut below = |bound: usize| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (chance >> 33) as usize % bound
    };
    for round in 0..60 {
        let mut image = whole.clone();
        for _ in 0..=below(20) {
            let at = below(image.len());
            image[at] = below(256) as u8;
        }
        image.truncate(image.len() - below(2) * below(2000));
        // `inspect` asserts that the exit code is 0 or 1.
        inspect(&file(&format!("mutated-{round}"), &image), &["--entries"]);
    }
}

#[test]
fn bad_usage_is_one_clear_line_and_exit_code_2() {
    let path = file("usage", flash(None).image());
    let path = path.to_str().unwrap();
    let wear = ["wear", "--pages", "8", "--endurance", "10000", "--entry", "32", "--rate", "1", "--page"];
    let wrong: [&[&str]; 9] = [
        &["inspect", "/no/such/file"],
        &["inspect", "/"],
        &["inspect", path, "--word", "3"],
        &["inspect", path, "--erased", "fff"],
        &["inspect", path, "--offset", "1000000"],
        &["wear", "--page", "2048"],
        &[&wear[..], &["100"]].concat(),
        &[&wear[..], &["128"]].concat(),
        &[&wear[..], &["2048", "--snapshot-bytes", "9"]].concat(),
    ];
    for arguments in wrong {
        let output = quoring(arguments);
        let (stderr, stdout) = (text(&output.stderr), &output.stdout);
        assert_eq!((code(&output), stdout.len(), stderr.lines().count()), (2, 0, 1), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("error: "), "{stderr}");
    }
}

/// Appends whole batches, with everything before allowed to go, and erases ahead as a node does that has time.
fn fill(log: &mut Log<MockFlash>, next: &mut u64, entries: u64, batch: u64) {
    let until = *next + entries;
    while *next < until {
        let records: Vec<u8> = (*next..*next + batch).flat_map(entry).collect();
        *next += batch;
        block_on(async {
            log.append(&records).await.unwrap();
            log.purge(LogIndex(*next - 1));
            while log.tidy().await.unwrap() {}
        });
    }
}

/// covers: D8
#[test]
fn a_cycle_costs_the_flash_exactly_what_was_calculated_and_wears_all_pages_alike() {
    for (word, page, batch) in [(1, 1024, 1), (8, 2048, 1), (8, 2048, 3), (8, 1040, 7), (16, 4096, 8), (32, 2048, 5)] {
        let geometry = Geometry { word, page, pages: 5, ..FLASH };
        let mut log = open(MockFlash::new(geometry), Layout { log_pages: 5, slot_pages: 0 });
        let cycle = Cycle::new(&log.plan(), record_size(32) as u32, batch as u32).unwrap();
        let (laps, mut next) = (20 * 5, 1);
        let entries = laps * cycle.entries;
        fill(&mut log, &mut next, entries, batch);
        let before = log.medium().counters();
        fill(&mut log, &mut next, entries, batch);
        let after = log.medium().counters();
        let counted = Cycle {
            pages: after.erases - before.erases,
            entries,
            programmed: (after.words - before.words) * u64::from(word),
        };
        let due = Cycle { pages: laps * cycle.pages, entries, programmed: laps * cycle.programmed };
        assert_eq!(counted, due, "words of {word}, pages of {page}, {batch} at a time");
        let wear = log.medium().wear();
        assert!(wear.iter().max().unwrap() - wear.iter().min().unwrap() <= 1, "{wear:?}");
    }
}

/// Held against a log that takes snapshots. Only the ends of the run, where the last page is half full, are not in the calculation: 0.2 per cent.
/// covers: D8
#[test]
fn the_forecast_is_what_the_flash_bears() {
    let (entries, every, bytes) = (20_000_u64, 50, 900_usize);
    let output = quoring(&[
        "wear",
        "--page",
        "1024",
        "--pages",
        "4",
        "--endurance",
        "10000",
        "--entry",
        "32",
        "--rate",
        "0.5",
        "--word",
        "8",
        "--batch",
        "2",
        "--snapshot-bytes",
        "900",
        "--snapshot-every",
        "50",
        "--json",
    ]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let forecast: Value = serde_json::from_slice(&output.stdout).unwrap();

    let mut log = open(MockFlash::new(FLASH), LAYOUT);
    let mut next = 1;
    for _ in 0..entries / every {
        fill(&mut log, &mut next, every, 2);
        let (last, state) = (EntryId { term: Term(3), index: LogIndex(next - 1) }, vec![0x77; bytes]);
        let snapshot =
            Snapshot { last, length: bytes as u64, checksum: DEFAULT_CRC32C(0, &state), voters: NodeSet::first(3) };
        block_on(async {
            log.begin_snapshot(last).await.unwrap();
            log.write_snapshot(last, 0, &state).await.unwrap();
            log.finish_snapshot(&snapshot).await.unwrap();
        });
    }
    let flash = log.into_medium();
    let near = |counted: f64, key: &Value, what: &str| {
        let told = key.as_f64().unwrap();
        assert!((counted / told - 1.0).abs() < 0.002, "{what}: counted {counted}, told {told}");
    };
    let days = entries as f64 / 0.5 / 86_400.0;
    let worst = |pages: &[u32]| f64::from(*pages.iter().max().unwrap()) / days;
    let (log_wear, slot_wear) = flash.wear().split_at(4);
    near(flash.counters().words as f64 * 8.0 / entries as f64, &forecast["bytes_per_entry"], "bytes");
    near(worst(log_wear), &forecast["log"]["erases_per_page_and_day"], "erases of the log");
    near(worst(slot_wear), &forecast["snapshots"]["erases_per_page_and_day"], "erases of snapshots");
    near(10_000.0 / worst(flash.wear()), &forecast["days"], "days");
}

//! The command `quoring` as its users call it.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

fn quoring(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quoring")).args(arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// An empty folder that no other test uses.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn replicate(name: &str, text: &[u8], options: &[&str]) -> (Output, Vec<Vec<u8>>) {
    let folder = folder(name);
    let (file, out) = (folder.join("file"), folder.join("out"));
    fs::write(&file, text).unwrap();
    let arguments = [&["replicate", file.to_str().unwrap(), "--out", out.to_str().unwrap()], options].concat();
    let output = quoring(&arguments);
    let logs = (0..32).map_while(|id| fs::read(out.join(format!("node-{id}.log"))).ok()).collect();
    (output, logs)
}

#[test]
fn replicate_gives_every_node_the_file_byte_for_byte() {
    let long = [vec![b'x'; 8000], b"\n".to_vec(), vec![0xFF; 8170]].concat();
    let texts = [
        &b""[..],
        b"\n\n\n",
        b"first\nsecond",
        b"\x00\xFF\xC3\x28\r\n",
        include_bytes!("../data/field-guide.txt"),
        &long,
    ];
    for (number, text) in texts.iter().enumerate() {
        for faults in ["none", "all"] {
            let (output, logs) =
                replicate(&format!("replicate-{number}-{faults}"), text, &["--nodes", "3", "--faults", faults]);
            assert_eq!(code(&output), 0, "{}", stderr(&output));
            assert_eq!(logs.len(), 3);
            assert!(logs.iter().all(|log| log == text));
        }
    }
}

#[test]
fn a_line_that_is_too_long_is_named_before_anything_is_sent() {
    let (output, logs) = replicate("too-long", &[b"fits\n".to_vec(), vec![b'x'; 8171]].concat(), &[]);
    assert_eq!((code(&output), logs.len()), (2, 0));
    assert!(stderr(&output).contains("line 2 has 8171 bytes"), "{}", stderr(&output));
}

#[test]
fn run_reports_what_happened_as_json() {
    let output = quoring(&["run", "--seed", "7", "--nodes", "5", "--entries", "500", "--faults", "all", "--json"]);
    assert_eq!(code(&output), 0);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for key in [
        "seed",
        "nodes",
        "entries",
        "committed",
        "applied_min",
        "elections",
        "virtual_ms",
        "ram_bytes_per_node",
        "snapshots_saved",
        "purged_pages",
        "erases",
        "most_erases_of_a_page",
    ] {
        assert!(report[key].is_u64(), "{key}");
    }
    for fault in [
        "dropped",
        "duplicated",
        "reordered",
        "corrupted",
        "partitions",
        "crashes",
        "power_losses",
        "torn_writes",
        "store_stalls",
        "flash_failures",
        "bit_rot",
        "snapshots_sent",
        "snapshots_interrupted",
        "clock_stalls",
    ] {
        assert!(report["faults"][fault].is_u64(), "{fault}");
    }
    for action in
        ["streams_at_follower", "items_forwarded", "sessions_expired", "reads_at_follower", "transfers", "boots"]
    {
        assert!(report["clients"][action].is_u64(), "{action}");
    }
    assert_eq!((&report["seed"], &report["committed"], &report["applied_min"]), (&7.into(), &500.into(), &500.into()));
    assert_eq!((&report["allocations"], &report["allocated_bytes"]), (&0.into(), &0.into()));
    assert_eq!(report["violations"], Value::Array(Vec::new()));
}

#[test]
fn a_replay_is_the_same_to_the_last_byte_and_another_seed_is_not() {
    let trace = |seed| {
        quoring(&["replay", "--seed", seed, "--nodes", "3", "--entries", "100", "--faults", "all", "--trace"]).stdout
    };
    let first = trace("5");
    assert!(first.len() > 10_000);
    assert!(first == trace("5") && first != trace("6"));
    let text = String::from_utf8(first).unwrap();
    assert!(text.starts_with("# quoring replay --seed 5 --nodes 3 --entries 100 --faults all --trace\n# time"));
}

/// covers: C12
#[test]
fn a_history_pairs_every_invocation_with_one_end_on_processes_that_do_one_thing_at_a_time() {
    let file = folder("history").join("history.jsonl");
    let arguments = ["run", "--seed", "7", "--nodes", "3", "--entries", "300", "--json", "--history"];
    assert_eq!(code(&quoring(&[&arguments[..], &[file.to_str().unwrap()]].concat())), 0);
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut open: HashMap<u64, &Value> = HashMap::new();
    let (mut unknown, mut commands, mut before) = (Vec::new(), 0, 0);
    for line in &lines {
        let (client, time) = (line["client"].as_u64().unwrap(), line["time"].as_u64().unwrap());
        assert!(time >= before && !unknown.contains(&client), "{line}");
        before = time;
        if line["type"] == "invoke" {
            assert!(open.insert(client, line).is_none(), "{line}");
            commands += u64::from(line["op"] != "read");
            continue;
        }
        let begun = open.remove(&client).unwrap();
        assert_eq!((&begun["op"], &begun["key"]), (&line["op"], &line["key"]));
        match line["type"].as_str().unwrap() {
            "ok" => assert!(!line["value"].is_null()),
            "fail" => {}
            "info" => unknown.push(client),
            other => panic!("{other}"),
        }
    }
    assert!(open.is_empty());
    assert_eq!(commands, 300);
    assert!(lines.iter().any(|line| line["op"] == "read" && line["type"] == "ok"));
}

#[test]
fn a_sweep_counts_its_runs_and_their_faults() {
    let output = quoring(&["sweep", "--seeds", "1..6", "--nodes", "3", "--entries", "100", "--jobs", "2", "--json"]);
    assert_eq!(code(&output), 0);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["runs"], &report["committed"]), (&6.into(), &600.into()));
    assert_eq!(report["failed"], Value::Array(Vec::new()));
    assert!(report["faults"]["dropped"].as_u64() > Some(0));
}

#[test]
fn bad_usage_is_one_clear_line_and_exit_code_2() {
    let wrong: [&[&str]; 13] = [
        &["run", "--nodes", "0"],
        &["run", "--nodes", "33"],
        &["run", "--seed", "-1"],
        &["run", "--entries", "many"],
        &["run", "--faults", "some"],
        &["run", "--colour"],
        &["run", "--entries", "1", "--history", "/no/such/folder/file"],
        &["sweep", "--seeds", "9..1"],
        &["sweep", "--seeds", "9"],
        &["sweep"],
        &["replicate", "/no/such/file", "--out", "/tmp"],
        &["replicate", "/", "--out", "/tmp"],
        &["frobnicate"],
    ];
    for arguments in wrong {
        let output = quoring(arguments);
        let (stderr, stdout) = (stderr(&output), &output.stdout);
        assert_eq!((code(&output), stdout.len(), stderr.lines().count()), (2, 0, 1), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("error: "), "{stderr}");
    }
}

//! The scenario scripts, one test each, by the number of the scenario. Numbers without a script are Rust tests; `REQUIREMENTS.md` lists all.

use std::path::Path;

use quoring_tests::script::play_file;

macro_rules! scenarios {
    ($($number:literal $test:ident $file:literal)*) => {
        $(#[test]
        fn $test() {
            play_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(concat!($file, ".txt")));
        })*

        /// Every script is played, and says which scenario it is.
        #[test]
        fn every_script_is_played_and_names_its_number() {
            let listed = [$(($number, $file)),*];
            if std::env::var_os("REWRITE").is_some() {
                return; // The scripts are being written.
            }
            for (number, file) in listed {
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(format!("{file}.txt"));
                let script = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let title = script.lines().next().unwrap_or_default();
                let numbers: Vec<_> = title.split(|c: char| !c.is_ascii_digit()).collect();
                assert!(title.starts_with("# Scenario") && numbers.contains(&number.to_string().as_str()), "{file} is scenario {number}: {title}");
            }
            let folder = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")).expect("the folder of scripts");
            assert_eq!(folder.count(), listed.len(), "a script is not played");
        }
    };
}

scenarios! {
    1 figure_8_commits_nothing_by_counting "figure-8"
    1 figure_8_commits_by_an_entry_of_the_own_term "figure-8-own-term"
    2 figure_7_logs_all_converge "figure-7"
    3 the_same_id_written_thrice_is_acknowledged_once "same-id-thrice"
    4 a_second_copy_is_not_acknowledged_by_the_first_ones_write "aba-five"
    5 a_heartbeat_commits_no_divergent_tail "heartbeat-over-divergent-tail"
    6 a_delayed_append_erases_nothing "delayed-append-after-commit"
    6 an_index_that_is_purged_reads_as_committed "compacted-index-matches"
    7 a_duplicate_append_is_acknowledged_only_when_flushed "duplicate-append-unflushed"
    8 a_reordered_pipeline_leaves_no_gap "reordered-pipeline"
    9 an_answer_of_an_old_session_counts_for_nothing "late-answer-old-session"
    10 an_answer_of_an_earlier_boot_commits_nothing "answer-from-earlier-boot"
    11 followers_learn_the_last_commit_in_silence "lost-acks-then-silence"
    12 a_shut_window_opens_again "lagging-then-fast"
    13 a_storm_of_refusals_rewinds_once "reject-storm"
    14 a_deposed_replicator_sends_no_mixture "mixture"
    14 a_replicator_whose_entries_are_purged_makes_another_plan "purged-under-the-replicator"
    15 a_deposed_replicator_sends_no_foreign_commit "foreign-commit"
    16 a_vote_lost_in_a_power_cut_never_left "vote-lost-on-power-cut"
    17 a_superseded_grant_never_leaves "two-terms-before-flush"
    18 an_own_vote_counts_when_durable "own-vote-before-durable"
    19 an_isolated_node_disturbs_nobody "isolated-node-returns"
    20 an_isolated_leader_steps_down "isolated-leader"
    21 a_one_way_link_keeps_nobody_in_office "one-way-link"
    22 two_voters_do_not_live_lock "two-voters"
    24 the_last_term_blocks_campaigns "term-ceiling"
    25 a_vote_for_node_zero_is_remembered "node-zero"
    26 a_dead_follower_does_not_pin_the_ring "ring-full-dead-follower"
    26 liveness_returns_with_the_majority "ring-full-dead-majority"
    26 a_dead_peer_is_served_from_store_snapshot_and_ring "dead-peer"
    28 a_small_ring_takes_what_fits "small-follower-ring"
    29 the_largest_record_fits_and_one_byte_more_is_refused "record-limit"
    30 everything_wraps_in_the_middle_of_everything "wraps"
    30 a_snapshot_from_far_above_is_installed "far-install"
    31 a_zombie_leader_frees_its_ring "zombie-leader"
    32 hand_offs_of_one_do_not_dead_lock "hand-offs-of-one"
    33 a_stopped_application_loses_nothing "stopped-application"
    38 a_failed_store_silences_its_node "failing-store"
    39 a_leader_whose_store_hangs_steps_down "hanging-store"
    40 a_power_cut_during_a_commit_loses_nothing "power-cut-during-commit"
    41 an_install_ends_an_inquiry_for_votes "install-as-pre-candidate"
    41 an_install_ends_a_candidacy "install-as-candidate"
    42 an_older_snapshot_is_refused_and_answered "older-snapshot-after-newer-log"
    42 late_appends_do_not_lead_astray_who_sends_a_snapshot "late-append-during-snapshot"
    43 a_piece_of_the_previous_term_is_refused "chunk-of-previous-term"
    44 a_newer_snapshot_replaces_an_older_one "newer-snapshot-replaces-older"
    45 a_log_is_started_anew_when_there_is_room "start-waits-for-room"
    46 a_purged_leader_serves_an_empty_node "purged-leader-serves-empty-node"
    47 a_leader_that_is_cut_off_promises_nothing "proposal-cut-off"
    50 a_deposed_leader_answers_no_read "read-on-deposed-leader"
    61 late_and_repeated_leaves_make_one_campaign "vote-by-leave"
}

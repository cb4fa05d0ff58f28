//! The log on flash of `quoring`.

use std::ops::Range;

use embassy_futures::block_on;
use quoring::store::LogStore;
use quoring::store::medium::Medium;
use quoring::store::mock::MockFlash;
use quoring::store::paged::{Layout, Owner, PagedLog};
use quoring_core::{LogIndex, NodeId, Recovery};
use quoring_ring::software_crc32c;

use crate::flash::contender::Contender;
use crate::flash::entry::{self, BUFFER, CLUSTER, Form};

/// A log without snapshots, in which everything may go that is not on the newest page; as a node does that has time, it erases ahead.
pub(crate) struct LogOf<const PAGES: usize> {
    log: PagedLog<MockFlash, PAGES, 32, BUFFER>,
}

impl<const PAGES: usize> Contender for LogOf<PAGES> {
    fn open(flash: MockFlash, form: Form) -> Self {
        assert_eq!(form, Form::Record, "a log takes records");
        let owner = Owner { cluster: CLUSTER, node: NodeId::new(0).expect("a small number") };
        let layout = Layout { log_pages: flash.geometry().pages as u16, slot_pages: 0 };
        let log = PagedLog::new(flash, owner, layout).expect("a sane layout");
        Self { log: log.with_crc(software_crc32c) }
    }

    fn recover(&mut self) -> Range<u64> {
        let mut recovery = Recovery::new(CLUSTER, software_crc32c);
        block_on(self.log.recover(&mut recovery)).expect("a healthy log");
        self.log.space().start.0 + 1..recovery.last().0 + 1
    }

    fn append(&mut self, entries: Range<u64>) {
        let last = LogIndex(entries.end - 1);
        let batch = entry::batch(Form::Record, entries);
        block_on(async {
            self.log.append(&batch).await.expect("room for a batch");
            self.log.purge(last);
            while self.log.tidy().await.expect("healthy flash") {}
        });
    }

    fn flash(&mut self) -> &MockFlash {
        self.log.medium()
    }
}

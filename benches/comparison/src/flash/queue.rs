//! The queue of `sequential-storage`, with the caches that its documentation recommends for queues.

use std::ops::Range;

use embassy_futures::block_on;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use quoring::store::mock::{self, MockFlash};
use sequential_storage::cache::page_pointers::ArrayPagePointers;
use sequential_storage::cache::page_states::ArrayPageStates;
use sequential_storage::cache::{Cache, Uncached};
use sequential_storage::queue::{QueueConfig, QueueStorage};

use crate::flash::contender::Contender;
use crate::flash::entry::{self, BUFFER, Form};

type Caches<const PAGES: usize> = Cache<ArrayPageStates<PAGES>, ArrayPagePointers<PAGES>, Uncached>;
type Queue<const WORD: usize, const PAGE: usize, const PAGES: usize> = QueueStorage<Nor<WORD, PAGE>, Caches<PAGES>>;

/// A queue of batches, each an item. What is oldest is overwritten when there is no room: popping an item programs its header a second
/// time, which flash with write-once words forbids and which costs more.
pub(crate) struct QueueOf<const WORD: usize, const PAGE: usize, const PAGES: usize> {
    queue: Queue<WORD, PAGE, PAGES>,
    form: Form,
}

impl<const WORD: usize, const PAGE: usize, const PAGES: usize> Contender for QueueOf<WORD, PAGE, PAGES> {
    fn open(flash: MockFlash, form: Form) -> Self {
        let config = const { QueueConfig::new(0..(PAGE * PAGES) as u32) };
        let caches = Cache::new(ArrayPageStates::new(), ArrayPagePointers::new(), Uncached);
        Self { queue: QueueStorage::new(Nor(flash), config, caches), form }
    }

    fn recover(&mut self) -> Range<u64> {
        block_on(async {
            let (mut found, mut buffer) = (None, [0; BUFFER]);
            let mut items = self.queue.iter().await.expect("a healthy queue");
            while let Some(item) = items.next(&mut buffer).await.expect("a healthy queue") {
                entry::follow(&mut found, self.form, &item);
            }
            found.unwrap_or_default()
        })
    }

    fn append(&mut self, entries: Range<u64>) {
        let item = entry::batch(self.form, entries);
        block_on(self.queue.push(&item, true)).expect("room for an item");
    }

    fn flash(&mut self) -> &MockFlash {
        &self.queue.flash().0
    }
}

/// The mock with the geometry in its type.
struct Nor<const WORD: usize, const PAGE: usize>(MockFlash);

/// Why the mock refused.
#[derive(Debug)]
struct Refused(#[expect(dead_code, reason = "shown by `Debug`")] mock::Error);

impl NorFlashError for Refused {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl<const WORD: usize, const PAGE: usize> ErrorType for Nor<WORD, PAGE> {
    type Error = Refused;
}

impl<const WORD: usize, const PAGE: usize> ReadNorFlash for Nor<WORD, PAGE> {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Refused> {
        self.0.read_now(offset, bytes).map_err(Refused)
    }

    fn capacity(&self) -> usize {
        self.0.image().len()
    }
}

impl<const WORD: usize, const PAGE: usize> NorFlash for Nor<WORD, PAGE> {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = PAGE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Refused> {
        (from..to).step_by(PAGE).try_for_each(|page| self.0.erase_now(page)).map_err(Refused)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Refused> {
        self.0.write_now(offset, bytes).map_err(Refused)
    }
}

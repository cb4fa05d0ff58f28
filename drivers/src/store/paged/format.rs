//! The bytes of a log on pages, as `STORE.md` draws them. All numbers are little-endian, all checksums CRC-32C.

use quoring_core::{ClusterId, EntryId, LogIndex, NodeId, NodeSet, Snapshot, Term};
use quoring_ring::{ALIGN, Crc32c};

use super::error::LayoutError;
use crate::store::medium::Geometry;

/// Bytes of a [`PageHeader`] and of a [`Commit`].
pub(super) const HEADER: usize = 64;
/// Bytes of a [`BatchHeader`].
pub(super) const BATCH_HEADER: u32 = 12;
/// Bytes of the checksum that ends a batch.
pub(super) const TRAILER: u32 = 4;
/// What a batch's length counts in.
pub(super) const STEP: u32 = ALIGN as u32;
/// The largest page.
const MAX_PAGE: u32 = 1 << 20;
/// The most bytes of records in a batch.
pub(super) const MOST: u32 = u16::MAX as u32 * STEP;

const VERSION: u8 = 1;
const PAGE_MAGIC: [u8; 3] = *b"QPL";
const SLOT_MAGIC: [u8; 3] = *b"QPS";
/// Where the checksum of a header lies: behind all that it covers.
const SUM: usize = 60;

const _: () = assert!(MAX_PAGE / STEP == 1 << 16, "the largest page, and no other, leaves 0 in 16 bits");
const _: () = assert!(BATCH_HEADER + TRAILER == STEP, "records of a batch end as aligned as it began");

/// Whose log it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Owner {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
}

/// How the pages of a medium are used: first the log's, then those of two snapshots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Layout {
    /// Pages of the log, at least 3.
    pub log_pages: u16,
    /// Pages of each of the two snapshots; 0 for none.
    pub slot_pages: u16,
}

/// A medium's geometry, its use and its owner: what decides about every byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    pub(super) owner: Owner,
    pub(super) layout: Layout,
    pub(super) geometry: Geometry,
    pub(super) crc: Crc32c,
}

impl Format {
    /// Checks everything that the rest of the store takes for granted.
    pub(super) fn new(
        owner: Owner,
        layout: Layout,
        geometry: Geometry,
        crc: Crc32c,
        largest: u32,
    ) -> Result<Self, LayoutError> {
        let format = Self { owner, layout, geometry, crc };
        let Geometry { word, page, pages, .. } = geometry;
        let used = u32::from(layout.log_pages) + 2 * u32::from(layout.slot_pages);
        if !word.is_power_of_two() || word > 256 {
            return Err(LayoutError::Word(word));
        }
        if !page.is_multiple_of(format.unit()) || page > MAX_PAGE {
            return Err(LayoutError::Page(page));
        }
        if layout.log_pages < 3 {
            return Err(LayoutError::TooFewPages(layout.log_pages));
        }
        if used > pages || u64::from(page) * u64::from(pages) > u64::from(u32::MAX) {
            return Err(LayoutError::TooManyPages(used));
        }
        let least = format.data() + format.extent(largest) + format.extent(0) + format.extent(2 * STEP) * 4;
        if page < least + least / 4 {
            return Err(LayoutError::PageTooSmall(least + least / 4));
        }
        Ok(format)
    }

    pub(super) const fn page(&self) -> u32 {
        self.geometry.page
    }

    /// What a batch begins and ends at a multiple of.
    pub(super) const fn unit(&self) -> u32 {
        if self.geometry.word > STEP { self.geometry.word } else { STEP }
    }

    /// Bytes of the units that `bytes` take.
    const fn in_units(&self, bytes: u32) -> u32 {
        // Units are powers of two, of which the compiler does not know: it would divide, and small cores do that in a loop.
        let below = self.unit() - 1;
        (bytes + below) & !below
    }

    /// Bytes that a header or commit record takes.
    pub(super) const fn header(&self) -> u32 {
        self.in_units(HEADER as u32)
    }

    /// Where the batches of a page begin: behind two copies of its header.
    pub(super) const fn data(&self) -> u32 {
        2 * self.header()
    }

    /// Bytes of a page's batches.
    pub(super) const fn usable(&self) -> u32 {
        self.page().saturating_sub(self.data())
    }

    /// Bytes that a batch takes on the medium, with `body` bytes of records.
    pub(super) const fn extent(&self, body: u32) -> u32 {
        self.in_units(body + BATCH_HEADER + TRAILER)
    }

    /// Bytes of records that `room` bytes of a page take, however they are batched: the smallest ones one by one, and at last one of `largest` bytes,
    /// which does not fit.
    pub(super) const fn promise(&self, room: u32, largest: u32) -> u32 {
        let room = (room + self.unit()).saturating_sub(self.extent(largest));
        // What the smallest one takes is a power of two as well.
        (room >> self.extent(STEP).trailing_zeros()) * STEP
    }

    /// What an interrupted write of the last word can explain: the last bytes of a batch.
    pub(super) const fn tail(&self) -> u32 {
        if self.geometry.word > TRAILER { self.geometry.word } else { TRAILER }
    }

    /// What entries leave free of the last page, for votes.
    pub(super) const fn reserve(&self) -> u32 {
        let (least, share) = (self.extent(2 * STEP) * 2, self.usable() / 8);
        if share > least { share & !(self.unit() - 1) } else { least }
    }

    /// What is not promised of it: that, and less than a unit.
    pub(super) const fn kept(&self) -> u32 {
        self.reserve() + self.unit()
    }

    /// Where page `number` begins.
    pub(super) const fn base(&self, number: usize) -> u32 {
        number as u32 * self.page()
    }

    /// Where slot 0 or 1 begins.
    pub(super) const fn slot(&self, slot: usize) -> u32 {
        (self.layout.log_pages as u32 + slot as u32 * self.layout.slot_pages as u32) * self.page()
    }

    /// Bytes of a snapshot.
    pub(super) const fn slot_bytes(&self) -> u32 {
        (self.layout.slot_pages as u32 * self.page()).saturating_sub(self.header())
    }

    /// What the checksums of a page start from: no batch counts on another page, in another lap, or in another's log.
    pub(super) fn seed(&self, sequence: u32, salt: u32) -> u32 {
        let owner = (self.crc)(u32::from(self.owner.node.get()), &self.owner.cluster.0.to_le_bytes());
        (self.crc)((self.crc)(owner, &salt.to_le_bytes()), &sequence.to_le_bytes())
    }

    /// What the checksums of a batch start from, at this offset of the page with that seed.
    pub(super) fn place(&self, seed: u32, at: u32) -> u32 {
        (self.crc)(seed, &at.to_le_bytes())
    }

    /// Bit 0 of what is not erased.
    fn written_bit(&self) -> u16 {
        self.geometry.erased.map_or(0, |erased| u16::from(!erased & 1))
    }

    pub(super) fn is_erased(&self, bytes: &[u8]) -> bool {
        self.geometry.erased.is_some_and(|erased| bytes.iter().all(|&byte| byte == erased))
    }
}

/// How a page came to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Origin {
    /// Opened when the one before was full.
    Opened,
    /// Made of the live records of older pages; counts only with its first batch.
    Merged,
}

/// What stands twice at the beginning of a page.
///
/// ```text
///  0     3       4       8    9    10     11   12   14       16    18       20       24    28   32       36   40     48   52   56   60  64
///  +-----+-------+-------+----+----+------+----+----+--------+-----+--------+--------+-----+----+--------+----+------+----+----+----+---+
///  |"QPL"|version|cluster|node|word|origin|vote|page|previous|log  |snapshot|sequence|first|last|previous|boot|before     |vote|salt|sum|
///  |     |       |       |    |log2|      |    |/ 16|batches |pages|pages   |        |rank |rank|sequence|    |index |term|term|    |   |
///  +-----+-------+-------+----+----+------+----+----+--------+-----+--------+--------+-----+----+--------+----+------+----+----+----+---+
/// ```
/// A page of 1 MiB, the largest, has 0 where others have their size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PageHeader {
    /// Whose log it is.
    pub owner: Owner,
    /// How the medium is divided.
    pub layout: Layout,
    /// Bytes of a word, when it was written.
    pub word: u32,
    /// Bytes of a page, when it was written.
    pub page: u32,
    /// How the page came to be.
    pub origin: Origin,
    /// Rises by one with each page that is begun.
    pub sequence: u32,
    /// The first place in the order of pages that this one takes.
    pub first: u32,
    /// The last one: a merged page takes those of all that it is made of.
    pub last: u32,
    /// The sequence of the page before, when this one was begun.
    pub previous: u32,
    /// How many batches that one had then.
    pub previous_batches: u16,
    /// The last entry of the log before this page.
    pub before: EntryId,
    /// The newest term known when the page was begun.
    pub term: Term,
    /// The flags of the newest vote record of that term; 0 for none.
    pub vote: u8,
    /// The newest boot number then; 0 for none.
    pub boot: u32,
    /// Of whoever wrote it: makes the checksums of this page unlike those that a client can foresee.
    pub salt: u32,
}

impl PageHeader {
    pub(super) fn encode(&self, crc: Crc32c) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        put(&mut bytes, 0, &PAGE_MAGIC);
        put(&mut bytes, 3, &[VERSION]);
        put(&mut bytes, 4, &self.owner.cluster.0.to_le_bytes());
        put(&mut bytes, 8, &[self.owner.node.get(), self.word.trailing_zeros() as u8, self.origin as u8, self.vote]);
        put(&mut bytes, 12, &((self.page / STEP) as u16).to_le_bytes());
        put(&mut bytes, 14, &self.previous_batches.to_le_bytes());
        put(&mut bytes, 16, &self.layout.log_pages.to_le_bytes());
        put(&mut bytes, 18, &self.layout.slot_pages.to_le_bytes());
        put(&mut bytes, 20, &self.sequence.to_le_bytes());
        put(&mut bytes, 24, &self.first.to_le_bytes());
        put(&mut bytes, 28, &self.last.to_le_bytes());
        put(&mut bytes, 32, &self.previous.to_le_bytes());
        put(&mut bytes, 36, &self.boot.to_le_bytes());
        put(&mut bytes, 40, &self.before.index.0.to_le_bytes());
        put(&mut bytes, 48, &self.before.term.0.to_le_bytes());
        put(&mut bytes, 52, &self.term.0.to_le_bytes());
        put(&mut bytes, 56, &self.salt.to_le_bytes());
        seal(bytes, crc)
    }

    /// The header that these bytes are; `Err` with a version that is not this one's.
    pub(super) fn decode(bytes: &[u8; HEADER], crc: Crc32c) -> Option<Result<Self, u8>> {
        let version = opened(bytes, &PAGE_MAGIC, crc)?;
        if version != VERSION {
            return Some(Err(version));
        }
        let [node, word, origin, vote] = get(bytes, 8);
        let origin = match origin {
            0 => Origin::Opened,
            1 => Origin::Merged,
            _ => return None,
        };
        let owner = Owner { cluster: ClusterId(u32::from_le_bytes(get(bytes, 4))), node: NodeId::new(node)? };
        let layout =
            Layout { log_pages: u16::from_le_bytes(get(bytes, 16)), slot_pages: u16::from_le_bytes(get(bytes, 18)) };
        let index = LogIndex(u64::from_le_bytes(get(bytes, 40)));
        let header = Self {
            owner,
            layout,
            word: 1_u32.checked_shl(u32::from(word))?,
            page: page_size(u16::from_le_bytes(get(bytes, 12))),
            origin,
            sequence: u32::from_le_bytes(get(bytes, 20)),
            first: u32::from_le_bytes(get(bytes, 24)),
            last: u32::from_le_bytes(get(bytes, 28)),
            previous: u32::from_le_bytes(get(bytes, 32)),
            previous_batches: u16::from_le_bytes(get(bytes, 14)),
            before: EntryId { term: Term(u32::from_le_bytes(get(bytes, 48))), index },
            term: Term(u32::from_le_bytes(get(bytes, 52))),
            vote,
            boot: u32::from_le_bytes(get(bytes, 36)),
            salt: u32::from_le_bytes(get(bytes, 56)),
        };
        (header.first <= header.last).then_some(Ok(header))
    }
}

/// Bytes of a page that has so many steps, the largest of which do not fit the field and leave 0 in it.
const fn page_size(steps: u16) -> u32 {
    if steps == 0 { MAX_PAGE } else { steps as u32 * STEP }
}

/// What stands before the records of a batch, all of it known before the first word is written.
///
/// ```text
///  0        2        4        8       12                                                 extent - 4  extent
///  +--------+--------+--------+-------+------------------------------+-------------------+-----------+
///  | number | length | prefix | check | records                      | zeros to the word | sum       |
///  +--------+--------+--------+-------+------------------------------+-------------------+-----------+
///                     '- of these, up to the last word ------------------------'
/// ```
/// `check` covers the first eight bytes, `prefix` everything behind the header that lies before the batch's last word (or last four bytes),
/// `sum` all of it. All three start from the place: owner, salt, page sequence, offset. Numbers count from 0 on each page, in bits 1 to 15; bit 0 is
/// not what it is when erased, so that no batch begins with a word that looks erased. The length counts 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BatchHeader {
    pub(super) number: u16,
    pub(super) length: u16,
    pub(super) prefix: u32,
}

impl BatchHeader {
    /// Bytes of the records.
    pub(super) const fn body(&self) -> u32 {
        self.length as u32 * STEP
    }

    pub(super) fn encode(&self, format: &Format, place: u32) -> [u8; BATCH_HEADER as usize] {
        let mut bytes = [0; BATCH_HEADER as usize];
        put(&mut bytes, 0, &(self.number << 1 | format.written_bit()).to_le_bytes());
        put(&mut bytes, 2, &self.length.to_le_bytes());
        put(&mut bytes, 4, &self.prefix.to_le_bytes());
        let check = (format.crc)(place, bytes.get(..8).unwrap_or_default());
        put(&mut bytes, 8, &check.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; BATCH_HEADER as usize], format: &Format, place: u32) -> Option<Self> {
        let header = Self {
            number: u16::from_le_bytes(get(bytes, 0)) >> 1,
            length: u16::from_le_bytes(get(bytes, 2)),
            prefix: u32::from_le_bytes(get(bytes, 4)),
        };
        (header.encode(format, place) == *bytes).then_some(header)
    }
}

impl Format {
    /// Makes `batch`, which is as long, the batch of these records.
    pub(super) fn encode_batch(&self, batch: &mut [u8], number: u16, place: u32, body: &[u8]) {
        let to_last_word = batch.len().saturating_sub(self.tail() as usize).saturating_sub(BATCH_HEADER as usize);
        let Some((header, rest)) = batch.split_first_chunk_mut() else { return };
        let Some((rest, sum)) = rest.split_last_chunk_mut() else { return };
        let Some((records, zeros)) = rest.split_at_mut_checked(body.len()) else { return };
        records.copy_from_slice(body);
        zeros.fill(0);
        let (first, last) = rest.split_at_checked(to_last_word).unwrap_or((rest, &[]));
        let prefix = (self.crc)(place, first);
        *sum = if last.is_empty() { prefix } else { (self.crc)(prefix, last) }.to_le_bytes();
        *header = BatchHeader { number, length: (body.len() as u32 / STEP) as u16, prefix }.encode(self, place);
    }
}

/// What makes a snapshot whole: written last, at the beginning of its slot.
///
/// ```text
///  0     3       4       8    9  12       16           24          28       36       40       44              60  64
///  +-----+-------+-------+----+--+--------+------------+-----------+--------+--------+--------+---------------+---+
///  |"QPS"|version|cluster|node|0 |sequence| last index | last term | length |checksum| voters | 0             |sum|
///  +-----+-------+-------+----+--+--------+------------+-----------+--------+--------+--------+---------------+---+
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Commit {
    /// Whose snapshot it is.
    pub owner: Owner,
    /// Rises by one with each snapshot that is finished.
    pub sequence: u32,
    /// The snapshot.
    pub snapshot: Snapshot,
}

impl Commit {
    pub(super) fn encode(&self, crc: Crc32c) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        put(&mut bytes, 0, &SLOT_MAGIC);
        put(&mut bytes, 3, &[VERSION]);
        put(&mut bytes, 4, &self.owner.cluster.0.to_le_bytes());
        put(&mut bytes, 8, &[self.owner.node.get()]);
        put(&mut bytes, 12, &self.sequence.to_le_bytes());
        put(&mut bytes, 16, &self.snapshot.last.index.0.to_le_bytes());
        put(&mut bytes, 24, &self.snapshot.last.term.0.to_le_bytes());
        put(&mut bytes, 28, &self.snapshot.length.to_le_bytes());
        put(&mut bytes, 36, &self.snapshot.checksum.to_le_bytes());
        put(&mut bytes, 40, &self.snapshot.voters.bits().to_le_bytes());
        seal(bytes, crc)
    }

    pub(super) fn decode(bytes: &[u8; HEADER], crc: Crc32c) -> Option<Self> {
        if opened(bytes, &SLOT_MAGIC, crc)? != VERSION {
            return None;
        }
        let [node] = get(bytes, 8);
        let index = LogIndex(u64::from_le_bytes(get(bytes, 16)));
        let snapshot = Snapshot {
            last: EntryId { term: Term(u32::from_le_bytes(get(bytes, 24))), index },
            length: u64::from_le_bytes(get(bytes, 28)),
            checksum: u32::from_le_bytes(get(bytes, 36)),
            voters: NodeSet::from_bits(u32::from_le_bytes(get(bytes, 40))),
        };
        let owner = Owner { cluster: ClusterId(u32::from_le_bytes(get(bytes, 4))), node: NodeId::new(node)? };
        Some(Self { owner, sequence: u32::from_le_bytes(get(bytes, 12)), snapshot })
    }
}

/// Puts the checksum over a header.
fn seal(mut bytes: [u8; HEADER], crc: Crc32c) -> [u8; HEADER] {
    let sum = crc(0, bytes.get(..SUM).unwrap_or_default());
    put(&mut bytes, SUM, &sum.to_le_bytes());
    bytes
}

/// The version of a header with this magic, if its checksum is right.
fn opened(bytes: &[u8; HEADER], magic: &[u8; 3], crc: Crc32c) -> Option<u8> {
    let sum = crc(0, bytes.get(..SUM)?);
    let [version] = get(bytes, 3);
    (bytes.starts_with(magic) && get(bytes, SUM) == sum.to_le_bytes()).then_some(version)
}

/// The field of `N` bytes at `at`; all fields lie within.
fn get<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes.iter_mut().skip(at).zip(field).for_each(|(to, &byte)| *to = byte);
}

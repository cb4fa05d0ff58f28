//! Rings: records of 32 bytes go in and come out again, on one thread.

use anyhow::{Context, Result};
use bbqueue::nicknames::Churrasco;
use crossbeam_queue::ArrayQueue;
use disruptor::{BusySpin, Producer, build_single_producer};
use quoring_benches::cluster::fold;
use quoring_ring::{Applier, Checksum, Crc32c, DEFAULT_CRC32C, Flusher, HEADER, Kind, Origin, Reader, Storage, Writer};
use rtrb::RingBuffer;

use crate::table::{times, versioned};
use crate::valgrind::{self, instructions};

type Record = [u8; 32];

/// Records that each ring has room for, headers not counted.
const ROOM: usize = 256;
const BATCH: usize = 64;
/// Records of the run that is taken off, and of the run that it is taken off from: start and end cost both the same.
const SHORT: u64 = 8192;
const LONG: u64 = 40960;

/// Who passes records on.
struct Contender {
    /// On the command line.
    name: &'static str,
    /// As the table calls it.
    title: fn() -> String,
    run: fn(usize, u64) -> u64,
    readers: &'static str,
    gives: &'static str,
}

/// The first is what the others are compared with.
const CONTENDERS: [Contender; 8] = [
    Contender {
        name: "quoring",
        title: || "quoring-ring".into(),
        run: |batch, records| quoring(batch, records, DEFAULT_CRC32C),
        readers: "any number, each sees all; a slow one holds up nobody",
        gives: "durable, committed and applied pointers; the tail can be replaced; found by index; checksum; `no_std`, no `unsafe`, no compare-and-swap",
    },
    Contender {
        name: "unchecked",
        title: || "the same without its CRC".into(),
        run: |batch, records| quoring(batch, records, |_, _| 0),
        readers: "the same",
        gives: "the same but for the checksum",
    },
    Contender { name: "rtrb", title: || versioned("rtrb"), run: rtrb, readers: "one", gives: "`no_std`" },
    Contender {
        name: "bbqueue",
        title: || versioned("bbqueue"),
        run: bbqueue,
        readers: "one",
        gives: "blocks in one piece, for DMA; `no_std`",
    },
    Contender {
        name: "disruptor",
        title: || versioned("disruptor"),
        run: disruptor,
        readers: "any number, each sees all; a slow one holds up all",
        gives: "readers that wait for other readers; many writers",
    },
    Contender {
        name: "queue",
        title: || format!("`ArrayQueue` of {}", versioned("crossbeam-queue")),
        run: queue,
        readers: "any number, each record goes to one",
        gives: "many writers",
    },
    Contender {
        name: "channel",
        title: || format!("`bounded` of {}", versioned("crossbeam-channel")),
        run: channel,
        readers: "any number, each record goes to one",
        gives: "many writers; both ends can wait",
    },
    Contender {
        name: "floor",
        title: || "floor: no ring".into(),
        run: |batch, records| {
            drive(batch, records, |batch, sum| batch.iter().for_each(|record| *sum = fold(*sum, record)))
        },
        readers: "",
        gives: "",
    },
];

/// Prints the table.
///
/// # Errors
/// There is no valgrind, or a run failed.
pub(crate) fn print() -> Result<()> {
    valgrind::find()?;
    println!(
        "\
Instructions per record of 32 bytes that is appended, published, read by one reader, which folds its bytes, and let go; in brackets how many times as
many as Quoring's ring. {BATCH} at a time: with one call and one publication if there are such. Counted by callgrind, as the difference between runs of
{SHORT} and {LONG} records.
"
    );
    println!("| | 1 at a time | {BATCH} at a time | readers | gives |");
    println!("|---|--:|--:|---|---|");
    let mut unit = None;
    for contender in &CONTENDERS {
        let costs = [contender.measure(1)?, contender.measure(BATCH)?];
        let unit = *unit.get_or_insert(costs);
        let [one, many] = [0, 1].map(|at| format!("{} ({})", costs[at], times(costs[at], unit[at])));
        println!("| {} | {one} | {many} | {} | {} |", (contender.title)(), contender.readers, contender.gives);
    }
    Ok(())
}

/// One run, to be counted: what came out of the ring, folded.
///
/// # Errors
/// Nobody has this name.
pub(crate) fn run(name: &str, batch: usize, records: u64) -> Result<u64> {
    let contender = CONTENDERS.iter().find(|contender| contender.name == name);
    let run = contender.with_context(|| format!("nobody is named `{name}`"))?.run;
    Ok(run(batch.clamp(1, BATCH), records))
}

impl Contender {
    fn measure(&self, batch: usize) -> Result<u64> {
        let count = |records: u64| {
            let sum = (0..records).fold(0, |sum, number| fold(sum, &record(number)));
            instructions(&["ring", self.name, &batch.to_string(), &records.to_string()], sum)
        };
        Ok(count(LONG)?.saturating_sub(count(SHORT)?) / (LONG - SHORT))
    }
}

fn record(number: u64) -> Record {
    let mut record = [0x5A; 32];
    let (head, _) = record.split_at_mut(8);
    head.copy_from_slice(&number.to_le_bytes());
    record
}

/// Calls `pass` for each batch of the records; what they fold to on the other side.
fn drive(batch: usize, records: u64, mut pass: impl FnMut(&[Record], &mut u64)) -> u64 {
    let (mut sum, mut buffer) = (0, [[0; 32]; BATCH]);
    let mut number = 0;
    while number < records {
        let batch = batch.min((records - number) as usize);
        for slot in &mut buffer[..batch] {
            *slot = record(number);
            number += 1;
        }
        pass(&buffer[..batch], &mut sum);
    }
    sum
}

fn quoring(batch: usize, records: u64, crc: Crc32c) -> u64 {
    // A record takes six units with its header.
    let mut storage = Box::new(Storage::<2048, ROOM>::new());
    let handles = storage.split(Origin::default(), Checksum::new(7, crc));
    let (mut writer, mut flusher, mut applier, reader): (Writer<'_>, Flusher<'_>, Applier<'_>, Reader<'_>) =
        (handles.writer, handles.flusher, handles.applier, handles.reader);
    let (mut index, mut copy) = (0, [0; HEADER + 32]);
    drive(batch, records, |records, sum| {
        let first = index + 1;
        for record in records {
            index += 1;
            writer.append(Kind::Command, 1, index, record).expect("room");
        }
        flusher.publish(writer.accepted());
        writer.commit(index);
        for index in first..=index {
            reader.copy(index, &mut copy).expect("it is in the ring");
            *sum = fold(*sum, &copy[HEADER..]);
        }
        applier.publish(index);
    })
}

fn rtrb(batch: usize, records: u64) -> u64 {
    let (mut producer, mut consumer) = RingBuffer::new(ROOM);
    drive(batch, records, |records, sum| {
        if let [record] = records {
            producer.push(*record).expect("room");
            *sum = fold(*sum, &consumer.pop().expect("a record"));
            return;
        }
        producer.push_entire_slice(records).expect("room");
        for record in consumer.read_chunk(records.len()).expect("records") {
            *sum = fold(*sum, &record);
        }
    })
}

fn bbqueue(batch: usize, records: u64) -> u64 {
    let queue = Box::new(Churrasco::<{ ROOM * size_of::<Record>() }>::new());
    let (producer, consumer) = (queue.stream_producer(), queue.stream_consumer());
    drive(batch, records, |records, sum| {
        let bytes = records.as_flattened();
        let mut grant = producer.grant_exact(bytes.len()).expect("room");
        grant.copy_from_slice(bytes);
        grant.commit(bytes.len());
        let mut left = bytes.len();
        while left > 0 {
            let grant = consumer.read().expect("records");
            let (whole, _) = grant.as_chunks::<32>();
            *sum = whole.iter().fold(*sum, |sum, record| fold(sum, record));
            let read = grant.len();
            grant.release(read);
            left -= read;
        }
    })
}

fn disruptor(batch: usize, records: u64) -> u64 {
    let (mut poller, builder) = build_single_producer(ROOM, || [0; 32], BusySpin).new_event_poller();
    let mut producer = builder.build();
    drive(batch, records, |records, sum| {
        if let [record] = records {
            producer.publish(|slot| *slot = *record);
        } else {
            producer
                .batch_publish(records.len(), |slots| slots.zip(records).for_each(|(slot, record)| *slot = *record));
        }
        let mut guard = poller.poll().expect("records");
        (&mut guard).for_each(|record: &Record| *sum = fold(*sum, record));
    })
}

fn queue(batch: usize, records: u64) -> u64 {
    let queue = ArrayQueue::new(ROOM);
    drive(batch, records, |records, sum| {
        records.iter().for_each(|record| queue.push(*record).expect("room"));
        records.iter().for_each(|_| *sum = fold(*sum, &queue.pop().expect("a record")));
    })
}

fn channel(batch: usize, records: u64) -> u64 {
    let (sender, receiver) = crossbeam_channel::bounded::<Record>(ROOM);
    drive(batch, records, |records, sum| {
        records.iter().for_each(|record| sender.try_send(*record).expect("room"));
        records.iter().for_each(|_| *sum = fold(*sum, &receiver.try_recv().expect("a record")));
    })
}

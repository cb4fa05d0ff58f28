//! Serial lines.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::pending;
use std::rc::Rc;

use embassy_futures::poll_once;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::pipe::Pipe;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use futures_lite::future::block_on;
use quoring::transport::Transport;
use quoring::transport::serial::{Dropped, Error, Serial};

use super::world::World;
use super::{Random, elect_and_commit, node, now, vector};

/// A reader that gives what the test has laid out for each read, and then waits for ever.
#[derive(Clone, Default)]
struct Script(Rc<RefCell<VecDeque<Bytes>>>);

/// What a read gives.
type Bytes = Result<Vec<u8>, ErrorKind>;

impl ErrorType for Script {
    type Error = ErrorKind;
}

impl Read for Script {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        let next = self.0.borrow_mut().pop_front();
        let mut bytes = match next {
            Some(bytes) => bytes?,
            None => pending().await,
        };
        let len = bytes.len().min(buffer.len());
        let rest = bytes.split_off(len);
        buffer[..len].copy_from_slice(&bytes);
        if !rest.is_empty() {
            self.0.borrow_mut().push_front(Ok(rest));
        }
        Ok(len)
    }
}

/// A writer that keeps everything.
#[derive(Clone, Default)]
struct Paper(Rc<RefCell<Vec<u8>>>);

impl ErrorType for Paper {
    type Error = ErrorKind;
}

impl Write for Paper {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        // A few at a time, as drivers do.
        let bytes = &bytes[..bytes.len().min(5)];
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

type Line = Serial<NoopRawMutex, Script, Paper>;

/// The bytes on the line for these frames.
fn written(frames: &[&[u8]]) -> Vec<u8> {
    let paper = Paper::default();
    let line = Line::new(Script::default(), paper.clone());
    frames.iter().for_each(|frame| block_on(line.send(node(1), frame)).unwrap());
    paper.0.take()
}

/// A line on which these reads come in.
fn incoming(reads: impl IntoIterator<Item = Bytes>) -> Line {
    Line::new(Script(Rc::new(RefCell::new(reads.into_iter().collect()))), Paper::default())
}

/// All frames that come in, into a buffer of `size` bytes.
fn frames(line: &Line, size: usize) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut buffer = vec![0; size];
    while let Some(len) = now(line.receive(&mut buffer)) {
        frames.push(buffer[..len.unwrap()].to_vec());
    }
    frames
}

/// covers: T1
#[test]
fn the_line_is_that_of_the_page() {
    assert_eq!(written(&[&[0x11, 0x22, 0, 0x33]]), vector("the line for 11 22 00 33").concat());
}

/// covers: T1
#[test]
fn frames_come_in_wherever_the_stream_is_split() {
    let sent: [&[u8]; 4] = [b"one", b"", &[0; 9], &[0, 7, 0, 0, 8]];
    let line = written(&sent);
    for first in 0..=line.len() {
        for second in first..=line.len() {
            // A read of nothing would be the end.
            let parts = [&line[..first], &line[first..second], &line[second..]].map(<[u8]>::to_vec);
            let line = incoming(parts.into_iter().filter(|part| !part.is_empty()).map(Ok));
            assert_eq!(frames(&line, 9), sent, "{first} {second}");
            assert_eq!(line.dropped(), Dropped::default());
        }
    }
}

/// covers: T1
#[test]
fn frames_of_every_size_fill_their_buffer() {
    let mut random = Random(1);
    for len in 0..1500 {
        let frame = random.frame(len);
        assert_eq!(frames(&incoming([Ok(written(&[&frame]))]), len), [frame]);
    }
}

/// covers: T1, T2
#[test]
fn garbage_between_frames_costs_none() {
    let mut random = Random(2);
    for _ in 0..300 {
        let sent: Vec<_> = (0..10).map(|len| random.frame(len * 7)).collect();
        let mut line = Vec::new();
        for frame in &sent {
            let len = random.below(80);
            line.extend(random.bytes(len));
            line.extend(written(&[frame]));
        }
        assert_eq!(frames(&incoming([Ok(line)]), 100), sent);
    }
}

/// covers: T1
#[test]
fn an_overlong_frame_is_dropped_and_counted() {
    let line = incoming([Ok(written(&[&[1; 20], &[2; 21], &[3; 500], &[4; 20]]))]);
    assert_eq!(frames(&line, 20), [[1; 20], [4; 20]]);
    assert_eq!(line.dropped(), Dropped { broken: 0, overlong: 2 });
}

/// Whatever happens to one byte or to several in a row, what comes in was sent.
///
/// covers: T1, T2
#[test]
fn damage_loses_frames_and_never_makes_one() {
    let sent: [&[u8]; 3] = [&[5, 0, 0, 5, 6], &[5, 0, 0, 5, 7], &[9, 9, 0, 1]];
    let line = written(&sent);
    let check = |line: Vec<u8>, least: usize| {
        let received = frames(&incoming([Ok(line)]), 30);
        assert!(received.len() >= least && received.iter().all(|frame| sent.contains(&&frame[..])), "{received:?}");
    };
    for at in 0..line.len() {
        for bit in 0..8 {
            let mut damaged = line.clone();
            damaged[at] ^= 1 << bit;
            check(damaged, 2);
        }
        for end in (at + 1..=line.len()).filter(|&end| end - at < line.len()) {
            check([&line[..at], &line[end..]].concat(), 0);
        }
    }
}

/// covers: T1
#[test]
fn a_send_that_is_given_up_costs_its_frame_alone() {
    for room in 1..40 {
        let pipe = Pipe::<NoopRawMutex, 64>::new();
        let filler = vec![0; 64 - room];
        assert_eq!(pipe.try_write(&filler), Ok(filler.len()));
        let (sender, receiver) =
            (Serial::<NoopRawMutex, _, _>::new(&pipe, &pipe), Serial::<NoopRawMutex, _, _>::new(&pipe, &pipe));
        assert!(poll_once(sender.send(node(1), &[7; 60])).is_pending());
        let mut buffer = [0; 60];
        assert!(now(receiver.receive(&mut buffer)).is_none());
        block_on(sender.send(node(1), b"next")).unwrap();
        assert_eq!((now(receiver.receive(&mut buffer)), &buffer[..4]), (Some(Ok(4)), &b"next"[..]));
    }
}

/// covers: T1
#[test]
fn a_receiver_that_goes_away_loses_one_frame_at_most() {
    let bytes = written(&[b"first", b"second"]);
    for cut in 1..bytes.len() {
        let script = Script::default();
        let line = Line::new(script.clone(), Paper::default());
        let mut received = Vec::new();
        for part in [&bytes[..cut], &bytes[cut..]] {
            script.0.borrow_mut().push_back(Ok(part.to_vec()));
            // Ends by dropping a receiver, and the next one has another buffer.
            received.extend(frames(&line, 10));
        }
        assert!(received.len() as u32 + line.dropped().broken == 2, "{cut}: {received:?}");
        assert!(received.iter().all(|frame| frame == b"first" || frame == b"second"));
    }
}

/// These bytes and a zero leave a checksum as if nothing had been there: what follows them in a frame looks like one itself to who comes in there.
///
/// covers: T1, T2
#[test]
fn a_frame_within_a_frame_is_none() {
    let head = [0x01, 0xF8, 0xB4, 0x43, 0x94, 0];
    assert_eq!(quoring_ring::DEFAULT_CRC32C(0, &head), 0);
    let bytes = written(&[&[&head[..], b"inner"].concat()]);
    for cut in 1..bytes.len() - 1 {
        let script = Script::default();
        let line = Line::new(script.clone(), Paper::default());
        for part in [&bytes[..cut], &bytes[cut..]] {
            script.0.borrow_mut().push_back(Ok(part.to_vec()));
            let received = frames(&line, 20);
            assert!(received.is_empty() || cut == 1, "{cut}: {received:?}");
        }
    }
}

/// covers: T1
#[test]
fn a_failed_read_costs_a_frame_and_two_in_a_row_are_told() {
    let bytes = written(&[b"first"]);
    let (half, rest) = bytes.split_at(4);
    let failed = || Err(ErrorKind::Other);
    let line = incoming([Ok(half.to_vec()), failed(), Ok(rest.to_vec()), Ok(written(&[b"second"]))]);
    assert_eq!(frames(&line, 10), [b"second"]);
    assert_eq!(line.dropped(), Dropped { broken: 1, overlong: 0 });

    let line = incoming([failed(), failed(), failed(), Ok(bytes.clone()), Ok(vec![]), Ok(bytes)]);
    let mut buffer = [0; 10];
    let mut receive = || now(line.receive(&mut buffer));
    assert_eq!(receive(), Some(Err(Error::Read(ErrorKind::Other))));
    assert_eq!(receive(), Some(Err(Error::Read(ErrorKind::Other))));
    assert_eq!(receive(), Some(Ok(5)));
    assert_eq!(receive(), Some(Err(Error::Closed)));
    assert_eq!(receive(), Some(Ok(5)));
}

/// Half of a wire, on which bytes are lost and altered.
struct Noisy {
    pipe: &'static Pipe<NoopRawMutex, 64>,
    random: Random,
    one_of: usize,
    faults: Rc<Cell<usize>>,
}

impl ErrorType for Noisy {
    type Error = core::convert::Infallible;
}

impl Write for Noisy {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        let Some(&byte) = bytes.first() else { return Ok(0) };
        let fate = self.random.below(2 * self.one_of);
        self.faults.set(self.faults.get() + usize::from(fate < 2));
        let byte = match fate {
            0 => None,
            1 => Some(self.random.below(256) as u8),
            _ => Some(byte),
        };
        if let Some(byte) = byte {
            self.pipe.write_all(&[byte]).await;
        }
        Ok(1)
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// A switch looks at byte 7 of each frame to see whom it is for.
///
/// covers: T1, T2, P1
#[test]
fn three_nodes_agree_over_noisy_lines_to_a_switch() {
    for one_of in [300, 1_000_000_000] {
        let world = World::default();
        let faults = Rc::<Cell<usize>>::default();
        let pipe = || -> &'static Pipe<NoopRawMutex, 64> { Box::leak(Box::new(Pipe::new())) };
        let end = |from, to, seed| {
            let writer = Noisy { pipe: to, random: Random(seed), one_of, faults: Rc::clone(&faults) };
            Serial::<NoopRawMutex, &'static Pipe<NoopRawMutex, 64>, _>::new(from, writer)
        };
        let wires = [0, 1, 2].map(|id| {
            let (up, down) = (pipe(), pipe());
            (end(down, up, id + 1), end(up, down, id + 11))
        });
        let [(a, port_a), (b, port_b), (c, port_c)] = wires;
        let ports = Rc::new([port_a, port_b, port_c]);
        for port in 0..3 {
            let ports = Rc::clone(&ports);
            world.spawn(async move {
                loop {
                    let mut frame = [0; 256];
                    let len = ports[port].receive(&mut frame).await.unwrap();
                    if let Some(out) = ports.get(usize::from(frame[7])).filter(|_| len > 7) {
                        out.send(node(frame[7].into()), &frame[..len]).await.unwrap();
                    }
                }
            });
        }
        elect_and_commit(&world, [a, b, c], 100);
        let dropped = ports.iter().map(|port| port.dropped().broken).sum::<u32>();
        println!("{} faults, {dropped} frames dropped by the switch", faults.get());
        assert!(one_of > 300 || (faults.get() > 10 && dropped > 10));
    }
}

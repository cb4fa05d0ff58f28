//! The switch, with plain unix sockets in the place of boards.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use quoring_boards::board::{Mac, mac};
use quoring_boards::switch::{Counts, Faults, Switch};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(20);

/// A switch with plugs in all of its ports.
struct Bench {
    switch: Switch,
    plugs: Vec<UnixStream>,
    _folder: TempDir,
}

impl Bench {
    fn new(ports: u8) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let stations: Vec<Mac> = (0..ports).map(|node| mac(ports, node)).collect();
        let switch = Switch::start(folder.path(), &stations, 1)?;
        let plugs = (0..stations.len()).map(|port| plug(&switch, port)).collect::<Result<_>>()?;
        Ok(Self { switch, plugs, _folder: folder })
    }

    fn send(&mut self, from: usize, to: Mac, number: u32) -> Result<()> {
        let frame = [&to[..], &[0; 8], &number.to_be_bytes(), &[0x55; 46]].concat();
        let length = u32::try_from(frame.len())?;
        Ok(self.plugs[from].write_all(&[&length.to_be_bytes(), &frame[..]].concat())?)
    }

    /// The next frame's bytes behind the addresses and the type.
    fn receive(&mut self, at: usize) -> Result<Vec<u8>> {
        let mut length = [0; 4];
        self.plugs[at].read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.plugs[at].read_exact(&mut frame)?;
        Ok(frame.split_off(14))
    }

    fn number(&mut self, at: usize) -> Result<u32> {
        let frame = self.receive(at)?;
        Ok(u32::from_be_bytes(*frame.first_chunk().expect("a number")))
    }

    /// Waits until the switch has done this.
    fn until(&self, what: impl Fn(&Counts) -> bool) -> Result<()> {
        let deadline = Instant::now() + LONG;
        while !what(&self.switch.counts()) {
            ensure!(Instant::now() < deadline, "{:?}", self.switch.counts());
            std::thread::yield_now();
        }
        Ok(())
    }
}

fn plug(switch: &Switch, port: usize) -> Result<UnixStream> {
    let before = switch.connections(port);
    let plug = UnixStream::connect(switch.socket(port))?;
    plug.set_read_timeout(Some(LONG))?;
    switch.connected(port, before, LONG)?;
    Ok(plug)
}

#[test]
fn a_frame_goes_to_its_station_and_one_for_a_group_to_all_others() -> Result<()> {
    let mut bench = Bench::new(3)?;
    bench.send(0, mac(3, 2), 1)?;
    bench.send(0, [0xFF; 6], 2)?;
    assert_eq!((bench.number(2)?, bench.number(2)?, bench.number(1)?), (1, 2, 2));
    // To nobody, and to oneself.
    bench.send(0, mac(3, 3), 3)?;
    bench.send(0, mac(3, 0), 4)?;
    bench.until(|counts| counts.received == 4)?;
    bench.send(1, mac(3, 0), 5)?;
    assert_eq!(bench.number(0)?, 5);
    let counts = bench.switch.counts();
    assert_eq!((counts.received, counts.undeliverable), (5, 2));
    Ok(())
}

#[test]
fn partitions_and_one_way_links_let_nothing_through_until_they_heal() -> Result<()> {
    let mut bench = Bench::new(3)?;
    bench.switch.partition(&[&[0], &[1, 2]]);
    bench.send(0, mac(3, 1), 1)?;
    bench.send(1, mac(3, 0), 2)?;
    bench.send(2, mac(3, 1), 3)?;
    bench.until(|counts| counts.cut == 2)?;
    assert_eq!(bench.number(1)?, 3);
    bench.switch.heal();
    bench.switch.cut(0, 1);
    bench.send(0, mac(3, 1), 4)?;
    bench.send(1, mac(3, 0), 5)?;
    bench.until(|counts| counts.cut == 3)?;
    assert_eq!(bench.number(0)?, 5);
    bench.switch.heal();
    bench.send(0, mac(3, 1), 6)?;
    assert_eq!(bench.number(1)?, 6);
    Ok(())
}

#[test]
fn frames_are_lost_doubled_and_corrupted_as_often_as_is_said() -> Result<()> {
    let mut bench = Bench::new(2)?;
    bench.switch.set_faults(Faults { lost: 100, duplicated: 100, corrupted: 100, ..Faults::default() });
    let (mut copies, mut damaged, mut read) = (vec![0; 1000], 0, 0);
    for number in 0..1000 {
        bench.send(0, mac(2, 1), number)?;
        bench.until(|counts| counts.delivered + counts.lost - counts.duplicated > u64::from(number))?;
        for _ in read..bench.switch.counts().delivered {
            let frame = bench.receive(1)?;
            let number = u32::from_be_bytes(*frame.first_chunk().expect("a number"));
            damaged += u32::from(!frame[4..].iter().all(|&byte| byte == 0x55));
            if let Some(copies) = copies.get_mut(number as usize) {
                *copies += 1;
            }
        }
        read = bench.switch.counts().delivered;
    }
    let counts = bench.switch.counts();
    assert_eq!(counts.received, 1000);
    for count in [counts.lost, counts.duplicated, counts.corrupted] {
        assert!((50..200).contains(&count), "{counts:?}");
    }
    // Some flips hit addresses or numbers.
    assert!((30..200).contains(&damaged), "{damaged}");
    assert!(copies.contains(&0) && copies.iter().any(|&copies| copies >= 2));
    Ok(())
}

#[test]
fn delays_keep_the_order_and_reordering_does_not() -> Result<()> {
    let mut bench = Bench::new(2)?;
    bench.switch.set_faults(Faults { delay: Duration::from_millis(5), ..Faults::default() });
    (0..100).try_for_each(|number| bench.send(0, mac(2, 1), number))?;
    let arrived = (0..100).map(|_| bench.number(1)).collect::<Result<Vec<_>>>()?;
    assert!(arrived.is_sorted() && arrived.len() == 100);
    bench.switch.set_faults(Faults { delay: Duration::from_millis(5), reordered: 200, ..Faults::default() });
    (0..100).try_for_each(|number| bench.send(0, mac(2, 1), number))?;
    let mut arrived = (0..100).map(|_| bench.number(1)).collect::<Result<Vec<_>>>()?;
    assert!(!arrived.is_sorted());
    arrived.sort_unstable();
    assert_eq!(arrived, (0..100).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_board_that_takes_nothing_blocks_nobody_and_loses_what_is_too_much() -> Result<()> {
    let mut bench = Bench::new(3)?;
    // Far more than a socket and a queue hold.
    for number in 0..20_000 {
        bench.send(0, mac(3, 1), number)?;
    }
    bench.until(|counts| counts.overflowed > 1000)?;
    bench.send(0, mac(3, 2), 7)?;
    assert_eq!(bench.number(2)?, 7);
    // What it was sent first is there still, in order.
    assert_eq!((bench.number(1)?, bench.number(1)?), (0, 1));
    Ok(())
}

#[test]
fn a_board_that_starts_again_has_its_port_again_and_nothing_half_sent() -> Result<()> {
    let mut bench = Bench::new(2)?;
    bench.plugs[1] = plug(&bench.switch, 1)?;
    bench.send(0, mac(2, 1), 1)?;
    assert_eq!(bench.number(1)?, 1);
    // A board that dies in the middle of a frame.
    bench.plugs[1].write_all(&[0, 0, 0, 60, 1, 2, 3])?;
    bench.plugs[1] = plug(&bench.switch, 1)?;
    bench.send(1, mac(2, 0), 2)?;
    assert_eq!(bench.number(0)?, 2);
    Ok(())
}

//! Packets of others on the boards' Ethernet, longer than the boards' own.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use quoring_boards::answer::Answer;
use quoring_boards::board::{Board, Mac, Parts, mac};
use quoring_boards::firmware::{self, Firmware};
use quoring_boards::flash::Flash;
use quoring_boards::setup::{self, QEMU_ARM};
use quoring_boards::switch::Switch;

const LONG: Duration = Duration::from_secs(30);

/// Puts at whichever board leads, until one says that it is done.
fn put(boards: &mut [Board], value: u32) -> Result<()> {
    let deadline = Instant::now() + LONG;
    loop {
        for board in &mut *boards {
            if let Answer::Applied(_) = board.line.ask(&format!("put 1 {value}"), LONG)? {
                return Ok(());
            }
        }
        ensure!(Instant::now() < deadline, "nobody takes a put");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// covers: T1, T5
#[test]
fn packets_that_are_too_long_for_a_board_make_it_deaf_for_nothing_else() -> Result<()> {
    if !setup::ready(QEMU_ARM, Firmware::MPS2.target)? {
        return Ok(());
    }
    let image = firmware::build(&Firmware::MPS2)?;
    let folder = tempfile::tempdir()?;
    let stations: [Mac; 3] = [mac(3, 0), mac(3, 1), [0x02, 0, 0, 0, 0, 9]];
    let switch = Switch::start(folder.path(), &stations, 1)?;
    let mut boards = Vec::new();
    for node in 0..2_u8 {
        let place = folder.path().join(format!("board-{node}"));
        std::fs::create_dir(&place)?;
        let flash = Flash::erased(&place.join("flash"))?;
        let port = usize::from(node);
        let before = switch.connections(port);
        let parts = Parts {
            image: &image,
            voters: 3,
            node,
            flash: &flash,
            port: Some(switch.socket(port)),
            folder: &place,
            extra: &[],
        };
        let mut board = Board::start(&parts)?;
        switch.connected(port, before, LONG)?;
        board.ready()?;
        boards.push(board);
    }
    put(&mut boards, 1)?;

    let mut plug = UnixStream::connect(switch.socket(2))?;
    switch.connected(2, 0, LONG)?;
    for number in 0..40 {
        let to = stations[number % 2];
        let frame = [&to[..], &stations[2], &[0x88, 0xB5], &[0x55; 1500]].concat();
        plug.write_all(&[&(frame.len() as u32).to_be_bytes(), &frame[..]].concat())?;
        std::thread::sleep(Duration::from_millis(20));
    }
    put(&mut boards, 2)?;
    // Longer than any leader goes on unheard.
    std::thread::sleep(Duration::from_secs(2));
    put(&mut boards, 3)
}

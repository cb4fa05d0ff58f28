//! Clients in thread mode, each with one command in flight.

use core::fmt;

use embassy_executor::Spawner;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use quoring_mps2::{interrupt_executor, ticks};
use quoring_registers::Command;

use crate::findings::{Finding, check};
use crate::node::{FRAME, OneNode, REGISTERS, take_longest_way};
use crate::{expect, sections};

const CLIENTS: usize = 3;

/// Of each client.
const COMMANDS: u32 = 500;

/// Clients that have done their work.
static DONE: Channel<CriticalSectionRawMutex, (), CLIENTS> = Channel::new();

/// What it took, in ticks of 25 MHz.
pub(crate) struct Taken {
    commands: u32,
    ticks: u32,
    sections: u32,
    section: u32,
    wait: u32,
    way: u32,
}

/// Has all clients propose their commands, and waits for the last answer.
pub(crate) async fn run(node: OneNode, spawner: Spawner) -> Taken {
    reset();
    let start = ticks();
    for key in 0..CLIENTS as u8 {
        spawner.spawn(expect(propose(node, key)));
    }
    for _ in 0..CLIENTS {
        DONE.receive().await;
    }
    let ticks = ticks().wrapping_sub(start);
    let (sections, section) = sections::take();
    let (wait, way) = (interrupt_executor::take_longest_wait(), take_longest_way());
    Taken { commands: CLIENTS as u32 * COMMANDS, ticks, sections, section, wait, way }
}

fn reset() {
    let _ = (sections::take(), interrupt_executor::take_longest_wait(), take_longest_way());
}

#[embassy_executor::task(pool_size = CLIENTS)]
async fn propose(node: OneNode, key: u8) {
    // One client's commands are as large as commands can be: none keeps the core busy for longer.
    let len = if key == 0 { node.command_limit() } else { Command::SIZE };
    for value in 1..=COMMANDS {
        let mut command = [0; FRAME];
        command[..Command::SIZE].copy_from_slice(&Command { key, value }.encode());
        let answer = node.propose(command.get(..len).unwrap_or_default()).await;
        check(answer.is_ok(), Finding::NoAnswer);
        check(REGISTERS.with(|registers| registers.get(key)) == value, Finding::NoEffect);
    }
    DONE.send(()).await;
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { commands, ticks, sections, section, wait, way } = self;
        write!(f, "commands={commands} ticks={ticks} sections={sections} section={section} wait={wait} way={way}")
    }
}

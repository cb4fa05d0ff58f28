//! A node whose application preempts its other tasks, watched by an interrupt that preempts everything, critical sections too.
//!
//! ```text
//!  0x00  the dual timer: at random, between any two instructions, looks at pointers and records, without a lock
//!  ----  what a critical section holds back is below this line
//!  0x40  devices: the time driver's alarm, the serial line
//!  0x80  an executor: the application, and a task that looks on
//!        thread mode: log writer, ticker, receiver, clients
//! ```
//!
//! It says what it found in lines of text on the serial line, and ends:
//!
//! ```text
//!  quiet ...            the node under load, without the dual timer: how long sections and waits are, in ticks of 25 MHz
//!  watched ...          the same, with it, looking at the node's pointers
//!  pointers ...         at what moments it looked
//!  readers ...          a ring alone: written in thread mode, read in the interrupt
//!  writers ...          and the other way round
//!  findings count=0     what must not be
//! ```
#![no_std]
#![no_main]

mod findings;
mod load;
mod node;
mod records;
mod ring;
mod sections;
mod watch;

use core::fmt::{self, Write};
use core::panic::PanicInfo;

use cortex_m::peripheral::NVIC;
use embassy_executor::{SpawnError, SpawnToken, Spawner};
use quoring_mps2::{Board, Uart, interrupt_executor};

/// The dual timer's.
const HIGHEST: u8 = 0x00;
const DEVICES: u8 = 0x40;
const EXECUTOR: u8 = 0x80;

#[cortex_m_rt::entry]
fn main() -> ! {
    prioritize();
    quoring_mps2::run(|spawner| spawner.spawn(expect(start(spawner))))
}

/// Nothing but the dual timer has the priority that interrupts have at first.
fn prioritize() {
    // SAFETY: priorities of interrupts, none of which is let in yet.
    let registers = unsafe { &*NVIC::PTR };
    // SAFETY: as above.
    registers.ipr.iter().take(32).for_each(|priority| unsafe { priority.write(DEVICES) });
}

#[embassy_executor::task]
async fn start(spawner: Spawner) {
    let Board { flash, mut line, .. } = Board::take();
    let application = interrupt_executor::start(EXECUTOR);
    let node = match node::start(flash, spawner, application).await {
        Ok(node) => node,
        Err(error) => return end(&mut line, format_args!("failed {error}")).await,
    };

    let quiet = load::run(node, spawner).await;
    line.print(format_args!("quiet {quiet}")).await;
    watch::start(node.pointers(), HIGHEST);
    let watched = load::run(node, spawner).await;
    let watch = watch::stop().await;
    line.print(format_args!("watched {watched}")).await;
    line.print(format_args!("pointers {watch}")).await;

    line.print(format_args!("readers {}", ring::read_in_interrupts(HIGHEST))).await;
    line.print(format_args!("writers {}", ring::write_in_interrupts(HIGHEST))).await;
    end(&mut line, format_args!("findings {}", findings::Found)).await;
}

/// Says a last line and stops the emulator.
async fn end(line: &mut Uart, last: fmt::Arguments<'_>) {
    line.print(last).await;
    ask_host(END, ENDED);
}

/// Says why on the emulator's own output, and stops it as failed.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(Host, "{info}");
    loop {
        ask_host(END, FAILED);
    }
}

/// The emulator's own output.
struct Host;

impl Write for Host {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| ask_host(WRITE_BYTE, &raw const byte as usize));
        Ok(())
    }
}

/// Calls of semihosting.
const WRITE_BYTE: usize = 0x03;
const END: usize = 0x18;
/// Reasons to end.
const ENDED: usize = 0x2_0026;
const FAILED: usize = 0x2_0023;

fn ask_host(call: usize, argument: usize) {
    // SAFETY: a breakpoint that the emulator takes for a call, which reads one byte of memory at most.
    unsafe { core::arch::asm!("bkpt 0xAB", inout("r0") call => _, in("r1") argument) };
}

/// Each task has a place of its own, so that there is always one.
fn expect<S>(task: Result<SpawnToken<S>, SpawnError>) -> SpawnToken<S> {
    task.expect("each task is spawned once")
}

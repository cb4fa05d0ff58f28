//! QEMU's RISC-V machine `virt`: a clock, a line to print on, and an end. Nothing here knows of consensus.
#![no_std]

mod time;

use core::fmt::{self, Write};
use core::ptr;

use quoring_mmio::Register;

/// The register of the machine's UART (NS16550A) that takes bytes to send.
const UART: usize = 0x1000_0000;
// SAFETY: the machine's "finisher" is there: what is written to it ends the machine.
const FINISHER: Register = unsafe { Register::at(0x0010_0000) };

/// Takes the machine into service; once.
pub fn start() {
    time::start();
}

/// Prints a line.
pub fn print(text: fmt::Arguments<'_>) {
    let _ = writeln!(Line, "{text}");
}

/// Ends the machine; 0 for "all is well".
pub fn exit(code: u16) -> ! {
    FINISHER.write(if code == 0 { 0x5555 } else { 0x3333 | u32::from(code) << 16 });
    loop {
        riscv::asm::wfi();
    }
}

struct Line;

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // SAFETY: a register of 8 bits is there, and only this module drives it. QEMU's UART takes bytes as fast as they come.
            unsafe { ptr::with_exposed_provenance_mut::<u8>(UART).write_volatile(byte) };
        }
        Ok(())
    }
}

//! Registers of chips.
#![no_std]

use core::ptr;

/// A register of 32 bits at a fixed address.
#[derive(Clone, Copy, Debug)]
pub struct Register(usize);

impl Register {
    /// # Safety
    /// At `address`, a multiple of 4, is a register of a device that the caller alone drives, or a word of memory that only the caller uses. Reading and writing it
    /// must not break what Rust believes of memory: no DMA.
    #[must_use]
    pub const unsafe fn at(address: usize) -> Self {
        Self(address)
    }

    /// What it holds.
    #[inline]
    pub fn read(self) -> u32 {
        // SAFETY: `at` was promised that a register is there.
        unsafe { ptr::with_exposed_provenance::<u32>(self.0).read_volatile() }
    }

    /// Stores a value.
    #[inline]
    pub fn write(self, value: u32) {
        // SAFETY: `at` was promised that a register is there.
        unsafe { ptr::with_exposed_provenance_mut::<u32>(self.0).write_volatile(value) }
    }

    /// Stores what becomes of its value.
    #[inline]
    pub fn modify(self, change: impl FnOnce(u32) -> u32) {
        self.write(change(self.read()));
    }
}

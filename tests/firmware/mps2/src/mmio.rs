//! Registers of the chips.

use core::ptr;

/// A register of 32 bits at a fixed address.
#[derive(Clone, Copy)]
pub(crate) struct Register(usize);

impl Register {
    /// # Safety
    /// A register of a device that this crate alone drives is at `address`, a multiple of 4. Reading and writing it must not break what Rust believes of
    /// memory: no DMA.
    pub(crate) const unsafe fn at(address: usize) -> Self {
        Self(address)
    }

    pub(crate) fn read(self) -> u32 {
        // SAFETY: `at` was promised that a register is there.
        unsafe { ptr::with_exposed_provenance::<u32>(self.0).read_volatile() }
    }

    pub(crate) fn write(self, value: u32) {
        // SAFETY: `at` was promised that a register is there.
        unsafe { ptr::with_exposed_provenance_mut::<u32>(self.0).write_volatile(value) }
    }

    pub(crate) fn modify(self, change: impl FnOnce(u32) -> u32) {
        self.write(change(self.read()));
    }
}

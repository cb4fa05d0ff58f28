//! Registers of the chip.

use core::ptr;

/// A register of 32 bits at a fixed address.
#[derive(Clone, Copy)]
pub(crate) struct Register(usize);

impl Register {
    /// # Safety
    /// At `address`, a multiple of 4, is a register that this crate alone drives, or a word of flash behind the program. Reading and writing it must
    /// not break what Rust believes of memory.
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
}

/// Declares registers by their addresses in the nRF51 Series Reference Manual, version 3.
macro_rules! registers {
    ($($name:ident = $address:literal),* $(,)?) => {
        $(
            // SAFETY: the chip has this register, which only this module drives, and which moves no memory.
            const $name: $crate::mmio::Register = unsafe { $crate::mmio::Register::at($address) };
        )*
    };
}
pub(crate) use registers;

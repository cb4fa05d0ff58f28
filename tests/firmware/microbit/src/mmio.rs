//! Where the chip's registers are.

/// Declares registers by their addresses in the nRF51 Series Reference Manual, version 3.
macro_rules! registers {
    ($($name:ident = $address:literal),* $(,)?) => {
        $(
            // SAFETY: the chip has this register, which only this module drives, and which moves no memory.
            const $name: quoring_mmio::Register = unsafe { quoring_mmio::Register::at($address) };
        )*
    };
}
pub(crate) use registers;

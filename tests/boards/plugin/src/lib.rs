//! A plugin of QEMU's code generator (`-plugin libquoring_probe.so,NAME=VALUE,...`; QEMU 7.2 and others with plugin interface 1) for boards with
//! one Cortex-M core.
//!
//! It counts each instruction that the guest executes, exactly, and changes nothing that the guest could see. Options, numbers decimal or `0x..`:
//!
//! | option | meaning |
//! |---|---|
//! | `out=FILE` | write the report there when QEMU ends in an orderly way |
//! | `trace=FILE` | write there which blocks are executed, one after the other |
//! | `from=M`, `to=N` | but only those between the M-th and the N-th marker `0x51`, the first being 0 |
//! | `window=BASE`, `size=BYTES` | count the stores there |
//! | `cut=N` | end QEMU by SIGKILL right after the N-th of these stores; 0 for never |
//!
//! A *marker* is an instruction of the reserved hint space of Thumb-2, `hint #0x50` to `hint #0x5f`: nothing to silicon, a note in the report here.
//! A *block* is code that is executed from its first instruction to its last; interrupts come between blocks only. (Not so under `-icount`.)
//!
//! The report is lines of text: `instructions N`, `stores N`, `marker HINT INSTRUCTIONS` for each one in order, `run ADDRESS STORES` for
//! stores to the window, word behind word, in order, and `block NUMBER ADDRESS INSTRUCTIONS`. Addresses and hints
//! are hexadecimal. The trace is numbers of blocks in 4 bytes each, little-endian.
#![cfg(target_os = "linux")]

mod count;
mod options;
mod qemu;

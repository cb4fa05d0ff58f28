//! A plugin of QEMU's code generator (`-plugin libquoring_probe.so,NAME=VALUE,...`; QEMU 7.2 and newer of plugin interface 1) for boards with one Cortex-M core.
//!
//! It counts each instruction that the guest executes, exactly, and changes nothing that the guest could see. Options, numbers decimal or `0x..`:
//!
//! | option | meaning |
//! |---|---|
//! | `out=FILE` | write the report there when QEMU ends in an orderly way |
//! | `code=BYTES` | count by address, for code in the first BYTES of memory |
//! | `from=M`, `to=N` | what is counted by address, and of sections, is what lies between the M-th and the N-th marker `0x51`, the first being 0 |
//! | `window=BASE`, `size=BYTES` | count the stores there |
//! | `cut=N` | end QEMU by SIGKILL right after the N-th of these stores; 0 for never |
//!
//! A *marker* is an instruction of the reserved hint space of Thumb-2, `hint #0x50` to `hint #0x5f`: nothing to silicon, a note in the report here.
//! A *masked section* begins where `cpsid i` masks interrupts, and ends at the next `cpsie i`; a *locked section* lies between the markers `0x52` and `0x53`.
//!
//! The report is lines of text: `instructions N`, `stores N`, `marker HINT INSTRUCTIONS` for each one in order, `masked PC TIMES LONGEST TOTAL` and
//! `locked PC TIMES LONGEST TOTAL` for each place that begins such sections, and `at PC TIMES` for each address of an instruction. Addresses and hints are hexadecimal.
#![cfg(target_os = "linux")]

mod count;
mod options;
mod qemu;

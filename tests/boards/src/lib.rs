//! Emulated boards: QEMU, a switch between them, their client lines, and what is measured on them.
//!
//! ```text
//!   test --- Cluster --+-- Line (client line, tags) ---- UART 0 +-------+
//!              |       +-- Qemu (SIGKILL, stop, cont) ---- QMP  | Board |--- Flash (a file)
//!           History    +-- Switch (faults) ------------ Ethernet +-------+
//! ```
//!
//! Boards run the images of `tests/firmware`. What that takes beyond a Rust toolchain, `.ci/setup` installs; without it tests of boards
//! say so and pass, or fail where the environment variable `CI` is set ([`setup::ready`]).

pub mod answer;
pub mod board;
pub mod cluster;
pub mod firmware;
pub mod flash;
pub mod history;
pub mod image;
pub mod line;
pub mod microbit;
pub mod panics;
pub mod probe;
pub mod qemu;
pub mod serial;
pub mod setup;
pub mod switch;

mod wait;

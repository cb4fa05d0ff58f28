//! Emulated boards: QEMU, a switch between them, their client lines, and what is measured on them.

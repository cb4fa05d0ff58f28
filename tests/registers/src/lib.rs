//! The application of the firmware images: registers, and a line of text to ask a node for them.
#![no_std]

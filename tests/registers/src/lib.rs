//! The application of the firmware images: [`Registers`] that a cluster replicates, and the text that a client speaks with a node over a serial
//! line, which [`Service`] answers.
#![no_std]

mod application;
mod command;
mod registers;
mod request;
mod service;

pub use application::{Application, Ended};
pub use command::Command;
pub use registers::{COUNT, Registers};
pub use service::{LINE, Service};

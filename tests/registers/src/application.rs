//! The application as the node sees it.

use core::cell::RefCell;
use core::fmt;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::RawMutex;
use quoring::{Committed, Halt, Platform, Restore, RestoreError, Save, SaveError, Step};

use crate::registers::Registers;

/// Registers that one task changes and others read. `M` guards them.
pub struct Application<M: RawMutex> {
    registers: Mutex<M, RefCell<Registers>>,
}

/// Why the application stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The node has.
    Node(Halt),
    /// A snapshot is none of registers.
    Snapshot,
}

impl<M: RawMutex> Application<M> {
    /// Zeros.
    #[must_use]
    pub const fn new() -> Self {
        Self { registers: Mutex::new(RefCell::new(Registers::new())) }
    }

    /// The registers now.
    pub fn with<R>(&self, look: impl FnOnce(&mut Registers) -> R) -> R {
        self.registers.lock(|registers| look(&mut registers.borrow_mut()))
    }

    /// Applies what is committed until the node stops. The answer to an entry is its index, in 8 bytes, little-endian; `after_each` is called after each entry.
    pub async fn run<P: Platform>(&self, mut committed: Committed<'_, P>, after_each: fn()) -> Ended {
        loop {
            let done = match committed.next().await {
                Ok(Step::Apply(entry)) => {
                    let index = entry.index().0;
                    self.with(|registers| registers.apply(index, entry.command()));
                    entry.answer(&index.to_le_bytes());
                    after_each();
                    Ok(())
                }
                // If it fails, the node asks again, or has stopped and says so.
                Ok(Step::Save(save)) => {
                    let _ = self.save(save).await;
                    Ok(())
                }
                Ok(Step::Restore(restore)) => self.restore(restore).await,
                Err(halt) => Err(Ended::Node(halt)),
            };
            if let Err(ended) = done {
                return ended;
            }
        }
    }

    /// Nobody else changes the registers meanwhile.
    async fn save<P: Platform>(&self, mut save: Save<'_, '_, P>) -> Result<(), SaveError> {
        for number in 0..Registers::WORDS {
            let word = self.with(|registers| registers.word(number));
            save.write(&word.to_le_bytes()).await?;
        }
        save.finish().await
    }

    async fn restore<P: Platform>(&self, mut restore: Restore<'_, '_, P>) -> Result<(), Ended> {
        if restore.length() != 4 * Registers::WORDS as u64 {
            return Err(Ended::Snapshot);
        }
        for number in 0..Registers::WORDS {
            let (mut word, mut len) = ([0; 4], 0);
            while let Some(rest) = word.get_mut(len..).filter(|rest| !rest.is_empty()) {
                match restore.read(rest).await {
                    Ok(0) => return Err(Ended::Snapshot),
                    Ok(read) => len += read,
                    // By a newer one, which is the next step.
                    Err(RestoreError::Superseded) => return Ok(()),
                    Err(RestoreError::Halted(halt)) => return Err(Ended::Node(halt)),
                    Err(_) => return Err(Ended::Snapshot),
                }
            }
            self.with(|registers| registers.set_word(number, u32::from_le_bytes(word)));
        }
        self.with(|registers| registers.set_applied(restore.index().0));
        match restore.finish() {
            Err(RestoreError::Halted(halt)) => Err(Ended::Node(halt)),
            _ => Ok(()),
        }
    }
}

impl<M: RawMutex> Default for Application<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: RawMutex> fmt::Debug for Application<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Application")
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(halt) => halt.fmt(f),
            Self::Snapshot => f.write_str("the snapshot is none of registers"),
        }
    }
}

//! What is replicated: registers, which commands write, and a digest of all that was applied.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use quoring::{Committed, Duration, RestoreError, SaveError, Step};

use crate::clock::Hand;
use crate::node::Host;

/// Bytes of a command: the number of a register, what to write, and nothing else that counts.
pub(crate) const COMMAND: usize = 32;
const REGISTERS: usize = 64;
/// Bytes of a snapshot, which takes several frames.
const STATE: usize = 8 * (REGISTERS + 2);
/// An application that does nothing for a while looks this often whether that is over.
const LOOK: Duration = Duration::from_millis(1);

/// The application of one node.
#[derive(Debug)]
pub(crate) struct Application {
    registers: RefCell<[u64; REGISTERS]>,
    count: Cell<u64>,
    digest: Cell<u64>,
    stalls: Cell<bool>,
    /// A copy of each command, if it hoards them.
    hoard: Option<RefCell<Vec<Vec<u8>>>>,
}

impl Application {
    /// An application that keeps what it is to keep. One that `hoards` keeps all commands on the heap beside it, which must be seen.
    pub(crate) fn new(hoards: bool) -> Self {
        Self {
            registers: RefCell::new([0; REGISTERS]),
            count: Cell::new(0),
            digest: Cell::new(0),
            stalls: Cell::new(false),
            hoard: hoards.then(RefCell::default),
        }
    }

    /// How many commands have been applied.
    pub(crate) fn count(&self) -> u64 {
        self.count.get()
    }

    /// Equal on nodes that have applied the same commands in the same order.
    pub(crate) fn state(&self) -> (u64, u64) {
        (self.count.get(), self.digest.get())
    }

    /// Lets it do nothing for a while, or go on.
    pub(crate) fn stall(&self, stalls: bool) {
        self.stalls.set(stalls);
    }

    /// Applies what is committed until the node halts.
    pub(crate) fn run(
        self: &Rc<Self>,
        mut committed: Committed<'static, Host>,
        clock: Hand,
    ) -> impl Future<Output = ()> + use<> {
        let own = Rc::clone(self);
        async move {
            loop {
                while own.stalls.get() {
                    clock.sleep(LOOK).await;
                }
                let Ok(step) = committed.next().await else { return };
                match step {
                    Step::Apply(entry) => {
                        own.apply(entry.command());
                        entry.answer(&own.count().to_le_bytes());
                    }
                    Step::Save(mut save) => {
                        let saved: Result<(), SaveError> = async {
                            save.write(&own.image()).await?;
                            save.finish().await
                        }
                        .await;
                        // It is asked again, or has stopped.
                        _ = saved;
                    }
                    Step::Restore(mut restore) => {
                        let (mut image, mut len) = ([0; STATE], 0);
                        let restored: Result<(), RestoreError> = async {
                            while len < STATE {
                                len += restore.read(&mut image[len..]).await?;
                            }
                            restore.finish()
                        }
                        .await;
                        if restored.is_ok() {
                            own.restore(&image);
                        }
                    }
                }
            }
        }
    }

    fn apply(&self, command: &[u8]) {
        let value = command.first_chunk().map_or(0, |value| u64::from_le_bytes(*value));
        if let Some(register) = self.registers.borrow_mut().get_mut(value as usize % REGISTERS) {
            *register = value;
        }
        self.digest.set((self.digest.get() ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31));
        self.count.set(self.count.get() + 1);
        if let Some(hoard) = &self.hoard {
            hoard.borrow_mut().push(command.to_vec());
        }
    }

    fn image(&self) -> [u8; STATE] {
        let mut image = [0; STATE];
        let registers = self.registers.borrow();
        let words = registers.iter().copied().chain([self.count.get(), self.digest.get()]);
        image.as_chunks_mut().0.iter_mut().zip(words).for_each(|(place, word)| *place = word.to_le_bytes());
        image
    }

    fn restore(&self, image: &[u8; STATE]) {
        let mut words = image.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
        self.registers.borrow_mut().iter_mut().zip(words.by_ref()).for_each(|(place, word)| *place = word);
        self.count.set(words.next().unwrap_or(0));
        self.digest.set(words.next().unwrap_or(0));
    }
}

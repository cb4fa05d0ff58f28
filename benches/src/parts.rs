//! Parts of Quoring whose cost is measured, the same by time and by instructions.

pub mod commit;
pub mod file;
pub mod flash;
pub mod ring;
pub mod wire;

/// Operations of each run of each part: what a run costs is divided by it.
pub const OPERATIONS: u64 = 64;

/// A part that was made ready for its first run. Its runs are measured, and each of them is checked.
pub trait Part {
    /// Does what it does [`OPERATIONS`] times.
    ///
    /// # Panics
    /// It fails.
    fn run(&mut self);

    /// Makes ready for the next run.
    ///
    /// # Panics
    /// The last run has not done what it should.
    fn check(&mut self);
}

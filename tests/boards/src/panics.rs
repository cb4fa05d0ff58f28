//! Where a linked image can panic, and whose code that is (F5).
//!
//! Looked at are the branches that lead to the panic handler, each with the functions that it was inlined into, as the debug information tells them. It counts
//! for the innermost of them that is of this project: what `core` and other crates do, counts for whoever called them. If none is of this project,
//! everything that calls the function with that branch leads to a panic, too, and is looked at in turn.
//!
//! Where the compiler made one branch out of several, nobody can tell whose it is: such an image is refused. [`UNMERGED`] keeps branches apart. They are
//! merged last of all, so that there are as many ways to panic in the image that is shipped.
//!
//! What is called through a table of functions alone (a waker's, a `dyn` trait's) is looked at where it stands, not where it is called. Of functions of equal
//! code one is linked, and counts for whoever wrote that one.

mod code;
mod origin;
mod thumb;

use std::collections::HashSet;
use std::fmt;

use anyhow::{Result, ensure};

pub use self::code::Code;
pub use self::origin::Frame;
use self::origin::Origins;

/// Arguments for `rustc` that keep branches of different origin apart.
pub const UNMERGED: [&str; 2] = ["-C", "llvm-args=-enable-tail-merge=0"];

/// A branch that leads to the panic handler.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// Where it lies.
    pub address: u32,
    /// The function that it goes to. Functions of equal code are one, so it may bear the name of another.
    pub target: String,
    /// The functions that it was inlined into, innermost first; the last one is the function that it lies in.
    pub frames: Vec<Frame>,
    /// The folder of this project with the code that it counts for, such as `core`.
    pub folder: String,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:#x} calls {}", self.folder, self.address, self.target)?;
        self.frames.iter().try_for_each(|frame| write!(f, "\n    {frame}"))
    }
}

impl Code {
    /// The calls that lead to the panic handler, and count for code of this project.
    ///
    /// # Errors
    /// The image has no panic handler, its debug information cannot be read, or branches in it have been merged.
    pub fn panicking_calls(&self) -> Result<Vec<Call>> {
        let origins = Origins::of(self)?;
        let references = self.references();
        let mut leading: Vec<_> = self.functions().filter(|function| function.panics).collect();
        ensure!(!leading.is_empty(), "the image has no function that panics, not even a panic handler");
        let mut seen: HashSet<u32> = leading.iter().map(|function| function.start).collect();
        let mut calls = Vec::new();
        while let Some(target) = leading.pop() {
            for reference in references.iter().filter(|reference| reference.target == target.start) {
                let Some(within) = self.function_at(reference.address).filter(|within| !within.panics) else {
                    continue;
                };
                let frames = origins.frames(reference.address)?;
                let folder = frames.iter().find_map(|frame| frame.folder.clone());
                // Where the innermost function of the project was inlined to does not matter.
                let merged =
                    frames.iter().take_while(|frame| frame.folder.is_none()).any(|frame| frame.place.is_none());
                let (address, target) = (reference.address, target.name.clone());
                let call = Call { address, target, frames, folder: folder.unwrap_or_default() };
                ensure!(!merged, "nobody can tell whose this is, was the image linked with {UNMERGED:?}?\n{call}");
                if !call.folder.is_empty() {
                    calls.push(call);
                } else if seen.insert(within.start) {
                    leading.push(within);
                }
            }
        }
        calls.sort_by_key(|call| call.address);
        Ok(calls)
    }

    /// How many functions of that folder were not inlined into others.
    ///
    /// # Errors
    /// The image's debug information cannot be read.
    pub fn functions_of(&self, folder: &str) -> Result<usize> {
        let origins = Origins::of(self)?;
        let mut count = 0;
        for function in self.functions() {
            let frames = origins.frames(function.start)?;
            count += usize::from(frames.last().is_some_and(|frame| frame.folder.as_deref() == Some(folder)));
        }
        Ok(count)
    }
}

//! Whose code it is: the innermost function, inlined or not, that was written in this project.

use std::borrow::Cow;
use std::fmt;

use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian};
use anyhow::Result;

/// The project's folder, as paths in debug information begin.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");

/// A function of a part.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Owner {
    /// The part of the image.
    pub part: Part,
    /// The innermost function of that part, inlined or not; empty if nobody knows.
    pub function: String,
}

/// Where code was written.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Part {
    /// `quoring-ring`.
    Ring,
    /// `quoring-core`, but for its wire format.
    Core,
    /// The wire format.
    Wire,
    /// `quoring`.
    Drivers,
    /// The application of the image, and the board.
    Image,
    /// Another crate of this name, where nothing of the project called for it.
    Dependency(String),
    /// The compiler's libraries, in the same case.
    Library,
    /// No source is known.
    Unknown,
}

type Reader<'f> = EndianSlice<'f, LittleEndian>;

/// What debug information says of addresses.
pub(super) struct Places<'f> {
    context: addr2line::Context<Reader<'f>>,
    root: String,
}

impl<'f> Places<'f> {
    pub(super) fn new(file: &object::File<'f>) -> Result<Self> {
        let dwarf = Dwarf::load(|id| -> Result<Reader<'f>> {
            Ok(EndianSlice::new(super::section(file, id.name())?, LittleEndian))
        })?;
        let root = std::fs::canonicalize(ROOT)?.to_string_lossy().into_owned() + "/";
        Ok(Self { context: addr2line::Context::from_dwarf(dwarf)?, root })
    }

    /// Whose the code at `address` is: of the functions there, the innermost of this project, else the outermost.
    pub(super) fn owner(&self, address: u64) -> Owner {
        let mut frames = self.frames(address);
        let ours = frames.iter().position(|owner| owner.part.is_of_the_project());
        let place = ours.unwrap_or(frames.len().saturating_sub(1));
        if frames.is_empty() {
            Owner { part: Part::Unknown, function: String::new() }
        } else {
            frames.swap_remove(place)
        }
    }

    /// The functions that the code at `address` is part of, the innermost first.
    pub(super) fn frames(&self, address: u64) -> Vec<Owner> {
        let mut found = Vec::new();
        let Ok(mut frames) = self.context.find_frames(address).skip_all_loads() else { return found };
        while let Ok(Some(frame)) = frames.next() {
            let file = frame.location.as_ref().and_then(|location| location.file).unwrap_or_default();
            let function = frame.function.as_ref().map(|function| function.demangle());
            let function = function.and_then(Result::ok).unwrap_or(Cow::Borrowed(""));
            found.push(Owner { part: self.part(file), function: plain(&function) });
        }
        found
    }

    fn part(&self, file: &str) -> Part {
        let file = normal(file);
        if let Some(path) = file.strip_prefix(&self.root) {
            return match path.split('/').collect::<Vec<_>>()[..] {
                ["ring", ..] => Part::Ring,
                ["core", "src", module, ..] if module == "wire" || module == "wire.rs" => Part::Wire,
                ["core", ..] => Part::Core,
                ["drivers", ..] => Part::Drivers,
                _ => Part::Image,
            };
        }
        // .../registry/src/INDEX/NAME-VERSION/..., and .../library/core/... or a path of the compiler's own registry.
        if file.starts_with("/rustc/") || file.contains("/lib/rustlib/src/") {
            return Part::Library;
        }
        let package = file.split_once("/registry/src/").and_then(|(_, rest)| rest.split('/').nth(1));
        match package.and_then(|package| package.rsplit_once('-')) {
            Some(("compiler_builtins", _)) => Part::Library,
            Some((name, _)) => Part::Dependency(name.into()),
            None => Part::Unknown,
        }
    }
}

impl Part {
    /// Whether it was written for this project.
    #[must_use]
    pub const fn is_of_the_project(&self) -> bool {
        matches!(self, Self::Ring | Self::Core | Self::Wire | Self::Drivers | Self::Image)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ring => "ring",
            Self::Core => "core",
            Self::Wire => "wire format",
            Self::Drivers => "drivers",
            Self::Image => "application and board",
            Self::Dependency(name) => name,
            Self::Library => "compiler's libraries",
            Self::Unknown => "unknown",
        })
    }
}

/// Without `..` and `.`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." if parts.len() > 1 => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// Without the hash that older symbols end with.
fn plain(function: &str) -> String {
    match function.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => path.into(),
        _ => function.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_up_are_taken_out_of_paths_and_hashes_off_names() {
        assert_eq!(normal("/a/b/../c/./d.rs"), "/a/c/d.rs");
        assert_eq!(plain("quoring::start::h0123456789abcdef"), "quoring::start");
        assert_eq!(plain("quoring::start::held"), "quoring::start::held");
    }
}

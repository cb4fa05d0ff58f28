//! Which functions an instruction stems from, and whose they are.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian};
use anyhow::Result;
use object::{Object, ObjectSection};

use super::code::{Code, readable};

/// A function that an instruction was inlined into, or lies in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Its name.
    pub function: String,
    /// File and line that the instruction stems from; nothing, where the compiler made one instruction out of several.
    pub place: Option<(PathBuf, u32)>,
    /// The folder of this project that it belongs to, such as `core`.
    pub folder: Option<String>,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some((file, line)) => write!(f, "{}:{line} in {}", file.display(), self.function),
            None => write!(f, "somewhere in {}", self.function),
        }
    }
}

/// The debug information of an image.
pub(super) struct Origins<'i> {
    debug: Context<EndianSlice<'i, LittleEndian>>,
    owner: Owner,
}

impl<'i> Origins<'i> {
    pub(super) fn of(code: &'i Code) -> Result<Self> {
        let file = code.file()?;
        let dwarf = Dwarf::load(|id| {
            let section = file.section_by_name(id.name()).map(|section| section.data()).transpose()?;
            anyhow::Ok(EndianSlice::new(section.unwrap_or_default(), LittleEndian))
        })?;
        Ok(Self { debug: Context::from_dwarf(dwarf)?, owner: Owner::new()? })
    }

    /// The functions that the instruction was inlined into, innermost first, and at the end the one that it lies in. None, if nothing is known of it.
    pub(super) fn frames(&self, address: u32) -> Result<Vec<Frame>> {
        let mut found = self.debug.find_frames(u64::from(address)).skip_all_loads()?;
        let mut frames = Vec::new();
        while let Some(frame) = found.next()? {
            let name = frame.function.as_ref().map(|name| name.raw_name()).transpose()?;
            let place = frame.location.and_then(|place| Some((normal(Path::new(place.file?)), place.line?)));
            let place = place.filter(|(_, line)| *line > 0);
            let folder = place.as_ref().and_then(|(file, _)| self.owner.of_file(file));
            frames.push(Frame { function: name.map(|name| readable(&name)).unwrap_or_default(), place, folder });
        }
        Ok(frames)
    }
}

/// Tells the code of this project from that of others.
struct Owner {
    root: PathBuf,
}

impl Owner {
    fn new() -> Result<Self> {
        Ok(Self { root: Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()? })
    }

    /// The folder of this project that the file lies in, unless it is another's: `core` for `core/src/raft.rs`.
    fn of_file(&self, file: &Path) -> Option<String> {
        let inside = normal(file).strip_prefix(&self.root).ok()?.to_owned();
        let folder = inside.to_str()?.split_once("/src/")?.0;
        let built = ["target/", ".cargo/"].iter().any(|other| folder.starts_with(other));
        (!built).then(|| folder.to_owned())
    }
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_of_the_folder_it_lies_in_and_the_language_s_own_core_is_another() {
        let owner = Owner { root: PathBuf::from("/home/me/quoring") };
        let cases = [
            ("/home/me/quoring/core/src/raft/window.rs", Some("core")),
            ("/home/me/quoring/tests/firmware/mps2/../../../ring/src/arena.rs", Some("ring")),
            ("/home/me/quoring/tests/firmware/mps2/src/main.rs", Some("tests/firmware/mps2")),
            ("/rustc/0123/library/core/src/slice/index.rs", None),
            ("/home/me/.cargo/registry/src/index/heapless-0.9.1/src/vec.rs", None),
            ("/home/me/quoring/.cargo/registry/src/index/crc-3.4.0/src/lib.rs", None),
            ("/home/me/quoring/target/thumbv7m-none-eabi/release/build/x/src/main.rs", None),
        ];
        for (file, folder) in cases {
            assert_eq!(owner.of_file(Path::new(file)).as_deref(), folder, "{file}");
        }
    }
}

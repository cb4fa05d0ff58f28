//! The code of an image: its functions, and which of them name which.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use object::{Architecture, Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};
use rustc_demangle::demangle;

use super::thumb::{self, Names};

/// The code of an image for a Cortex-M, with its symbols and its debug information.
pub struct Code {
    data: Vec<u8>,
    sections: Vec<Section>,
    /// In the order of their addresses.
    functions: Vec<Function>,
    symbols: Vec<String>,
}

/// What is loaded into memory.
struct Section {
    start: u32,
    bytes: Vec<u8>,
    /// Which addresses of it hold instructions.
    code: Vec<Range<u32>>,
}

/// A function; where several are the same code, that is one.
pub(super) struct Function {
    pub(super) start: u32,
    end: u32,
    pub(super) name: String,
    /// Whether all that it does is to panic, or to handle that.
    pub(super) panics: bool,
}

/// A place in a function that names another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reference {
    pub(super) address: u32,
    pub(super) target: u32,
}

impl Code {
    /// Reads an image.
    ///
    /// # Errors
    /// There is no such file, or it is no image for a Cortex-M.
    pub fn open(path: &Path) -> Result<Self> {
        let data = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let file = object::File::parse(data.as_slice()).context("not an image")?;
        ensure!(file.architecture() == Architecture::Arm && !file.is_64(), "not an image for a Cortex-M");
        let symbols = file.symbols().filter_map(|symbol| symbol.name().ok().map(readable)).collect();
        Ok(Self { sections: sections(&file)?, functions: functions(&file), symbols, data })
    }

    /// The symbols of an allocator, or of code that would use one.
    #[must_use]
    pub fn allocator(&self) -> Vec<&str> {
        let marks = ["__rust_alloc", "__rust_dealloc", "__rust_realloc", "__rg_", "__rdl_", "GlobalAlloc"];
        let names = ["malloc", "calloc", "realloc", "free", "_sbrk"];
        let allocates = |name: &&str| {
            name.trim_start_matches('<').starts_with("alloc::")
                || marks.iter().any(|mark| name.contains(mark))
                || names.contains(name)
        };
        self.symbols.iter().map(String::as_str).filter(allocates).collect()
    }

    /// The file, to read more of it.
    pub(super) fn file(&self) -> Result<object::File<'_>> {
        object::File::parse(self.data.as_slice()).context("not an image")
    }

    pub(super) fn functions(&self) -> impl Iterator<Item = &Function> {
        self.functions.iter()
    }

    /// The function with the instruction at this address.
    pub(super) fn function_at(&self, address: u32) -> Option<&Function> {
        let after = self.functions.partition_point(|function| function.start <= address);
        self.functions.get(after.checked_sub(1)?).filter(|function| address < function.end)
    }

    /// Every place in code that names the beginning of a function.
    pub(super) fn references(&self) -> Vec<Reference> {
        let mut references = Vec::new();
        for section in &self.sections {
            for code in &section.code {
                let bytes = section.bytes(code).unwrap_or_default();
                references.extend(thumb::decode(code.start, bytes).into_iter().filter_map(|(address, names)| {
                    // The lowest bit of a function's address says that its code is Thumb's.
                    let pointer = |value: u32| (value & 1 == 1).then_some(value & !1);
                    let target = match names {
                        Names::Branch(target) => target,
                        Names::Value(value) => pointer(value)?,
                        Names::Word(at) => pointer(self.word(at)?)?,
                    };
                    self.functions.binary_search_by_key(&target, |function| function.start).ok()?;
                    Some(Reference { address, target })
                }));
            }
        }
        references
    }

    fn word(&self, at: u32) -> Option<u32> {
        let bytes = self.sections.iter().find_map(|section| section.bytes(&(at..at.checked_add(4)?)))?;
        bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }
}

impl Section {
    fn bytes(&self, range: &Range<u32>) -> Option<&[u8]> {
        let from = range.start.checked_sub(self.start)? as usize;
        self.bytes.get(from..from + range.len())
    }
}

/// What is loaded. The symbols `$t` and `$d` say where code and data begin in it.
fn sections(file: &object::File<'_>) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    for section in file.sections() {
        let is_code = match section.kind() {
            SectionKind::Text => true,
            SectionKind::ReadOnlyData | SectionKind::ReadOnlyString | SectionKind::Data => false,
            _ => continue,
        };
        let start = section.address() as u32;
        let bytes = section.data().context("reading a section")?.to_vec();
        let end = start + bytes.len() as u32;
        let mut marks: Vec<(u32, bool)> = file
            .symbols()
            .filter(|symbol| symbol.section_index() == Some(section.index()))
            .filter_map(|symbol| match symbol.name().ok()?.get(..2)? {
                "$t" => Some((symbol.address() as u32, true)),
                "$d" => Some((symbol.address() as u32, false)),
                _ => None,
            })
            .collect();
        marks.sort_unstable();
        let ends = marks.iter().skip(1).map(|&(at, _)| at).chain([end]);
        let runs = marks.iter().zip(ends).filter(|((_, code), _)| is_code && *code);
        let code = runs.map(|(&(from, _), to)| from..to).collect();
        sections.push(Section { start, bytes, code });
    }
    Ok(sections)
}

fn functions(file: &object::File<'_>) -> Vec<Function> {
    let mut functions: Vec<Function> = Vec::new();
    let mut symbols: Vec<_> =
        file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0).collect();
    symbols.sort_by_key(|symbol| symbol.address() & !1);
    for symbol in symbols {
        let Ok(name) = symbol.name().map(readable) else { continue };
        let start = symbol.address() as u32 & !1;
        let panics = name.contains("rust_begin_unwind") || name.starts_with("core::panicking::");
        match functions.last_mut() {
            Some(same) if same.start == start => same.panics |= panics,
            _ => functions.push(Function { start, end: start + symbol.size() as u32, name, panics }),
        }
    }
    functions
}

/// Without its hash.
pub(super) fn readable(name: &str) -> String {
    format!("{:#}", demangle(name))
}

//! What a firmware image is made of: sections, symbols, and to which part of the project each byte of code belongs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, SectionKind, elf};

mod owner;

use owner::Places;
pub use owner::{Owner, Part};

/// An ELF file for a 32-bit core, with DWARF that tells where its code comes from.
pub struct Image {
    bytes: Vec<u8>,
    sizes: Sizes,
    symbols: Vec<Symbol>,
    text: Vec<Stretch>,
    owners: Vec<Owner>,
    vectors: BTreeSet<u64>,
}

/// Bytes of an image by what becomes of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sizes {
    /// Code, with the constants that lie between functions; in flash.
    pub text: u64,
    /// Constants; in flash.
    pub rodata: u64,
    /// Variables with a first value; in RAM, and their values in flash.
    pub data: u64,
    /// Variables that are zero at first; in RAM.
    pub bss: u64,
}

/// A name for bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Symbol {
    /// As the source calls it.
    pub name: String,
    /// Where it begins.
    pub address: u64,
    /// How many bytes it has.
    pub size: u64,
}

/// Code of one section, by half words. Each has an owner.
#[derive(Debug)]
struct Stretch {
    address: u64,
    code: Vec<u16>,
    /// Positions in `Image::owners`.
    owners: Vec<u32>,
}

impl Image {
    /// Reads an image.
    ///
    /// # Errors
    /// The file cannot be read, or is no such image.
    pub fn open(path: &Path) -> Result<Self> {
        let told = || format!("the image {}", path.display());
        let bytes = std::fs::read(path).with_context(told)?;
        let mut image = Self {
            bytes: Vec::new(),
            sizes: Sizes::default(),
            symbols: Vec::new(),
            text: Vec::new(),
            owners: Vec::new(),
            vectors: BTreeSet::new(),
        };
        image.parse(&bytes).with_context(told)?;
        Ok(Self { bytes, ..image })
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<()> {
        let file = object::File::parse(bytes)?;
        self.symbols = symbols(&file);
        let places = Places::new(&file)?;
        let mut known = BTreeMap::new();
        for section in file.sections() {
            if !is_loaded(&section) {
                continue;
            }
            match section.kind() {
                SectionKind::Text => self.sizes.text += section.size(),
                SectionKind::ReadOnlyData | SectionKind::ReadOnlyDataWithRel | SectionKind::ReadOnlyString => {
                    self.sizes.rodata += section.size();
                }
                SectionKind::Data => self.sizes.data += section.size(),
                SectionKind::UninitializedData => self.sizes.bss += section.size(),
                kind => bail!("a section of a kind that is not counted: {kind:?}"),
            }
            if section.kind() == SectionKind::Text {
                let halves = section.data()?.as_chunks().0.iter();
                let code: Vec<_> = halves.map(|half| u16::from_le_bytes(*half)).collect();
                let owners = addresses(section.address(), code.len()).map(|address| {
                    let next = known.len() as u32;
                    *known.entry(places.owner(address)).or_insert(next)
                });
                self.text.push(Stretch { address: section.address(), owners: owners.collect(), code });
            }
        }
        self.vectors = vectors(&file)?;
        ensure!(self.sizes.text > 0, "no code in it");
        let mut owners: Vec<_> = known.into_iter().map(|(owner, position)| (position, owner)).collect();
        owners.sort_unstable_by_key(|(position, _)| *position);
        self.owners = owners.into_iter().map(|(_, owner)| owner).collect();
        Ok(())
    }

    /// How large its sections are.
    #[must_use]
    pub const fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// The symbol of this name, or of a path that ends with it.
    #[must_use]
    pub fn symbol(&self, name: &str) -> Option<&Symbol> {
        let is_it = |symbol: &&Symbol| symbol.name.rsplit("::").next() == Some(name);
        self.symbols.iter().filter(is_it).max_by_key(|symbol| symbol.size)
    }

    /// Whose the code at `address` is.
    #[must_use]
    pub fn owner(&self, address: u64) -> Option<&Owner> {
        let (stretch, place) = self.place(address)?;
        self.owners.get(*stretch.owners.get(place)? as usize)
    }

    /// The half word of code at `address`.
    #[must_use]
    pub fn code_at(&self, address: u64) -> Option<u16> {
        let (stretch, place) = self.place(address)?;
        stretch.code.get(place).copied()
    }

    /// Where interrupts and exceptions begin.
    #[must_use]
    pub fn vectors(&self) -> &BTreeSet<u64> {
        &self.vectors
    }

    /// The addresses of code that is part of a function which `is_it` tells by its name, inlined or not.
    ///
    /// # Errors
    /// The image's debug information cannot be read.
    pub fn within(&self, is_it: impl Fn(&str) -> bool) -> Result<BTreeSet<u64>> {
        let file = object::File::parse(&*self.bytes)?;
        let places = Places::new(&file)?;
        let all = self.text.iter().flat_map(|stretch| addresses(stretch.address, stretch.code.len()));
        Ok(all.filter(|address| places.frames(*address).iter().any(|owner| is_it(&owner.function))).collect())
    }

    /// All functions that the code at `address` is part of, each inlined into the next.
    #[must_use]
    pub fn frames(&self, address: u64) -> Vec<Owner> {
        let frames = || Ok::<_, anyhow::Error>(Places::new(&object::File::parse(&*self.bytes)?)?.frames(address));
        frames().unwrap_or_default()
    }

    /// The address behind the last code.
    #[must_use]
    pub fn code_end(&self) -> u64 {
        self.text.iter().map(|stretch| stretch.address + 2 * stretch.code.len() as u64).max().unwrap_or_default()
    }

    /// Bytes of code by owner.
    #[must_use]
    pub fn code(&self) -> BTreeMap<&Owner, u64> {
        let mut code = BTreeMap::new();
        for owner in self.text.iter().flat_map(|stretch| &stretch.owners) {
            if let Some(owner) = self.owners.get(*owner as usize) {
                *code.entry(owner).or_default() += 2;
            }
        }
        code
    }

    /// The stretch of code with this address in it, and the half word's number there.
    fn place(&self, address: u64) -> Option<(&Stretch, usize)> {
        self.text.iter().find_map(|stretch| {
            let place = usize::try_from(address.checked_sub(stretch.address)? / 2).ok()?;
            (place < stretch.code.len()).then_some((stretch, place))
        })
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").field("sizes", &self.sizes).finish_non_exhaustive()
    }
}

fn symbols(file: &object::File<'_>) -> Vec<Symbol> {
    let symbols = file.symbols().filter_map(|symbol| {
        let name = symbol.name().ok().filter(|name| !name.is_empty() && !name.starts_with('$'))?;
        let name = format!("{:#}", rustc_demangle::demangle(name));
        Some(Symbol { name, address: symbol.address(), size: symbol.size() })
    });
    symbols.collect()
}

/// Whether it takes memory of the chip.
fn is_loaded(section: &object::Section<'_, '_>) -> bool {
    match section.flags() {
        SectionFlags::Elf { sh_flags, .. } => sh_flags.contains(elf::SHF_ALLOC),
        _ => false,
    }
}

/// The bytes of a section; none if there is no such.
fn section<'f>(file: &object::File<'f>, name: &str) -> Result<&'f [u8]> {
    Ok(file.section_by_name(name).map(|section| section.data()).transpose()?.unwrap_or_default())
}

/// Of half words one after the other.
fn addresses(first: u64, count: usize) -> impl Iterator<Item = u64> {
    (first..).step_by(2).take(count)
}

/// What the table of vectors points to: the first word is the stack's.
fn vectors(file: &object::File<'_>) -> Result<BTreeSet<u64>> {
    let words = section(file, ".vector_table")?.as_chunks().0.iter().skip(1);
    Ok(words.map(|word| u64::from(u32::from_le_bytes(*word) & !1)).filter(|address| *address != 0).collect())
}

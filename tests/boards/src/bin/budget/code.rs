//! The bytes of the image.

use anyhow::{Context as _, Result};
use quoring_boards::image::{Image, Part};

use crate::table::Row;
use crate::{CODE_LIMIT, MEMORY_LIMIT};

/// The name of the static that is all memory of a node.
const MEMORY: &str = "MEMORY";

/// Code by part, then what else takes flash and RAM.
pub(crate) fn rows(image: &Image) -> Result<Vec<Row>> {
    let code = image.code();
    let bytes = |of: &dyn Fn(&Part) -> bool| -> u64 {
        code.iter().filter(|(owner, _)| of(&owner.part)).map(|(_, bytes)| bytes).sum()
    };
    let of = |part: Part| bytes(&|other| *other == part);
    let bounded = of(Part::Ring) + of(Part::Core) + of(Part::Wire);
    let sizes = image.sizes();
    let memory = image.symbol(MEMORY).with_context(|| format!("no static `{MEMORY}` in the image"))?;
    Ok(vec![
        Row::new("code: ring", of(Part::Ring)),
        Row::new("code: core", of(Part::Core)),
        Row::new("code: wire format", of(Part::Wire)),
        Row::new("code: these three", bounded).limit(CODE_LIMIT),
        Row::new("code: drivers", of(Part::Drivers)),
        Row::new("code: application and board", of(Part::Image)),
        Row::new("code: other crates", bytes(&|part| matches!(part, Part::Dependency(_)))),
        Row::new("code: compiler's libraries", of(Part::Library) + of(Part::Unknown)),
        Row::new("code: all", sizes.text),
        Row::new("constants (`.rodata`)", sizes.rodata),
        Row::new("variables with a first value (`.data`)", sizes.data),
        Row::new("variables (`.bss`)", sizes.bss),
        Row::new("of which all memory of the node, one static", memory.size).limit(MEMORY_LIMIT),
    ])
}

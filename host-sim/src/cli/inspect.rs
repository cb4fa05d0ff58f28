//! `quoring inspect`: what lies on a store's medium, and what a node would do with it. The image is only read.

mod contents;
mod image;
mod show;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use self::contents::Contents;
use self::image::Place;
use super::say;

/// What `quoring inspect` is told. What it is not told about the medium, the page headers tell.
#[derive(Clone, Debug, Args)]
pub(super) struct Inspect {
    /// A dump of flash, or the file `log` of a log in a folder.
    image: PathBuf,
    /// Where the first page begins in the image.
    #[arg(long, value_name = "BYTES")]
    offset: Option<u32>,
    /// Bytes of a page.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(64..=1 << 20))]
    page: Option<u32>,
    /// Bytes of a word.
    #[arg(long, value_name = "BYTES", value_parser = super::wear::word)]
    word: Option<u32>,
    /// What an erased byte reads as: ff, 00, or none where nothing is erased. For flash and files it is found out, for FRAM not.
    #[arg(long, value_name = "BYTE", value_parser = erased)]
    erased: Option<Erased>,
    /// Pages of the log.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(3..))]
    log_pages: Option<u16>,
    /// Pages of each of the two snapshots.
    #[arg(long, value_name = "N")]
    slot_pages: Option<u16>,
    /// Show each batch and each record.
    #[arg(long)]
    entries: bool,
    /// Print the result as a JSON object.
    #[arg(long)]
    json: bool,
}

/// What the user says of erased bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Erased(Option<u8>);

impl Inspect {
    /// True if a node would start from it.
    pub(super) fn perform(self) -> Result<bool> {
        let bytes = fs::read(&self.image).with_context(|| format!("cannot read {}", self.image.display()))?;
        let contents = match Place::find(&bytes, &self)? {
            Ok(place) => Contents::read(&bytes, place)?,
            Err(verdict) => Contents::none(verdict),
        };
        say(if self.json { show::json(&contents, self.entries) } else { show::text(&contents, self.entries) });
        Ok(contents.verdict.is_healthy())
    }
}

fn erased(text: &str) -> Result<Erased, String> {
    match text {
        "none" => Ok(Erased(None)),
        _ => u8::from_str_radix(text, 16).map(|byte| Erased(Some(byte))).map_err(|_| "it is ff, 00 or none".into()),
    }
}

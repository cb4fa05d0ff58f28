//! What is asked of the plugin.

use std::ops::Range;
use std::path::PathBuf;

/// See the crate's page.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) out: Option<PathBuf>,
    pub(crate) trace: Option<PathBuf>,
    pub(crate) from: u64,
    pub(crate) to: u64,
    window: u64,
    size: u64,
    pub(crate) cut: u64,
}

impl Options {
    /// Takes `NAME=VALUE` each.
    pub(crate) fn parse(arguments: impl Iterator<Item = impl AsRef<str>>) -> Result<Self, String> {
        let mut options = Self::default();
        for argument in arguments {
            let argument = argument.as_ref();
            let Some((name, value)) = argument.split_once('=') else {
                return Err(format!("`{argument}` is not NAME=VALUE"));
            };
            let number = || number(value).ok_or_else(|| format!("`{value}` is not a number"));
            match name {
                "out" => options.out = Some(value.into()),
                "trace" => options.trace = Some(value.into()),
                "from" => options.from = number()?,
                "to" => options.to = number()?,
                "window" => options.window = number()?,
                "size" => options.size = number()?,
                "cut" => options.cut = number()?,
                _ => return Err(format!("there is no option `{name}`")),
            }
        }
        Ok(options)
    }

    /// Where stores are counted.
    pub(crate) fn window(&self) -> Range<u64> {
        self.window..self.window.saturating_add(self.size)
    }
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

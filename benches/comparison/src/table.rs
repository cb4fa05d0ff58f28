//! Markdown, and what goes into it.

/// The lock file of this workspace: it knows which versions are compared.
const LOCK: &str = include_str!("../Cargo.lock");

/// A crate's name and the version of it that is measured here.
#[must_use]
pub(crate) fn versioned(name: &str) -> String {
    let version =
        LOCK.split_once(&format!("name = \"{name}\"\nversion = \"")).and_then(|(_, rest)| rest.split_once('"'));
    format!("{name} {}", version.map_or("", |(version, _)| version))
}

/// A number with its thousands parted.
#[must_use]
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many times as much as `one` this is.
#[must_use]
pub(crate) fn times(number: u64, one: u64) -> String {
    let ratio = number as f64 / one as f64;
    if ratio < 10.0 { format!("{ratio:.2}") } else { format!("{ratio:.0}") }
}

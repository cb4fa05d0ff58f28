//! Sections of code that nothing else of the node, or no interrupt, comes between.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use quoring_boards::image::{Image, Part};
use quoring_boards::probe::{Lengths, Profile};

/// How many are printed.
const SECTIONS: usize = 15;

type Sections = BTreeMap<u64, Lengths>;

/// Instructions of the longest section of all boards.
pub(crate) fn longest<'p, 'i: 'p>(profiles: &'p [Profile<'i>], of: impl Fn(&'p Profile<'i>) -> &'p Sections) -> u64 {
    profiles.iter().flat_map(|profile| of(profile).values()).map(|lengths| lengths.longest).max().unwrap_or_default()
}

/// The sections that were the longest, of all boards, and whose they are.
pub(crate) fn print<'p, 'i: 'p>(
    image: &Image,
    profiles: &'p [Profile<'i>],
    of: impl Fn(&'p Profile<'i>) -> &'p Sections,
) {
    let mut all = Sections::new();
    for (address, lengths) in profiles.iter().flat_map(of) {
        let sum = all.entry(*address).or_default();
        sum.times += lengths.times;
        sum.longest = sum.longest.max(lengths.longest);
        sum.total += lengths.total;
    }
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by_key(|(_, lengths)| Reverse(lengths.longest));
    for (address, Lengths { times, longest, total }) in all.into_iter().take(SECTIONS) {
        println!("{longest:7} {times:7} {:7}  {}", total / times.max(1), place(image, address));
    }
}

/// The functions that a place is part of, but for those of the lock itself.
fn place(image: &Image, address: u64) -> String {
    let frames = image.frames(address);
    let named =
        frames.iter().filter(|owner| owner.part.is_of_the_project() && !owner.function.contains("shared::Shared"));
    let named: Vec<_> =
        named.filter(|owner| owner.part != Part::Unknown).map(|owner| owner.function.as_str()).collect();
    if named.is_empty() {
        frames.last().map_or_else(String::new, |owner| owner.function.clone())
    } else {
        named.join(" < ")
    }
}

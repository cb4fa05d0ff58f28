//! Sections of code that nothing else of the node, or no interrupt, comes between.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use quoring_boards::image::{Image, Part};
use quoring_boards::probe::{Lengths, Profile};

use crate::run::ENTRIES;

/// How many are printed.
const SECTIONS: usize = 15;

type Sections = BTreeMap<u64, Lengths>;

/// How many may be longer than what counts as long: one in a hundred entries. Things come together by chance now and then, not in every run.
const RARE: u64 = ENTRIES / 100;

/// Instructions of the longest sections of all boards, but for the rarest.
pub(crate) fn longest<'p, 'i: 'p>(profiles: &'p [Profile<'i>], of: impl Fn(&'p Profile<'i>) -> &'p Sections) -> u64 {
    let mut all = Lengths::default();
    profiles.iter().flat_map(|profile| of(profile).values()).for_each(|lengths| all.add(lengths));
    all.longest(RARE)
}

/// The sections that were the longest, of all boards, and whose they are.
pub(crate) fn print<'p, 'i: 'p>(
    image: &Image,
    profiles: &'p [Profile<'i>],
    of: impl Fn(&'p Profile<'i>) -> &'p Sections,
) {
    let mut all = Sections::new();
    profiles.iter().flat_map(of).for_each(|(address, lengths)| all.entry(*address).or_default().add(lengths));
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by_key(|(_, lengths)| Reverse(lengths.longest(0)));
    for (address, lengths) in all.into_iter().take(SECTIONS) {
        let average = lengths.total() / lengths.count().max(1);
        println!("{:7} {:7} {average:7}  {}", lengths.longest(0), lengths.count(), place(image, address));
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

//! Instructions per entry, and code, by part and by function.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use quoring_boards::image::{Image, Owner};
use quoring_boards::probe::Profile;

use crate::run::{ENTRIES, Run};
use crate::sections;

/// How many functions are printed.
const FUNCTIONS: usize = 100;

/// How many stack frames are.
const FRAMES: usize = 15;

/// What a function costs, in instructions and bytes.
#[derive(Clone, Copy, Default)]
struct Cost {
    leader: u64,
    follower: u64,
    code: u64,
}

pub(crate) fn print(image: &Image, run: &Run, profiles: &[Profile<'_>]) {
    let [leader, follower, ..] = profiles else { return };
    println!("{run}");
    println!("Instructions per entry on the leader and on a follower, and bytes of code, by part:");
    let by_owner = costs(image, [&leader.own, &follower.own]);
    let mut parts: BTreeMap<String, Cost> = BTreeMap::new();
    for (owner, cost) in &by_owner {
        let part = parts.entry(owner.part.to_string()).or_default();
        part.leader += cost.leader;
        part.follower += cost.follower;
        part.code += cost.code;
    }
    list(parts.into_iter().collect());

    println!(
        "\nBy function of the project, with what it calls of other crates and of the compiler's libraries (copies above all):"
    );
    list(named(costs(image, [&leader.charged, &follower.charged])));

    println!("\nThe same, but without that:");
    list(named(by_owner));

    println!("\nThe longest steps under the node's lock: instructions, times, average");
    sections::print(image, profiles, |profile| &profile.steps);
    println!("\nThe longest times without interrupts: instructions, times, average");
    sections::print(image, profiles, |profile| &profile.masked);

    println!("\nThe largest stack frames, in bytes, of {} in all:", run.stack);
    print_frames(image);
}

/// The functions that take the most stack at once: those of which code lowers the stack pointer by a constant (ARMv7-M Architecture Reference Manual,
/// A7.7.175 and A7.7.176).
fn print_frames(image: &Image) {
    let mut frames = Vec::new();
    for address in (0..image.code_end()).step_by(2) {
        let [first, second] = [address, address + 2].map(|half| u32::from(image.code_at(half).unwrap_or_default()));
        let immediate = (first >> 10 & 1) << 11 | (second >> 12 & 7) << 8 | second & 0xFF;
        let bytes = match first & 0xFBFF {
            _ if first & 0xFF80 == 0xB080 => (first & 0x7F) * 4,
            0xF2AD if second & 0x8F00 == 0x0D00 => immediate,
            0xF1AD if second & 0x8F00 == 0x0D00 => expanded(immediate),
            _ => 0,
        };
        frames.push((bytes, address));
    }
    frames.sort_unstable_by_key(|(bytes, _)| Reverse(*bytes));
    for (bytes, address) in frames.into_iter().take(FRAMES) {
        // The function itself is what all others are inlined into.
        println!("{bytes:7}  {}", image.frames(address).pop().map(|owner| owner.function).unwrap_or_default());
    }
}

/// A constant of Thumb-2 (A5.3.2).
const fn expanded(immediate: u32) -> u32 {
    let byte = immediate & 0xFF;
    match immediate >> 8 {
        0 => byte,
        1 => byte << 16 | byte,
        2 => byte << 24 | byte << 8,
        3 => byte << 24 | byte << 16 | byte << 8 | byte,
        _ => (0x80 | immediate & 0x7F).rotate_right(immediate >> 7),
    }
}

fn costs<'i>(image: &'i Image, executed: [&BTreeMap<&'i Owner, u64>; 2]) -> BTreeMap<&'i Owner, Cost> {
    let mut costs: BTreeMap<&Owner, Cost> = BTreeMap::new();
    for (owner, code) in image.code() {
        costs.entry(owner).or_default().code = code;
    }
    let [leader, follower] = executed;
    leader.iter().for_each(|(owner, count)| costs.entry(owner).or_default().leader = *count);
    follower.iter().for_each(|(owner, count)| costs.entry(owner).or_default().follower = *count);
    costs
}

fn named(costs: BTreeMap<&Owner, Cost>) -> Vec<(String, Cost)> {
    let name = |owner: &Owner| format!("{:22} {}", owner.part.to_string(), owner.function);
    costs.into_iter().map(|(owner, cost)| (name(owner), cost)).collect()
}

fn list(mut costs: Vec<(String, Cost)>) {
    costs.sort_by_key(|(_, cost)| Reverse(cost.leader + cost.follower));
    let per_entry = |count: u64| count as f64 / ENTRIES as f64;
    for (name, Cost { leader, follower, code }) in costs.into_iter().take(FUNCTIONS) {
        println!("{:8.1} {:8.1} {code:7}  {name}", per_entry(leader), per_entry(follower));
    }
}

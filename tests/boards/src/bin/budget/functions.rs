//! Instructions per entry, and code, by part and by function.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use quoring_boards::image::{Image, Owner};
use quoring_boards::probe::Profile;

use crate::run::{ENTRIES, Run};
use crate::sections;

/// How many functions are printed.
const FUNCTIONS: usize = 100;

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

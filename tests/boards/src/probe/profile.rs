//! What the instructions of a trace were executed for.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Result;

use super::{Block, Trace};
use crate::image::{Image, Owner};

/// The lock of a node: all that is done under it is one step of the core.
fn is_step(function: &str) -> bool {
    function.contains("shared::Shared") && function.contains("::with")
}

/// Instructions by what they were executed for.
#[derive(Debug, Default)]
pub struct Profile<'i> {
    /// By the function that they are part of.
    pub own: BTreeMap<&'i Owner, u64>,
    /// The same, but what is not of this project counts for the function of the project that called for it.
    pub charged: BTreeMap<&'i Owner, u64>,
    /// What was done under the node's lock, by the address where that began. Interrupts in between do not count.
    pub steps: BTreeMap<u64, Lengths>,
    /// What was done with interrupts masked, by the address where that began.
    pub masked: BTreeMap<u64, Lengths>,
}

/// How many instructions the sections of code have that begin at one place.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lengths {
    /// How many there were of each length.
    pub times: BTreeMap<u64, u64>,
}

impl Lengths {
    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.times.values().sum()
    }

    /// Instructions of all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.times.iter().map(|(length, times)| length * times).sum()
    }

    /// Instructions of the longest, but for so many that were as long or longer.
    #[must_use]
    pub fn longest(&self, but_for: u64) -> u64 {
        let mut seen = 0;
        let all_but = |(_, times): &(&u64, &u64)| {
            seen += **times;
            seen > but_for
        };
        self.times.iter().rev().find(all_but).map(|(length, _)| *length).unwrap_or_default()
    }

    /// Takes in those of another place.
    pub fn add(&mut self, other: &Self) {
        other.times.iter().for_each(|(length, times)| *self.times.entry(*length).or_default() += times);
    }
}

/// An instruction, by what comes after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Call,
    /// Or a jump to where a register says.
    Return,
    /// `cpsid i`.
    Mask,
    /// `cpsie i`.
    Unmask,
    /// `msr primask`: masked as it was before the last `cpsid i`.
    Restore,
    Other,
}

/// What is known of an instruction.
#[derive(Clone, Copy, Debug)]
struct Known<'i> {
    size: u64,
    kind: Kind,
    owner: Option<&'i Owner>,
    in_step: bool,
}

/// What has been called, or has come in between, and has not returned.
#[derive(Clone, Copy, Debug)]
struct Frame<'i> {
    /// Where it returns to; not known of interrupts.
    to: Option<u64>,
    /// The function of the project that the call was for.
    charge: Option<&'i Owner>,
    /// It was called in a step.
    in_step: bool,
}

/// A section that has not ended.
#[derive(Clone, Copy, Debug)]
struct Open {
    address: u64,
    length: u64,
}

/// Goes along a trace.
struct Walk<'i> {
    image: &'i Image,
    steps: BTreeSet<u64>,
    known: HashMap<u64, Known<'i>>,
    stack: Vec<Frame<'i>>,
    /// How many of them are interrupts.
    interrupts: usize,
    own: HashMap<*const Owner, (&'i Owner, u64)>,
    charged: HashMap<*const Owner, (&'i Owner, u64)>,
    step: Option<Open>,
    /// How often interrupts were masked and not unmasked.
    masks: u32,
    masked: Option<Open>,
    profile: Profile<'i>,
}

impl<'i> Profile<'i> {
    /// Of what a board with this image executed.
    ///
    /// # Errors
    /// The image's debug information cannot be read.
    pub fn new(image: &'i Image, trace: &Trace) -> Result<Self> {
        let mut walk = Walk {
            image,
            steps: image.within(is_step)?,
            known: HashMap::new(),
            stack: Vec::new(),
            interrupts: 0,
            own: HashMap::new(),
            charged: HashMap::new(),
            step: None,
            masks: 0,
            masked: None,
            profile: Self::default(),
        };
        let mut last = None;
        for block in trace.blocks() {
            last = Some(walk.block(last, block));
        }
        walk.profile.own = walk.own.into_values().collect();
        walk.profile.charged = walk.charged.into_values().collect();
        Ok(walk.profile)
    }
}

impl<'i> Walk<'i> {
    /// Executes a block after the instruction at `last`; where its last instruction is.
    fn block(&mut self, last: Option<(u64, Known<'i>)>, block: Block) -> (u64, Known<'i>) {
        if let Some((address, known)) = last {
            self.come(address, known, block.address);
        }
        let mut address = block.address;
        let mut known = self.known(address);
        for number in 0..block.instructions {
            if number > 0 {
                address += known.size;
                known = self.known(address);
            }
            self.count(address, known);
        }
        (address, known)
    }

    /// From one block to the next, which is at `to`.
    fn come(&mut self, from: u64, known: Known<'i>, to: u64) {
        if self.image.vectors().contains(&to) {
            // One interrupt after the other, without going back in between.
            if known.kind == Kind::Return {
                self.leave_interrupt();
            }
            self.interrupts += 1;
            self.stack.push(Frame { to: None, charge: None, in_step: false });
        } else if known.kind == Kind::Call {
            let above = self.stack.last();
            let charge = known.owner.filter(|owner| owner.part.is_of_the_project());
            let frame = Frame {
                to: Some(from + known.size),
                charge: charge.or(above.and_then(|frame| frame.charge)),
                in_step: known.in_step || above.is_some_and(|frame| frame.in_step),
            };
            self.stack.push(frame);
        } else if known.kind == Kind::Return {
            let interrupt = self.stack.iter().rposition(|frame| frame.to.is_none());
            let returned = self.stack.iter().rposition(|frame| frame.to == Some(to));
            match (returned, interrupt) {
                (Some(call), Some(interrupt)) if call < interrupt => self.leave_interrupt(),
                (Some(call), _) => self.stack.truncate(call),
                // Back from an interrupt, or on to another function that will return in the place of this one.
                (None, Some(interrupt)) if interrupt + 1 == self.stack.len() => self.leave_interrupt(),
                (None, _) => {}
            }
        }
    }

    fn leave_interrupt(&mut self) {
        if let Some(interrupt) = self.stack.iter().rposition(|frame| frame.to.is_none()) {
            self.stack.truncate(interrupt);
            self.interrupts -= 1;
        }
    }

    fn count(&mut self, address: u64, known: Known<'i>) {
        let above = self.stack.last();
        if let Some(owner) = known.owner {
            self.own.entry(owner).or_insert((owner, 0)).1 += 1;
            let charge = if owner.part.is_of_the_project() { None } else { above.and_then(|frame| frame.charge) };
            let charge = charge.unwrap_or(owner);
            self.charged.entry(charge).or_insert((charge, 0)).1 += 1;
        }
        if self.interrupts == 0 {
            let in_step = known.in_step || above.is_some_and(|frame| frame.in_step);
            section(&mut self.step, &mut self.profile.steps, address, in_step);
        }
        self.masks = match known.kind {
            Kind::Mask => self.masks + 1,
            Kind::Restore => self.masks.saturating_sub(1),
            Kind::Unmask => 0,
            _ => self.masks,
        };
        section(&mut self.masked, &mut self.profile.masked, address, self.masks > 0);
    }

    fn known(&mut self, address: u64) -> Known<'i> {
        if let Some(known) = self.known.get(&address) {
            return *known;
        }
        let [first, second] = [address, address + 2].map(|half| self.image.code_at(half).unwrap_or_default());
        let is_long = first >> 11 >= 0b11101;
        let known = Known {
            size: if is_long { 4 } else { 2 },
            kind: if is_long { Kind::of_long(first, second) } else { Kind::of_short(first) },
            owner: self.image.owner(address),
            in_step: self.steps.contains(&address),
        };
        self.known.insert(address, known);
        known
    }
}

impl Kind {
    /// Of an instruction of one half word (ARMv7-M Architecture Reference Manual, A5.2).
    const fn of_short(code: u16) -> Self {
        match code {
            0xB672 => Self::Mask,
            0xB662 => Self::Unmask,
            // BLX to a register.
            _ if code & 0xFF87 == 0x4780 => Self::Call,
            // BX to a register, POP with the program counter.
            _ if code & 0xFF87 == 0x4700 || code & 0xFF00 == 0xBD00 => Self::Return,
            _ => Self::Other,
        }
    }

    /// Of two half words (A5.3).
    const fn of_long(first: u16, second: u16) -> Self {
        if first & 0xFFF0 == 0xF380 && second == 0x8810 {
            return Self::Restore;
        }
        // BL.
        if first >> 11 == 0b11110 && second & 0xD000 == 0xD000 {
            return Self::Call;
        }
        // LDM and LDMDB with the program counter, LDR to the program counter.
        let loads_many = first & 0xFFD0 == 0xE890 || first & 0xFFD0 == 0xE910;
        let loads = first & 0xFF70 == 0xF850 && second >> 12 == 0xF;
        if loads || loads_many && second & 0x8000 != 0 { Self::Return } else { Self::Other }
    }
}

/// Counts an instruction of a section, or ends it.
fn section(open: &mut Option<Open>, ended: &mut BTreeMap<u64, Lengths>, address: u64, is_part: bool) {
    if is_part {
        open.get_or_insert(Open { address, length: 0 }).length += 1;
    } else if let Some(Open { address, length }) = open.take() {
        *ended.entry(address).or_default().times.entry(length).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_is_found_with_and_without_the_rare_ones() {
        let mut lengths = Lengths { times: [(10, 500), (20, 3), (90, 1)].into() };
        assert_eq!([0, 1, 3, 4, 504].map(|but_for| lengths.longest(but_for)), [90, 20, 20, 10, 0]);
        lengths.add(&Lengths { times: [(20, 2), (95, 1)].into() });
        assert_eq!((lengths.longest(0), lengths.longest(6), lengths.count(), lengths.total()), (95, 20, 507, 5285));
    }

    #[test]
    fn instructions_are_known_by_what_comes_after_them() {
        // push, blx, bx, pop, cpsid, cpsie, nop; then bl, b.w, ldmia.w with and without the program counter, ldr.w of it, msr primask.
        let short = [0xB5F0, 0x4798, 0x4770, 0xBDF0, 0xB672, 0xB662, 0xBF00].map(Kind::of_short);
        assert_eq!(short, [Kind::Other, Kind::Call, Kind::Return, Kind::Return, Kind::Mask, Kind::Unmask, Kind::Other]);
        let long = [(0xF000, 0xF801), (0xF000, 0xB801), (0xE8BD, 0x8FF0), (0xE8BD, 0x0FF0), (0xF85D, 0xFB04)];
        let long = long.map(|(first, second)| Kind::of_long(first, second));
        assert_eq!(long, [Kind::Call, Kind::Other, Kind::Return, Kind::Other, Kind::Return]);
        assert_eq!(Kind::of_long(0xF380, 0x8810), Kind::Restore);
    }
}

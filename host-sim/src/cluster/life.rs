//! A node's life and death: starts, loss of power, stores that fail, chips that rot.

use std::rc::Rc;

use quoring::Halt;

use super::{Cluster, Health};
use crate::application::Application;
use crate::checker::Rot;
use crate::clock::LocalClock;
use crate::event::Event;
use crate::executor::Ready;
use crate::incarnation::Birth;
use crate::prng::Prng;
use crate::store::summary;
use crate::tally::Fault;
use crate::timeline::Micros;
use crate::trace::Source;
use crate::workload::Workload;

impl Cluster {
    pub(super) fn start(&mut self, node: usize) {
        let member = &mut self.members[node];
        if member.life.is_some() || member.health == Health::Lost {
            return;
        }
        let (world, now, ready) = (Rc::clone(&self.world), self.world.now(), Ready::new());
        member.starts += 1;
        (member.repaired, member.paused_until) = (false, 0);
        world.trace(Source::Node(node), "starts", format_args!("for the {}. time", member.starts));
        let mut clock = LocalClock::new(now, self.prng.below(1 << 40));
        clock.drift(now, member.ppm);
        world.clocks[node].replace(clock);
        if member.starts == 1 && now > 0 {
            world.count(Fault::LateStarts);
        }
        world.applications[node].replace(Application::new(world.hardware.journal));
        world.halts[node].set(None);
        let birth = Birth {
            config: self.options.config(node, &world.hardware, &self.swarm, &mut self.prng),
            world,
            node,
            ready: ready.clone(),
            prng: Prng::new(self.prng.next(), "schedule"),
            task_delays: self.swarm.task_delays,
            dawdling: self.swarm.dawdling,
            abandoning: self.swarm.abandoning,
            limit: self.options.command_limit(),
            life: member.starts,
        };
        let waker = ready.waker(Ready::START);
        waker.wake_by_ref();
        member.ready = Some((ready, waker));
        member.life = Some(self.options.life(birth));
    }

    /// A node loses power.
    pub(super) fn crash(&mut self, node: usize, outage: Micros) {
        let world = Rc::clone(&self.world);
        let member = &mut self.members[node];
        (member.crash, member.crash_in_write) = (None, None);
        if member.life.take().is_none() {
            return;
        }
        world.count(Fault::Crashes);
        if world.chips[node].borrow_mut().unstick() {
            world.count(Fault::FlashFailures);
        }
        let torn = world.chips[node].borrow_mut().lose_power();
        match torn {
            Some(torn) if torn.kept == 0 => world.count(Fault::LostWrites),
            Some(torn) if torn.kept < torn.of => world.count(Fault::TornWrites),
            _ => {}
        }
        world.trace(Source::Node(node), "crash", format_args!("for {outage} us; {torn:?}"));
        if !world.settle(node) {
            self.lose(node, Health::Damaged);
        }
        world.network.borrow_mut().set_open(node, false);
        world.close_desk(node);
        world.seen[node].set(None);
        world.arrange(world.now() + outage, Event::Starts(node));
    }

    /// Bits of a chip flip while its node is down, where a quorum of others lives on sound ones: then the node must not start from it, or lose
    /// nothing by it. A text is to come out of every node: its chips do not rot.
    pub(super) fn rot(&mut self, node: usize, tail: bool) {
        let world = Rc::clone(&self.world);
        let rotten = world.chips.iter().filter(|chip| chip.borrow().rotten).count();
        let is_text = matches!(self.options.workload, Workload::Lines(_));
        let member = &self.members[node];
        if is_text || member.is_lost() || member.life.is_some() || (rotten + 1) * 2 >= self.members.len() {
            return;
        }
        let offset = world.chips[node].borrow_mut().rot(tail);
        let findings = world.findings(node);
        let rot = world.oracle.borrow_mut().rots(node, &findings);
        world.trace(Source::Node(node), "rots", format_args!("at {offset:#x}: {rot:?}, {}", summary(&findings)));
        match rot {
            Rot::Harmless => return,
            Rot::Survived => {}
            Rot::Noticed => self.lose(node, Health::Damaged),
            // Nobody could tell. It is not allowed to start, or it might vote again.
            Rot::Unnoticed if world.chips[node].borrow().looks_torn(offset) => self.lose(node, Health::Lost),
            Rot::Unnoticed => world.oracle.borrow_mut().forgets(world.now(), node, offset),
        }
        world.count(Fault::BitRot);
    }

    /// What a node remembers is gone, and it with it.
    fn lose(&mut self, node: usize, health: Health) {
        self.members[node].health = health;
        self.world.oracle.borrow_mut().lose(node);
    }

    /// All nodes lose power; each gets it back in its own time.
    pub(super) fn lose_power(&mut self, outage: Micros) {
        if self.members.iter().any(|member| member.life.is_some()) {
            self.world.count(Fault::PowerLosses);
        }
        for node in 0..self.members.len() {
            let outage = outage + self.prng.octaves(1, 100_000);
            self.crash(node, outage);
        }
    }

    /// A node stopped for good; someone repairs its store and starts it again, if that was the cause.
    pub(super) fn halted(&mut self, node: usize, halt: &Halt) {
        self.world.trace(Source::Node(node), "halts", format_args!("{halt}"));
        if !std::mem::take(&mut self.world.chips[node].borrow_mut().failed) {
            // All its tasks end, one after another.
            if self.members[node].repaired {
                return;
            }
            if self.world.chips[node].borrow().rotten {
                self.lose(node, Health::Lost);
            } else {
                self.world.oracle.borrow_mut().stops(self.world.now(), node, &halt.to_string());
            }
            return;
        }
        self.members[node].repaired = true;
        let (at, outage) = (self.prng.octaves(1_000, 500_000), self.prng.octaves(1_000, 500_000));
        self.world.arrange(self.world.now() + at, Event::LosesPower(node, outage));
    }
}

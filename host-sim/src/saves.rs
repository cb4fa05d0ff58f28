//! How the application saves and restores its state: in pieces of any length, and not always to the end.

use allocation_counter::opt_out;
use quoring::{Restore, RestoreError, Save, SaveError};

use crate::application::Application;
use crate::incarnation::SimPlatform;
use crate::prng::Prng;
use crate::tally::Fault;
use crate::trace::Source;
use crate::world::World;

/// The largest piece.
const PIECE: usize = 4096;

/// Saves the state. Of a million saves, `share` are declined or given up.
pub(crate) async fn save<const RECORD: usize>(
    world: &World,
    node: usize,
    mut save: Save<'_, '_, SimPlatform<RECORD>>,
    share: u32,
    prng: &mut Prng,
) {
    let index = save.index().0;
    let mut state = Vec::new();
    opt_out(|| state = world.saves(node, index));
    let end = if prng.chance(share) { prng.below(state.len() as u64 + 1) as usize } else { usize::MAX };
    let mut written = 0;
    while written < state.len().min(end) {
        let piece = prng.octaves(1, PIECE as u64) as usize;
        let piece = &state[written..(written + piece).min(state.len())];
        if let Err(error) = save.write(piece).await {
            return world.is_not_saved(node, &error);
        }
        written += piece.len();
    }
    if end < usize::MAX {
        world.count(Fault::SavesAbandoned);
        return world.trace(Source::Node(node), "saves not", format_args!("{written} bytes of its state"));
    }
    if let Err(error) = save.finish().await {
        world.is_not_saved(node, &error);
    }
}

/// Restores the state. Of a million times, `share` are interrupted.
pub(crate) async fn restore<const RECORD: usize>(
    world: &World,
    node: usize,
    mut restore: Restore<'_, '_, SimPlatform<RECORD>>,
    share: u32,
    prng: &mut Prng,
) {
    let (index, length) = (restore.index().0, restore.length());
    let mut state = Vec::new();
    opt_out(|| state.reserve_exact(length as usize));
    let end = if prng.chance(share) { prng.below(length + 1) } else { u64::MAX };
    let mut buffer = [0; PIECE];
    while (state.len() as u64) < end {
        let piece = prng.octaves(1, PIECE as u64) as usize;
        match restore.read(&mut buffer[..piece]).await {
            Ok(0) => break,
            Ok(len) => opt_out(|| state.extend_from_slice(&buffer[..len])),
            // The next step tells whether there is a newer one, or the node has stopped.
            Err(RestoreError::Superseded | RestoreError::Halted(_)) => return,
            Err(error) => return world.misbehaves(node, &error),
        }
    }
    if end < u64::MAX {
        world.count(Fault::RestoresAbandoned);
        let read = state.len();
        return world.trace(Source::Node(node), "restores not", format_args!("{read} of {length} bytes"));
    }
    match restore.finish() {
        Ok(()) => opt_out(|| world.restores(node, index, &state)),
        Err(error) => world.misbehaves(node, &error),
    }
}

impl World {
    /// The state of a node's application, which it is about to save.
    fn saves(&self, node: usize, index: u64) -> Vec<u8> {
        self.saving[node].set(Some(index));
        let application = self.applications[node].borrow();
        let state = application.save();
        self.trace(Source::Node(node), "saves", format_args!("the state after entry {index}, {} bytes", state.len()));
        self.oracle.borrow_mut().saves(self.now(), node, index, application.digest(), &state);
        state
    }

    fn restores(&self, node: usize, index: u64, state: &[u8]) {
        self.trace(Source::Node(node), "restores", format_args!("the state after entry {index}"));
        let application = Application::restore(self.hardware.journal, state);
        let digest = application.as_ref().map(Application::digest);
        self.oracle.borrow_mut().restores(self.now(), node, index, digest, state);
        self.applications[node].replace(Application { applied: index, ..application.unwrap_or_default() });
    }

    /// There is room for every state: only a newer snapshot, or the end of the node, keeps it from being saved.
    fn is_not_saved(&self, node: usize, error: &SaveError) {
        if !matches!(error, SaveError::Superseded | SaveError::Halted(_)) {
            self.misbehaves(node, error);
        }
    }

    fn misbehaves(&self, node: usize, error: &dyn std::fmt::Display) {
        opt_out(|| self.oracle.borrow_mut().stops(self.now(), node, &error.to_string()));
    }
}

//! When the leader takes back an overlay whose instance is gone: an operator's edit outlives a restart of the instance, not the
//! instance.
//!
//! Invariant: absence counts only in looks in which this leader heard a quorum, was ready, held nothing back and heard every other
//! region; so neither a cut nor a pause takes an operator's word back.

use std::collections::BTreeMap;

use landbridge_feed::Standing;
use landbridge_model::{Record, RecordKey};

use super::Member;
use crate::{
    input::{Effect, InstanceRef, Leading, Phase},
    state::Command,
};

/// How often the leader looks.
const LOOK_TICKS: u32 = 10;

/// An instance may be absent for so long before its overlay is taken back.
const LINGER_TICKS: u32 = 600;

/// And for so long where the overlay keeps it disabled: what was switched off must not come back switched on the same day.
const DISABLED_LINGER_TICKS: u32 = 86_400;

/// Overlays that are taken back in one look; further ones wait for the next.
const CLEARED_MAX: usize = 16;

/// The region's overlays.
#[derive(Debug, Default)]
pub(super) struct Overlays {
    /// Whether each disables its instance.
    laid: BTreeMap<InstanceRef, bool>,
    /// For how many ticks the instances of these have been absent in looks of this leader.
    absent: BTreeMap<InstanceRef, u32>,
}

impl Overlays {
    /// The region's decisions are read anew.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Takes a change of the region's decisions in.
    pub(super) fn note(&mut self, key: &RecordKey, record: Option<&Record>) {
        let RecordKey::Overlay(service, key) = key else { return };
        let target = (service.clone(), key.clone());
        if let Some(Record::Overlay(overlay)) = record {
            self.laid.insert(target, overlay.enabled == Some(false));
        } else {
            self.laid.remove(&target);
            self.absent.remove(&target);
        }
    }

    /// One look: which overlays are to be taken back.
    fn look(&mut self, is_there: impl Fn(&InstanceRef) -> bool) -> Vec<Command> {
        let mut commands = Vec::new();
        for (target, disabled) in &self.laid {
            if is_there(target) {
                self.absent.remove(target);
                continue;
            }
            let ticks = self.absent.entry(target.clone()).or_default();
            *ticks = ticks.saturating_add(LOOK_TICKS);
            let linger = if *disabled { DISABLED_LINGER_TICKS } else { LINGER_TICKS };
            if *ticks > linger && commands.len() < CLEARED_MAX {
                let (service, key) = target.clone();
                commands.push(Command::ClearOverlay { service, key });
            }
        }
        commands
    }
}

impl Member {
    /// Looks for overlays that nothing lies under, if this member leads.
    pub(super) fn clear_overlays(&mut self, leading: Option<Leading>, effects: &mut Vec<Effect>) {
        if leading.is_none() {
            self.overlays.absent.clear();
            return;
        }
        let quorum = leading.is_some_and(|leading| leading.quorum);
        let knows = quorum && self.founded && self.phase == Phase::Ready && self.holds().is_empty();
        let hears = self.standings.values().all(|standing| *standing == Standing::Live);
        if !knows || !hears || !self.tick.is_multiple_of(LOOK_TICKS) {
            return;
        }
        let mut overlays = std::mem::take(&mut self.overlays);
        let own = &self.settings.region;
        let commands = overlays.look(|(service, key)| {
            let shows = |region| self.shown_of(region, service).iter().any(|shown| shown.key == *key);
            self.holder.winner(own, service, key).is_some() || shows(own) || self.others().any(shows)
        });
        self.overlays = overlays;
        effects.extend(commands.into_iter().map(|command| Effect::Propose { ticket: None, command }));
    }
}

//! When the leader takes back an overlay whose instance is gone: an operator's edit outlives a restart of the instance, not the
//! instance.
//!
//! Invariant: absence counts only in looks in which this leader heard a quorum, was ready, held nothing back and heard every other
//! region; so neither a cut nor a pause takes an operator's word back.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use landbridge_feed::Standing;
use landbridge_model::{InstanceKey, Overlay, Record, RecordKey, ServiceKey};

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

/// Services whose instances are looked for in one look; the next one goes on behind them, and absence counts only where it was seen.
const SERVICES_MAX: usize = 64;

/// The region's overlays.
#[derive(Debug, Default)]
pub(super) struct Overlays {
    laid: BTreeMap<ServiceKey, BTreeMap<InstanceKey, Arc<Overlay>>>,
    /// For how many ticks the instances of these have been absent in looks of this leader, since they were last laid.
    absent: BTreeMap<InstanceRef, u32>,
    /// The last service of the last look.
    behind: Option<ServiceKey>,
}

impl Overlays {
    /// The region's decisions are read anew.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Takes a change of the region's decisions in. An overlay that is laid again has its whole time before it.
    pub(super) fn note(&mut self, key: &RecordKey, record: Option<&Record>) {
        let RecordKey::Overlay(service, key) = key else { return };
        self.absent.remove(&(service.clone(), key.clone()));
        if let Some(Record::Overlay(overlay)) = record {
            self.laid.entry(service.clone()).or_default().insert(key.clone(), Arc::clone(overlay));
        } else if let Some(laid) = self.laid.get_mut(service) {
            laid.remove(key);
            if laid.is_empty() {
                self.laid.remove(service);
            }
        }
    }

    /// The services of the next look, each once.
    fn next(&mut self) -> Vec<ServiceKey> {
        let after = self.behind.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let later = self.laid.range((after, Bound::Unbounded));
        let services: Vec<_> = later.chain(&self.laid).map(|(service, _)| service.clone()).collect();
        let next: Vec<_> = services.into_iter().take(SERVICES_MAX.min(self.laid.len())).collect();
        self.behind = next.last().cloned();
        next
    }

    /// One look: which overlays are to be taken back, as it is told which keys of a service have no instance.
    fn look(&mut self, gone: impl Fn(&ServiceKey, &mut BTreeSet<InstanceKey>)) -> Vec<Command> {
        let mut commands = Vec::new();
        for service in self.next() {
            let Some(laid) = self.laid.get(&service) else { continue };
            let mut absent = laid.keys().cloned().collect();
            gone(&service, &mut absent);
            for (key, overlay) in laid {
                let target = (service.clone(), key.clone());
                if !absent.contains(key) {
                    self.absent.remove(&target);
                    continue;
                }
                let ticks = self.absent.entry(target).or_default();
                *ticks = ticks.saturating_add(LOOK_TICKS);
                let disables = overlay.enabled == Some(false);
                let linger = if disables { DISABLED_LINGER_TICKS } else { LINGER_TICKS };
                if *ticks > linger && commands.len() < CLEARED_MAX {
                    let (service, key, seen) = (service.clone(), key.clone(), Some(Arc::clone(overlay)));
                    commands.push(Command::ClearOverlay { service, key, seen });
                }
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
        let commands = overlays.look(|service, keys| self.keep_absent(service, keys));
        self.overlays = overlays;
        effects.extend(commands.into_iter().map(|command| Effect::Propose { ticket: None, command }));
    }

    /// Takes out the keys at which an instance of the service is known, in whatever region.
    fn keep_absent(&self, service: &ServiceKey, keys: &mut BTreeSet<InstanceKey>) {
        let own = &self.settings.region;
        keys.retain(|key| self.holder.winner(own, service, key).is_none());
        for region in std::iter::once(own).chain(self.others()) {
            if keys.is_empty() {
                return;
            }
            for shown in self.shown_of(region, service) {
                keys.remove(&shown.key);
            }
        }
    }
}

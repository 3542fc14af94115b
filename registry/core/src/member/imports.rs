//! What other regions show here, and what of it is held back after a mass loss.

use landbridge_feed::Shown;
use landbridge_model::{Region, ServiceKey};

use super::Member;
use crate::{
    imports::{self, Held},
    input::{Effect, Phase},
};

impl Member {
    /// What another region shows for a service, what is held of it included, in key order.
    pub(super) fn shown_of(&self, region: &Region, service: &ServiceKey) -> Vec<Shown> {
        let mut shown = self.holder.shown(region, service);
        if self.holder.expired(region) {
            return shown;
        }
        for Held { service, shown: held, .. } in self.imports.held(region, service) {
            if let Err(at) = shown.binary_search_by(|there| there.key.cmp(&held.key)) {
                let instance = self.holder.as_shown(region, service, &held.key, &held.instance);
                shown.insert(at, Shown { instance, ..held.clone() });
            }
        }
        shown
    }

    /// Looks at what other regions lost in the step that was just taken. Before anything is answered nobody misses it.
    pub(super) fn note_losses(&mut self, effects: &mut Vec<Effect>) {
        if self.holder.losses().is_empty() || self.phase == Phase::Starting {
            return;
        }
        for (region, lost) in imports::by_region(self.holder.losses()) {
            let limits = &self.settings.limits;
            let services = self.imports.take(self.tick, &region, lost, &self.holder, limits);
            for service in services {
                self.touch(&service, effects);
            }
        }
        self.tell_imports(effects);
    }

    /// Lets go what is verified by now, or held for too long.
    pub(super) fn sweep_imports(&mut self, effects: &mut Vec<Effect>) {
        for service in self.imports.tick(self.tick, &self.holder, &self.settings.limits) {
            self.touch(&service, effects);
        }
        self.tell_imports(effects);
    }

    /// An operator lets go what is held of another region.
    pub(super) fn release_imports(&mut self, region: &Region, effects: &mut Vec<Effect>) {
        for service in self.imports.release(region) {
            self.touch(&service, effects);
        }
        self.tell_imports(effects);
    }

    /// Says of which regions more or less is held than was last told.
    fn tell_imports(&mut self, effects: &mut Vec<Effect>) {
        let told = &self.imports_told;
        let mut differing: Vec<(Region, usize)> = Vec::new();
        for (region, count) in self.imports.counts() {
            if told.get(region) != Some(&count) {
                differing.push((region.clone(), count));
            }
        }
        let is_held = |region: &Region| self.imports.counts().any(|(held, _)| held == region);
        differing.extend(told.keys().filter(|region| !is_held(region)).map(|region| (region.clone(), 0)));
        for (origin, count) in differing {
            let before = if count == 0 {
                self.imports_told.remove(&origin)
            } else {
                self.imports_told.insert(origin.clone(), count)
            };
            effects.push(Effect::Held { origin, count, began: before.is_none() });
        }
    }
}

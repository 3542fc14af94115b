//! Beats: renewed, forwarded or taken over, always for the winning record of their key (R11).

use std::sync::Arc;

use landbridge_model::{FeedId, Instance, Life, Moment, Mutant, planted};

use super::Member;
use crate::{
    board::BeatSlot,
    claims::{By, Claim},
    input::{Effect, InstanceRef},
    lease::{Found, Times},
    outcome::{Outcome, Refusal},
};

/// Whose the winning record of a key is.
enum Owner {
    /// Nobody's: unknown, deregistered, or a connection's.
    Nobody,
    /// This member's, in the feed it writes.
    Me(Arc<Instance>),
    /// An earlier incarnation of this member.
    Past(Arc<Instance>),
    /// Another feed, listed or waiting to be dropped.
    Other(FeedId, Arc<Instance>),
}

impl Member {
    pub(super) fn beat(
        &mut self,
        now: Moment,
        target: InstanceRef,
        full: Option<Arc<Instance>>,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, Refusal> {
        if self.drain.is_some() {
            return Err(Refusal::Draining);
        }
        let instance = match self.owner(&target) {
            Owner::Nobody => {
                let Some(instance) = full else { return Ok(Outcome::Unknown) };
                self.register(now, target, instance.clone(), effects)?;
                instance
            }
            Owner::Me(instance) => {
                if let Some(slot) = self.claims.slot(&target) {
                    self.leases.board().renew(slot);
                }
                instance
            }
            Owner::Past(instance) => {
                self.take_over(now, &target, effects);
                instance
            }
            Owner::Other(feed, instance) => {
                self.forward(feed, target, effects);
                instance
            }
        };
        let times = Times::of(&instance.metadata, &self.settings.limits);
        Ok(Outcome::Renewed { interval_ms: times.interval_ms })
    }

    fn owner(&self, (service, key): &InstanceRef) -> Owner {
        let region = &self.settings.region;
        let Some((feed, record)) = self.holder.winner(region, service, key) else { return Owner::Nobody };
        let instance = match &record.life {
            Life::Beat(instance) => instance.clone(),
            Life::Session(_) | Life::Tombstone => return Owner::Nobody,
        };
        if Some(feed) == self.holder.own() {
            return Owner::Me(instance);
        }
        match self.holder.directory(region).get(feed) {
            Some(entry) if entry.member == self.settings.member => Owner::Past(instance),
            Some(_) | None => Owner::Other(feed.clone(), instance),
        }
    }

    fn forward(&mut self, feed: FeedId, target: InstanceRef, effects: &mut Vec<Effect>) {
        if !self.forwards.ask(&target, self.tick) {
            return;
        }
        // A feed that waits to be dropped has no member any more: nobody will answer, and the beat is taken over.
        if let Some(entry) = self.holder.directory(&self.settings.region).get(&feed) {
            effects.push(Effect::ForwardBeat { to: entry.member, feed, target });
        }
    }

    /// A peer forwards a beat: it counts if the winner stands in the feed written here and lives by beats.
    pub(super) fn renew_mine(&mut self, feed: &FeedId, target: &InstanceRef) -> bool {
        let mine = self.own.feed() == Some(feed) && self.drain.is_none();
        let beats = self.claims.record(target).is_some_and(|record| matches!(record.life, Life::Beat(_)));
        let Some(slot) = self.claims.slot(target).filter(|_| mine && beats) else { return false };
        self.leases.board().renew(slot);
        true
    }

    pub(super) fn beats_answered(
        &mut self,
        now: Moment,
        verdicts: Vec<(InstanceRef, bool)>,
        effects: &mut Vec<Effect>,
    ) {
        for (target, held) in verdicts {
            if self.forwards.answered(&target, held) {
                self.take_over(now, &target, effects);
            }
        }
    }

    /// Adopts a beating record under its old stamp, so that it can never beat a newer registration.
    pub(super) fn take_over(&mut self, now: Moment, target: &InstanceRef, effects: &mut Vec<Effect>) {
        let Some((feed, record)) = self.holder.winner(&self.settings.region, &target.0, &target.1) else {
            return;
        };
        let Life::Beat(instance) = &record.life else { return };
        if Some(feed) == self.holder.own() {
            return;
        }
        let (old, take) = (record.stamp, record.take.saturating_add(1));
        let instance = with_health(instance, true);
        let is_new = planted(Mutant::TakeOverNewStamp);
        let stamp = if is_new { self.stamps.next(now, self.holder.greatest_clock()) } else { old };
        let mut changes = Vec::new();
        // Without a slot the record stays where it is and lapses there.
        if self.vouch(target.clone(), stamp, take, instance, &mut changes).is_ok() {
            self.write(now, changes, effects);
        }
    }

    /// Looks at all leases.
    pub(super) fn sweep(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Found { sick, well, lapsed, beating } = self.leases.sweep(self.tick);
        let mut changes = Vec::new();
        for (slots, healthy) in [(sick, false), (well, true)] {
            for slot in slots {
                let Some(target) = self.leases.target(slot) else { continue };
                let amend = |claim: &mut Claim| claim.instance = with_health(&claim.instance, healthy);
                self.claims.amend(target, By::Lease, amend, &mut changes);
            }
        }
        self.write(now, changes, effects);
        // Who lost against another feed's record has moved; that is no lapse to wonder about.
        let (shown, moved): (Vec<_>, Vec<_>) = lapsed.into_iter().partition(|slot| self.wins(*slot));
        self.lapse(now, moved, effects);
        let ending = self.hold.admit(self.tick, shown, self.leases.len(), beating, &self.settings.limits);
        self.lapses += ending.len() as u64;
        self.lapse(now, ending, effects);
        self.tell_held(effects);
    }

    /// An operator lets the held leases go.
    pub(super) fn release_leases(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let slots = self.hold.release();
        self.lapses += slots.len() as u64;
        self.lapse(now, slots, effects);
        self.tell_held(effects);
    }

    /// Says what is held back, and touches the services whose marks that changes.
    pub(super) fn tell_held(&mut self, effects: &mut Vec<Effect>) {
        if *self.hold.held() == self.held {
            return;
        }
        let before = std::mem::replace(&mut self.held, self.hold.held().clone());
        let (origin, began) = (self.settings.region.clone(), before.is_empty());
        let differing: Vec<_> = before.symmetric_difference(&self.held).copied().collect();
        for slot in differing {
            if let Some((service, _)) = self.leases.target(slot).cloned() {
                self.touch(&service, effects);
            }
        }
        effects.push(Effect::Held { origin, count: self.held.len(), began });
    }

    fn wins(&self, slot: BeatSlot) -> bool {
        if self.hold.holds(slot) {
            return true;
        }
        let Some((service, key)) = self.leases.target(slot) else { return false };
        let winner = self.holder.winner(&self.settings.region, service, key);
        winner.is_none_or(|(feed, _)| Some(feed) == self.holder.own())
    }

    /// Ends these leases.
    pub(super) fn lapse(&mut self, now: Moment, slots: Vec<BeatSlot>, effects: &mut Vec<Effect>) {
        let mut changes = Vec::new();
        for slot in slots {
            if let Some(target) = self.leases.target(slot).cloned() {
                self.end(&target, By::Lease, &mut changes);
            }
        }
        self.write(now, changes, effects);
    }
}

fn with_health(instance: &Arc<Instance>, healthy: bool) -> Arc<Instance> {
    if instance.healthy == healthy {
        return instance.clone();
    }
    Arc::new(Instance { healthy, ..(**instance).clone() })
}

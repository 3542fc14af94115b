//! What passes with time: one own tick a second (R22).

use landbridge_model::{Moment, Mutant, RecordKey, ServiceKey, planted};

use super::Member;
use crate::input::{Effect, InstanceRef, Leading};

/// Between two ticks; a leader's quorum has answered it within the last one, so its word may be so old already when it is given.
const TICK_MS: u64 = 1_000;

impl Member {
    pub(super) fn tick(
        &mut self,
        now: Moment,
        unix_ms: u64,
        leading: Option<Leading>,
        effects: &mut Vec<Effect>,
    ) {
        self.tick += 1;
        self.stamps.tell(now, unix_ms);
        self.reference.tick(now, unix_ms);
        if let Some(Leading { term, .. }) = leading.filter(|leading| leading.quorum) {
            let n = term << 32 | u64::from(self.tick);
            self.tell(
                now,
                landbridge_feed::Input::RaftBeat { n, unix_ms: unix_ms.saturating_sub(TICK_MS) },
                effects,
            );
        }
        self.tell(now, landbridge_feed::Input::Tick { unix_ms }, effects);
        self.lead(leading, effects);
        self.ask(effects);
        self.sweep(now, effects);
        self.sweep_imports(effects);
        self.sweep_tombstones(now, effects);
        for target in self.forwards.overdue(self.tick, self.settings.limits.forward_ticks) {
            if !planted(Mutant::NoTakeOver) {
                self.take_over(now, &target, effects);
            }
        }
        if self.tick.is_multiple_of(self.settings.limits.challenge_ticks) {
            self.challenge(effects);
        }
        self.go_on_draining(effects);
        self.look_at_services(effects);
        self.rephase(effects);
    }

    fn lead(&mut self, leading: Option<Leading>, effects: &mut Vec<Effect>) {
        let (region, limits) = (&self.settings.region, &self.settings.limits);
        let mut commands = self.closer.tick(leading, &self.holder, region, self.own.feed(), limits);
        if self.founded {
            let holder = &self.holder;
            commands.extend(self.bridges.tick(leading, holder.bridges(), |stream| holder.hears(stream)));
        }
        effects.extend(commands.into_iter().map(|command| Effect::Propose { ticket: None, command }));
        self.give_ports(leading, effects);
        self.clear_overlays(leading, effects);
    }

    fn sweep_tombstones(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let (holder, claims, region) = (&self.holder, &self.claims, &self.settings.region);
        let hides = |target: &InstanceRef| {
            let Some(stamp) = claims.tombstone(target) else { return false };
            let key = RecordKey::Instance(target.0.clone(), target.1.clone());
            let others = holder.copies().filter(|(feed, _)| feed.region() == region && !feed.is_raft());
            others.filter(|(feed, _)| Some(*feed) != holder.own()).any(|(_, copy)| {
                let record = copy.record(&key).and_then(|record| record.registration());
                record.is_some_and(|record| record.stamp < stamp && record.instance().is_some())
            })
        };
        let done = self.tombs.sweep(self.tick, self.settings.limits.tombstone_ticks, hides);
        let mut changes = Vec::new();
        for target in done {
            self.claims.clear(&target, &mut changes);
        }
        self.write(now, changes, effects);
    }

    /// A service changed: another member's tombstone may hide a connection's claim there.
    pub(super) fn suspect(&mut self, service: &ServiceKey) {
        if self.claims.sessions(service).next().is_some() {
            self.suspects.insert(service.clone());
        }
    }

    /// Asks the connections whose claims a tombstone hides for a sign of life (R24).
    fn challenge(&mut self, effects: &mut Vec<Effect>) {
        if self.own.feed().is_none() || self.drain.is_some() || planted(Mutant::NoChallenge) {
            return;
        }
        let mut asked = std::collections::BTreeSet::new();
        for service in std::mem::take(&mut self.suspects) {
            let sessions = self.claims.sessions(&service);
            let hidden = sessions.filter(|(_, key)| self.buried(&(service.clone(), (*key).clone())));
            let hidden: Vec<_> = hidden.map(|(connection, _)| connection).collect();
            if !hidden.is_empty() {
                asked.extend(hidden);
                self.suspects.insert(service);
            }
        }
        effects.extend(asked.into_iter().map(|connection| Effect::Check { connection }));
    }
}

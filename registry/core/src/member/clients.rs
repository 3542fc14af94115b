//! What clients register and take back: connections and beating clients (R10, R12, R13, R24).

use std::{collections::BTreeMap, sync::Arc};

use landbridge_model::{Change, Instance, InstanceKey, Moment, Mutant, ServiceKey, planted};

use super::Member;
use crate::{
    claims::{By, Claim},
    input::{ConnectionId, Effect, InstanceRef, Published, Ticket},
    lease::{ILLEGAL_TIMES, Times},
    outcome::{Kind, Outcome, Refusal},
    state::{Command, NOTE_BYTES_MAX, NOTE_NAME_BYTES_MAX},
};

/// Said of a note beyond its bounds.
const NOTE_TOO_LONG: &str = "the name or the text is too long to be kept";

impl Member {
    pub(super) fn publish(
        &mut self,
        now: Moment,
        connection: ConnectionId,
        service: ServiceKey,
        published: Published,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, Refusal> {
        let (instances, batch) = match published {
            Published::One(key, instance) => (BTreeMap::from([(key, instance)]), false),
            Published::Batch(instances) => (instances.into_iter().collect(), true),
        };
        if !self.connections.contains(&connection) {
            return Err(Refusal::UnknownConnection);
        }
        if instances.len() > self.settings.limits.batch_max {
            return Err(Refusal::Full { bound: "batch_max", max: self.settings.limits.batch_max });
        }
        self.admit(&service, instances.values(), batch)?;
        let by = By::Connection(connection);
        let stamp = self.stamps.next(now, self.holder.greatest_clock());
        let before = self.claims.held(connection, &service);
        let mut changes = Vec::new();
        for key in before {
            if !instances.contains_key(&key) {
                self.leave(now, &(service.clone(), key), by, &mut changes);
            }
        }
        for (key, instance) in instances {
            let target = (service.clone(), key);
            self.tombs.drop(&target);
            self.claims.put(target, Claim { by, stamp, take: 0, instance, slot: None }, &mut changes);
        }
        self.written(now, changes, effects)
    }

    pub(super) fn withdraw(
        &mut self,
        now: Moment,
        connection: ConnectionId,
        service: &ServiceKey,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, Refusal> {
        if !self.connections.contains(&connection) {
            return Err(Refusal::UnknownConnection);
        }
        self.open_for_writes()?;
        let mut changes = Vec::new();
        for key in self.claims.held(connection, service) {
            self.leave(now, &(service.clone(), key), By::Connection(connection), &mut changes);
        }
        self.written(now, changes, effects)
    }

    pub(super) fn register(
        &mut self,
        now: Moment,
        target: InstanceRef,
        instance: Arc<Instance>,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, Refusal> {
        self.admit(&target.0, [&instance].into_iter(), false)?;
        let stamp = self.stamps.next(now, self.holder.greatest_clock());
        let mut changes = Vec::new();
        self.vouch(target, stamp, 0, instance, &mut changes)?;
        self.written(now, changes, effects)
    }

    pub(super) fn deregister(
        &mut self,
        now: Moment,
        target: &InstanceRef,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, Refusal> {
        self.open_for_writes()?;
        let mut changes = Vec::new();
        self.leave(now, target, By::Lease, &mut changes);
        self.written(now, changes, effects)
    }

    pub(super) fn submit(&mut self, ticket: Ticket, command: Command, effects: &mut Vec<Effect>) {
        let refusal = match &command {
            Command::Found { .. }
            | Command::Open { .. }
            | Command::Close { .. }
            | Command::Settle { .. }
            | Command::AssignPort { .. }
            | Command::ReleasePort { .. }
            | Command::SetBridge { .. } => Some(Refusal::Reserved),
            Command::PutPersistent { service, .. } => match self.kind(service) {
                Some(service_is @ Kind::Ephemeral) => {
                    Some(Refusal::TypeConflict { service: service.clone(), service_is, batch: false })
                }
                Some(Kind::Persistent) | None => None,
            },
            Command::Note { name, text } => {
                let long = text.as_ref().is_some_and(|text| text.len() > NOTE_BYTES_MAX);
                (long || name.len() > NOTE_NAME_BYTES_MAX).then_some(Refusal::Malformed(NOTE_TOO_LONG))
            }
            Command::SetPolicy { .. }
            | Command::SetLink { .. }
            | Command::SetImport { .. }
            | Command::Define { .. }
            | Command::Undefine { .. }
            | Command::DeletePersistent { .. }
            | Command::SetHealth { .. }
            | Command::SetOverlay { .. }
            | Command::ClearOverlay { .. } => None,
        };
        effects.push(match refusal {
            Some(refusal) => Effect::Answer { ticket, result: Err(refusal) },
            None => Effect::Propose { ticket: Some(ticket), command },
        });
    }

    pub(super) fn ended(&mut self, now: Moment, connection: ConnectionId, effects: &mut Vec<Effect>) {
        self.connections.remove(&connection);
        if self.drain.is_some() && !planted(Mutant::DrainDeletes) {
            // A delete could overtake the client's new registration in another feed (R13): the close takes them.
            return;
        }
        let mut changes = Vec::new();
        for target in self.claims.release(connection) {
            if planted(Mutant::EndBuries) {
                self.leave(now, &target, By::Connection(connection), &mut changes);
            }
            self.claims.end(&target, By::Connection(connection), &mut changes);
        }
        self.write(now, changes, effects);
    }

    /// A connection that was asked is alive: its claims that a tombstone hides get a new stamp.
    pub(super) fn alive(&mut self, now: Moment, connection: ConnectionId, effects: &mut Vec<Effect>) {
        if self.own.feed().is_none() || self.drain.is_some() || !self.connections.contains(&connection) {
            return;
        }
        let mut changes = Vec::new();
        for target in self.claims.all_held(connection) {
            if self.buried(&target) {
                let stamp = self.stamps.next(now, self.holder.greatest_clock());
                let renew = |claim: &mut Claim| claim.stamp = stamp;
                self.claims.amend(&target, By::Connection(connection), renew, &mut changes);
            }
        }
        self.write(now, changes, effects);
    }

    /// Whether a tombstone of another feed wins over the key's claims here.
    pub(super) fn buried(&self, (service, key): &InstanceRef) -> bool {
        let winner = self.holder.winner(&self.settings.region, service, key);
        winner.is_some_and(|(feed, record)| Some(feed) != self.holder.own() && record.instance().is_none())
    }

    /// Whether registrations are taken at all.
    fn open_for_writes(&self) -> Result<(), Refusal> {
        if self.drain.is_some() {
            return Err(Refusal::Draining);
        }
        self.own.feed().map(|_| ()).ok_or(Refusal::Starting)
    }

    /// Whether these ephemeral instances may be registered.
    fn admit<'a>(
        &mut self,
        service: &ServiceKey,
        instances: impl ExactSizeIterator<Item = &'a Arc<Instance>>,
        batch: bool,
    ) -> Result<(), Refusal> {
        self.open_for_writes()?;
        let limits = self.settings.limits;
        if self.claims.len() + instances.len() > limits.claims_max {
            return Err(Refusal::Full { bound: "claims_max", max: limits.claims_max });
        }
        for instance in instances {
            if !Times::of(&instance.metadata, &limits).legal() {
                return Err(Refusal::Malformed(ILLEGAL_TIMES));
            }
        }
        match self.kind(service) {
            Some(service_is @ Kind::Persistent) => {
                Err(Refusal::TypeConflict { service: service.clone(), service_is, batch })
            }
            Some(Kind::Ephemeral) | None => Ok(()),
        }
    }

    /// Puts the key's beat lease, with its claim.
    pub(super) fn vouch(
        &mut self,
        target: InstanceRef,
        stamp: landbridge_model::Stamp,
        take: u32,
        instance: Arc<Instance>,
        changes: &mut Vec<Change>,
    ) -> Result<(), Refusal> {
        let times = Times::of(&instance.metadata, &self.settings.limits);
        let slot = match self.claims.slot(&target) {
            Some(slot) => {
                self.leases.reset(slot, times, instance.healthy, self.tick);
                self.hold.forget(slot);
                slot
            }
            None => {
                let opened = self.leases.open(target.clone(), times, instance.healthy, self.tick);
                let max = crate::board::BeatBoard::slots_max();
                opened.ok_or(Refusal::Full { bound: "beat_slots", max })?
            }
        };
        self.tombs.drop(&target);
        let claim = Claim { by: By::Lease, stamp, take, instance, slot: Some(slot) };
        self.claims.put(target, claim, changes);
        Ok(())
    }

    /// An explicit deregistration: ends one party's claim, and buries the key if that leaves none.
    fn leave(&mut self, now: Moment, target: &InstanceRef, by: By, changes: &mut Vec<Change>) {
        let is_other = |claim: &Claim| claim.by != by && !planted(Mutant::BuriesTheLiving);
        let others = self.claims.of(target).iter().any(is_other) || planted(Mutant::NoTombstone);
        let full = self.claims.tombstones() >= self.settings.limits.tombstones_max;
        if others || (full && !self.shown_elsewhere(&target.0, &target.1)) {
            self.end(target, by, changes);
            return;
        }
        self.close_slot(target);
        let stamp = self.stamps.next(now, self.holder.greatest_clock());
        self.claims.bury(target, stamp, changes);
        self.tombs.raise(target.clone(), self.tick);
    }

    fn shown_elsewhere(&self, service: &ServiceKey, key: &InstanceKey) -> bool {
        let winner = self.holder.winner(&self.settings.region, service, key);
        winner.is_some_and(|(feed, _)| Some(feed) != self.holder.own())
    }

    /// Ends one claim, with its lease if it is one.
    pub(super) fn end(&mut self, target: &InstanceRef, by: By, changes: &mut Vec<Change>) {
        if by == By::Lease {
            self.close_slot(target);
        }
        self.claims.end(target, by, changes);
    }

    fn close_slot(&mut self, target: &InstanceRef) {
        if let Some(slot) = self.claims.slot(target) {
            self.leases.close(slot, self.tick);
            self.hold.forget(slot);
        }
    }

    /// Writes, and says where that stands.
    fn written(
        &mut self,
        now: Moment,
        changes: Vec<Change>,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, Refusal> {
        self.write(now, changes, effects);
        self.own.token().cloned().map(Outcome::Written).ok_or(Refusal::Starting)
    }
}

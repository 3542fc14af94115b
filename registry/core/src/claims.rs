//! Who vouches for what at this member: all live claims of each key, and the record that follows from them (R24).
//!
//! ```text
//! no entry ──put──▶ claims; record = greatest ──end──▶ next greatest with its old stamp ──end──▶ no entry
//!                      │ ▲                                                     bury ▼
//!                      └─┴──────────────────────── put ◀────────────────── tombstone ──clear──▶ no entry
//! ```
//!
//! Invariant: an entry with claims has their greatest as its record; one without claims is a tombstone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use landbridge_model::{
    Change, Instance, InstanceKey, Life, Mutant, Record, RecordKey, Registration, ServiceKey, Stamp, planted,
};

use crate::{
    board::BeatSlot,
    input::{ConnectionId, InstanceRef},
};

/// Who vouches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum By {
    /// A connection.
    Connection(ConnectionId),
    /// The beat lease; a key has at most one at a member.
    Lease,
}

/// One live registration of a key at this member.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claim {
    pub by: By,
    pub stamp: Stamp,
    pub take: u32,
    pub instance: Arc<Instance>,
    /// Of a beat lease: where its beats are noted.
    pub slot: Option<BeatSlot>,
}

impl Claim {
    fn registration(&self) -> Registration {
        let instance = self.instance.clone();
        let life = match self.by {
            By::Connection(_) => Life::Session(instance),
            By::Lease => Life::Beat(instance),
        };
        Registration { stamp: self.stamp, take: self.take, life }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    claims: Vec<Claim>,
    record: Registration,
}

/// All claims and tombstones of one member. Every verb appends what it changed in the records to `changes`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    services: BTreeMap<ServiceKey, BTreeMap<InstanceKey, Entry>>,
    connections: BTreeMap<ConnectionId, BTreeMap<ServiceKey, BTreeSet<InstanceKey>>>,
    claims: usize,
    tombstones: usize,
}

impl Claims {
    /// Adds a claim; the one by the same party for the same key is replaced.
    pub fn put(&mut self, target: InstanceRef, claim: Claim, changes: &mut Vec<Change>) {
        let (service, key) = target;
        if let By::Connection(connection) = claim.by {
            let held = self.connections.entry(connection).or_default();
            held.entry(service.clone()).or_default().insert(key.clone());
        }
        let keys = self.services.entry(service.clone()).or_default();
        let Some(entry) = keys.get_mut(&key) else {
            let record = claim.registration();
            changes.push(change(&service, &key, Some(&record)));
            keys.insert(key, Entry { claims: vec![claim], record });
            self.claims += 1;
            return;
        };
        self.tombstones -= usize::from(entry.claims.is_empty());
        if planted(Mutant::SingleClaim) {
            entry.claims.clear();
        }
        let is_same = |old: &&mut Claim| old.by == claim.by && !planted(Mutant::ClaimDoubled);
        if let Some(old) = entry.claims.iter_mut().find(is_same) {
            *old = claim;
        } else {
            entry.claims.push(claim);
            self.claims += 1;
        }
        choose(&service, &key, entry, changes);
    }

    /// Ends one claim; the next greatest becomes the record with its old stamp, or the record goes. Tells whether
    /// there was such a claim.
    pub fn end(&mut self, target: &InstanceRef, by: By, changes: &mut Vec<Change>) -> bool {
        if let By::Connection(connection) = by {
            self.forget(connection, target);
        }
        let (service, key) = target;
        let Some(entry) = self.services.get_mut(service).and_then(|keys| keys.get_mut(key)) else {
            return false;
        };
        let Some(at) = entry.claims.iter().position(|claim| claim.by == by) else { return false };
        entry.claims.swap_remove(at);
        self.claims -= 1;
        if entry.claims.is_empty() || planted(Mutant::ClaimRemovedByAnother) {
            self.remove(service, key);
            changes.push(change(service, key, None));
        } else {
            choose(service, key, entry, changes);
        }
        true
    }

    /// Puts a tombstone in place of all claims of the key, of which there is at most the deregistering party's own.
    pub fn bury(&mut self, target: &InstanceRef, stamp: Stamp, changes: &mut Vec<Change>) {
        let (service, key) = target;
        let record = Registration { stamp, take: 0, life: Life::Tombstone };
        changes.push(change(service, key, Some(&record)));
        let keys = self.services.entry(service.clone()).or_default();
        let old = keys.insert(key.clone(), Entry { claims: Vec::new(), record });
        self.tombstones += 1;
        let Some(old) = old else { return };
        self.tombstones -= usize::from(old.claims.is_empty());
        self.claims -= old.claims.len();
        for claim in old.claims {
            if let By::Connection(connection) = claim.by {
                self.forget(connection, target);
            }
        }
    }

    /// Takes a tombstone away.
    pub fn clear(&mut self, target: &InstanceRef, changes: &mut Vec<Change>) {
        let (service, key) = target;
        if self.tombstone(target).is_some() {
            self.tombstones -= 1;
            self.remove(service, key);
            changes.push(change(service, key, None));
        }
    }

    /// Changes the instance of a claim, under the same stamp.
    pub fn amend(
        &mut self,
        target: &InstanceRef,
        by: By,
        amend: impl FnOnce(&mut Claim),
        changes: &mut Vec<Change>,
    ) {
        let (service, key) = target;
        let entry = self.services.get_mut(service).and_then(|keys| keys.get_mut(key));
        if let Some(entry) = entry
            && let Some(claim) = entry.claims.iter_mut().find(|claim| claim.by == by)
        {
            amend(claim);
            choose(service, key, entry, changes);
        }
    }

    /// Forgets a connection and tells what it held; its claims stand until they are ended.
    pub fn release(&mut self, connection: ConnectionId) -> Vec<InstanceRef> {
        let held = self.connections.remove(&connection).unwrap_or_default();
        let targets = |(service, keys): (ServiceKey, BTreeSet<InstanceKey>)| {
            keys.into_iter().map(move |key| (service.clone(), key))
        };
        held.into_iter().flat_map(targets).collect()
    }

    /// What a connection claims of a service.
    pub fn held(&self, connection: ConnectionId, service: &ServiceKey) -> Vec<InstanceKey> {
        let held = self.connections.get(&connection).and_then(|held| held.get(service));
        held.map(|keys| keys.iter().cloned().collect()).unwrap_or_default()
    }

    /// All that a connection claims.
    pub fn all_held(&self, connection: ConnectionId) -> Vec<InstanceRef> {
        let services = self.connections.get(&connection).into_iter().flatten();
        services.flat_map(|(service, keys)| keys.iter().map(|key| (service.clone(), key.clone()))).collect()
    }

    /// The slot of the key's beat lease.
    pub fn slot(&self, target: &InstanceRef) -> Option<BeatSlot> {
        self.of(target).iter().find_map(|claim| claim.slot)
    }

    /// The live claims of a key.
    pub fn of(&self, target: &InstanceRef) -> &[Claim] {
        self.entry(target).map_or(&[], |entry| &entry.claims)
    }

    /// What this member's feed says of a key.
    pub fn record(&self, target: &InstanceRef) -> Option<&Registration> {
        self.entry(target).map(|entry| &entry.record)
    }

    /// The tombstone's stamp, if the key's record is one.
    pub fn tombstone(&self, target: &InstanceRef) -> Option<Stamp> {
        let entry = self.entry(target)?;
        entry.claims.is_empty().then_some(entry.record.stamp)
    }

    /// The keys of a service whose record lives by beats, in order, each with its slot.
    pub fn beating(&self, service: &ServiceKey) -> impl Iterator<Item = (&InstanceKey, BeatSlot)> {
        self.services.get(service).into_iter().flatten().filter_map(|(key, entry)| {
            let beats = matches!(entry.record.life, Life::Beat(_));
            Some((key, entry.claims.iter().find_map(|claim| claim.slot).filter(|_| beats)?))
        })
    }

    /// Connections that claim something of the service, with what.
    pub fn sessions(&self, service: &ServiceKey) -> impl Iterator<Item = (ConnectionId, &InstanceKey)> {
        self.services.get(service).into_iter().flatten().flat_map(|(key, entry)| {
            entry.claims.iter().filter_map(move |claim| match claim.by {
                By::Connection(connection) => Some((connection, key)),
                By::Lease => None,
            })
        })
    }

    /// All records, tombstones included: the content of a feed at its opening.
    pub fn records(&self) -> impl Iterator<Item = (RecordKey, Record)> {
        self.entries().map(|(service, key, record)| {
            (RecordKey::Instance(service.clone(), key.clone()), Record::Registration(record.clone()))
        })
    }

    /// All records by target.
    pub fn entries(&self) -> impl Iterator<Item = (&ServiceKey, &InstanceKey, &Registration)> {
        self.services
            .iter()
            .flat_map(|(service, keys)| keys.iter().map(move |(key, entry)| (service, key, &entry.record)))
    }

    /// How many claims there are.
    pub fn len(&self) -> usize {
        self.claims
    }

    /// How many tombstones there are.
    pub fn tombstones(&self) -> usize {
        self.tombstones
    }

    fn entry(&self, (service, key): &InstanceRef) -> Option<&Entry> {
        self.services.get(service)?.get(key)
    }

    fn forget(&mut self, connection: ConnectionId, (service, key): &InstanceRef) {
        let Some(held) = self.connections.get_mut(&connection) else { return };
        let Some(keys) = held.get_mut(service) else { return };
        keys.remove(key);
        if keys.is_empty() {
            held.remove(service);
        }
        if held.is_empty() {
            self.connections.remove(&connection);
        }
    }

    fn remove(&mut self, service: &ServiceKey, key: &InstanceKey) {
        if let Some(keys) = self.services.get_mut(service) {
            keys.remove(key);
            if keys.is_empty() {
                self.services.remove(service);
            }
        }
    }
}

/// Makes the greatest claim the record, and says so if that changed anything.
fn choose(service: &ServiceKey, key: &InstanceKey, entry: &mut Entry, changes: &mut Vec<Change>) {
    let Some(greatest) = entry.claims.iter().max_by_key(|claim| (claim.stamp, claim.take)) else { return };
    let record = greatest.registration();
    if record != entry.record {
        changes.push(change(service, key, Some(&record)));
        entry.record = record;
    }
}

fn change(service: &ServiceKey, key: &InstanceKey, record: Option<&Registration>) -> Change {
    Change {
        key: RecordKey::Instance(service.clone(), key.clone()),
        record: record.map(|record| Record::Registration(record.clone())),
    }
}

#[cfg(test)]
mod tests;

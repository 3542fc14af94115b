//! Per key, which feeds of a region hold a record, and which of these wins.
//!
//! Invariant: the winner is the record with the greatest (stamp, take, feed id); if it is a tombstone nothing is shown.
//! Invariant: a persistent record wins over every ephemeral one of its key.
//! Invariant: regions never meet here; there is one catalog for each.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use landbridge_model::{FeedId, Instance, InstanceKey, Record, RecordKey, Registration, ServiceKey};

use crate::{beats::Beats, copy::Copy, input::Shown};

/// The index of one region.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    services: BTreeMap<ServiceKey, Service>,
    /// How many instances all of them show.
    shown: usize,
}

#[derive(Debug, Default)]
struct Service {
    instances: BTreeMap<InstanceKey, Candidates>,
    /// How many of them show an instance.
    shown: usize,
    /// How many overlays the Raft feed holds for it, with or without an instance.
    overlays: usize,
    defined: bool,
}

/// The feeds that hold a record of one key; nearly always one.
#[derive(Debug)]
enum Candidates {
    One(Arc<FeedId>),
    Many(Vec<Arc<FeedId>>),
}

/// What the index looks at: it keeps no records itself.
#[derive(Clone, std::marker::Copy, Debug)]
pub(crate) struct Sight<'a> {
    /// All copies of the holder.
    pub copies: &'a BTreeMap<FeedId, Copy>,
    /// Whose writers are silent.
    pub beats: &'a Beats,
}

/// One record of one key in one feed, before and after a change of that feed.
#[derive(Clone, std::marker::Copy, Debug)]
pub(crate) struct Turn<'a> {
    pub feed: &'a Arc<FeedId>,
    pub service: &'a ServiceKey,
    pub instance: &'a InstanceKey,
    pub old: Option<&'a Record>,
    pub new: Option<&'a Record>,
}

/// What a change of one record means for what is shown under its key.
#[derive(Clone, std::marker::Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    /// Nothing.
    Same,
    /// Something else is shown, or something for the first time.
    Differs,
    /// Nothing is shown any more.
    Gone,
}

impl Catalog {
    /// How many instances are shown, all services together.
    pub fn shown_count(&self) -> usize {
        self.shown
    }

    /// An instance under the overlay of its key.
    pub fn laid(
        raft: &FeedId,
        at: (&ServiceKey, &InstanceKey),
        instance: &Arc<Instance>,
        sight: Sight<'_>,
    ) -> Arc<Instance> {
        let key = RecordKey::Overlay(at.0.clone(), at.1.clone());
        match sight.copies.get(raft).and_then(|copy| copy.record(&key)) {
            Some(Record::Overlay(overlay)) => Arc::new(overlay.over(instance)),
            _ => Arc::clone(instance),
        }
    }

    /// The services that are defined or show an instance.
    pub fn services(&self) -> impl Iterator<Item = &ServiceKey> {
        self.services.iter().filter(|(_, held)| held.defined || held.shown > 0).map(|(service, _)| service)
    }

    /// The winners of a service's keys under their overlays.
    pub fn shown(&self, raft: &FeedId, service: &ServiceKey, sight: Sight<'_>) -> Vec<Shown> {
        let Some(held) = self.services.get(service) else { return Vec::new() };
        let laid = |key: &InstanceKey, instance: &Arc<Instance>| match held.overlays {
            0 => Arc::clone(instance),
            _ => Self::laid(raft, (service, key), instance, sight),
        };
        let winners = held.instances.iter().filter_map(|(key, candidates)| {
            let (feed, record) = candidates.winner(service, key, sight)?;
            let instance = laid(key, instance_of(record)?);
            Some(Shown {
                key: key.clone(),
                instance,
                persistent: feed.is_raft(),
                unverified: sight.unverified(feed),
                feed: feed.clone(),
                stamp: record.registration().map(|registration| registration.stamp),
            })
        });
        winners.collect()
    }

    /// The winning ephemeral record of a key, tombstones included.
    pub fn winner<'a>(
        &'a self,
        service: &ServiceKey,
        instance: &InstanceKey,
        sight: Sight<'a>,
    ) -> Option<(&'a FeedId, &'a Registration)> {
        let candidates = self.services.get(service)?.instances.get(instance)?;
        let ephemeral = candidates.feeds().iter().filter(|feed| !feed.is_raft());
        let records = ephemeral.filter_map(|feed| Some((&**feed, sight.record(feed, service, instance)?)));
        let (feed, record) = records.max_by(|a, b| rank(a.0, a.1).cmp(&rank(b.0, b.1)))?;
        Some((feed, record.registration()?))
    }

    /// Takes a change of one record in.
    pub fn update(&mut self, turn: Turn<'_>, sight: Sight<'_>) -> Turned {
        if turn.old.is_none() && turn.new.is_none() {
            return Turned::Same;
        }
        if !self.services.contains_key(turn.service) {
            self.services.insert(turn.service.clone(), Service::default());
        }
        let Some(held) = self.services.get_mut(turn.service) else { return Turned::Same };
        let candidates = held.instances.get_mut(turn.instance);
        let others = candidates.as_ref().map_or(&[][..], |candidates| candidates.feeds());
        let before = face(turn, turn.old, others, sight);
        let after = face(turn, turn.new, others, sight);
        held.shown = held.shown + usize::from(after.is_some()) - usize::from(before.is_some());
        self.shown = self.shown + usize::from(after.is_some()) - usize::from(before.is_some());
        let turned = match (&before, &after) {
            (Some(_), None) => Turned::Gone,
            (before, after) if before == after => Turned::Same,
            (_, _) => Turned::Differs,
        };

        match (candidates, turn.new.is_some()) {
            (None, true) => {
                held.instances.insert(turn.instance.clone(), Candidates::One(Arc::clone(turn.feed)));
            }
            (Some(candidates), true) => candidates.add(turn.feed),
            (Some(candidates), false) => {
                if candidates.remove(turn.feed) {
                    held.instances.remove(turn.instance);
                }
            }
            (None, false) => {}
        }
        self.tidy(turn.service);
        turned
    }

    /// Notes that a service is or is not defined.
    pub fn define(&mut self, service: &ServiceKey, defined: bool) {
        self.services.entry(service.clone()).or_default().defined = defined;
        self.tidy(service);
    }

    /// Notes that a service has one overlay more or less.
    pub fn overlay(&mut self, service: &ServiceKey, had: bool, has: bool) {
        let held = self.services.entry(service.clone()).or_default();
        held.overlays = held.overlays + usize::from(has) - usize::from(had);
        self.tidy(service);
    }

    /// The services that show something of a feed: those that its silence or its return touches.
    pub fn showing(&self, copy: &Copy, sight: Sight<'_>) -> BTreeSet<ServiceKey> {
        let mut services = BTreeSet::new();
        for (key, _) in copy.records() {
            let RecordKey::Instance(service, instance) = key else { continue };
            if services.contains(service) {
                continue;
            }
            let candidates = self.services.get(service).and_then(|held| held.instances.get(instance));
            let winner = candidates.and_then(|candidates| candidates.winner(service, instance, sight));
            if winner.is_some_and(|(feed, record)| feed == &**copy.id() && instance_of(record).is_some()) {
                services.insert(service.clone());
            }
        }
        services
    }

    fn tidy(&mut self, service: &ServiceKey) {
        let idle = |held: &Service| held.instances.is_empty() && !held.defined && held.overlays == 0;
        if self.services.get(service).is_some_and(idle) {
            self.services.remove(service);
        }
    }
}

impl Candidates {
    fn feeds(&self) -> &[Arc<FeedId>] {
        match self {
            Self::One(feed) => std::slice::from_ref(feed),
            Self::Many(feeds) => feeds,
        }
    }

    fn add(&mut self, feed: &Arc<FeedId>) {
        if self.feeds().contains(feed) {
            return;
        }
        let mut feeds = self.feeds().to_vec();
        feeds.push(Arc::clone(feed));
        *self = Self::Many(feeds);
    }

    /// Takes a feed out; tells whether none is left.
    fn remove(&mut self, feed: &FeedId) -> bool {
        let mut left: Vec<_> = self.feeds().iter().filter(|held| &***held != feed).cloned().collect();
        match (left.len(), left.pop()) {
            (1, Some(last)) => *self = Self::One(last),
            (_, Some(last)) => {
                left.push(last);
                *self = Self::Many(left);
            }
            (_, None) => return true,
        }
        false
    }

    fn winner<'a>(
        &'a self,
        service: &ServiceKey,
        instance: &InstanceKey,
        sight: Sight<'a>,
    ) -> Option<(&'a FeedId, &'a Record)> {
        let records = self.feeds().iter();
        let records = records.filter_map(|feed| Some((&**feed, sight.record(feed, service, instance)?)));
        records.max_by(|a, b| rank(a.0, a.1).cmp(&rank(b.0, b.1)))
    }
}

impl<'a> Sight<'a> {
    fn record(self, feed: &FeedId, service: &ServiceKey, instance: &InstanceKey) -> Option<&'a Record> {
        let kind = if feed.is_raft() { RecordKey::Persistent } else { RecordKey::Instance };
        self.copies.get(feed)?.record(&kind(service.clone(), instance.clone()))
    }

    /// The registry itself vouches for what its Raft feed holds.
    fn unverified(self, feed: &FeedId) -> bool {
        !feed.is_raft() && self.beats.unverified(feed)
    }
}

/// What is shown under a key.
#[derive(PartialEq)]
struct Face<'a> {
    instance: &'a Instance,
    persistent: bool,
    unverified: bool,
    /// Whether this process writes the record: where beats are noted hangs on it.
    own: bool,
}

/// What is shown for a key while its record in the turning feed is `own`.
fn face<'a>(
    turn: Turn<'a>,
    own: Option<&'a Record>,
    others: &'a [Arc<FeedId>],
    sight: Sight<'a>,
) -> Option<Face<'a>> {
    let others = others.iter().filter(|feed| *feed != turn.feed);
    let others = others.filter_map(|feed| Some((&**feed, sight.record(feed, turn.service, turn.instance)?)));
    let all = others.chain(own.map(|record| (&**turn.feed, record)));
    let (feed, record) = all.max_by(|a, b| rank(a.0, a.1).cmp(&rank(b.0, b.1)))?;
    Some(Face {
        instance: instance_of(record)?,
        persistent: feed.is_raft(),
        unverified: sight.unverified(feed),
        own: sight.beats.vouches(feed),
    })
}

/// What orders the records of one key: persistent before ephemeral, then stamp, take and feed.
fn rank<'a>(feed: &'a FeedId, record: &Record) -> impl Ord + use<'a> {
    let given = record.registration().map(|registration| (registration.stamp, registration.take));
    (Reverse(given.is_some()), given, feed)
}

fn instance_of(record: &Record) -> Option<&Arc<Instance>> {
    match record {
        Record::Registration(registration) => registration.instance(),
        Record::Persistent(instance) => Some(instance),
        Record::Settling
        | Record::Directory(_)
        | Record::Policy(_)
        | Record::Definition(_)
        | Record::Overlay(_)
        | Record::Link(_)
        | Record::Import(_)
        | Record::Port(_)
        | Record::Bridge(_) => None,
    }
}

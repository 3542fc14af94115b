//! What is shown of a guest: its instances, and which of them its latest answers lack.
//!
//! Invariant: an instance that an answer lacks stays, marked with since when, until somebody removes it by key.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use landbridge_model::{
    Change, Instance, InstanceKey, Life, MemberId, Moment, OWNER, Record, RecordKey, Registration,
    ServiceKey, Stamp,
};

/// The metadata key under which a bridge says in a guest of which region an instance is. Not the one under which a region shows
/// it: a guest that is of this make lets no client set that.
pub const SOURCE: &str = "landbridge.source";

/// NacosSync's key for the same.
pub const SOURCE_CLUSTER: &str = "sourceClusterId";

/// Metadata keys that only synchronisers write: ours, what a region of ours shows, and NacosSync's.
pub const STAMPS: [&str; 4] = [SOURCE, "landbridge.origin", SOURCE_CLUSTER, "sync.instance.tag"];

/// The bridge writes a guest's feed alone: one writer.
const WRITER: MemberId = MemberId(1);

/// An instance as the guest tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Native {
    /// Which.
    pub key: InstanceKey,
    /// What it is.
    pub instance: Instance,
    /// Whether the guest vouches for it rather than a client of it.
    pub persistent: bool,
}

/// Since when an instance is missing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Missing {
    pub since: Moment,
    /// Whether the guest had just come back, and may not have heard of it yet.
    pub doubtful: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Held {
    instance: Arc<Instance>,
    persistent: bool,
    stamp: Stamp,
}

/// All instances of a guest.
#[derive(Clone, Debug)]
pub(super) struct Table {
    services: BTreeMap<ServiceKey, BTreeMap<InstanceKey, Held>>,
    missing: BTreeMap<(ServiceKey, InstanceKey), Missing>,
    len: usize,
    /// The greatest clock given, so that stamps rise.
    clock: u64,
}

/// What came of an answer.
pub(super) struct Took {
    pub changes: Vec<Change>,
    /// How many there was no room for.
    pub refused: usize,
}

impl Table {
    /// What these records show; of two that say the same key the one with the greater stamp.
    pub fn of(records: Vec<(RecordKey, Record)>) -> Self {
        let (services, missing) = (BTreeMap::new(), BTreeMap::new());
        let mut table = Self { services, missing, len: 0, clock: 0 };
        for (key, record) in records {
            let (service, key, held) = match (key, record) {
                (RecordKey::Instance(service, key), Record::Registration(registration)) => {
                    let stamp = registration.stamp;
                    table.clock = table.clock.max(stamp.clock);
                    let Some(instance) = registration.instance().cloned() else { continue };
                    (service, key, Held { instance, persistent: false, stamp })
                }
                (RecordKey::Persistent(service, key), Record::Persistent(instance)) => {
                    let stamp = Stamp { clock: 0, member: WRITER };
                    (service, key, Held { instance, persistent: true, stamp })
                }
                _ => continue,
            };
            let instances = table.services.entry(service).or_default();
            if instances.get(&key).is_none_or(|known| known.stamp < held.stamp) {
                table.len += usize::from(instances.insert(key, held).is_none());
            }
        }
        table
    }

    /// Moves the clock of stamps on.
    pub fn clock(&mut self, unix_ms: u64) {
        self.clock = self.clock.max(Stamp::clock_at(unix_ms));
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn services(&self) -> impl Iterator<Item = &ServiceKey> {
        self.services.keys()
    }

    pub fn has(&self, service: &ServiceKey, key: &InstanceKey) -> bool {
        self.services.get(service).is_some_and(|instances| instances.contains_key(key))
    }

    /// What the latest answers lack.
    pub fn missing(&self) -> impl Iterator<Item = (&(ServiceKey, InstanceKey), &Missing)> {
        self.missing.iter()
    }

    /// Takes a whole answer about a service in; `bounds` are whether what it lacks is doubtful, and the room for new ones.
    pub fn take(
        &mut self,
        now: Moment,
        service: &ServiceKey,
        natives: Vec<Native>,
        (doubtful, mut room): (bool, usize),
    ) -> Took {
        let mut took = Took { changes: Vec::new(), refused: 0 };
        let mut told = BTreeSet::new();
        for native in natives {
            let Native { key, instance, persistent } = native;
            self.missing.remove(&(service.clone(), key.clone()));
            told.insert(key.clone());
            let metadata = instance.metadata.with(OWNER, None);
            let instance = Instance { metadata, ..instance };
            let known = self.services.get(service).and_then(|instances| instances.get(&key));
            if known.is_some_and(|known| *known.instance == instance && known.persistent == persistent) {
                continue;
            }
            if known.is_none() && room == 0 {
                took.refused += 1;
                continue;
            }
            if known.is_some_and(|known| known.persistent != persistent) {
                took.changes.extend(self.remove(service, &key));
            }
            self.clock += 1;
            let stamp = Stamp { clock: self.clock, member: WRITER };
            let held = Held { instance: Arc::new(instance), persistent, stamp };
            let (at, record) = entry(service, &key, &held);
            took.changes.push(Change { key: at, record: Some(record) });
            if self.services.entry(service.clone()).or_default().insert(key, held).is_none() {
                self.len += 1;
                room = room.saturating_sub(1);
            }
        }
        let held = self.services.get(service).into_iter().flat_map(BTreeMap::keys);
        let lacking: Vec<InstanceKey> = held.filter(|key| !told.contains(*key)).cloned().collect();
        for key in lacking {
            self.missing.entry((service.clone(), key)).or_insert(Missing { since: now, doubtful });
        }
        took
    }

    /// Forgets what answers lacked.
    pub fn miss_none(&mut self) {
        self.missing.clear();
    }

    /// A whole answer says that a service has no instances.
    pub fn miss_all(&mut self, now: Moment, service: &ServiceKey, doubtful: bool) {
        let took = self.take(now, service, Vec::new(), (doubtful, 0));
        debug_assert!(took.changes.is_empty(), "an answer without instances changes none");
    }

    /// Removes one instance.
    pub fn remove(&mut self, service: &ServiceKey, key: &InstanceKey) -> Option<Change> {
        self.missing.remove(&(service.clone(), key.clone()));
        let instances = self.services.get_mut(service)?;
        let held = instances.remove(key)?;
        self.len -= 1;
        if instances.is_empty() {
            self.services.remove(service);
        }
        let (key, _) = entry(service, key, &held);
        Some(Change { key, record: None })
    }

    /// Removes all instances of a service.
    pub fn forget(&mut self, service: &ServiceKey) -> Vec<Change> {
        let keys: Vec<InstanceKey> =
            self.services.get(service).into_iter().flat_map(BTreeMap::keys).cloned().collect();
        keys.iter().filter_map(|key| self.remove(service, key)).collect()
    }

    /// Everything, as it stands in feeds.
    pub fn records(&self) -> Vec<(RecordKey, Record)> {
        let all = self.services.iter().flat_map(|(service, instances)| {
            instances.iter().map(move |(key, held)| entry(service, key, held))
        });
        all.collect()
    }
}

fn entry(service: &ServiceKey, key: &InstanceKey, held: &Held) -> (RecordKey, Record) {
    let instance = Arc::clone(&held.instance);
    if held.persistent {
        (RecordKey::Persistent(service.clone(), key.clone()), Record::Persistent(instance))
    } else {
        let life = Life::Session(instance);
        let registration = Registration { stamp: held.stamp, take: 0, life };
        (RecordKey::Instance(service.clone(), key.clone()), Record::Registration(registration))
    }
}

//! The few keys of the simulated world: instance `k` is the only one of service `s<k>`, persistent `p` of `p<p>`.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use landbridge_model::{
    Address, Cluster, ExportPolicy, Instance, InstanceKey, KeyGlob, Life, Metadata, Position, Record,
    RecordKey, Region, ServiceKey,
};

/// How many ephemeral keys a region has.
pub const KEYS: usize = 4;

/// A record map as the checks compare it.
pub type Records = BTreeMap<RecordKey, Record>;

/// The most regions of a world.
pub const REGIONS_MAX: usize = 4;

/// In the order in which a world has them.
const REGIONS: [&str; REGIONS_MAX] = ["east", "west", "north", "south"];

static REGION: LazyLock<[Region; REGIONS.len()]> =
    LazyLock::new(|| REGIONS.map(|name| Region::parse(name).expect("a valid region")));

pub fn region(at: usize) -> Region {
    REGION[at].clone()
}

pub fn region_number(region: &Region) -> usize {
    REGION.iter().position(|known| known == region).expect("a region of this world")
}

static SERVICE: LazyLock<[ServiceKey; KEYS]> =
    LazyLock::new(|| std::array::from_fn(|k| parsed(&format!("s{k}"))));

static INSTANCE: LazyLock<[InstanceKey; REGIONS.len()]> =
    LazyLock::new(|| std::array::from_fn(|r| addressed(r, PORT)));

/// The port of the one instance of a service that the checks follow step by step.
const PORT: u16 = 80;

fn parsed(name: &str) -> ServiceKey {
    ServiceKey::parse("", "", name).expect("a valid service")
}

fn addressed(r: usize, port: u16) -> InstanceKey {
    let ip = Address::parse(&format!("10.0.{r}.1")).expect("a valid address");
    InstanceKey { ip, port, cluster: Cluster::parse("").expect("a valid cluster") }
}

pub fn service(k: usize) -> ServiceKey {
    SERVICE[k].clone()
}

pub fn persistent(p: usize) -> ServiceKey {
    parsed(&format!("p{p}"))
}

/// Further instances of a service, that one connection publishes together with the first.
pub fn sibling(r: usize, at: u16) -> InstanceKey {
    addressed(r, PORT + at)
}

/// The instance of every service of a region.
pub fn instance(r: usize) -> InstanceKey {
    INSTANCE[r].clone()
}

pub fn record_key(r: usize, k: usize) -> RecordKey {
    RecordKey::Instance(service(k), instance(r))
}

pub fn valued(value: u64) -> Arc<Instance> {
    let metadata = Metadata::new([("v".into(), value.to_string().into())]).expect("within bounds");
    Arc::new(Instance::plain(metadata))
}

pub fn valued_in(value: u64, zone: &str) -> Arc<Instance> {
    let pairs = [("v".into(), value.to_string().into()), ("zone".into(), zone.into())];
    Arc::new(Instance::plain(Metadata::new(pairs).expect("within bounds")))
}

pub fn value_of(instance: &Instance) -> u64 {
    instance.metadata.value("v").and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The number of an ephemeral key.
pub fn number(key: &RecordKey) -> Option<usize> {
    match key {
        RecordKey::Instance(service, instance) if instance.port == PORT => {
            service.service().as_str()[1..].parse().ok()
        }
        _ => None,
    }
}

/// A record of a connection with this value.
#[cfg(test)]
pub fn registered(value: u64) -> Record {
    let stamp = landbridge_model::Stamp { clock: value, member: landbridge_model::MemberId(0) };
    let life = Life::Session(valued(value));
    Record::Registration(landbridge_model::Registration { stamp, take: 0, life })
}

/// A member's feed.
#[cfg(test)]
pub fn feed(r: usize, index: u64) -> landbridge_model::FeedId {
    landbridge_model::FeedId::Member { region: region(r), era: landbridge_model::Era(1), index }
}

pub fn is_tombstone(record: &Record) -> bool {
    record.registration().is_some_and(|registration| registration.life == Life::Tombstone)
}

pub fn is_live(record: &Record) -> bool {
    record.registration().is_some_and(|registration| registration.instance().is_some())
}

pub fn is_beating(record: &Record) -> bool {
    record.registration().is_some_and(|registration| matches!(registration.life, Life::Beat(_)))
}

/// Bit k selects service `s<k>`, bit 8 + p service `p<p>`.
pub fn policy(mask: u32) -> ExportPolicy {
    let chosen = (0..KEYS).filter(|k| mask >> k & 1 == 1).map(service);
    let chosen = chosen.chain((0..2).filter(|p| mask >> (8 + p) & 1 == 1).map(persistent));
    let allow = chosen.map(|service| {
        let text = format!("{}/{}/{}", service.namespace(), service.group(), service.service());
        KeyGlob::parse(&text).expect("a valid glob")
    });
    ExportPolicy { since: Position::NONE, allow: allow.collect(), deny: Vec::new() }
}

/// Whether a key passes the mask; written apart from the code under test.
pub fn passes(key: &RecordKey, mask: u32) -> bool {
    let bit = |service: &ServiceKey| {
        let text = service.service().as_str();
        let at: u32 = text[1..].parse().expect("a number");
        mask >> (if text.starts_with('p') { 8 + at } else { at }) & 1 == 1
    };
    key.service().is_none_or(bit)
}

/// What another region may see of these records.
pub fn projected(records: &Records, mask: u32, near: &Region) -> Records {
    let is_meant = |key: &RecordKey| match key {
        RecordKey::Policy(peer) => peer == near,
        RecordKey::Link(_) | RecordKey::Import(_) | RecordKey::Bridge(_) => false,
        _ => true,
    };
    let seen = records.iter().filter(|(key, _)| passes(key, mask) && is_meant(key));
    let blank = |record: &Record| match record {
        Record::Directory(entry) => {
            let mut entry = entry.clone();
            entry.address = "".into();
            Record::Directory(entry)
        }
        other => other.clone(),
    };
    seen.map(|(key, record)| (key.clone(), blank(record))).collect()
}

//! The canonical bytes of keys and records, hashed: which bucket a key belongs to, and what a record adds to its digest.
//!
//! Invariant: equal records have equal hashes at every holder of every version; the bytes never depend on memory layout,
//! and every variable part is preceded by its length.

use landbridge_model::{
    DirectoryEntry, ExportPolicy, FeedId, ImportPolicy, Instance, InstanceKey, KeyGlob, Life, Metadata,
    Overlay, Record, RecordKey, Registration, ServiceKey, Showing,
};
use xxhash_rust::xxh3::Xxh3;

use crate::message::{BUCKETS, Digests};

impl Digests {
    /// The digests of nothing.
    pub fn empty() -> Self {
        Self(Box::new([0; BUCKETS]))
    }

    /// Adds a record's hash to its bucket.
    pub(crate) fn add(&mut self, bucket: usize, hash: u64) {
        self.0[bucket] = self.0[bucket].wrapping_add(hash);
    }

    /// Takes a record's hash out of its bucket.
    pub(crate) fn subtract(&mut self, bucket: usize, hash: u64) {
        self.0[bucket] = self.0[bucket].wrapping_sub(hash);
    }
}

/// The bucket of a key.
pub fn bucket_of(key: &RecordKey) -> usize {
    let mut hash = Hash(Xxh3::new());
    hash.key(key);
    (hash.0.digest() % BUCKETS as u64) as usize
}

/// What a record adds to its bucket's digest.
pub fn hash_of(key: &RecordKey, record: &Record) -> u64 {
    let mut hash = Hash(Xxh3::new());
    hash.key(key);
    hash.record(record);
    hash.0.digest()
}

struct Hash(Xxh3);

impl Hash {
    fn key(&mut self, key: &RecordKey) {
        match key {
            RecordKey::Instance(service, instance) => self.tag(0).service(service).instance_key(instance),
            RecordKey::Settling => self.tag(1),
            RecordKey::Directory(feed) => self.tag(2).feed(feed),
            RecordKey::Policy(region) => self.tag(3).text(region.as_str()),
            RecordKey::Definition(service) => self.tag(4).service(service),
            RecordKey::Persistent(service, instance) => self.tag(5).service(service).instance_key(instance),
            RecordKey::Overlay(service, instance) => self.tag(6).service(service).instance_key(instance),
            RecordKey::Link(region) => self.tag(7).text(region.as_str()),
            RecordKey::Port(service) => self.tag(8).service(service),
            RecordKey::Bridge(id) => self.tag(9).text(id),
            RecordKey::Import(region) => self.tag(10).text(region.as_str()),
        };
    }

    fn record(&mut self, record: &Record) {
        match record {
            Record::Registration(registration) => self.tag(0).registration(registration),
            Record::Settling => self.tag(1),
            Record::Directory(entry) => self.tag(2).directory(entry),
            Record::Policy(policy) => self.tag(3).policy(policy),
            Record::Definition(definition) => {
                self.tag(4).weight(definition.protect_threshold).metadata(&definition.metadata)
            }
            Record::Persistent(instance) => self.tag(5).instance(instance),
            Record::Overlay(overlay) => self.tag(6).overlay(overlay),
            Record::Link(order) => self.tag(7).text(order.hold.name()).number(order.since_ms),
            Record::Port(port) => self.tag(8).number(u64::from(*port)),
            Record::Import(policy) => self.tag(10).import(policy),
            Record::Bridge(hears) => {
                let start = self.tag(9).number(hears.len() as u64);
                hears.iter().fold(start, |hash, region| hash.text(region.as_str()))
            }
        };
    }

    fn tag(&mut self, tag: u8) -> &mut Self {
        self.0.update(&[tag]);
        self
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    /// Zero and minus zero are equal numbers and hash as one; there is one not-a-number.
    fn weight(&mut self, weight: f64) -> &mut Self {
        let canonical = if weight.is_nan() { f64::NAN } else { weight + 0.0 };
        self.number(canonical.to_bits())
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len() as u64);
        self.0.update(text.as_bytes());
        self
    }

    fn service(&mut self, service: &ServiceKey) -> &mut Self {
        self.text(service.namespace().as_str())
            .text(service.group().as_str())
            .text(service.service().as_str())
    }

    fn instance_key(&mut self, key: &InstanceKey) -> &mut Self {
        self.text(key.ip.as_str()).number(key.port.into()).text(key.cluster.as_str())
    }

    fn feed(&mut self, feed: &FeedId) -> &mut Self {
        match feed {
            FeedId::Raft(region) => self.tag(0).text(region.as_str()),
            FeedId::Member { region, era, index } => {
                self.tag(1).text(region.as_str()).number(era.0).number(*index)
            }
        }
    }

    fn registration(&mut self, registration: &Registration) -> &mut Self {
        self.number(registration.stamp.clock)
            .number(registration.stamp.member.0.into())
            .number(registration.take.into());
        match &registration.life {
            Life::Session(instance) => self.tag(0).instance(instance),
            Life::Beat(instance) => self.tag(1).instance(instance),
            Life::Tombstone => self.tag(2),
        }
    }

    fn instance(&mut self, instance: &Instance) -> &mut Self {
        self.weight(instance.weight)
            .tag(instance.healthy.into())
            .tag(instance.enabled.into())
            .metadata(&instance.metadata)
    }

    fn metadata(&mut self, metadata: &Metadata) -> &mut Self {
        self.number(metadata.pairs().len() as u64);
        for (key, value) in metadata.pairs() {
            self.text(key).text(value);
        }
        self
    }

    fn directory(&mut self, entry: &DirectoryEntry) -> &mut Self {
        self.number(entry.member.0.into()).text(&entry.address).number(entry.nonce).number(entry.need)
    }

    fn policy(&mut self, policy: &ExportPolicy) -> &mut Self {
        self.number(policy.since.era.0).number(policy.since.seq).globs(&policy.allow).globs(&policy.deny)
    }

    fn globs(&mut self, globs: &[KeyGlob]) -> &mut Self {
        let start = self.number(globs.len() as u64);
        globs.iter().fold(start, |hash, glob| hash.text(&glob.to_string()))
    }

    fn import(&mut self, policy: &ImportPolicy) -> &mut Self {
        self.globs(&policy.allow).globs(&policy.deny).number(policy.namespaces.len() as u64);
        for (from, to) in &policy.namespaces {
            self.text(from.as_str()).text(to.as_str());
        }
        self.number(policy.groups.len() as u64);
        for (from, to) in &policy.groups {
            self.text(from.as_str()).text(to.as_str());
        }
        let max_stale_ms = policy.max_stale_ms.unwrap_or(u64::MAX);
        let visibility = policy.visibility.map_or("", Showing::name);
        self.weight(policy.weight_scale).number(max_stale_ms).text(visibility)
    }

    fn overlay(&mut self, overlay: &Overlay) -> &mut Self {
        match overlay.weight {
            Some(weight) => self.tag(1).weight(weight),
            None => self.tag(0),
        };
        self.tag(match overlay.enabled {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        });
        match &overlay.metadata {
            Some(metadata) => self.tag(1).metadata(metadata),
            None => self.tag(0),
        }
    }
}

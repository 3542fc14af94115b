//! What a message weighs in memory and on the wire, near enough for credit and for the bounds of rings.

use landbridge_model::{Change, InstanceKey, KeyGlob, Life, Metadata, Record, RecordKey, ServiceKey};

use crate::message::{BUCKETS, BucketContent, Message};

/// What the smallest message counts: a stream's credit divided by this bounds how many are on their way.
pub const MESSAGE_BYTES_MIN: usize = 64;

/// What a heartbeat of one feed counts.
pub(crate) const BEAT_BYTES: usize = 64;

const DIGESTS_BYTES: usize = BUCKETS * 8;

impl Message {
    /// What it counts against its stream's credit; never zero.
    pub fn weight_bytes(&self) -> usize {
        MESSAGE_BYTES_MIN
            + match self {
                Self::Want { digests, .. } => digests.as_ref().map_or(0, |_| DIGESTS_BYTES),
                Self::Unwant { .. } | Self::Begin { .. } | Self::End { .. } => 0,
                Self::Batch { changes, .. } | Self::Live { changes, .. } => {
                    changes.iter().map(of_change).sum()
                }
                Self::Bucket { content, .. } => match content {
                    BucketContent::Same { .. } => 0,
                    BucketContent::Records { records, .. } => {
                        records.iter().map(|(key, record)| of_entry(key, record)).sum()
                    }
                },
                Self::Beats { beats, hears, .. } => (beats.len() + hears.len()) * BEAT_BYTES,
                Self::Verify { .. } => DIGESTS_BYTES,
            }
    }
}

/// What a change weighs.
pub(crate) fn of_change(change: &Change) -> usize {
    of_key(&change.key) + change.record.as_ref().map_or(0, of_record)
}

/// What a key and its record weigh together.
pub(crate) fn of_entry(key: &RecordKey, record: &Record) -> usize {
    of_key(key) + of_record(record)
}

fn of_key(key: &RecordKey) -> usize {
    match key {
        RecordKey::Settling
        | RecordKey::Directory(_)
        | RecordKey::Policy(_)
        | RecordKey::Link(_)
        | RecordKey::Import(_)
        | RecordKey::Bridge(_) => 64,
        RecordKey::Definition(service) | RecordKey::Port(service) => of_service(service),
        RecordKey::Instance(service, instance)
        | RecordKey::Persistent(service, instance)
        | RecordKey::Overlay(service, instance) => of_service(service) + of_instance_key(instance),
    }
}

fn of_record(record: &Record) -> usize {
    match record {
        Record::Registration(registration) => {
            32 + match &registration.life {
                Life::Session(instance) | Life::Beat(instance) => of_metadata(&instance.metadata),
                Life::Tombstone => 0,
            }
        }
        Record::Settling | Record::Port(_) => 8,
        Record::Link(_) => 16,
        Record::Bridge(hears) => 16 + 16 * hears.len(),
        Record::Directory(entry) => 32 + entry.address.len(),
        Record::Policy(policy) => 32 + of_globs(&policy.allow) + of_globs(&policy.deny),
        Record::Import(policy) => {
            let namespaces =
                policy.namespaces.iter().map(|(from, to)| from.as_str().len() + to.as_str().len());
            let groups = policy.groups.iter().map(|(from, to)| from.as_str().len() + to.as_str().len());
            let renames = namespaces.chain(groups).map(|text| text + 8).sum::<usize>();
            32 + of_globs(&policy.allow) + of_globs(&policy.deny) + renames
        }
        Record::Definition(definition) => 16 + of_metadata(&definition.metadata),
        Record::Persistent(instance) => 16 + of_metadata(&instance.metadata),
        Record::Overlay(overlay) => 16 + overlay.metadata.as_ref().map_or(0, of_metadata),
    }
}

fn of_globs(globs: &[KeyGlob]) -> usize {
    globs.iter().map(|glob| glob.to_string().len() + 8).sum()
}

fn of_service(service: &ServiceKey) -> usize {
    let text = service.namespace().as_str().len()
        + service.group().as_str().len()
        + service.service().as_str().len();
    8 + text
}

fn of_instance_key(key: &InstanceKey) -> usize {
    8 + key.ip.as_str().len() + key.cluster.as_str().len()
}

fn of_metadata(metadata: &Metadata) -> usize {
    metadata.bytes() + 8 * metadata.pairs().len()
}

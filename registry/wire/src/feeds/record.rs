//! One key and its record as protobuf.

mod import;

use std::sync::Arc;

use ecow::EcoString;
use landbridge_model::{
    Address, Change, Cluster, Definition, DirectoryEntry, ExportPolicy, Hold, InstanceKey, KeyGlob, Life,
    LinkOrder, Overlay, Record, RecordKey, Registration, ServiceKey, Stamp, policy::GLOBS_MAX,
};

use super::{
    Malformed,
    dictionary::{Reader, Writer, number},
    hello::member_from,
    identity::{feed_from, feed_of, position_from, position_of, region_from},
    need, proto, within,
};
use proto::change::{Key, Record as Body};

/// The longest address of a directory entry, in bytes.
const ADDRESS_BYTES_MAX: usize = 512;

/// The longest name of a bridge, in bytes.
const BRIDGE_BYTES_MAX: usize = 128;

/// The most origins that a bridge is said to hear.
const HEARS_MAX: usize = 1024;

/// The cluster label that goes without saying.
const PLAIN_CLUSTER: &str = "DEFAULT";

pub(super) fn change_of<'a>(
    writer: &mut Writer<'a>,
    key: &'a RecordKey,
    record: Option<&'a Record>,
) -> proto::Change {
    let key = match key {
        RecordKey::Instance(service, key) => Key::InstanceKey(instance_key_of(writer, service, key)),
        RecordKey::Persistent(service, key) => Key::PersistentKey(instance_key_of(writer, service, key)),
        RecordKey::Overlay(service, key) => Key::OverlayKey(instance_key_of(writer, service, key)),
        RecordKey::Definition(service) => Key::DefinitionKey(writer.service(service)),
        RecordKey::Directory(feed) => Key::DirectoryKey(feed_of(feed)),
        RecordKey::Policy(region) => Key::PolicyKey(region.as_str().into()),
        RecordKey::Settling => Key::SettlingKey(proto::Nothing {}),
        RecordKey::Bridge(id) => Key::BridgeKey(id.as_str().into()),
        RecordKey::Link(region) => Key::LinkKey(region.as_str().into()),
        RecordKey::Import(region) => Key::ImportKey(region.as_str().into()),
        RecordKey::Port(service) => Key::PortKey(writer.service(service)),
    };
    proto::Change { key: Some(key), record: record.map(|record| record_of(writer, record)) }
}

pub(super) fn instance_key_of<'a>(
    writer: &mut Writer<'a>,
    service: &'a ServiceKey,
    key: &InstanceKey,
) -> proto::InstanceKey {
    let cluster = key.cluster.as_str();
    proto::InstanceKey {
        service: writer.service(service),
        ip: key.ip.as_str().into(),
        port: key.port.into(),
        cluster: if cluster == PLAIN_CLUSTER { String::new() } else { cluster.into() },
    }
}

fn record_of<'a>(writer: &mut Writer<'a>, record: &'a Record) -> Body {
    match record {
        Record::Registration(registration) => Body::Registration(registration_of(writer, registration)),
        Record::Persistent(instance) => Body::Persistent(writer.instance(instance)),
        Record::Overlay(overlay) => {
            let metadata = overlay.metadata.as_ref();
            let metadata = metadata.map(|pairs| proto::Pairs { words: writer.metadata(pairs) });
            Body::Overlay(proto::Overlay { weight: overlay.weight, enabled: overlay.enabled, metadata })
        }
        Record::Definition(definition) => Body::Definition(proto::Definition {
            protect_threshold: definition.protect_threshold,
            metadata: Some(proto::Pairs { words: writer.metadata(&definition.metadata) }),
        }),
        Record::Directory(entry) => Body::Directory(proto::DirectoryEntry {
            member: entry.member.0.into(),
            address: entry.address.as_str().into(),
            nonce: entry.nonce,
            need: entry.need,
        }),
        Record::Policy(policy) => {
            let texts = |globs: &[KeyGlob]| globs.iter().map(KeyGlob::to_string).collect();
            Body::Policy(proto::Policy {
                allow: texts(&policy.allow),
                deny: texts(&policy.deny),
                since: Some(position_of(policy.since)),
            })
        }
        Record::Settling => Body::Settling(proto::Nothing {}),
        Record::Bridge(hears) => {
            Body::Bridge(proto::Bridge { hears: hears.iter().map(|region| region.as_str().into()).collect() })
        }
        Record::Link(order) => {
            let hold = match order.hold {
                Hold::Paused => proto::Hold::Paused,
                Hold::Frozen => proto::Hold::Frozen,
                Hold::Evicted => proto::Hold::Evicted,
            };
            Body::Link(proto::Link { hold: hold.into(), since_ms: order.since_ms })
        }
        Record::Import(policy) => Body::Import(import::import_of(policy)),
        Record::Port(port) => Body::Port((*port).into()),
    }
}

fn registration_of<'a>(writer: &mut Writer<'a>, registration: &'a Registration) -> proto::Registration {
    let (life, instance) = match &registration.life {
        Life::Session(instance) => (proto::Life::Session, writer.instance(instance)),
        Life::Beat(instance) => (proto::Life::Beat, writer.instance(instance)),
        Life::Tombstone => (proto::Life::Tombstone, 0),
    };
    proto::Registration {
        clock: registration.stamp.clock,
        member: registration.stamp.member.0.into(),
        take: registration.take,
        life: life.into(),
        instance,
    }
}

pub(super) fn change_from(reader: &Reader, change: proto::Change) -> Result<Change, Malformed> {
    let key = key_from(reader, need(change.key, "key")?)?;
    let record = change.record.map(|record| record_from(reader, record)).transpose()?;
    if record.as_ref().is_some_and(|record| !record.fits(&key)) {
        return Err(Malformed::new("record", "its kind is not that of its key"));
    }
    Ok(Change { key, record })
}

fn key_from(reader: &Reader, key: Key) -> Result<RecordKey, Malformed> {
    Ok(match key {
        Key::InstanceKey(key) => instance_key_from(reader, &key).map(|(s, k)| RecordKey::Instance(s, k))?,
        Key::PersistentKey(key) => {
            instance_key_from(reader, &key).map(|(s, k)| RecordKey::Persistent(s, k))?
        }
        Key::OverlayKey(key) => instance_key_from(reader, &key).map(|(s, k)| RecordKey::Overlay(s, k))?,
        Key::DefinitionKey(place) => RecordKey::Definition(reader.service(place)?),
        Key::DirectoryKey(feed) => RecordKey::Directory(feed_from(Some(&feed))?),
        Key::PolicyKey(region) => RecordKey::Policy(region_from(&region)?),
        Key::SettlingKey(proto::Nothing {}) => RecordKey::Settling,
        Key::BridgeKey(id) => RecordKey::Bridge(bridge_from(&id)?),
        Key::LinkKey(region) => RecordKey::Link(region_from(&region)?),
        Key::ImportKey(region) => RecordKey::Import(region_from(&region)?),
        Key::PortKey(place) => RecordKey::Port(reader.service(place)?),
    })
}

pub(super) fn instance_key_from(
    reader: &Reader,
    key: &proto::InstanceKey,
) -> Result<(ServiceKey, InstanceKey), Malformed> {
    let service = reader.service(key.service)?;
    let ip = Address::parse(&key.ip).map_err(|e| Malformed::new("ip", e))?;
    let port = u16::try_from(key.port).map_err(|_| Malformed::new("port", "it is above 65535"))?;
    let cluster = Cluster::parse(&key.cluster).map_err(|e| Malformed::new("cluster", e))?;
    Ok((service, InstanceKey { ip, port, cluster }))
}

fn record_from(reader: &Reader, record: Body) -> Result<Record, Malformed> {
    Ok(match record {
        Body::Registration(registration) => Record::Registration(registration_from(reader, &registration)?),
        Body::Persistent(place) => Record::Persistent(reader.instance(place)?),
        Body::Overlay(overlay) => Record::Overlay(Arc::new(Overlay {
            weight: overlay.weight.map(|weight| number(weight, 10_000.0, "weight")).transpose()?,
            enabled: overlay.enabled,
            metadata: overlay.metadata.map(|pairs| reader.metadata(&pairs.words)).transpose()?,
        })),
        Body::Definition(definition) => Record::Definition(Arc::new(Definition {
            protect_threshold: number(definition.protect_threshold, 1.0, "protect_threshold")?,
            metadata: reader.metadata(&need(definition.metadata, "metadata")?.words)?,
        })),
        Body::Directory(entry) => Record::Directory(DirectoryEntry {
            member: member_from(entry.member)?,
            address: address_from(&entry.address)?,
            nonce: entry.nonce,
            need: entry.need,
        }),
        Body::Policy(policy) => Record::Policy(Arc::new(ExportPolicy {
            since: position_from(policy.since)?,
            allow: globs_from(&policy.allow)?,
            deny: globs_from(&policy.deny)?,
        })),
        Body::Settling(proto::Nothing {}) => Record::Settling,
        Body::Bridge(bridge) => {
            within(bridge.hears.len(), HEARS_MAX, "hears")?;
            Record::Bridge(bridge.hears.iter().map(|region| region_from(region)).collect::<Result<_, _>>()?)
        }
        Body::Link(link) => {
            let hold = match link.hold() {
                proto::Hold::Paused => Hold::Paused,
                proto::Hold::Frozen => Hold::Frozen,
                proto::Hold::Evicted => Hold::Evicted,
                proto::Hold::Unspecified => return Err(Malformed::new("hold", "it is not a known kind")),
            };
            Record::Link(LinkOrder { hold, since_ms: link.since_ms })
        }
        Body::Import(policy) => Record::Import(Arc::new(import::import_from(&policy)?)),
        Body::Port(port) => {
            let port = u16::try_from(port).ok().filter(|port| *port > 0);
            Record::Port(port.ok_or_else(|| Malformed::new("port", "it is not from 1 to 65535"))?)
        }
    })
}

fn registration_from(reader: &Reader, registration: &proto::Registration) -> Result<Registration, Malformed> {
    let life = match registration.life() {
        proto::Life::Session => Life::Session(reader.instance(registration.instance)?),
        proto::Life::Beat => Life::Beat(reader.instance(registration.instance)?),
        proto::Life::Tombstone => Life::Tombstone,
        proto::Life::Unspecified => return Err(Malformed::new("life", "it is not a known kind")),
    };
    let stamp = Stamp { clock: registration.clock, member: member_from(registration.member)? };
    Ok(Registration { stamp, take: registration.take, life })
}

fn bridge_from(id: &str) -> Result<EcoString, Malformed> {
    if (1..=BRIDGE_BYTES_MAX).contains(&id.len()) && id.chars().all(|c| c.is_ascii_graphic()) {
        Ok(id.into())
    } else {
        Err(Malformed::new("bridge", "it is empty, too long, or holds blanks or control characters"))
    }
}

fn address_from(address: &str) -> Result<EcoString, Malformed> {
    if address.len() <= ADDRESS_BYTES_MAX && address.chars().all(|c| c.is_ascii_graphic()) {
        Ok(address.into())
    } else {
        Err(Malformed::new("address", "it is too long or holds blanks or control characters"))
    }
}

fn globs_from(texts: &[String]) -> Result<Vec<KeyGlob>, Malformed> {
    within(texts.len(), GLOBS_MAX, "policy")?;
    texts.iter().map(|text| KeyGlob::parse(text).map_err(|e| Malformed::new("policy", e))).collect()
}

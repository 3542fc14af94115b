//! Commands as bytes: what the log carries and what members send each other.
//!
//! What sets or takes away one record travels as that change, in the record codec of the feeds.

use std::{io, sync::Arc};

use bytes::Bytes;
use landbridge_model::{Change, Era, MemberId, Record, RecordKey};
use landbridge_registry_core::Command;
use landbridge_wire::disk;
use prost::Message;

use crate::codec::{self, unreadable};

#[derive(Clone, PartialEq, Message)]
struct Order {
    #[prost(oneof = "What", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(uint64, tag = "1")]
    Found(u64),
    #[prost(message, tag = "2")]
    Open(Open),
    #[prost(message, tag = "3")]
    Close(Close),
    /// A cursor.
    #[prost(bytes = "bytes", tag = "4")]
    Settle(Bytes),
    /// One change.
    #[prost(bytes = "bytes", tag = "5")]
    Set(Bytes),
    #[prost(message, tag = "6")]
    Health(Health),
    #[prost(message, tag = "7")]
    Note(NoteRecord),
    #[prost(message, tag = "8")]
    Port(Port),
    /// An overlay, as a change that sets it: it is taken back if it still stands so.
    #[prost(bytes = "bytes", tag = "9")]
    Clear(Bytes),
}

/// A port wanted for a service, named by a change without a record, from a range.
#[derive(Clone, PartialEq, Message)]
struct Port {
    #[prost(bytes = "bytes", tag = "1")]
    service: Bytes,
    #[prost(uint32, tag = "2")]
    first: u32,
    #[prost(uint32, tag = "3")]
    last: u32,
}

/// A note, or that it is thrown away.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct NoteRecord {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, optional, tag = "2")]
    pub(crate) text: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Open {
    #[prost(uint32, tag = "1")]
    member: u32,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(uint64, tag = "3")]
    nonce: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Close {
    #[prost(bytes = "bytes", tag = "1")]
    feed: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    cursor: Bytes,
}

/// Persistent instances, as changes without records, and beside each whether it is healthy.
#[derive(Clone, PartialEq, Message)]
struct Health {
    #[prost(bytes = "bytes", tag = "1")]
    keys: Bytes,
    #[prost(bool, repeated, tag = "2")]
    healthy: Vec<bool>,
}

/// Encodes a command.
pub(crate) fn encode(command: &Command) -> Bytes {
    let what = match command {
        Command::Found { era } => What::Found(era.0),
        Command::Open { member, address, nonce } => {
            What::Open(Open { member: member.0.into(), address: address.as_str().into(), nonce: *nonce })
        }
        Command::Close { feed, cursor } => What::Close(Close {
            feed: disk::encode_feed(feed).into(),
            cursor: disk::encode_cursor(cursor).into(),
        }),
        Command::Settle { cursor } => What::Settle(disk::encode_cursor(cursor).into()),
        Command::SetHealth { flips } => {
            let keys = flips.iter().map(|(service, key, _)| Change {
                key: RecordKey::Persistent(service.clone(), key.clone()),
                record: None,
            });
            let keys = disk::encode_changes(&keys.collect::<Vec<_>>()).into();
            What::Health(Health { keys, healthy: flips.iter().map(|flip| flip.2).collect() })
        }
        Command::Note { name, text } => What::Note(NoteRecord {
            name: name.as_str().into(),
            text: text.as_ref().map(ToString::to_string),
        }),
        Command::SetPolicy { peer, policy } => {
            set(RecordKey::Policy(peer.clone()), policy.clone().map(Record::Policy))
        }
        Command::SetImport { region, policy } => {
            set(RecordKey::Import(region.clone()), policy.clone().map(Record::Import))
        }
        Command::SetBridge { id, hears } => {
            set(RecordKey::Bridge(id.clone()), hears.clone().map(Record::Bridge))
        }
        Command::SetLink { region, order } => set(RecordKey::Link(region.clone()), order.map(Record::Link)),
        Command::Define { service, definition } => {
            set(RecordKey::Definition(service.clone()), Some(Record::Definition(definition.clone())))
        }
        Command::Undefine { service } => set(RecordKey::Definition(service.clone()), None),
        Command::PutPersistent { service, key, instance } => {
            let record = Record::Persistent(instance.clone());
            set(RecordKey::Persistent(service.clone(), key.clone()), Some(record))
        }
        Command::DeletePersistent { service, key } => {
            set(RecordKey::Persistent(service.clone(), key.clone()), None)
        }
        Command::SetOverlay { service, key, overlay } => {
            let record = Record::Overlay(overlay.clone());
            set(RecordKey::Overlay(service.clone(), key.clone()), Some(record))
        }
        Command::ClearOverlay { service, key, seen } => {
            let (key, record) =
                (RecordKey::Overlay(service.clone(), key.clone()), seen.clone().map(Record::Overlay));
            match record {
                None => set(key, None),
                seen => What::Clear(disk::encode_changes(&[Change { key, record: seen }]).into()),
            }
        }
        Command::AssignPort { service, range: (first, last) } => {
            let named = Change { key: RecordKey::Port(service.clone()), record: None };
            let service = disk::encode_changes(&[named]).into();
            What::Port(Port { service, first: (*first).into(), last: (*last).into() })
        }
        Command::ReleasePort { service } => set(RecordKey::Port(service.clone()), None),
    };
    codec::write(&Order { what: Some(what) }).into()
}

fn set(key: RecordKey, record: Option<Record>) -> What {
    What::Set(disk::encode_changes(&[Change { key, record }]).into())
}

/// Decodes what [`encode`] wrote.
pub(crate) fn decode(bytes: Bytes) -> io::Result<Command> {
    let wrong = |error| unreadable("order", error);
    let order: Order = codec::read("order", bytes)?;
    Ok(match order.what.ok_or_else(|| unreadable("order", "it says nothing that is known"))? {
        What::Found(era) => Command::Found { era: Era(era) },
        What::Open(Open { member, address, nonce }) => Command::Open {
            member: MemberId(u16::try_from(member).map_err(|error| unreadable("member", error))?),
            address: address.into(),
            nonce,
        },
        What::Close(Close { feed, cursor }) => Command::Close {
            feed: disk::decode_feed(&feed).map_err(wrong)?,
            cursor: disk::decode_cursor(&cursor).map_err(wrong)?,
        },
        What::Settle(cursor) => Command::Settle { cursor: disk::decode_cursor(&cursor).map_err(wrong)? },
        What::Clear(change) => match setting(disk::decode_changes(&change).map_err(wrong)?)? {
            Command::SetOverlay { service, key, overlay } => {
                Command::ClearOverlay { service, key, seen: Some(overlay) }
            }
            other => return Err(unreadable("order", format_args!("it takes back {other:?}"))),
        },
        What::Set(change) => setting(disk::decode_changes(&change).map_err(wrong)?)?,
        What::Note(NoteRecord { name, text }) => {
            Command::Note { name: name.into(), text: text.map(Into::into) }
        }
        What::Port(Port { service, first, last }) => {
            let named = disk::decode_changes(&service).map_err(wrong)?;
            let Some(RecordKey::Port(service)) = named.into_iter().next().map(|change| change.key) else {
                return Err(unreadable("order", "a port for no service"));
            };
            let port = |port| u16::try_from(port).map_err(|error| unreadable("port", error));
            Command::AssignPort { service, range: (port(first)?, port(last)?) }
        }
        What::Health(Health { keys, healthy }) => {
            let keys = disk::decode_changes(&keys).map_err(wrong)?;
            if keys.len() != healthy.len() {
                return Err(unreadable("order", "not one health for each instance"));
            }
            let flips = keys.into_iter().zip(healthy).map(|(change, healthy)| match change.key {
                RecordKey::Persistent(service, key) => Ok((service, key, healthy)),
                other => Err(unreadable("order", format_args!("health of {other:?}"))),
            });
            Command::SetHealth { flips: flips.collect::<io::Result<_>>()? }
        }
    })
}

fn setting(changes: Vec<Change>) -> io::Result<Command> {
    let [Change { key, record }] = <[Change; 1]>::try_from(changes)
        .map_err(|changes| unreadable("order", format_args!("it sets {} records", changes.len())))?;
    Ok(match (key, record) {
        (RecordKey::Policy(peer), None) => Command::SetPolicy { peer, policy: None },
        (RecordKey::Policy(peer), Some(Record::Policy(policy))) => {
            Command::SetPolicy { peer, policy: Some(policy) }
        }
        (RecordKey::Import(region), None) => Command::SetImport { region, policy: None },
        (RecordKey::Import(region), Some(Record::Import(policy))) => {
            Command::SetImport { region, policy: Some(policy) }
        }
        (RecordKey::Bridge(id), None) => Command::SetBridge { id, hears: None },
        (RecordKey::Bridge(id), Some(Record::Bridge(hears))) => Command::SetBridge { id, hears: Some(hears) },
        (RecordKey::Link(region), None) => Command::SetLink { region, order: None },
        (RecordKey::Link(region), Some(Record::Link(order))) => {
            Command::SetLink { region, order: Some(order) }
        }
        (RecordKey::Definition(service), None) => Command::Undefine { service },
        (RecordKey::Definition(service), Some(Record::Definition(definition))) => {
            Command::Define { service, definition }
        }
        (RecordKey::Persistent(service, key), None) => Command::DeletePersistent { service, key },
        (RecordKey::Persistent(service, key), Some(Record::Persistent(instance))) => {
            Command::PutPersistent { service, key, instance }
        }
        (RecordKey::Port(service), None) => Command::ReleasePort { service },
        (RecordKey::Overlay(service, key), None) => Command::ClearOverlay { service, key, seen: None },
        (RecordKey::Overlay(service, key), Some(Record::Overlay(overlay))) => {
            Command::SetOverlay { service, key, overlay: Arc::clone(&overlay) }
        }
        (key, _) => return Err(unreadable("order", format_args!("it sets {key:?}"))),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use landbridge_model::{
        Address, Cluster, Definition, ExportPolicy, FeedId, Hold, ImportPolicy, Instance, InstanceKey,
        LinkOrder, Metadata, Namespace, Overlay, Region, ServiceKey, Showing, policy::KeyGlob,
    };

    use super::*;

    #[test]
    fn every_command_comes_back_as_written() {
        let region = Region::parse("east").unwrap();
        let service = ServiceKey::parse("", "", "orders").unwrap();
        let key = InstanceKey {
            ip: Address::parse("10.0.0.1").unwrap(),
            port: 80,
            cluster: Cluster::parse("DEFAULT").unwrap(),
        };
        let feed = FeedId::Member { region: region.clone(), era: Era(5), index: 9 };
        let cursor = BTreeMap::from([(feed.clone(), 3), (FeedId::Raft(region.clone()), 8)]);
        let metadata = Metadata::new([("zone".into(), "a".into())]).unwrap();
        let policy = ExportPolicy {
            since: landbridge_model::Position::NONE,
            allow: vec![KeyGlob::parse("a/b/*").unwrap()],
            deny: Vec::new(),
        };
        let import = ImportPolicy {
            allow: vec![KeyGlob::parse("*/*/*").unwrap()],
            deny: vec![KeyGlob::parse("a/b/*").unwrap()],
            namespaces: [(service.namespace().clone(), Namespace::parse("west").unwrap())].into(),
            groups: BTreeMap::new(),
            weight_scale: 0.5,
            max_stale_ms: Some(600_000),
            visibility: Some(Showing::Merge),
        };
        let overlay = Arc::new(Overlay { weight: Some(0.5), enabled: Some(false), metadata: None });
        let commands = [
            Command::Found { era: Era(1_700_000_000_000) },
            Command::Open { member: MemberId(3), address: "h:1".into(), nonce: u64::MAX },
            Command::Close { feed, cursor: cursor.clone() },
            Command::Settle { cursor },
            Command::SetPolicy { peer: region.clone(), policy: Some(Arc::new(policy)) },
            Command::SetPolicy { peer: region.clone(), policy: None },
            Command::SetLink {
                region: region.clone(),
                order: Some(LinkOrder { hold: Hold::Frozen, since_ms: 1_700_000_000_000 }),
            },
            Command::SetLink { region: region.clone(), order: None },
            Command::SetImport { region: region.clone(), policy: Some(Arc::new(import)) },
            Command::SetImport { region: region.clone(), policy: None },
            Command::SetBridge { id: "b1".into(), hears: Some([region].into()) },
            Command::SetBridge { id: "b1".into(), hears: None },
            Command::Define {
                service: service.clone(),
                definition: Arc::new(Definition { protect_threshold: 0.3, metadata: metadata.clone() }),
            },
            Command::Undefine { service: service.clone() },
            Command::AssignPort { service: service.clone(), range: (20_000, 20_999) },
            Command::ReleasePort { service: service.clone() },
            Command::PutPersistent {
                service: service.clone(),
                key: key.clone(),
                instance: Arc::new(Instance::plain(metadata)),
            },
            Command::DeletePersistent { service: service.clone(), key: key.clone() },
            Command::SetHealth { flips: vec![(service.clone(), key.clone(), true)] },
            Command::SetOverlay { service: service.clone(), key: key.clone(), overlay: Arc::clone(&overlay) },
            Command::ClearOverlay { service: service.clone(), key: key.clone(), seen: Some(overlay) },
            Command::ClearOverlay { service, key, seen: None },
            Command::Note { name: "namespace/dev".into(), text: Some("{}".into()) },
            Command::Note { name: "namespace/dev".into(), text: None },
        ];
        for command in commands {
            assert_eq!(decode(encode(&command)).unwrap(), command);
        }
    }

    #[test]
    fn bytes_that_are_no_command_are_refused() {
        for wrong in [&b""[..], b"\x01", b"\x02\x08\x01", b"\x01\xff\xff"] {
            assert!(decode(Bytes::copy_from_slice(wrong)).is_err(), "{wrong:?} was taken");
        }
    }
}

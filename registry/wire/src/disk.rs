//! Keys, records, changes and heads of copies as versioned bytes for disks and logs.
//!
//! Invariant: every value starts with [`FORMAT`]; a reader refuses a format it does not know instead of guessing.

use std::collections::BTreeMap;

use landbridge_model::{Change, FeedId, Position, Record, RecordKey, View};
use prost::Message;

use crate::feeds::{self, Malformed, need, proto};

/// The first byte of everything this module writes.
pub const FORMAT: u8 = 1;

/// Encodes changes with a dictionary of their own; a change without a record says that its key is gone.
pub fn encode_changes(changes: &[Change]) -> Vec<u8> {
    versioned(&feeds::changes_of(changes.iter().map(|change| (&change.key, change.record.as_ref()))))
}

/// Decodes what [`encode_changes`] wrote.
pub fn decode_changes(bytes: &[u8]) -> Result<Vec<Change>, Malformed> {
    feeds::changes_from(read(bytes)?)
}

/// Encodes records with a dictionary of their own; at most [`feeds::CHANGES_MAX`] of them can be read back.
pub fn encode_records<'a>(records: impl IntoIterator<Item = (&'a RecordKey, &'a Record)>) -> Vec<u8> {
    versioned(&feeds::changes_of(records.into_iter().map(|(key, record)| (key, Some(record)))))
}

/// Decodes what [`encode_records`] wrote.
pub fn decode_records(bytes: &[u8]) -> Result<Vec<(RecordKey, Record)>, Malformed> {
    feeds::records_from(read(bytes)?)
}

/// Encodes one key; equal keys give equal bytes, and no order is promised between different ones.
pub fn encode_key(key: &RecordKey) -> Vec<u8> {
    versioned(&feeds::changes_of([(key, None)].into_iter()))
}

/// Decodes what [`encode_key`] wrote.
pub fn decode_key(bytes: &[u8]) -> Result<RecordKey, Malformed> {
    one(decode_changes(bytes)?).map(|change| change.key)
}

/// Encodes one key with its record, so that the value alone tells what it is.
pub fn encode_record(key: &RecordKey, record: &Record) -> Vec<u8> {
    encode_records([(key, record)])
}

/// Decodes what [`encode_record`] wrote.
pub fn decode_record(bytes: &[u8]) -> Result<(RecordKey, Record), Malformed> {
    one(decode_records(bytes)?)
}

/// Encodes what stands before a copy's records.
pub fn encode_copy_head(feed: &FeedId, view: &View, position: Position) -> Vec<u8> {
    let copy = proto::Copy { view: Some(feeds::view_of(view)), position: Some(feeds::position_of(position)) };
    versioned(&proto::CopyHead { feed: Some(feeds::feed_of(feed)), copy: Some(copy) })
}

/// Decodes what [`encode_copy_head`] wrote.
pub fn decode_copy_head(bytes: &[u8]) -> Result<(FeedId, View, Position), Malformed> {
    let head: proto::CopyHead = read(bytes)?;
    let copy = need(head.copy, "copy")?;
    Ok((
        feeds::feed_from(head.feed.as_ref())?,
        feeds::view_from(copy.view.as_ref())?,
        feeds::position_from(copy.position)?,
    ))
}

/// Encodes a feed's id; equal ids give equal bytes.
pub fn encode_feed(feed: &FeedId) -> Vec<u8> {
    versioned(&feeds::feed_of(feed))
}

/// Decodes what [`encode_feed`] wrote.
pub fn decode_feed(bytes: &[u8]) -> Result<FeedId, Malformed> {
    feeds::feed_from(Some(&read(bytes)?))
}

/// Encodes how far each feed has been reached.
pub fn encode_cursor(cursor: &BTreeMap<FeedId, u64>) -> Vec<u8> {
    let reached = cursor
        .iter()
        .map(|(feed, seq)| proto::Reached { feed: Some(feeds::feed_of(feed)), seq: *seq })
        .collect();
    versioned(&proto::Cursor { reached })
}

/// Decodes what [`encode_cursor`] wrote.
pub fn decode_cursor(bytes: &[u8]) -> Result<BTreeMap<FeedId, u64>, Malformed> {
    let cursor: proto::Cursor = read(bytes)?;
    let reached = cursor.reached.iter();
    reached.map(|reached| Ok((feeds::feed_from(reached.feed.as_ref())?, reached.seq))).collect()
}

fn versioned(message: &impl Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + message.encoded_len());
    bytes.push(FORMAT);
    message.encode_raw(&mut bytes);
    bytes
}

fn read<M: Message + Default>(bytes: &[u8]) -> Result<M, Malformed> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => M::decode(rest).map_err(|e| Malformed::new("bytes", e)),
        Some((other, _)) => Err(Malformed::new("format", format_args!("{other} where {FORMAT} is known"))),
        None => Err(Malformed::new("bytes", "there are none")),
    }
}

fn one<T>(list: Vec<T>) -> Result<T, Malformed> {
    let [entry] = <[T; 1]>::try_from(list)
        .map_err(|list| Malformed::new("entries", format_args!("{} where one must be", list.len())))?;
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use landbridge_model::{
        Address, Cluster, Definition, DirectoryEntry, Era, ExportPolicy, Instance, InstanceKey, KeyGlob,
        Life, MemberId, Metadata, Overlay, Region, Registration, ServiceKey, Stamp,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::samples;

    proptest! {
        #[test]
        fn what_was_written_is_read_back(
            changes in samples::changes(),
            (key, record) in samples::entry(),
            feed in samples::feed(),
            view in samples::view(),
            position in samples::position(),
        ) {
            let cursor = BTreeMap::from([(feed.clone(), 7)]);

            prop_assert_eq!(decode_changes(&encode_changes(&changes)), Ok(changes));
            prop_assert_eq!(decode_key(&encode_key(&key)), Ok(key.clone()));
            prop_assert_eq!(decode_record(&encode_record(&key, &record)), Ok((key, record)));
            prop_assert_eq!(decode_feed(&encode_feed(&feed)), Ok(feed.clone()));
            prop_assert_eq!(decode_cursor(&encode_cursor(&cursor)), Ok(cursor));
            prop_assert_eq!(
                decode_copy_head(&encode_copy_head(&feed, &view, position)),
                Ok((feed, view, position))
            );
        }

        #[test]
        fn random_bytes_after_the_format_never_panic(mut bytes: Vec<u8>) {
            bytes.insert(0, FORMAT);

            let _ = decode_changes(&bytes);
            let _ = decode_record(&bytes);
            let _ = decode_copy_head(&bytes);
            let _ = decode_cursor(&bytes);
        }
    }

    /// One record of every kind, as format 1 wrote it.
    const FORMAT_1: &str = include_str!("../tests/golden/records-format-1.hex");

    fn every_kind() -> Vec<(RecordKey, Record)> {
        let region = Region::parse("east").expect("a valid region");
        let service = ServiceKey::parse("dev", "pay", "orders").expect("a valid key");
        let metadata = Metadata::new([("zone".into(), "a".into())]).expect("within bounds");
        let instance = Arc::new(Instance { healthy: false, ..Instance::plain(metadata.clone()) });
        let key = InstanceKey {
            ip: Address::parse("10.0.0.1").expect("a valid address"),
            port: 8080,
            cluster: Cluster::parse("blue").expect("a valid cluster"),
        };
        let stamp = Stamp { clock: Stamp::clock_at(1_700_000_000_000) + 3, member: MemberId(2) };
        let registration = |life| Record::Registration(Registration { stamp, take: 1, life });
        let feed = FeedId::Member { region: region.clone(), era: Era(5), index: 6 };
        let glob = |text| vec![KeyGlob::parse(text).expect("a valid glob")];
        let since = Position { era: Era(5), seq: 9 };
        let policy = ExportPolicy { since, allow: glob("*/*/*"), deny: glob("*/*/x") };
        let overlay = Overlay { weight: Some(0.5), enabled: Some(false), metadata: Some(metadata.clone()) };
        let definition = Definition { protect_threshold: 0.25, metadata };
        let entry = DirectoryEntry { member: MemberId(2), address: "m2:9849".into(), nonce: 7, need: 8 };
        let at = |port| InstanceKey { port, ..key.clone() };
        vec![
            (RecordKey::Instance(service.clone(), at(1)), registration(Life::Session(instance.clone()))),
            (RecordKey::Instance(service.clone(), at(2)), registration(Life::Beat(instance.clone()))),
            (RecordKey::Instance(service.clone(), at(3)), registration(Life::Tombstone)),
            (RecordKey::Settling, Record::Settling),
            (RecordKey::Directory(feed), Record::Directory(entry)),
            (RecordKey::Policy(region), Record::Policy(Arc::new(policy))),
            (RecordKey::Definition(service.clone()), Record::Definition(Arc::new(definition))),
            (RecordKey::Persistent(service.clone(), key.clone()), Record::Persistent(instance)),
            (RecordKey::Overlay(service, key), Record::Overlay(Arc::new(overlay))),
        ]
    }

    #[test]
    fn records_of_format_1_stay_readable() {
        let digits: Vec<u8> = FORMAT_1.bytes().filter(u8::is_ascii_hexdigit).collect();
        let digits = digits.chunks(2).map(|pair| str::from_utf8(pair).expect("ASCII"));
        let bytes: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect();

        let records = every_kind();

        assert_eq!(hex(&encode_records(records.iter().map(|(key, record)| (key, record)))), hex(&bytes));
        assert_eq!(decode_records(&bytes), Ok(records.clone()));
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn another_format_is_refused_by_name() {
        let mut bytes = encode_key(&RecordKey::Settling);
        bytes[0] = FORMAT + 1;

        let said = decode_key(&bytes).expect_err("an unknown format").to_string();

        assert_eq!(said, "format: 2 where 1 is known");
    }

    #[test]
    fn a_list_is_not_one_record() {
        assert!(decode_record(&encode_records([])).is_err());
        assert!(decode_record(&[]).is_err());
    }
}

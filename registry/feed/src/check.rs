//! What came over a wire, held against what may stand in a feed. Nothing behind this line meets nonsense.

use landbridge_model::{Change, FeedId, Position, Record, RecordKey};

/// Above this a stamp's clock is no time of this world, and would leave no room to count on.
const CLOCK_MAX: u64 = 1 << 62;

/// Whether a record may stand under its key in this feed.
pub(crate) fn entry(feed: &FeedId, key: &RecordKey, record: Option<&Record>) -> Result<(), &'static str> {
    if record.is_some_and(|record| !record.fits(key)) {
        return Err("a record that does not fit its key");
    }
    let clock = record.and_then(Record::registration).map_or(0, |registration| registration.stamp.clock);
    if clock > CLOCK_MAX {
        return Err("a stamp beyond all time");
    }
    match (key, feed) {
        (RecordKey::Instance(..), FeedId::Member { .. }) => Ok(()),
        (RecordKey::Instance(..), FeedId::Raft(_)) => Err("an ephemeral record in a Raft feed"),
        (RecordKey::Directory(listed), FeedId::Raft(region)) => {
            let fits = !listed.is_raft() && listed.region() == region;
            if fits { Ok(()) } else { Err("a directory that lists a feed of another region") }
        }
        (
            RecordKey::Settling
            | RecordKey::Policy(_)
            | RecordKey::Definition(_)
            | RecordKey::Persistent(..)
            | RecordKey::Overlay(..)
            | RecordKey::Link(_)
            | RecordKey::Import(_)
            | RecordKey::Port(_)
            | RecordKey::Bridge(_),
            FeedId::Raft(_),
        ) => Ok(()),
        (
            RecordKey::Settling
            | RecordKey::Directory(_)
            | RecordKey::Policy(_)
            | RecordKey::Definition(_)
            | RecordKey::Persistent(..)
            | RecordKey::Overlay(..)
            | RecordKey::Link(_)
            | RecordKey::Import(_)
            | RecordKey::Port(_)
            | RecordKey::Bridge(_),
            FeedId::Member { .. },
        ) => Err("a record of the Raft feed in a member's feed"),
    }
}

/// Whether all changes may stand in this feed.
pub(crate) fn changes(feed: &FeedId, changes: &[Change]) -> Result<(), &'static str> {
    changes.iter().try_for_each(|change| entry(feed, &change.key, change.record.as_ref()))
}

/// Whether all records may stand in this feed.
pub(crate) fn records(feed: &FeedId, records: &[(RecordKey, Record)]) -> Result<(), &'static str> {
    records.iter().try_for_each(|(key, record)| entry(feed, key, Some(record)))
}

/// Whether a position may be one of this feed: a member's feed lives in the era of its id.
pub(crate) fn position(feed: &FeedId, position: Position) -> Result<(), &'static str> {
    match feed {
        FeedId::Raft(_) => Ok(()),
        FeedId::Member { era, .. } if *era == position.era && position.seq > 0 => Ok(()),
        FeedId::Member { .. } => Err("a position that is not of this feed"),
    }
}

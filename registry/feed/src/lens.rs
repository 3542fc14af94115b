//! What another region sees of this one: the projection of copies under an export policy (R17).
//!
//! Invariant: it selects by service key, never by value; directory entries and tombstones of selected services always pass.

use std::sync::Arc;

use landbridge_model::{
    Change, DirectoryEntry, ExportPolicy, FeedId, Position, Record, RecordKey, Region, View,
};

use crate::{body, copy::Copy, message::Digests};

/// Through what a stream's follower sees the supplier's copies.
#[derive(Debug)]
pub(crate) enum Lens {
    /// As they are: inside a region.
    Whole,
    /// Under the policy for a peer region; without one nothing is selected.
    Filtered { view: View, peer: Region, policy: Option<Arc<ExportPolicy>> },
}

impl Lens {
    /// The lens toward a peer, as the exporter's copy of its own Raft feed has it.
    ///
    /// A policy that a restore brought back names a position of an era that is over; its view starts the new era.
    pub fn toward(peer: &Region, raft: &Copy) -> Self {
        let policy = policy_toward(peer, raft).map(Arc::clone);
        Self::Filtered { view: view_toward(peer, raft), peer: peer.clone(), policy }
    }

    /// Under which view a copy is supplied.
    pub fn view(&self, copy: &Copy) -> View {
        match self {
            Self::Whole => copy.view().clone(),
            Self::Filtered { view, .. } => view.clone(),
        }
    }

    /// A record as the follower may see it.
    pub fn record(&self, key: &RecordKey, record: &Record) -> Option<Record> {
        match self {
            Self::Whole => Some(record.clone()),
            Self::Filtered { .. } => self.selects(key).then(|| blanked(record)),
        }
    }

    /// A change as the follower may see it; of an unselected key it never had anything.
    pub fn change(&self, key: RecordKey, record: Option<Record>) -> Option<Change> {
        match self {
            Self::Whole => Some(Change { key, record }),
            Self::Filtered { .. } => self.selects(&key).then(|| {
                let record = record.as_ref().map(blanked);
                Change { key, record }
            }),
        }
    }

    /// The digest of one bucket as the follower may see it.
    pub fn bucket_digest(&self, copy: &Copy, bucket: usize) -> u64 {
        match self {
            Self::Whole => copy.digests().0[bucket],
            Self::Filtered { .. } => {
                let held = copy.body.bucket(bucket).iter().flat_map(|held| held.iter());
                self.digests_of(held).0[bucket]
            }
        }
    }

    /// The digests of a copy as the follower may see it, from those of the whole copy.
    pub fn digests(&self, copy: &Copy, whole: &Digests) -> Digests {
        match self {
            Self::Whole => whole.clone(),
            Self::Filtered { .. } => self.digests_of(copy.records()),
        }
    }

    fn digests_of<'a>(&self, records: impl Iterator<Item = (&'a RecordKey, &'a Record)>) -> Digests {
        let seen: Vec<_> =
            records.filter_map(|(key, record)| Some((key, self.record(key, record)?))).collect();
        body::summed(seen.iter().map(|(key, record)| (*key, record)))
    }

    fn selects(&self, key: &RecordKey) -> bool {
        match self {
            Self::Whole => true,
            Self::Filtered { peer, policy, .. } => match key {
                RecordKey::Settling | RecordKey::Directory(_) => true,
                RecordKey::Policy(region) => region == peer,
                // What a region orders about others, what it shows of them, where its own gateways listen and which bridges hear whom is its own
                // business.
                RecordKey::Link(_) | RecordKey::Import(_) | RecordKey::Port(_) | RecordKey::Bridge(_) => {
                    false
                }
                RecordKey::Instance(service, _)
                | RecordKey::Definition(service)
                | RecordKey::Persistent(service, _)
                | RecordKey::Overlay(service, _) => {
                    policy.as_ref().is_some_and(|policy| policy.selects(service))
                }
            },
        }
    }
}

pub(crate) fn policy_toward<'a>(peer: &Region, raft: &'a Copy) -> Option<&'a Arc<ExportPolicy>> {
    match raft.record(&RecordKey::Policy(peer.clone())) {
        Some(Record::Policy(policy)) => Some(policy),
        _ => None,
    }
}

/// The view that a peer has of a region, by a copy of that region's Raft feed.
pub(crate) fn view_toward(peer: &Region, raft: &Copy) -> View {
    let era = raft.position().era;
    let since = policy_toward(peer, raft).map(|policy| policy.since).filter(|since| since.era == era);
    View { policy: since.unwrap_or(Position { era, seq: 0 }), peer: Some(peer.clone()) }
}

/// Addresses of members mean nothing outside their region, and are nobody's business there.
fn blanked(record: &Record) -> Record {
    match record {
        Record::Directory(entry) => Record::Directory(DirectoryEntry { address: "".into(), ..entry.clone() }),
        Record::Registration(_)
        | Record::Settling
        | Record::Policy(_)
        | Record::Definition(_)
        | Record::Persistent(_)
        | Record::Overlay(_)
        | Record::Link(_)
        | Record::Import(_)
        | Record::Port(_)
        | Record::Bridge(_) => record.clone(),
    }
}

/// Whether a view may name a copy of this feed at a holder of `near`: whole at home, made for us from elsewhere.
pub(crate) fn is_meant_for(near: &Region, feed: &FeedId, view: &View) -> bool {
    if feed.region() == near { *view == View::WHOLE } else { view.peer.as_ref() == Some(near) }
}

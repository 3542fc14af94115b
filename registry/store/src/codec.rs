//! How entries, votes and memberships lie on disk and travel: our own messages, never images of openraft's structs.
//!
//! Invariant: every value starts with [`FORMAT`]; a format that is not known is refused instead of guessed.

use std::{collections::BTreeSet, io};

use bytes::Bytes;
use openraft::EmptyNode;
use prost::Message;

use crate::types::{Entry, LogId, Membership, Payload, Proposal, StoredMembership, Vote, log_id};

/// The first byte of everything this module writes.
pub(crate) const FORMAT: u8 = 1;

/// A place in the log.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct PlaceRecord {
    #[prost(uint64, tag = "1")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) index: u64,
}

impl PlaceRecord {
    pub(crate) fn of(id: LogId) -> Self {
        Self { term: id.leader_id.term, index: id.index }
    }

    pub(crate) fn id(self) -> LogId {
        log_id(self.term, self.index)
    }
}

/// A vote.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct VoteRecord {
    #[prost(uint64, tag = "1")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) member: u64,
    #[prost(bool, tag = "3")]
    pub(crate) committed: bool,
}

impl VoteRecord {
    pub(crate) fn of(vote: &Vote) -> Self {
        let leader = vote.leader_id;
        Self { term: leader.term, member: leader.voted_for, committed: vote.committed }
    }

    pub(crate) fn vote(self) -> Vote {
        let made = if self.committed { Vote::new_committed } else { Vote::new };
        made(self.term, self.member)
    }
}

/// The voters of one side of a change of members.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct VotersRecord {
    #[prost(uint64, repeated, tag = "1")]
    voters: Vec<u64>,
}

/// Who belongs to the group.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MembershipRecord {
    #[prost(message, repeated, tag = "1")]
    configs: Vec<VotersRecord>,
    #[prost(uint64, repeated, tag = "2")]
    members: Vec<u64>,
}

impl MembershipRecord {
    pub(crate) fn of(membership: &Membership) -> Self {
        let sides = membership.get_joint_config().iter();
        Self {
            configs: sides.map(|side| VotersRecord { voters: side.iter().copied().collect() }).collect(),
            members: membership.nodes().map(|(id, _)| *id).collect(),
        }
    }

    pub(crate) fn membership(self) -> io::Result<Membership> {
        let sides: Vec<BTreeSet<u64>> =
            self.configs.into_iter().map(|side| side.voters.into_iter().collect()).collect();
        let nodes = self.members.into_iter().map(|id| (id, EmptyNode {}));
        let nodes: std::collections::BTreeMap<_, _> = nodes.collect();
        if sides.is_empty() && nodes.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(sides, nodes).map_err(|error| unreadable("membership", error))
    }
}

/// Who belongs to the group, and which entry said so.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StoredMembershipRecord {
    #[prost(message, optional, tag = "1")]
    place: Option<PlaceRecord>,
    #[prost(message, optional, tag = "2")]
    membership: Option<MembershipRecord>,
}

impl StoredMembershipRecord {
    pub(crate) fn of(stored: &StoredMembership) -> Self {
        Self {
            place: stored.log_id().map(PlaceRecord::of),
            membership: Some(MembershipRecord::of(stored.membership())),
        }
    }

    pub(crate) fn stored(self) -> io::Result<StoredMembership> {
        let membership = self.membership.unwrap_or_default().membership()?;
        Ok(StoredMembership::new(self.place.map(PlaceRecord::id), membership))
    }
}

/// One entry without its index, which its key or its place in a list gives.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct EntryRecord {
    #[prost(message, optional, tag = "1")]
    place: Option<PlaceRecord>,
    #[prost(oneof = "Body", tags = "2, 3, 4")]
    body: Option<Body>,
}

/// What an entry carries.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Body {
    /// Nothing: a leader's first entry.
    #[prost(bool, tag = "2")]
    Blank(bool),
    /// An order.
    #[prost(bytes = "bytes", tag = "3")]
    Order(Bytes),
    /// Who belongs to the group from here on.
    #[prost(message, tag = "4")]
    Membership(MembershipRecord),
}

impl EntryRecord {
    pub(crate) fn of(entry: &Entry) -> Self {
        let body = match &entry.payload {
            Payload::Blank => Body::Blank(true),
            Payload::Normal(Proposal(order)) => Body::Order(order.clone()),
            Payload::Membership(membership) => Body::Membership(MembershipRecord::of(membership)),
        };
        Self { place: Some(PlaceRecord::of(entry.log_id)), body: Some(body) }
    }

    pub(crate) fn entry(self) -> io::Result<Entry> {
        let place = self.place.ok_or_else(|| unreadable("entry", "it has no place"))?;
        let payload = match self.body.ok_or_else(|| unreadable("entry", "it has no body"))? {
            Body::Blank(_) => Payload::Blank,
            Body::Order(order) => Payload::Normal(Proposal(order)),
            Body::Membership(membership) => Payload::Membership(membership.membership()?),
        };
        Ok(Entry { log_id: place.id(), payload })
    }
}

/// Encodes a message behind the format byte.
pub(crate) fn write(message: &impl Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + message.encoded_len());
    bytes.push(FORMAT);
    message.encode_raw(&mut bytes);
    bytes
}

/// Decodes what [`write`] wrote.
pub(crate) fn read<M: Message + Default>(what: &str, bytes: impl Into<Bytes>) -> io::Result<M> {
    let bytes: Bytes = bytes.into();
    match bytes.first() {
        Some(&FORMAT) => M::decode(bytes.slice(1..)).map_err(|error| unreadable(what, error)),
        Some(other) => Err(unreadable(what, format_args!("format {other} where {FORMAT} is known"))),
        None => Err(unreadable(what, "it is empty")),
    }
}

/// The error of bytes that do not say what they should.
pub(crate) fn unreadable(what: &str, why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unreadable {what}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(entry: &Entry) -> Entry {
        read::<EntryRecord>("entry", write(&EntryRecord::of(entry))).unwrap().entry().unwrap()
    }

    #[test]
    fn entries_come_back_as_written() {
        let nodes = |ids: &[u64]| ids.iter().map(|id| (*id, EmptyNode {})).collect();
        let sides = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3, 4])];
        let nodes: std::collections::BTreeMap<_, _> = nodes(&[1, 2, 3, 4, 9]);
        let payloads = [
            Payload::Blank,
            Payload::Normal(Proposal(Bytes::from_static(b"order"))),
            Payload::Normal(Proposal(Bytes::new())),
            Payload::Membership(Membership::new(sides, nodes).unwrap()),
        ];
        for payload in payloads {
            let entry = Entry { log_id: log_id(7, 1 << 40), payload };

            assert_eq!(back(&entry), entry);
        }
    }

    #[test]
    fn votes_and_empty_memberships_come_back_as_written() {
        for vote in [Vote::new(3, 1), Vote::new_committed(u64::MAX, 65_535)] {
            assert_eq!(VoteRecord::of(&vote).vote(), vote);
        }
        let none = StoredMembership::default();
        assert_eq!(StoredMembershipRecord::of(&none).stored().unwrap(), none);
    }

    #[test]
    fn another_format_is_refused_by_name() {
        let mut bytes = write(&VoteRecord::default());
        bytes[0] = FORMAT + 1;

        let said = read::<VoteRecord>("vote", bytes).unwrap_err().to_string();

        assert_eq!(said, "unreadable vote: format 2 where 1 is known");
    }
}

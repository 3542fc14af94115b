//! What openraft is told about our group, and short names for what it makes of that.
//!
//! Invariant: at most one leader per term (`leader_id_std`), so a heartbeat number that holds the term never repeats.

use std::fmt;

use bytes::Bytes;
use landbridge_model::Position;
use landbridge_registry_core::Reply;
use openraft::{
    EmptyNode,
    vote::{leader_id_std, leader_id_std::CommittedLeaderId},
};

openraft::declare_raft_types!(
    /// Our group.
    pub(crate) Group:
        D = Proposal,
        R = Outcome,
        NodeId = u64,
        Node = EmptyNode,
        Term = u64,
        LeaderId = leader_id_std::LeaderId<u64, u64>,
);

pub(crate) type LogId = openraft::alias::LogIdOf<Group>;
pub(crate) type Vote = openraft::alias::VoteOf<Group>;
pub(crate) type Entry = openraft::alias::EntryOf<Group>;
pub(crate) type Payload = openraft::alias::EntryPayloadOf<Group>;
pub(crate) type Membership = openraft::Membership<u64, EmptyNode>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<Group>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<Group>;

/// The log id of an index in a term.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term), index)
}

/// What the log carries: an encoded order, opaque to the log and to the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal(pub(crate) Bytes);

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What applying an entry answers.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// To a command, with the position at which its effect is seen.
    Reply(Position, Reply),
    /// To what only the group itself asked for.
    Nothing,
}

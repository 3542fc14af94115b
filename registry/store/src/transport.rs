//! How a group's members reach each other: bytes in, bytes out, carried by whoever has the connections.

use std::{fmt, future::Future, pin::Pin};

use bytes::Bytes;
use landbridge_model::MemberId;

/// What a call between members is about; its number is part of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rpc {
    /// Entries, or a heartbeat.
    Append,
    /// A vote.
    Vote,
    /// Whether a vote would be given.
    PreVote,
    /// One part of a snapshot.
    Snapshot,
    /// Leadership is handed over.
    Transfer,
    /// Which voters the asked member was started with.
    Roll,
    /// A proposal for the leader.
    Propose,
    /// How far a reader must have come to have seen everything that was answered before.
    ReadIndex,
    /// A disk that the group does not know asks the leader for a part in it.
    Admit,
    /// An operator's order for the leader.
    Change,
}

impl Rpc {
    /// All of them, by number.
    pub const ALL: [Self; 10] = [
        Self::Append,
        Self::Vote,
        Self::PreVote,
        Self::Snapshot,
        Self::Transfer,
        Self::Roll,
        Self::Propose,
        Self::ReadIndex,
        Self::Admit,
        Self::Change,
    ];

    /// Whether only a member that may be counted on answers it.
    pub(crate) fn needs_a_part(self) -> bool {
        match self {
            Self::Append | Self::Vote | Self::PreVote | Self::Snapshot | Self::Transfer => true,
            Self::Roll | Self::Propose | Self::ReadIndex | Self::Admit | Self::Change => false,
        }
    }

    /// Whether members of before and after a restore say this to each other.
    pub(crate) fn crosses_lines(self) -> bool {
        match self {
            Self::Roll | Self::Admit => true,
            Self::Append | Self::Vote | Self::PreVote | Self::Snapshot | Self::Transfer => false,
            Self::Propose | Self::ReadIndex | Self::Change => false,
        }
    }

    /// The number on the wire.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The call of a number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

/// Why a call brought nothing back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// There is no way there at the moment: the caller backs off.
    Unreachable(String),
    /// The way broke, or the answer was late or unreadable: the caller tries again.
    Failed(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "unreachable: {why}"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

impl std::error::Error for CallError {}

/// An answer that is on its way.
pub type Call<'a> = Pin<Box<dyn Future<Output = Result<Bytes, CallError>> + Send + 'a>>;

/// Carries calls to other members. It holds deadlines of its own, so that no call stays open for ever; the called side
/// hands what it gets to `Store::answer`.
pub trait Transport: Send + Sync + 'static {
    /// Calls a member and brings its answer back.
    fn call(&self, to: MemberId, rpc: Rpc, body: Bytes) -> Call<'_>;
}

/// The transport of a group of one: there is nobody to call.
#[derive(Clone, Copy, Debug)]
pub struct NoPeers;

impl Transport for NoPeers {
    fn call(&self, to: MemberId, _: Rpc, _: Bytes) -> Call<'_> {
        Box::pin(async move { Err(CallError::Unreachable(format!("no way to member {to} is configured"))) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_name_the_calls_they_came_from() {
        for rpc in Rpc::ALL {
            assert_eq!(Rpc::from_number(rpc.number()), Some(rpc));
        }
        assert_eq!(Rpc::from_number(10), None);
    }
}

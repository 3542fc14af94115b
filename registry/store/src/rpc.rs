//! What members say to each other about the group, as bytes.
//!
//! Invariant: a call names its group, so that a misdirected one is refused before it is believed.

mod change;

use std::io;

use bytes::Bytes;
use landbridge_model::{Era, MemberId, Position};
use landbridge_registry_core::Reply;
use landbridge_wire::disk;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    codec::{self, EntryRecord, PlaceRecord, VoteRecord, unreadable},
    config::GroupId,
    failure::ProposeError,
    types::{Group, Vote},
};

pub(crate) use change::{ChangeAnswer, ChangeCall};

/// The number by which a group's calls are told from another's.
pub(crate) fn group_number(group: &GroupId) -> u64 {
    xxh3_64(format!("{}\n{}", group.deployment, group.region).as_bytes())
}

/// A call with its group.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Envelope {
    #[prost(fixed64, tag = "1")]
    pub(crate) group: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) body: Bytes,
    /// To which line of the region the caller's disk belongs.
    #[prost(uint64, tag = "3")]
    pub(crate) line: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AppendCall {
    #[prost(message, optional, tag = "1")]
    vote: Option<VoteRecord>,
    #[prost(message, optional, tag = "2")]
    prev: Option<PlaceRecord>,
    #[prost(message, repeated, tag = "3")]
    entries: Vec<EntryRecord>,
    #[prost(message, optional, tag = "4")]
    commit: Option<PlaceRecord>,
}

impl AppendCall {
    pub(crate) fn of(call: &AppendEntriesRequest<Group>) -> Self {
        Self {
            vote: Some(VoteRecord::of(&call.vote)),
            prev: call.prev_log_id.map(PlaceRecord::of),
            entries: call.entries.iter().map(EntryRecord::of).collect(),
            commit: call.leader_commit.map(PlaceRecord::of),
        }
    }

    pub(crate) fn request(self) -> io::Result<AppendEntriesRequest<Group>> {
        Ok(AppendEntriesRequest {
            vote: vote_of(self.vote)?,
            prev_log_id: self.prev.map(PlaceRecord::id),
            entries: self.entries.into_iter().map(EntryRecord::entry).collect::<io::Result<_>>()?,
            leader_commit: self.commit.map(PlaceRecord::id),
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct AppendAnswer {
    #[prost(oneof = "Appended", tags = "1, 2, 3, 4")]
    what: Option<Appended>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Appended {
    #[prost(bool, tag = "1")]
    All(bool),
    #[prost(message, tag = "2")]
    Part(Part),
    #[prost(bool, tag = "3")]
    Conflict(bool),
    #[prost(message, tag = "4")]
    Higher(VoteRecord),
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Part {
    #[prost(message, optional, tag = "1")]
    upto: Option<PlaceRecord>,
}

impl AppendAnswer {
    pub(crate) fn of(answer: &AppendEntriesResponse<Group>) -> Self {
        let what = match answer {
            AppendEntriesResponse::Success => Appended::All(true),
            AppendEntriesResponse::PartialSuccess(upto) => {
                Appended::Part(Part { upto: upto.map(PlaceRecord::of) })
            }
            AppendEntriesResponse::Conflict => Appended::Conflict(true),
            AppendEntriesResponse::HigherVote(vote) => Appended::Higher(VoteRecord::of(vote)),
        };
        Self { what: Some(what) }
    }

    pub(crate) fn response(self) -> io::Result<AppendEntriesResponse<Group>> {
        Ok(match self.what.ok_or_else(|| unreadable("answer", "it says nothing that is known"))? {
            Appended::All(_) => AppendEntriesResponse::Success,
            Appended::Part(part) => AppendEntriesResponse::PartialSuccess(part.upto.map(PlaceRecord::id)),
            Appended::Conflict(_) => AppendEntriesResponse::Conflict,
            Appended::Higher(vote) => AppendEntriesResponse::HigherVote(vote.vote()),
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct VoteCall {
    #[prost(message, optional, tag = "1")]
    vote: Option<VoteRecord>,
    #[prost(message, optional, tag = "2")]
    last: Option<PlaceRecord>,
    #[prost(bool, tag = "3")]
    transfer: bool,
}

impl VoteCall {
    pub(crate) fn of(call: &VoteRequest<Group>) -> Self {
        Self {
            vote: Some(VoteRecord::of(&call.vote)),
            last: call.last_log_id.map(PlaceRecord::of),
            transfer: call.leadership_transfer,
        }
    }

    pub(crate) fn request(self) -> io::Result<VoteRequest<Group>> {
        let mut request = VoteRequest::new(vote_of(self.vote)?, self.last.map(PlaceRecord::id));
        request.leadership_transfer = self.transfer;
        Ok(request)
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct VoteAnswer {
    #[prost(message, optional, tag = "1")]
    vote: Option<VoteRecord>,
    #[prost(bool, tag = "2")]
    granted: bool,
    #[prost(message, optional, tag = "3")]
    last: Option<PlaceRecord>,
}

impl VoteAnswer {
    pub(crate) fn of(answer: &VoteResponse<Group>) -> Self {
        Self {
            vote: Some(VoteRecord::of(&answer.vote)),
            granted: answer.vote_granted,
            last: answer.last_log_id.map(PlaceRecord::of),
        }
    }

    pub(crate) fn response(self) -> io::Result<VoteResponse<Group>> {
        Ok(VoteResponse::new(vote_of(self.vote)?, self.last.map(PlaceRecord::id), self.granted))
    }
}

/// One part of a snapshot; the file's head says what it is a snapshot of.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SnapshotCall {
    #[prost(message, optional, tag = "1")]
    vote: Option<VoteRecord>,
    #[prost(uint64, tag = "2")]
    pub(crate) offset: u64,
    #[prost(bool, tag = "3")]
    pub(crate) last: bool,
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) part: Bytes,
}

impl SnapshotCall {
    pub(crate) fn of(vote: &Vote, offset: u64, last: bool, part: Bytes) -> Self {
        Self { vote: Some(VoteRecord::of(vote)), offset, last, part }
    }

    pub(crate) fn vote(&self) -> io::Result<Vote> {
        vote_of(self.vote)
    }
}

/// The vote that the asked member holds to.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SnapshotAnswer {
    #[prost(message, optional, tag = "1")]
    vote: Option<VoteRecord>,
}

impl SnapshotAnswer {
    pub(crate) fn of(vote: &Vote) -> Self {
        Self { vote: Some(VoteRecord::of(vote)) }
    }

    pub(crate) fn vote(&self) -> io::Result<Vote> {
        vote_of(self.vote)
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TransferCall {
    #[prost(message, optional, tag = "1")]
    from: Option<VoteRecord>,
    #[prost(uint64, tag = "2")]
    to: u64,
    #[prost(message, optional, tag = "3")]
    last: Option<PlaceRecord>,
}

impl TransferCall {
    pub(crate) fn of(call: &TransferLeaderRequest<Group>) -> Self {
        Self {
            from: Some(VoteRecord::of(call.from_leader())),
            to: *call.to_node_id(),
            last: call.last_log_id().copied().map(PlaceRecord::of),
        }
    }

    pub(crate) fn request(self) -> io::Result<TransferLeaderRequest<Group>> {
        Ok(TransferLeaderRequest::new(vote_of(self.from)?, self.to, self.last.map(PlaceRecord::id)))
    }
}

/// Who asks, and with which disk; 0 is none.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct DiskCall {
    #[prost(uint32, tag = "1")]
    pub(crate) member: u32,
    #[prost(fixed64, tag = "2")]
    pub(crate) disk: u64,
}

/// Which voters a member was started with, whether its log has begun, and about disks.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Roll {
    #[prost(fixed64, tag = "1")]
    pub(crate) voters: u64,
    #[prost(bool, tag = "2")]
    pub(crate) begun: bool,
    /// Its own disk.
    #[prost(fixed64, tag = "3")]
    pub(crate) disk: u64,
    /// Whether that has a part in the group.
    #[prost(bool, tag = "4")]
    pub(crate) admitted: bool,
    /// Under which disk it knows who asks; 0 if it knows none.
    #[prost(fixed64, tag = "5")]
    pub(crate) known: u64,
    /// Whether it met that disk while its own had no part.
    #[prost(bool, tag = "6")]
    pub(crate) early: bool,
    /// How much room its disk has: 0 enough, 1 little, 2 none.
    #[prost(uint32, tag = "7")]
    pub(crate) left: u32,
}

/// What becomes of a disk that asked to be admitted.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct AdmitAnswer {
    /// 0 asked somebody who does not lead, 1 not yet, 2 admitted, 3 no member.
    #[prost(uint32, tag = "1")]
    pub(crate) what: u32,
    /// To which line of the region the disk belongs from here on.
    #[prost(uint64, tag = "2")]
    pub(crate) line: u64,
}

/// Asks for a read index; the answer is a [`PlaceRecord`].
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Nothing {}

/// How a forwarded proposal ended.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ProposeAnswer {
    #[prost(oneof = "Proposed", tags = "1, 2, 3, 4")]
    what: Option<Proposed>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Proposed {
    #[prost(message, tag = "1")]
    Reply(ReplyRecord),
    /// The leader's number plus one, or zero if none is known.
    #[prost(uint32, tag = "2")]
    NotLeader(u32),
    #[prost(bool, tag = "3")]
    Unavailable(bool),
    /// The number of the member whose disk is full, plus one.
    #[prost(uint32, tag = "4")]
    Full(u32),
}

#[derive(Clone, PartialEq, Message)]
struct ReplyRecord {
    #[prost(uint64, tag = "1")]
    era: u64,
    #[prost(uint64, tag = "2")]
    seq: u64,
    /// 0 done, 1 opened, 2 not found, 3 unfounded.
    #[prost(uint32, tag = "3")]
    what: u32,
    #[prost(bytes = "bytes", tag = "4")]
    feed: Bytes,
}

impl ProposeAnswer {
    pub(crate) fn of(answer: &Result<(Position, Reply), ProposeError>) -> Self {
        let what = match answer {
            Ok((position, reply)) => {
                let (what, feed) = match reply {
                    Reply::Done => (0, Bytes::new()),
                    Reply::Opened(feed) => (1, disk::encode_feed(feed).into()),
                    Reply::NotFound => (2, Bytes::new()),
                    Reply::Unfounded => (3, Bytes::new()),
                };
                Proposed::Reply(ReplyRecord { era: position.era.0, seq: position.seq, what, feed })
            }
            Err(ProposeError::NotLeader(leader)) => {
                Proposed::NotLeader(leader.map_or(0, |member| u32::from(member.0) + 1))
            }
            Err(ProposeError::Full(member)) => Proposed::Full(u32::from(member.0) + 1),
            Err(ProposeError::Unavailable(_) | ProposeError::Stopped) => Proposed::Unavailable(true),
        };
        Self { what: Some(what) }
    }

    pub(crate) fn answer(self) -> io::Result<Result<(Position, Reply), ProposeError>> {
        Ok(match self.what.ok_or_else(|| unreadable("answer", "it says nothing that is known"))? {
            Proposed::Reply(ReplyRecord { era, seq, what, feed }) => {
                let reply = match what {
                    0 => Reply::Done,
                    1 => Reply::Opened(disk::decode_feed(&feed).map_err(|error| unreadable("feed", error))?),
                    2 => Reply::NotFound,
                    3 => Reply::Unfounded,
                    other => return Err(unreadable("answer", format_args!("reply {other} is not known"))),
                };
                Ok((Position { era: Era(era), seq }, reply))
            }
            Proposed::NotLeader(0) => Err(ProposeError::NotLeader(None)),
            Proposed::NotLeader(number) => {
                let member = u16::try_from(number - 1).map_err(|error| unreadable("member", error))?;
                Err(ProposeError::NotLeader(Some(MemberId(member))))
            }
            Proposed::Full(number) => {
                let member = u16::try_from(number.saturating_sub(1));
                Err(ProposeError::Full(MemberId(member.map_err(|error| unreadable("member", error))?)))
            }
            Proposed::Unavailable(_) => Err(ProposeError::Unavailable("the leader did not get a majority")),
        })
    }
}

fn vote_of(vote: Option<VoteRecord>) -> io::Result<Vote> {
    vote.map(VoteRecord::vote).ok_or_else(|| unreadable("call", "it has no vote"))
}

/// Wraps a call.
pub(crate) fn wrap(group: u64, line: u64, call: &impl Message) -> Bytes {
    codec::write(&Envelope { group, body: codec::write(call).into(), line }).into()
}

#[cfg(test)]
mod tests {
    use landbridge_model::{FeedId, Region};
    use openraft::EmptyNode;

    use super::*;
    use crate::types::{Entry, Membership, Payload, Proposal, log_id};

    fn back<M: Message + Default>(message: &M) -> M {
        codec::read("call", codec::write(message)).unwrap()
    }

    #[test]
    fn appends_come_back_as_sent() {
        let members = Membership::from(std::collections::BTreeMap::from([(1, EmptyNode {})]));
        let entries = [
            Payload::Blank,
            Payload::Normal(Proposal(Bytes::from_static(b"x"))),
            Payload::Membership(members),
        ];
        let entries =
            entries.into_iter().zip(5..).map(|(payload, index)| Entry { log_id: log_id(2, index), payload });
        let call = AppendEntriesRequest {
            vote: Vote::new_committed(3, 1),
            prev_log_id: Some(log_id(2, 4)),
            entries: entries.collect(),
            leader_commit: None,
        };

        let again = back(&AppendCall::of(&call)).request().unwrap();

        assert_eq!(format!("{again:?}"), format!("{call:?}"));
    }

    #[test]
    fn answers_come_back_as_sent() {
        let appended = [
            AppendEntriesResponse::Success,
            AppendEntriesResponse::PartialSuccess(None),
            AppendEntriesResponse::PartialSuccess(Some(log_id(1, 2))),
            AppendEntriesResponse::Conflict,
            AppendEntriesResponse::HigherVote(Vote::new(9, 2)),
        ];
        for answer in appended {
            assert_eq!(back(&AppendAnswer::of(&answer)).response().unwrap(), answer);
        }
        let feed = FeedId::Member { region: Region::parse("east").unwrap(), era: Era(1), index: 2 };
        let position = Position { era: Era(1), seq: 2 };
        let proposed = [
            Ok((position, Reply::Opened(feed))),
            Ok((position, Reply::Done)),
            Ok((position, Reply::NotFound)),
            Ok((position, Reply::Unfounded)),
            Err(ProposeError::NotLeader(None)),
            Err(ProposeError::NotLeader(Some(MemberId(0)))),
            Err(ProposeError::Full(MemberId(u16::MAX))),
        ];
        for answer in proposed {
            assert_eq!(back(&ProposeAnswer::of(&answer)).answer().unwrap(), answer);
        }
    }

    #[test]
    fn votes_come_back_as_sent() {
        let mut call = VoteRequest::<Group>::new(Vote::new(4, 2), Some(log_id(3, 3)));
        call.leadership_transfer = true;
        let answer = VoteResponse::<Group>::new(Vote::new(4, 2), None, true);

        assert_eq!(back(&VoteCall::of(&call)).request().unwrap(), call);
        assert_eq!(back(&VoteAnswer::of(&answer)).response().unwrap(), answer);
    }
}

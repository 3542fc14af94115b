//! openraft's calls to other members, carried by whatever transport the store was given.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use landbridge_model::MemberId;
use openraft::{
    EmptyNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2,
    alias::SnapshotOf,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use prost::Message;

use crate::{
    codec,
    rpc::{AppendAnswer, AppendCall, SnapshotAnswer, SnapshotCall, TransferCall, VoteAnswer, VoteCall, wrap},
    state::snapshot::SnapshotFile,
    transport::{CallError, Rpc, Transport},
    types::{Group, Vote},
};

/// Makes the way to each member.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) group: u64,
    /// To which line of the region this member's disk belongs.
    pub(crate) line: Arc<AtomicU64>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) snapshot_part_bytes: usize,
    /// How long a member may take to make entries durable. The time that openraft gives is a part of a heartbeat's
    /// period: a disk slower than that would have each append given up and sent again for ever.
    pub(crate) append_within: Duration,
}

/// The way to one member.
pub(crate) struct Way {
    network: Network,
    to: MemberId,
}

impl Network {
    /// Calls a member, within the time.
    pub(crate) async fn call<A: Message + Default>(
        &self,
        to: MemberId,
        rpc: Rpc,
        call: &impl Message,
        within: Duration,
    ) -> Result<A, CallError> {
        let answer = tokio::time::timeout(
            within,
            self.transport.call(to, rpc, wrap(self.group, self.line.load(Ordering::Acquire), call)),
        );
        let answer: Bytes = answer
            .await
            .unwrap_or_else(|_| Err(CallError::Failed(format!("no answer within {within:?}"))))?;
        codec::read("answer", answer).map_err(failed)
    }
}

impl RaftNetworkFactory<Group> for Network {
    type Network = Way;

    async fn new_client(&mut self, target: u64, _: &EmptyNode) -> Way {
        // Members are numbered by `u16`; openraft asks for 64 bits.
        Way { network: self.clone(), to: MemberId(u16::try_from(target).unwrap_or(u16::MAX)) }
    }
}

impl Way {
    async fn call<A: Message + Default>(
        &self,
        rpc: Rpc,
        call: &impl Message,
        option: &RPCOption,
    ) -> Result<A, CallError> {
        self.network.call(self.to, rpc, call, option.soft_ttl()).await
    }

    async fn send(&self, vote: Vote, file: &SnapshotFile, option: &RPCOption) -> Result<Vote, CallError> {
        let size = file.size().map_err(failed)?;
        let mut offset = 0;
        loop {
            let part = file.part(offset, self.network.snapshot_part_bytes).map_err(failed)?;
            let next = offset + part.len() as u64;
            let call = SnapshotCall::of(&vote, offset, next >= size, part);
            let answer: SnapshotAnswer = self.call(Rpc::Snapshot, &call, option).await?;
            let held = answer.vote().map_err(failed)?;
            if next >= size || held > vote {
                return Ok(held);
            }
            offset = next;
        }
    }
}

impl RaftNetworkV2<Group> for Way {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        call: AppendEntriesRequest<Group>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Group>, RPCError<Group>> {
        let within = option.soft_ttl().max(self.network.append_within);
        let answer = self.network.call(self.to, Rpc::Append, &AppendCall::of(&call), within).await;
        let answer: AppendAnswer = answer.map_err(lost)?;
        answer.response().map_err(|error| lost(failed(error)))
    }

    async fn vote(
        &mut self,
        call: VoteRequest<Group>,
        option: RPCOption,
    ) -> Result<VoteResponse<Group>, RPCError<Group>> {
        let answer: VoteAnswer = self.call(Rpc::Vote, &VoteCall::of(&call), &option).await.map_err(lost)?;
        answer.response().map_err(|error| lost(failed(error)))
    }

    async fn pre_vote(
        &mut self,
        call: VoteRequest<Group>,
        option: RPCOption,
    ) -> Result<VoteResponse<Group>, RPCError<Group>> {
        let answer: VoteAnswer =
            self.call(Rpc::PreVote, &VoteCall::of(&call), &option).await.map_err(lost)?;
        answer.response().map_err(|error| lost(failed(error)))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<Group, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Group>, StreamingError<Group>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send(vote, &snapshot.snapshot, &option) => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(error @ CallError::Unreachable(_)) => Err(StreamingError::Unreachable(Unreachable::new(&error))),
                Err(error @ CallError::Failed(_)) => Err(StreamingError::Network(NetworkError::new(&error))),
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        call: TransferLeaderRequest<Group>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Group>, RPCError<Group>> {
        // Whether the other side takes it shows in its candidacy; a refusal is retried by nobody.
        let _: SnapshotAnswer =
            self.call(Rpc::Transfer, &TransferCall::of(&call), &option).await.map_err(lost)?;
        Ok(Ok(()))
    }
}

fn failed(error: io::Error) -> CallError {
    CallError::Failed(error.to_string())
}

fn lost(error: CallError) -> RPCError<Group> {
    match error {
        CallError::Unreachable(_) => RPCError::Unreachable(Unreachable::new(&error)),
        CallError::Failed(_) => RPCError::Network(NetworkError::new(&error)),
    }
}

//! What this member says to calls of others.

use std::io;

use bytes::Bytes;
use openraft::{Snapshot, errors::Fatal};
use prost::Message;

use crate::{
    codec,
    rpc::{
        AppendAnswer, AppendCall, Envelope, ProposeAnswer, Roll, SnapshotAnswer, SnapshotCall, TransferCall,
        VoteAnswer, VoteCall,
    },
    state::snapshot::meta_of,
    store::{Store, roll_number},
    transport::{CallError, Rpc},
    types::Group,
};

impl Store {
    /// Answers a call that the transport brought; the body is what the other side's transport was given.
    pub async fn answer(&self, rpc: Rpc, body: Bytes) -> Result<Bytes, CallError> {
        let Envelope { group, body } = codec::read("call", body).map_err(failed)?;
        if group != self.inner.network.group {
            return Err(CallError::Failed("the call is for another group".to_owned()));
        }
        let raft = &self.inner.raft;
        match rpc {
            Rpc::Append => {
                let call = read::<AppendCall>(body)?.request().map_err(failed)?;
                let answer =
                    raft.append_entries(call).await.map_err(|error| self.fatal(error.unwrap_fatal()))?;
                Ok(write(&AppendAnswer::of(&answer)))
            }
            Rpc::Vote => {
                let call = read::<VoteCall>(body)?.request().map_err(failed)?;
                let answer = raft.vote(call).await.map_err(|error| self.fatal(error.unwrap_fatal()))?;
                Ok(write(&VoteAnswer::of(&answer)))
            }
            Rpc::PreVote => {
                let call = read::<VoteCall>(body)?.request().map_err(failed)?;
                let answer = raft.pre_vote(call).await.map_err(|error| self.fatal(error.unwrap_fatal()))?;
                Ok(write(&VoteAnswer::of(&answer)))
            }
            Rpc::Snapshot => self.take_snapshot(read(body)?).await,
            Rpc::Transfer => {
                let call = read::<TransferCall>(body)?.request().map_err(failed)?;
                let vote = *call.from_leader();
                let taken = raft.handle_transfer_leader(call).await.map_err(|error| self.fatal(error))?;
                taken.map_err(|error| CallError::Failed(error.to_string()))?;
                Ok(write(&SnapshotAnswer::of(&vote)))
            }
            Rpc::Roll => {
                let begun = raft.is_initialized().await.map_err(|error| self.fatal(error))?;
                Ok(write(&Roll { voters: roll_number(&self.inner.config), begun }))
            }
            Rpc::Propose => {
                let Envelope { body, .. } = read(body)?;
                Ok(write(&ProposeAnswer::of(&self.propose_here(body).await)))
            }
            Rpc::ReadIndex => match self.read_index_here().await {
                Ok(place) => Ok(write(&place)),
                Err(error) => Err(CallError::Failed(error.to_string())),
            },
        }
    }

    async fn take_snapshot(&self, call: SnapshotCall) -> Result<Bytes, CallError> {
        let vote = call.vote().map_err(failed)?;
        let mut incoming = self.inner.incoming.lock().await;
        let Some(file) = incoming.take(&call).map_err(failed)? else {
            return Ok(write(&SnapshotAnswer::of(&vote)));
        };
        let verified = self.inner.config.work.run(move || file.verify().map(|head| (file, head))).await;
        let (file, head) = verified.flatten().map_err(failed)?;
        let snapshot = Snapshot { meta: meta_of(&head), snapshot: file };
        let answer = self.inner.raft.install_full_snapshot(vote, snapshot).await;
        Ok(write(&SnapshotAnswer::of(&answer.map_err(|error| self.fatal(error))?.vote)))
    }

    fn fatal(&self, fatal: Fatal<Group>) -> CallError {
        CallError::Failed(self.inner.fatal(&fatal).to_string())
    }
}

fn read<M: Message + Default>(body: Bytes) -> Result<M, CallError> {
    codec::read("call", body).map_err(failed)
}

fn write(answer: &impl Message) -> Bytes {
    codec::write(answer).into()
}

fn failed(error: io::Error) -> CallError {
    CallError::Failed(error.to_string())
}

//! What this member says to calls of others.

use std::{io, sync::atomic::Ordering};

use bytes::Bytes;
use landbridge_model::MemberId;
use openraft::{Snapshot, errors::Fatal};
use prost::Message;

use crate::{
    codec,
    room::Left,
    rpc::{
        AppendAnswer, AppendCall, ChangeAnswer, ChangeCall, DiskCall, Envelope, ProposeAnswer, Roll,
        SnapshotAnswer, SnapshotCall, TransferCall, VoteAnswer, VoteCall,
    },
    state::snapshot::meta_of,
    store::{Store, roll_number},
    transport::{CallError, Rpc},
    types::Group,
};

impl Store {
    /// Answers a call that the transport brought; the body is what the other side's transport was given.
    pub async fn answer(&self, rpc: Rpc, body: Bytes) -> Result<Bytes, CallError> {
        let Envelope { group, body, line } = codec::read("call", body).map_err(failed)?;
        if group != self.inner.network.group {
            return Err(CallError::Failed("the call is for another group".to_owned()));
        }
        let own = self.inner.network.line.load(Ordering::Acquire);
        if line != own && !rpc.crosses_lines() {
            // Members of before and after a restore must not count each other's votes, nor mix their logs.
            return Err(CallError::Failed(format!(
                "the call is for line {line:x} of the region, this is {own:x}"
            )));
        }
        let raft = &self.inner.raft;
        if rpc.needs_a_part() && !*self.inner.admitted.borrow() {
            // What a forgotten vote or acknowledgement of an earlier disk promised must not be broken by this one.
            return Err(CallError::Unreachable("its disk has no part in the group so far".to_owned()));
        }
        if rpc.needs_a_part() && self.left() == Left::Nothing {
            return Err(CallError::Unreachable("its disk is full".to_owned()));
        }
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
            Rpc::Roll => Ok(write(&self.roll(read(body)?).await.map_err(|error| self.fatal(error))?)),
            Rpc::Admit => Ok(write(&self.admit_disk(read(body)?).await)),
            Rpc::Change => {
                let change = read::<ChangeCall>(body)?.change().map_err(failed)?;
                Ok(write(&ChangeAnswer::of(self.order_here(change).await)))
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

    /// What this member says of itself and of who asks; it meets a stranger for good if it is one itself.
    async fn roll(&self, call: DiskCall) -> Result<Roll, Fatal<Group>> {
        let begun = self.inner.raft.is_initialized().await?;
        let caller = u16::try_from(call.member).ok().map(MemberId).filter(|_| call.disk != 0);
        let admitted = *self.inner.admitted.borrow();
        if let Some(caller) = caller.filter(|_| !admitted) {
            self.meet(caller, call.disk);
        }
        let says = self.inner.disk.says();
        let met = caller.and_then(|caller| says.met.get(&caller).copied());
        let noted = caller.and_then(|caller| self.noted(caller)).map(|noted| noted.disk);
        Ok(Roll {
            voters: roll_number(&self.inner.config),
            begun,
            disk: says.number,
            admitted,
            known: noted.or(met).unwrap_or_default(),
            early: met == Some(call.disk),
            left: self.left().number(),
        })
    }

    async fn take_snapshot(&self, call: SnapshotCall) -> Result<Bytes, CallError> {
        let vote = call.vote().map_err(failed)?;
        let mut incoming = self.inner.incoming.lock().await;
        let Some(file) = incoming.take(&call).map_err(failed)? else {
            return Ok(write(&SnapshotAnswer::of(&vote)));
        };
        let verified = self.inner.config.work.run(move || file.verify().map(|head| (file, head))).await;
        let (file, head) = verified.flatten().map_err(failed)?;
        if !self.inner.room.holds(file.size().map_err(failed)?) {
            return Err(CallError::Unreachable("its disk has no room for the snapshot".to_owned()));
        }
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

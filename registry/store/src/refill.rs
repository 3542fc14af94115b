//! What the leader does with a disk that the group does not know: its member loses the vote, is refilled as a learner on the
//! new disk, and is promoted when it has caught up.
//!
//! ```text
//! unknown disk ─▶ noted as out ─▶ its member leaves the group ─▶ noted as in ─▶ a learner ──caught up──▶ a voter
//! ```
//!
//! Invariant: a disk is admitted only after its member's earlier vote was taken away by a majority that holds everything
//! answered so far; each step can be repeated, by another leader too.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use ecow::{EcoString, eco_format};
use landbridge_model::MemberId;
use landbridge_registry_core::Command;
use openraft::{ChangeMembers, EmptyNode, async_runtime::watch::WatchReceiver};

use crate::{
    disk::hexadecimal,
    failure::ProposeError,
    order,
    rpc::{AdmitAnswer, DiskCall},
    store::Store,
};

/// A learner that lags by more entries than this is not promoted: commits would wait for it.
pub(crate) const LAG_MAX: u64 = 256;

/// What the leader says to a disk that asks for a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    NotByMe,
    NotYet,
    Yes,
    NoMember,
}

impl Admitted {
    pub(crate) fn of(answer: AdmitAnswer) -> Self {
        match answer.what {
            1 => Self::NotYet,
            2 => Self::Yes,
            3 => Self::NoMember,
            _ => Self::NotByMe,
        }
    }

    fn answer(self, line: u64) -> AdmitAnswer {
        let what = match self {
            Self::NotByMe => 0,
            Self::NotYet => 1,
            Self::Yes => 2,
            Self::NoMember => 3,
        };
        AdmitAnswer { what, line }
    }
}

/// What the region's notes say of a member's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) disk: u64,
    /// Its member is to leave the group first, for it promised things on another disk.
    pub(crate) out: bool,
    /// Whether it is to vote once it has caught up.
    pub(crate) votes: bool,
}

impl Noted {
    /// Whether this is the name of such a note.
    pub(crate) fn names(name: &str) -> bool {
        name.starts_with(NAME)
    }

    /// Whether this is the disk, with nothing left to be done for it.
    pub(crate) fn is(self, disk: u64) -> bool {
        self.disk == disk && !self.out
    }

    /// Its note: name and text.
    pub(crate) fn note(self, member: MemberId) -> (EcoString, EcoString) {
        let (place, goal) =
            (if self.out { "out" } else { "in" }, if self.votes { "voter" } else { "learner" });
        (name_of(member), eco_format!("{:016x} {place} {goal}", self.disk))
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let disk = hexadecimal(words.next()?)?;
        let out = words.next()? == "out";
        Some(Self { disk, out, votes: words.next()? == "voter" })
    }
}

/// Notes of disks begin so; the member's number follows.
const NAME: &str = "disk/";

fn name_of(member: MemberId) -> EcoString {
    eco_format!("{NAME}{member}")
}

impl Store {
    /// What the notes say of a member's disk, as applied here.
    pub(crate) fn noted(&self, member: MemberId) -> Option<Noted> {
        self.notes().get(&name_of(member)).and_then(|text| Noted::read(text))
    }

    /// Answers a disk that asks for a part.
    pub(crate) async fn admit_disk(&self, call: DiskCall) -> AdmitAnswer {
        let line = self.inner.network.line.load(Ordering::Acquire);
        self.admitted(call).await.answer(line)
    }

    async fn admitted(&self, call: DiskCall) -> Admitted {
        let Ok(member) = u16::try_from(call.member).map(MemberId) else { return Admitted::NoMember };
        if !self.standing().borrow().leading || call.disk == 0 {
            return Admitted::NotByMe;
        }
        let Ok(_turn) = self.inner.changing.try_lock() else { return Admitted::NotYet };
        let done = tokio::time::timeout(self.inner.patience(), self.admit_here(member, call.disk)).await;
        match done {
            Ok(Ok(admitted)) => admitted,
            Ok(Err(ProposeError::NotLeader(_) | ProposeError::Stopped)) => Admitted::NotByMe,
            Ok(Err(ProposeError::Full(_))) => Admitted::NotYet,
            Ok(Err(ProposeError::Unavailable(why))) => {
                tracing::debug!(event = "raft_not_admitted", %member, why);
                Admitted::NotYet
            }
            Err(_) => Admitted::NotYet,
        }
    }

    async fn admit_here(&self, member: MemberId, disk: u64) -> Result<Admitted, ProposeError> {
        // Only a leader that a majority still follows knows what was decided.
        self.read_index_here().await?;
        let noted = match self.noted(member) {
            Some(noted) if noted.disk == disk => noted,
            known => match self.renote(member, disk, known).await? {
                Some(noted) => noted,
                None => return Ok(Admitted::NoMember),
            },
        };
        if noted.out {
            self.leave(member).await?;
            self.note(member, Noted { out: false, ..noted }).await?;
        }
        let members = self.members();
        if members.voters.contains(&member) {
            return Ok(Admitted::Yes);
        }
        if !members.learners.contains(&member) {
            self.learn(member).await?;
        } else if noted.votes && self.lag(member).is_some_and(|lag| lag <= LAG_MAX) {
            self.promote_now(member).await?;
            tracing::info!(event = "raft_promoted", %member);
        }
        Ok(Admitted::Yes)
    }

    /// Notes a disk that is not the known one; none if its member has no place in the group.
    async fn renote(
        &self,
        member: MemberId,
        disk: u64,
        known: Option<Noted>,
    ) -> Result<Option<Noted>, ProposeError> {
        let members = self.members();
        let (votes, learns) = (members.voters.contains(&member), members.learners.contains(&member));
        let noted = match known {
            Some(known) => Noted { disk, out: true, votes: known.votes },
            None if votes => Noted { disk, out: true, votes: true },
            None if learns => Noted { disk, out: false, votes: false },
            None => return Ok(None),
        };
        if noted.out {
            metrics::counter!("landbridge_store_refills_total").increment(1);
            tracing::warn!(event = "raft_refill", %member, "it came with an empty disk and is refilled");
        }
        self.note(member, noted).await?;
        Ok(Some(noted))
    }

    async fn note(&self, member: MemberId, noted: Noted) -> Result<(), ProposeError> {
        let (name, text) = noted.note(member);
        let order = order::encode(&Command::Note { name, text: Some(text) });
        self.propose_here(order).await.map(|_| ())
    }

    /// Takes a member out of the group, whatever it is there.
    pub(crate) async fn leave(&self, member: MemberId) -> Result<(), ProposeError> {
        let (members, gone) = (self.members(), BTreeSet::from([u64::from(member.0)]));
        if members.voters.contains(&member) {
            self.change(ChangeMembers::RemoveVoters(gone)).await
        } else if members.learners.contains(&member) {
            self.change(ChangeMembers::RemoveNodes(gone)).await
        } else {
            Ok(())
        }
    }

    /// Has a member follow without a vote; it need not be there.
    pub(crate) async fn learn(&self, member: MemberId) -> Result<(), ProposeError> {
        let learns = self.inner.raft.add_learner(member.0.into(), EmptyNode {}, false).await;
        learns.map(|_| ()).map_err(|error| self.unchanged(error))
    }

    /// Gives a learner a vote.
    pub(crate) async fn promote_now(&self, member: MemberId) -> Result<(), ProposeError> {
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([u64::from(member.0)]))).await
    }

    pub(crate) async fn change(&self, change: ChangeMembers<u64, EmptyNode>) -> Result<(), ProposeError> {
        let changed = self.inner.raft.change_membership(change, false).await;
        changed.map(|_| ()).map_err(|error| self.unchanged(error))
    }

    /// By how many entries a member lags behind this leader; none if it has never acknowledged one.
    pub(crate) fn lag(&self, member: MemberId) -> Option<u64> {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let held = (*metrics.replication.as_ref()?.get(&u64::from(member.0))?)?;
        Some(metrics.last_log_index.unwrap_or_default().saturating_sub(held.index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_and_answers_come_back_as_said() {
        for noted in [
            Noted { disk: 1, out: true, votes: true },
            Noted { disk: u64::MAX, out: false, votes: true },
            Noted { disk: 0, out: false, votes: false },
        ] {
            assert_eq!(Noted::read(&noted.note(MemberId(7)).1), Some(noted));
        }
        for admitted in [Admitted::NotByMe, Admitted::NotYet, Admitted::Yes, Admitted::NoMember] {
            assert_eq!(Admitted::of(admitted.answer(7)), admitted);
        }
    }
}

//! How the members of a group change: by an operator's command at the leader, never by a configuration.
//!
//! A member whose disk was lost comes back under a new number: admitted, then made a voter in place of the old one. The
//! same number again is believed only if the leader was told to expect it anew.

use std::collections::BTreeSet;

use landbridge_model::MemberId;
use openraft::{
    EmptyNode,
    errors::{ChangeMembershipError, ClientWriteError, RaftError},
};

use crate::{
    failure::ProposeError,
    store::{Store, member},
    types::Group,
};

/// Who belongs to the group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Who votes.
    pub voters: BTreeSet<MemberId>,
    /// Who is kept up to date without a vote.
    pub learners: BTreeSet<MemberId>,
}

impl Store {
    /// Who belongs to the group, as this member knows it.
    pub fn members(&self) -> Members {
        let raft = &self.inner.raft;
        Members {
            voters: raft.voter_ids().filter_map(member).collect(),
            learners: raft.learner_ids().filter_map(member).collect(),
        }
    }

    /// Admits a member without a vote, and waits until it has caught up. The leader's to do.
    pub async fn admit(&self, new: MemberId) -> Result<(), ProposeError> {
        let admitted = self.inner.raft.add_learner(new.0.into(), EmptyNode {}, true).await;
        admitted.map(|_| ()).map_err(|error| self.unchanged(error))
    }

    /// Makes exactly these members the voters; who loses its vote leaves the group. Those to come must be admitted. The
    /// leader's to do.
    pub async fn set_voters(&self, voters: &BTreeSet<MemberId>) -> Result<(), ProposeError> {
        let voters: BTreeSet<u64> = voters.iter().map(|member| member.0.into()).collect();
        let changed = self.inner.raft.change_membership(voters, false).await;
        changed.map(|_| ()).map_err(|error| self.unchanged(error))
    }

    /// Lets a member come back once with an empty directory under its old number. Safe only if no vote of its old life
    /// can still matter: the operator says so. The leader's to do.
    pub async fn expect_anew(&self, lost: MemberId) -> Result<(), ProposeError> {
        let expected = self.inner.raft.trigger().allow_next_revert(&lost.0.into(), true).await;
        let expected = expected.map_err(|fatal| self.inner.fatal(&fatal))?;
        expected.map_err(|_| ProposeError::NotLeader(self.standing().borrow().leader))
    }

    fn unchanged(&self, error: RaftError<Group, ClientWriteError<Group>>) -> ProposeError {
        match error {
            RaftError::Fatal(fatal) => self.inner.fatal(&fatal),
            RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => {
                ProposeError::NotLeader(to.leader_id.and_then(member))
            }
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => {
                ProposeError::Unavailable("leadership moved")
            }
            RaftError::APIError(ClientWriteError::PreconditionFailed(_)) => {
                ProposeError::Unavailable("the group refused it")
            }
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
                ChangeMembershipError::InProgress(_) => {
                    ProposeError::Unavailable("another change of members is under way")
                }
                ChangeMembershipError::LearnerNotFound(_) => {
                    ProposeError::Unavailable("a voter to be was not admitted")
                }
                ChangeMembershipError::EmptyMembership(_)
                | ChangeMembershipError::UnsupportedMembershipTransition(_)
                | ChangeMembershipError::UncommittedLeaderLog(_)
                | ChangeMembershipError::NodeMetadataChanged(_) => {
                    ProposeError::Unavailable("the group refused the change")
                }
            },
        }
    }
}

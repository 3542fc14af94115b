//! How the members of a group change: by an operator's order that the leader carries out, never by a configuration.
//!
//! Invariant: an order is refused if the group could not decide any more after it, as far as the leader hears its members.

use std::{collections::BTreeSet, fmt, time::Duration};

use landbridge_model::MemberId;
use landbridge_registry_core::Command;
use openraft::{
    ChangeMembers, Instant,
    async_runtime::watch::WatchReceiver,
    errors::{ChangeMembershipError, ClientWriteError, RaftError},
};

use crate::{
    failure::ProposeError,
    order,
    refill::{LAG_MAX, Noted},
    room::Left,
    rpc::{ChangeAnswer, ChangeCall},
    store::{Patience, Store, member},
    transport::Rpc,
    types::Group,
};

/// A member that has not answered the leader for so long does not count as there.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
/// An heir takes over within this, or does not.
const TRANSFERRED_WITHIN: Duration = Duration::from_secs(3);

/// What an operator orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A member follows without a vote.
    Add(MemberId),
    /// A member that follows and has caught up gets a vote.
    Promote(MemberId),
    /// A member leaves the group.
    Remove(MemberId),
    /// A member that follows and has caught up takes the place of a voter, in one step.
    Replace {
        /// Who leaves.
        old: MemberId,
        /// Who votes instead.
        new: MemberId,
    },
    /// A voter takes over leadership.
    Transfer(MemberId),
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// It makes no sense as the group stands, or would harm it: this is why.
    Unsafe(String),
    /// It could not be decided now; it may have been begun, and may be given again.
    Undecided(ProposeError),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsafe(why) => f.write_str(why),
            Self::Undecided(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ChangeError {}

impl From<ProposeError> for ChangeError {
    fn from(error: ProposeError) -> Self {
        Self::Undecided(error)
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, ChangeError> {
    Err(ChangeError::Unsafe(why.into()))
}

/// Who belongs to the group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Who votes.
    pub voters: BTreeSet<MemberId>,
    /// Who is kept up to date without a vote.
    pub learners: BTreeSet<MemberId>,
}

/// How a member of the group stands, as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follower {
    /// Which member.
    pub member: MemberId,
    /// Since when it has not answered, in milliseconds; none if it never has, or if this member does not lead.
    pub silent_ms: Option<u64>,
    /// By how many entries it lags; none if that is not known here.
    pub lag: Option<u64>,
    /// The number of its disk, if it is noted.
    pub disk: Option<u64>,
    /// Whether it is being refilled.
    pub refilled: bool,
}

/// Places in the log of this member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The last entry.
    pub last: Option<u64>,
    /// The last one applied.
    pub applied: Option<u64>,
    /// What the newest snapshot reaches.
    pub snapshot: Option<u64>,
    /// The last one purged.
    pub purged: Option<u64>,
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

    /// How each member of the group stands, as far as this one knows.
    pub fn followers(&self) -> Vec<Follower> {
        let Members { voters, learners } = self.members();
        let row = |member: MemberId| {
            let noted = self.noted(member);
            Follower {
                member,
                silent_ms: self.silence(member).map(|silence| silence.as_millis() as u64),
                lag: self.lag(member),
                disk: noted.map(|noted| noted.disk),
                refilled: noted.is_some_and(|noted| noted.out || (noted.votes && !voters.contains(&member))),
            }
        };
        voters.iter().chain(&learners).copied().map(row).collect()
    }

    /// Places in this member's log.
    pub fn places(&self) -> Places {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        Places {
            last: metrics.last_log_index,
            applied: metrics.last_applied.map(|id| id.index),
            snapshot: metrics.snapshot.map(|id| id.index),
            purged: metrics.purged.map(|id| id.index),
        }
    }

    /// The number of this member's disk, and whether it has a part in the group.
    pub fn disk(&self) -> (u64, bool) {
        (self.inner.disk.says().number, *self.inner.admitted.borrow())
    }

    /// Has the leader carry out an order. While leadership moves it waits.
    pub async fn order(&self, change: Change) -> Result<(), ChangeError> {
        let mut patience = Patience::of(self);
        loop {
            let answer = match self.order_here(change).await {
                Err(ChangeError::Undecided(ProposeError::NotLeader(Some(leader))))
                    if leader != self.inner.config.member =>
                {
                    self.order_there(leader, change).await
                }
                answer => answer,
            };
            let Err(ChangeError::Undecided(error)) = answer else { return answer };
            let undecided = Err::<(), _>(error.clone());
            if !patience.again(&undecided).await {
                return Err(error.into());
            }
        }
    }

    async fn order_there(&self, leader: MemberId, change: Change) -> Result<(), ChangeError> {
        let call = ChangeCall::of(change);
        let answer = self.inner.network.call(leader, Rpc::Change, &call, 2 * self.inner.patience()).await;
        let answer: ChangeAnswer =
            answer.map_err(|_| ProposeError::Unavailable("the leader did not answer"))?;
        answer.answer()
    }

    /// Carries out an order at this member, if it leads.
    pub(crate) async fn order_here(&self, change: Change) -> Result<(), ChangeError> {
        let standing = *self.standing().borrow();
        if !standing.leading {
            return Err(ProposeError::NotLeader(standing.leader).into());
        }
        if self.left() == Left::Nothing {
            return Err(self.full().into());
        }
        let Ok(_turn) = self.inner.changing.try_lock() else {
            return refuse("another change of members is under way: try again when it is done");
        };
        self.read_index_here().await?;
        match change {
            Change::Add(new) => self.add(new).await,
            Change::Promote(learner) => self.promote(learner).await,
            Change::Remove(old) => self.remove(old).await,
            Change::Replace { old, new } => self.replace(old, new).await,
            Change::Transfer(heir) => self.hand_to(heir).await,
        }
    }

    async fn add(&self, new: MemberId) -> Result<(), ChangeError> {
        let members = self.members();
        if members.voters.contains(&new) || members.learners.contains(&new) {
            return refuse(format!("member {new} is in the group already"));
        }
        Ok(self.learn(new).await?)
    }

    async fn promote(&self, learner: MemberId) -> Result<(), ChangeError> {
        let members = self.members();
        if members.voters.contains(&learner) {
            return refuse(format!("member {learner} votes already"));
        }
        self.caught_up(learner)?;
        self.decides(members.voters.iter().copied().chain([learner]).collect())?;
        self.promote_now(learner).await?;
        Ok(self.note_voter(learner).await?)
    }

    async fn remove(&self, old: MemberId) -> Result<(), ChangeError> {
        let Members { mut voters, learners } = self.members();
        if !voters.remove(&old) && !learners.contains(&old) {
            return refuse(format!("member {old} is not in the group"));
        }
        if !learners.contains(&old) {
            self.may_leave(old, &voters)?;
            self.decides(voters)?;
        }
        self.leave(old).await?;
        Ok(self.forget(old).await?)
    }

    async fn replace(&self, old: MemberId, new: MemberId) -> Result<(), ChangeError> {
        let Members { mut voters, .. } = self.members();
        if !voters.remove(&old) {
            return refuse(format!("member {old} is no voter"));
        }
        if voters.contains(&new) {
            return refuse(format!("member {new} votes already"));
        }
        self.caught_up(new)?;
        voters.insert(new);
        self.may_leave(old, &voters)?;
        self.decides(voters.clone())?;
        let voters = voters.into_iter().map(|voter| u64::from(voter.0)).collect();
        self.change(ChangeMembers::ReplaceAllVoters(voters)).await?;
        self.note_voter(new).await?;
        Ok(self.forget(old).await?)
    }

    async fn hand_to(&self, heir: MemberId) -> Result<(), ChangeError> {
        if heir == self.inner.config.member {
            return Ok(());
        }
        if !self.members().voters.contains(&heir) {
            return refuse(format!("member {heir} is no voter"));
        }
        if !self.hears(heir) {
            return refuse(format!("member {heir} does not answer"));
        }
        // It would refuse, and a leader that has handed over decides nothing more in its term.
        if let Some(lag) = self.lag(heir).filter(|lag| *lag > LAG_MAX) {
            return refuse(format!("member {heir} lags by {lag} entries: let it catch up"));
        }
        let mut standing = self.standing();
        self.transfer(heir).await?;
        let moved = standing.wait_for(|standing| standing.leader == Some(heir));
        match tokio::time::timeout(TRANSFERRED_WITHIN, moved).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                Err(ProposeError::Unavailable("the heir did not take over in time").into())
            }
        }
    }

    /// Refuses who would leave the group headless, or without anybody.
    fn may_leave(&self, old: MemberId, rest: &BTreeSet<MemberId>) -> Result<(), ChangeError> {
        if rest.is_empty() {
            return refuse(format!(
                "member {old} is the last voter: without it the region's decisions are gone"
            ));
        }
        if old == self.inner.config.member {
            return refuse(format!(
                "member {old} leads: hand leadership over first with `landbridge raft transfer`"
            ));
        }
        Ok(())
    }

    /// Refuses voters of whom no majority is heard: nothing could be decided any more.
    fn decides(&self, voters: BTreeSet<MemberId>) -> Result<(), ChangeError> {
        let heard: Vec<_> = voters.iter().filter(|voter| self.hears(**voter)).collect();
        if heard.len() > voters.len() / 2 {
            return Ok(());
        }
        refuse(format!(
            "of the voters {} that there would be only {} answer: nothing could be decided any more",
            named(&voters),
            named(heard)
        ))
    }

    fn caught_up(&self, learner: MemberId) -> Result<(), ChangeError> {
        if !self.members().learners.contains(&learner) {
            return refuse(format!(
                "member {learner} is no learner: `landbridge raft add {learner}` comes first"
            ));
        }
        if !self.hears(learner) {
            return refuse(format!("member {learner} does not answer: start it, and let it catch up"));
        }
        match self.lag(learner) {
            Some(lag) if lag <= LAG_MAX => Ok(()),
            Some(lag) => refuse(format!("member {learner} lags by {lag} entries: let it catch up")),
            None => refuse(format!("member {learner} holds nothing so far: let it catch up")),
        }
    }

    async fn note_voter(&self, new: MemberId) -> Result<(), ProposeError> {
        let Some(noted) = self.noted(new) else { return Ok(()) };
        let (name, text) = Noted { votes: true, ..noted }.note(new);
        self.propose_here(order::encode(&Command::Note { name, text: Some(text) })).await.map(|_| ())
    }

    async fn forget(&self, old: MemberId) -> Result<(), ProposeError> {
        let (name, _) = Noted { disk: 0, out: true, votes: false }.note(old);
        self.propose_here(order::encode(&Command::Note { name, text: None })).await.map(|_| ())
    }

    pub(crate) fn hears(&self, member: MemberId) -> bool {
        member == self.inner.config.member
            || self.silence(member).is_some_and(|silence| silence <= HEARD_WITHIN)
    }

    /// For how long a member has not answered this leader; none if it never has, or if this member does not lead.
    fn silence(&self, member: MemberId) -> Option<Duration> {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let acked = (*metrics.heartbeat.as_ref()?.get(&u64::from(member.0))?)?;
        Some(acked.elapsed())
    }

    pub(crate) fn unchanged(&self, error: RaftError<Group, ClientWriteError<Group>>) -> ProposeError {
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

fn named<'a>(members: impl IntoIterator<Item = &'a MemberId>) -> String {
    let names: Vec<_> = members.into_iter().map(ToString::to_string).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

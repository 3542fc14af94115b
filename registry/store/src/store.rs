//! The store: one member's part in its region's Raft group, from the directory on disk to the stream of what was applied.
//!
//! ```text
//! propose ─▶ log: memory, one sync, a majority ─▶ state machine: memory, disk ─▶ driver's queue, then the answer
//! ```

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use landbridge_model::{MemberId, Position};
use landbridge_registry_core::{Command, Reply};
use openraft::{
    Instant, Raft, ReadPolicy,
    async_runtime::watch::WatchReceiver,
    errors::{ClientWriteError, Fatal, LinearizableReadError, RaftError},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    codec::PlaceRecord,
    config::StoreConfig,
    disk::DiskFile,
    failed::Failed,
    failure::{ProposeError, StoreError},
    incoming::Incoming,
    meters::Meters,
    network::Network,
    opening::{Closing, Opened},
    order,
    room::{Left, Room},
    rpc,
    rpc::{Envelope, Nothing, ProposeAnswer},
    state::{Applied, Notes, StateMachine},
    transport::{Rpc, Transport},
    types::{Group, Outcome, Proposal},
};

/// Who waits for a leader looks so often, though nothing has changed here.
const LEADER_LOOK: Duration = Duration::from_millis(50);

/// How the group stands, as this member sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Who leads, if that is known.
    pub leader: Option<MemberId>,
    /// The term; at most one member leads in a term, and none twice over a restart.
    pub term: u64,
    /// Whether this member leads.
    pub leading: bool,
}

/// One member's part in its group. A clone is another handle of the same store.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: StoreConfig,
    pub(crate) raft: Raft<Group, StateMachine>,
    pub(crate) network: Network,
    pub(crate) disk: DiskFile,
    /// Whether this member may vote, and be counted on.
    pub(crate) admitted: watch::Sender<bool>,
    /// Held by whoever changes the members.
    pub(crate) changing: tokio::sync::Mutex<()>,
    pub(crate) failed: Failed,
    pub(crate) meters: Arc<Meters>,
    pub(crate) room: Arc<Room>,
    pub(crate) standing: watch::Sender<Standing>,
    pub(crate) founded: watch::Receiver<bool>,
    pub(crate) notes: watch::Receiver<Notes>,
    pub(crate) incoming: tokio::sync::Mutex<Incoming>,
    pub(crate) tasks: Mutex<JoinSet<()>>,
    pub(crate) closing: Mutex<Option<Closing>>,
}

impl Store {
    /// Opens or creates a store. What the state machine does comes out of the receiver, [`Applied::Installed`] first; the
    /// driver takes it out steadily, for nothing more is applied while the queue is full. A lone member leads when this
    /// returns.
    pub async fn open(
        config: StoreConfig,
        transport: Arc<dyn Transport>,
    ) -> Result<(Self, mpsc::Receiver<Applied>), StoreError> {
        let Opened { store, applied } = crate::opening::open(config, transport).await?;
        if let Err(error) = store.begin().await {
            // What kept it from beginning says more than what closing may add.
            let _ = store.shutdown().await;
            return Err(error);
        }
        Ok((store, applied))
    }

    /// Proposes a command, to the leader if that is another member. The answer comes after the command is durable on a
    /// majority and applied; a holder that has reached the position sees its effect. While leadership moves it waits.
    pub async fn propose(&self, command: &Command) -> Result<(Position, Reply), ProposeError> {
        if self.left() == Left::Nothing {
            // Whatever the others decide, it would not be shown here.
            return Err(self.full());
        }
        let order = order::encode(command);
        let mut patience = Patience::of(self);
        let answer = loop {
            let answer = self.propose_once(order.clone()).await;
            if !patience.again(&answer).await {
                break answer;
            }
        };
        match answer {
            Ok((_, Reply::Unfounded)) => Err(ProposeError::Unavailable("the group has no era yet")),
            answer => answer,
        }
    }

    async fn propose_once(&self, order: Bytes) -> Result<(Position, Reply), ProposeError> {
        match self.propose_here(order.clone()).await {
            Err(ProposeError::NotLeader(Some(leader))) if leader != self.inner.config.member => {
                self.propose_there(leader, order).await
            }
            answer => answer,
        }
    }

    /// Proposes to this member only.
    pub(crate) async fn propose_here(&self, order: Bytes) -> Result<(Position, Reply), ProposeError> {
        // Whoever does not lead passes it on, and the leader's disk decides.
        if self.leading(Duration::ZERO).is_some()
            && let Some(answer) = self.refused_for_room(&order).await
        {
            return answer;
        }
        let written = self.inner.raft.client_write(Proposal(order));
        let Ok(written) = tokio::time::timeout(self.inner.patience(), written).await else {
            return Err(ProposeError::Unavailable("no majority answered in time"));
        };
        match written {
            Ok(response) => match response.data {
                Outcome::Reply(position, reply) => Ok((position, reply)),
                Outcome::Nothing => Err(ProposeError::Unavailable("another entry took its place")),
            },
            Err(RaftError::Fatal(fatal)) => Err(self.inner.fatal(&fatal)),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
                Err(ProposeError::NotLeader(to.leader_id.and_then(member)))
            }
            Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => {
                Err(ProposeError::Unavailable("leadership moved"))
            }
            Err(RaftError::APIError(
                ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_),
            )) => Err(ProposeError::Unavailable("the group refused it")),
        }
    }

    async fn propose_there(&self, leader: MemberId, order: Bytes) -> Result<(Position, Reply), ProposeError> {
        let call = Envelope { group: self.inner.network.group, body: order, line: 0 };
        let answer = self.inner.network.call(leader, Rpc::Propose, &call, self.inner.patience()).await;
        let answer: ProposeAnswer =
            answer.map_err(|_| ProposeError::Unavailable("the leader did not answer"))?;
        answer.answer().map_err(|_| ProposeError::Unavailable("the leader's answer is unreadable"))?
    }

    /// Waits until this member has applied everything that any proposer had been answered before the call.
    pub async fn read_index(&self) -> Result<(), ProposeError> {
        let mut patience = Patience::of(self);
        loop {
            let answer = self.read_index_once().await;
            if !patience.again(&answer).await {
                return answer;
            }
        }
    }

    async fn read_index_once(&self) -> Result<(), ProposeError> {
        match self.read_index_here().await {
            Err(ProposeError::NotLeader(Some(leader))) if leader != self.inner.config.member => {
                self.read_index_there(leader).await
            }
            answer => answer.map(|_| ()),
        }
    }

    /// The log index that a reader must have reached, confirmed by a majority and reached here.
    pub(crate) async fn read_index_here(&self) -> Result<PlaceRecord, ProposeError> {
        let read = self.inner.raft.ensure_linearizable(ReadPolicy::ReadIndex);
        let Ok(read) = tokio::time::timeout(self.inner.patience(), read).await else {
            return Err(ProposeError::Unavailable("no majority answered in time"));
        };
        match read {
            Ok(read) => Ok(PlaceRecord::of(*read.log_id())),
            Err(RaftError::Fatal(fatal)) => Err(self.inner.fatal(&fatal)),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => {
                Err(ProposeError::NotLeader(to.leader_id.and_then(member)))
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(ProposeError::Unavailable("no majority answered"))
            }
        }
    }

    async fn read_index_there(&self, leader: MemberId) -> Result<(), ProposeError> {
        let patience = self.inner.patience();
        let place = self.inner.network.call(leader, Rpc::ReadIndex, &Nothing {}, patience).await;
        let place: PlaceRecord = place.map_err(|_| ProposeError::Unavailable("the leader did not answer"))?;
        let wait = self.inner.raft.wait(Some(patience));
        let applied = wait.applied_index_at_least(Some(place.index), "read index").await;
        applied.map(|_| ()).map_err(|_| ProposeError::Unavailable("this member lags"))
    }

    /// How the group stands, and whenever that changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.inner.standing.subscribe()
    }

    /// The term this member leads in, and whether a majority (itself counted) answered it within `within`; none if it
    /// does not lead.
    pub fn leading(&self, within: Duration) -> Option<(u64, bool)> {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let leading = metrics.state == openraft::ServerState::Leader;
        leading.then(|| {
            let alone = metrics.membership_config.voter_ids().eq([metrics.id]);
            let heard = metrics.last_quorum_acked.is_some_and(|acked| acked.elapsed() <= within);
            (metrics.current_term, alone || heard)
        })
    }

    /// The notes that the region keeps for itself, as applied here; a proposer that was answered sees its own.
    pub fn notes(&self) -> Notes {
        Arc::clone(&self.inner.notes.borrow())
    }

    /// Says once that the store cannot go on; the process should end then.
    pub fn failed(&self) -> watch::Receiver<Option<StoreError>> {
        self.inner.failed.watch()
    }

    /// Group commits since the start, and the entries in them.
    pub fn commits(&self) -> (u64, u64) {
        self.inner.meters.commits()
    }

    /// Makes a snapshot and lets the log go up to it, where it is long enough; the group goes on meanwhile.
    pub async fn snapshot(&self) -> Result<(), ProposeError> {
        self.inner.raft.trigger().snapshot().await.map_err(|fatal| self.inner.fatal(&fatal))
    }

    /// Hands leadership to another member, if this one leads.
    pub async fn transfer(&self, to: MemberId) -> Result<(), ProposeError> {
        let asked = self.inner.raft.trigger().transfer_leader(to.0.into()).await;
        asked.map_err(|fatal| self.inner.fatal(&fatal))
    }

    /// Stops taking part, writes what is not yet on disk, and gives the directory free. A store that is not shut down
    /// lives until its runtime ends.
    pub async fn shutdown(&self) -> Result<(), StoreError> {
        let closing = self.inner.closing.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        let Some(closing) = closing else { return Ok(()) };
        closing.begin();
        self.inner.raft.shutdown().await.map_err(|error| StoreError::Stopped(error.to_string()))?;
        // The state machine's task ends after the core; its sender goes with it.
        let mut founded = self.inner.founded.clone();
        while founded.changed().await.is_ok() {}
        closing.close().await
    }
}

impl Inner {
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_millis(self.config.timing.answer_ms)
    }

    pub(crate) fn disk_failed(&self, during: &'static str, said: io::Error) {
        self.failed.set(StoreError::disk(during, said));
    }

    pub(crate) fn fatal(&self, fatal: &Fatal<Group>) -> ProposeError {
        match fatal {
            Fatal::Stopped => {}
            Fatal::StorageError(_) | Fatal::Panicked => {
                self.failed.set(StoreError::Stopped(fatal.to_string()))
            }
        }
        ProposeError::Stopped
    }
}

/// Waits for a leader: asks again for as long as whoever was asked did not lead, which means that nothing was done.
pub(crate) struct Patience {
    by: tokio::time::Instant,
    standing: watch::Receiver<Standing>,
}

impl Patience {
    pub(crate) fn of(store: &Store) -> Self {
        Self { by: tokio::time::Instant::now() + store.inner.patience(), standing: store.standing() }
    }

    /// Whether to ask again, after a moment.
    pub(crate) async fn again<T>(&mut self, answer: &Result<T, ProposeError>) -> bool {
        let undone = matches!(answer, Err(ProposeError::NotLeader(_)));
        if !undone || tokio::time::Instant::now() >= self.by {
            return false;
        }
        // Another member may know better before this one does.
        let _ = tokio::time::timeout(LEADER_LOOK, self.standing.changed()).await;
        true
    }
}

pub(crate) fn member(id: u64) -> Option<MemberId> {
    u16::try_from(id).ok().map(MemberId)
}

/// Whether two members were started with the same voters.
pub(crate) fn roll_number(config: &StoreConfig) -> u64 {
    let mut text = format!("{:x}", rpc::group_number(&config.group));
    for (member, address) in &config.voters {
        text.push_str(&format!("\n{member} {address}"));
    }
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}

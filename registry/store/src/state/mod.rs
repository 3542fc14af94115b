//! The state machine as openraft wants it: decides in memory, notes on disk, tells the driver, answers the proposer.
//!
//! Invariant: an answer leaves after its change is noted and after the driver's queue has the news of it.

pub(crate) mod disk;
pub(crate) mod snapshot;

use std::{collections::BTreeMap, io, sync::Arc};

use ecow::EcoString;
use landbridge_model::{Change, Era, Position, Record, RecordKey, Region};
use landbridge_registry_core::{Command, RaftState, Reply};
use openraft::{
    OptionalSend, RaftSnapshotBuilder, Snapshot,
    alias::SnapshotOf,
    storage::{ApplyResponder, EntryResponder, RaftStateMachine},
};
use tokio::sync::{mpsc, watch};
use tokio_stream::{Stream, StreamExt};

use crate::{
    failed::Failed,
    failure::StoreError,
    order,
    room::Room,
    state::{
        disk::{Head, Loaded, StateDisk, StateView, gather},
        snapshot::{SnapshotFile, Snapshots, file_bytes, meta_of},
    },
    types::{Entry, Group, LogId, Outcome, Payload, Proposal, SnapshotMeta, StoredMembership},
    work::Work,
};

/// The most entries that are noted together.
const TOGETHER_MAX: usize = 256;

/// Room for so many times the last snapshot is room for the next one, and nothing is counted.
const PLENTY: u64 = 4;

/// A snapshot is begun where there is room for it and for this part of it besides.
const BESIDES: u64 = 4;

/// How long a snapshot would be is counted again after so many entries.
const RECOUNT_ENTRIES: u64 = 1024;

/// What the group's state machine did, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// It is told for the first time, or was replaced: this is all it holds.
    Installed {
        /// The era and the last change.
        position: Position,
        /// All it holds.
        records: Vec<(RecordKey, Record)>,
    },
    /// It moved on.
    Changed {
        /// The era and the last change.
        position: Position,
        /// The latest change per key, in key order.
        changes: Vec<Change>,
    },
    /// It has reached everything that the group had answered when this process started; said once.
    CaughtUp,
}

/// The notes that a region keeps for itself, by name, as they stand.
pub type Notes = Arc<BTreeMap<EcoString, EcoString>>;

/// The state machine.
pub(crate) struct StateMachine {
    region: Region,
    state: RaftState,
    head: Head,
    disk: Arc<StateDisk>,
    snapshots: Arc<Snapshots>,
    events: mpsc::Sender<Applied>,
    /// Whether the driver has been told what there is; before that it is told nothing else.
    told: bool,
    founded: watch::Sender<bool>,
    notes: watch::Sender<Notes>,
    closing: watch::Receiver<bool>,
    failed: Failed,
    room: Arc<Room>,
    /// How long a snapshot would be, and at which entry that was counted.
    counted: Option<(u64, u64)>,
    work: Work,
}

/// Whom the state machine tells what.
pub(crate) struct Listeners {
    /// What it did.
    pub(crate) events: mpsc::Sender<Applied>,
    /// Why it cannot go on.
    pub(crate) failed: Failed,
    /// Set when nobody listens any more.
    pub(crate) closing: watch::Receiver<bool>,
    /// Whether there is room for another snapshot.
    pub(crate) room: Arc<Room>,
    /// Where snapshots are written and read.
    pub(crate) work: Work,
}

/// What waits to be noted together.
#[derive(Default)]
struct Pending {
    changes: BTreeMap<RecordKey, Option<Record>>,
    notes: BTreeMap<EcoString, Option<EcoString>>,
    answers: Vec<(ApplyResponder<Group>, Outcome)>,
    entries: usize,
}

impl StateMachine {
    /// The state machine as it was found; it tells nobody before [`Self::tell`].
    pub(crate) fn new(
        region: Region,
        loaded: Loaded,
        disk: Arc<StateDisk>,
        snapshots: Arc<Snapshots>,
        listeners: Listeners,
    ) -> Self {
        let Listeners { events, failed, closing, room, work } = listeners;
        let Loaded { head, records, notes } = loaded;
        let state = RaftState::restore(region.clone(), head.position, records).with_notes(notes);
        let notes = watch::Sender::new(Arc::new(state.notes().clone()));
        let founded = watch::Sender::new(head.position.era != Era(0));
        let told = false;
        Self {
            region,
            state,
            head,
            disk,
            snapshots,
            events,
            told,
            founded,
            notes,
            closing,
            failed,
            room,
            counted: None,
            work,
        }
    }

    /// Whether the group has an era.
    pub(crate) fn founded(&self) -> watch::Receiver<bool> {
        self.founded.subscribe()
    }

    /// What a command is answered that would change nothing, with the position at which that is so.
    pub(crate) fn known(&self, command: &Command) -> Option<(Position, Reply)> {
        self.state.known(command).map(|reply| (self.state.position(), reply))
    }

    /// The region's notes, from here on.
    pub(crate) fn notes(&self) -> watch::Receiver<Notes> {
        self.notes.subscribe()
    }

    /// Tells the driver from here on, first what there is.
    pub(crate) async fn tell(&mut self) {
        self.told = true;
        if self.state.position().era != Era(0) {
            self.install_event().await;
        }
    }

    /// Tells the driver that it has heard of everything from before the start.
    pub(crate) async fn tell_caught_up(&self) {
        self.send(Applied::CaughtUp).await;
    }

    async fn install_event(&self) {
        let records =
            self.state.records().iter().map(|(key, record)| (key.clone(), record.clone())).collect();
        self.send(Applied::Installed { position: self.state.position(), records }).await;
    }

    async fn send(&self, event: Applied) {
        let mut closing = self.closing.clone();
        tokio::select! {
            // A driver that has gone needs no news.
            _ = self.events.send(event) => {}
            // A store that closes does not wait for one that has stopped listening.
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }

    /// Decides one entry in memory.
    fn decide(
        &mut self,
        entry: Entry,
        answer: Option<ApplyResponder<Group>>,
        pending: &mut Pending,
    ) -> io::Result<()> {
        let outcome = match entry.payload {
            Payload::Blank => Outcome::Nothing,
            Payload::Membership(membership) => {
                self.head.membership = StoredMembership::new(Some(entry.log_id), membership);
                Outcome::Nothing
            }
            Payload::Normal(Proposal(order)) => {
                let command = order::decode(order)?;
                let (reply, changes) = self.state.apply(entry.log_id.index, &command);
                gather(&mut pending.changes, changes);
                if let Command::Note { name, .. } = command {
                    let text = self.state.notes().get(&name).cloned();
                    pending.notes.insert(name, text);
                }
                Outcome::Reply(self.state.position(), reply)
            }
        };
        self.head.applied = Some(entry.log_id);
        self.head.position = self.state.position();
        pending.answers.extend(answer.map(|answer| (answer, outcome)));
        pending.entries += 1;
        Ok(())
    }

    /// Notes what was decided, tells the driver, answers.
    async fn settle(&mut self, pending: Pending, before: Position) -> io::Result<()> {
        if pending.entries == 0 {
            return Ok(());
        }
        self.disk.apply(&self.head, &pending.changes, &pending.notes)?;
        if !pending.notes.is_empty() {
            self.notes.send_replace(Arc::new(self.state.notes().clone()));
        }
        let position = self.head.position;
        if position.era != before.era {
            self.founded.send_replace(true);
        }
        if self.told && position.era != before.era {
            self.install_event().await;
        } else if self.told && position != before {
            let changes = pending.changes.into_iter().map(|(key, record)| Change { key, record }).collect();
            self.send(Applied::Changed { position, changes }).await;
        }
        for (answer, outcome) in pending.answers {
            answer.send(outcome);
        }
        Ok(())
    }
}

impl RaftStateMachine<Group> for StateMachine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.head.applied, self.head.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Group>>> + Unpin + OptionalSend,
    {
        let applied = self.apply_all(&mut entries).await;
        applied.inspect_err(|error| self.failed.set(StoreError::disk("applying an entry", error)))
    }

    /// A snapshot of its own is put off while the disk does not hold it: the log that it would free is kept instead.
    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        (force || self.room_for_a_snapshot().await).then(|| self.builder())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.builder()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFile) -> io::Result<()> {
        let (disk, snapshots) = (self.disk.clone(), self.snapshots.clone());
        let installed = self.work.run(move || install(&disk, &snapshots, &snapshot));
        let Loaded { head, records, notes } = installed.await??;
        if meta_of(&head) != *meta {
            return Err(io::Error::other(format!("the snapshot holds {head:?}, announced was {meta}")));
        }
        self.state = RaftState::restore(self.region.clone(), head.position, records).with_notes(notes);
        self.notes.send_replace(Arc::new(self.state.notes().clone()));
        self.head = head;
        self.founded.send_replace(self.head.position.era != Era(0));
        if self.told {
            self.install_event().await;
        }
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Group, SnapshotFile>>> {
        Ok(self.snapshots.newest()?.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

impl StateMachine {
    async fn apply_all(
        &mut self,
        entries: &mut (impl Stream<Item = io::Result<EntryResponder<Group>>> + Unpin),
    ) -> io::Result<()> {
        let (mut pending, mut before) = (Pending::default(), self.head.position);
        while let Some(item) = entries.next().await {
            let (entry, answer) = item?;
            self.decide(entry, answer, &mut pending)?;
            if pending.entries >= TOGETHER_MAX {
                self.settle(std::mem::take(&mut pending), before).await?;
                before = self.head.position;
            }
        }
        self.settle(pending, before).await
    }

    /// Whether a snapshot of this moment fits on the disk.
    async fn room_for_a_snapshot(&mut self) -> bool {
        let last = self.snapshots.newest().ok().flatten().and_then(|(_, file)| file.size().ok());
        if last.is_some_and(|bytes| self.room.holds(bytes.saturating_mul(PLENTY))) {
            return true;
        }
        let bytes = self.snapshot_bytes().await;
        self.room.holds(bytes.saturating_add(bytes / BESIDES))
    }

    /// How long a snapshot would be, in bytes.
    async fn snapshot_bytes(&mut self) -> u64 {
        let at = self.head.applied.map_or(0, |id| id.index);
        if let Some((before, bytes)) = self.counted
            && (before..before.saturating_add(RECOUNT_ENTRIES)).contains(&at)
        {
            return bytes;
        }
        let (head, view) = (self.head.clone(), self.disk.view());
        let counted = self.work.run(move || file_bytes(&head, &view)).await.flatten();
        // A state that cannot be read is told by whoever writes the snapshot.
        let bytes = counted.unwrap_or_default();
        self.counted = Some((at, bytes));
        bytes
    }

    /// The folder of snapshots.
    #[cfg(test)]
    pub(crate) fn snapshots(&self) -> Arc<Snapshots> {
        Arc::clone(&self.snapshots)
    }

    /// What writes a snapshot of this moment.
    pub(crate) fn builder(&self) -> Builder {
        let source = Source { head: self.head.clone(), view: self.disk.view() };
        Builder { source: Some(source), snapshots: self.snapshots.clone(), work: self.work }
    }
}

impl Builder {
    /// Writes the moment into a file that is no part of the store.
    pub(crate) async fn copy(mut self) -> io::Result<std::path::PathBuf> {
        let Some(Source { head, view }) = self.source.take() else {
            return Err(io::Error::other("a builder builds once"));
        };
        let snapshots = self.snapshots.clone();
        self.work.run(move || snapshots.copy(&head, &view)).await?
    }
}

/// Puts a snapshot in the place of the state on disk.
fn install(disk: &StateDisk, snapshots: &Snapshots, snapshot: &SnapshotFile) -> io::Result<Loaded> {
    let head = snapshot.verify()?;
    disk.replace(&head, snapshot.reader()?)?;
    snapshots.adopt(&head, snapshot.path())?;
    Ok(disk.load()?)
}

/// The state at one moment.
struct Source {
    head: Head,
    view: StateView,
}

/// Writes a snapshot of one moment while the state goes on.
pub(crate) struct Builder {
    source: Option<Source>,
    snapshots: Arc<Snapshots>,
    work: Work,
}

impl RaftSnapshotBuilder<Group> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Group, SnapshotFile>> {
        let Some(Source { head, view }) = self.source.take() else {
            return Err(io::Error::other("a builder builds once"));
        };
        let (snapshots, meta) = (self.snapshots.clone(), meta_of(&head));
        let written = self.work.run(move || snapshots.write(&head, &view));
        Ok(Snapshot { meta, snapshot: written.await?? })
    }
}

//! Hosts a foreign registry as a region: writes its feeds in its name, and registers there what other regions show.
//!
//! ```text
//! guest ──answers──▶ line ──Said──▶ core ──Open, Write, Close──▶ the region's Raft feed and one feed of its instances
//! guest ◀──puts──── line ◀──Wants── exits ◀── what this holder shows of other regions, by tasks
//! ```
//!
//! The Raft feed of such a region is written by this process alone: its directory, its export policies, and the guest's persistent
//! instances. Each start writes it at positions above all earlier ones, and each time that the guest was heard whole a new
//! feed of instances takes the place of the one before.
//!
//! Invariant: heartbeats are written while the guest is heard, and at no other time: elsewhere it is stale when it is silent.

pub(crate) mod asks;
mod config;
mod exits;
mod grpc;
mod http;
mod ledger;
mod line;
mod login;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use landbridge_bridge_core::guest::{Effect, Guest, Input as Told, State, Task};
use landbridge_carrier::Loaded;
use landbridge_feed::{Holder, Input};
use landbridge_model::{
    Change, DirectoryEntry, ExportPolicy, FeedId, KeyGlob, MemberId, Moment, Position, Record, RecordKey,
    Region, ServiceKey, View,
};
use landbridge_runtime::shutdown::Shutdown;
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use self::http::Polled;
use crate::metrics;
use config::Protocol;
use exits::Exits;
use grpc::Grpc;
use ledger::Ledger;
use line::{Broken, Wants};
use login::{Http, Login};

pub(crate) use config::page_of;
pub use config::{GuestConfig, GuestPage};
pub(crate) use ledger::TaskPage;
pub(crate) use line::Said;

/// What waits for the loop; when more comes, the guest is read no further.
const SAID_MAX: usize = 256;

/// Changes written as one step, so that a step travels as a message.
const STEP_CHANGES: usize = 32;

/// The most tasks; one more is refused.
const TASKS_MAX: usize = 1_000;

/// Each start has so many positions of the Raft feed for itself, as a power of two.
const START_BITS: u32 = 32;

/// The host of a guest, owned by the loop.
pub(crate) struct Host {
    region: Region,
    guest: Guest,
    ledger: Ledger,
    exits: Exits,
    /// Where the Raft feed stands.
    position: Position,
    /// Heartbeats of the Raft feed so far.
    beats: u64,
    wants: watch::Sender<Wants>,
    down: Option<Broken>,
    exports: BTreeMap<Region, Vec<KeyGlob>>,
    refused: BTreeMap<ServiceKey, String>,
}

/// The guest as operators read it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct GuestRow {
    pub state: &'static str,
    pub settling: bool,
    /// Why there is no connection.
    pub why: Option<String>,
    pub watched: usize,
    pub heard: usize,
    pub instances: usize,
    /// Held back from being deleted, because their loss looks like a fault.
    pub held: usize,
    /// Instances of other regions that are registered there.
    pub put: usize,
    /// Services of other regions that the guest does not take, and why.
    pub refused: BTreeMap<String, String>,
    pub tasks: Vec<TaskPage>,
}

impl Host {
    /// Counts the start. Blocks.
    pub fn open(
        config: &GuestConfig,
        region: &Region,
        data: &Path,
        unix_ms: u64,
        loaded: &[Loaded],
    ) -> Result<Self, String> {
        let ledger = Ledger::open(data, unix_ms, &config.tasks)?;
        let tasks = ledger.tasks()?;
        let guest = Guest::new(config.settings, tasks, known(region, loaded));
        let position = Position { era: ledger.era(), seq: u64::from(ledger.starts()) << START_BITS };
        Ok(Self {
            region: region.clone(),
            guest,
            exits: Exits::new(region.clone(), config.nacos_sync_stamps),
            position,
            ledger,
            beats: 0,
            wants: watch::Sender::default(),
            down: None,
            exports: config.exports.clone(),
            refused: BTreeMap::new(),
        })
    }

    /// Begins to talk to the guest.
    pub fn start(&mut self, config: &GuestConfig, shutdown: &Shutdown) -> mpsc::Receiver<Said> {
        let (said, hears) = mpsc::channel(SAID_MAX);
        let (pace, servers) = (config.pace, config.servers.clone());
        let http = Http::new(pace.call);
        let login = Login::new(http.clone(), config.user.clone());
        self.want();
        let (wants, ending) = (self.wants.subscribe(), shutdown.clone());
        match config.protocol {
            Protocol::Grpc => {
                let dialler = Grpc::new(servers, login, pace.call);
                shutdown.spawn(line::keep(dialler, pace, wants, said, ending));
            }
            Protocol::Http => {
                let dialler = Polled::new(servers, http, login, pace.call);
                shutdown.spawn(line::keep(dialler, pace, wants, said, ending));
            }
        }
        hears
    }

    /// What the holder is told first, after the copies that were found on disk: the Raft feed of this start. Until a feed of
    /// instances is listed the region is settling, so that nobody lets go what an earlier disk had said.
    pub fn begin(&self, holder: &Holder) -> Input {
        let raft = FeedId::Raft(self.region.clone());
        let old = holder.copy(&raft).into_iter().flat_map(|copy| copy.records());
        let kept = old.filter(|(key, _)| matches!(key, RecordKey::Directory(_) | RecordKey::Persistent(..)));
        let mut records: BTreeMap<RecordKey, Record> =
            kept.map(|(key, record)| (key.clone(), record.clone())).collect();
        if !records.keys().any(|key| matches!(key, RecordKey::Directory(_))) {
            records.insert(RecordKey::Settling, Record::Settling);
        }
        for (peer, allow) in &self.exports {
            let known = holder.export(peer).filter(|policy| policy.allow == *allow && policy.deny.is_empty());
            let since = known.map(|policy| policy.since).filter(|since| since.era == self.position.era);
            let since = since.unwrap_or(self.position);
            let policy = ExportPolicy { since, allow: allow.clone(), deny: Vec::new() };
            records.insert(RecordKey::Policy(peer.clone()), Record::Policy(Arc::new(policy)));
        }
        Input::Installed { position: self.position, records: records.into_iter().collect() }
    }

    /// Takes what the line says; what the holder is to be told follows.
    pub fn hear(&mut self, now: Moment, unix_ms: u64, said: Said, holder: &Holder) -> Vec<Input> {
        match said {
            Said::Input(mut told) => {
                match &mut told {
                    Told::Connected => {
                        self.down = None;
                        tracing::info!(event = "guest_connected", region = %self.region, "the guest answers");
                    }
                    Told::Lost => self.refused.clear(),
                    Told::Heard { service, instances, .. } => {
                        // What was put there is known by its stamps; an edit in the guest may have taken them away.
                        instances.retain(|native| !self.exits.holds(service, &native.key));
                        // What the guest has itself is not put there, and what it has no more may be.
                        self.exits.touch(service.clone());
                    }
                    Told::Listed { .. }
                    | Told::Refused { .. }
                    | Told::Tasks(_)
                    | Told::Release
                    | Told::Tick => {}
                }
                self.step(now, unix_ms, told, holder)
            }
            Said::Down(why) => {
                metrics::guest_failed(why.reason());
                if self.down.as_ref() != Some(&why) {
                    tracing::warn!(event = "guest_silent", region = %self.region, %why, "no connection with the guest");
                }
                self.down = Some(why);
                Vec::new()
            }
            Said::Put(service, Ok(instances)) => {
                self.refused.remove(&service);
                metrics::guest_put(instances);
                Vec::new()
            }
            Said::Put(service, Err(why)) => {
                metrics::guest_failed(why.reason());
                let why = why.to_string();
                if self.refused.get(&service) != Some(&why) {
                    tracing::warn!(event = "guest_refused", %service, why, "the guest takes no instances of a service");
                }
                self.refused.insert(service, why);
                Vec::new()
            }
        }
    }

    /// A second has passed.
    pub fn tick(&mut self, now: Moment, unix_ms: u64, holder: &Holder) -> Vec<Input> {
        let mut inputs = self.step(now, unix_ms, Told::Tick, holder);
        if self.guest.state() == State::Open {
            self.beats += 1;
            let n = (u64::from(self.ledger.starts()) << START_BITS) + self.beats;
            inputs.push(Input::RaftBeat { n, unix_ms });
        }
        let (instances, held) = self.guest.counts();
        metrics::guest(self.guest.state(), instances, held, self.exits.count());
        inputs
    }

    /// What another region shows under this name may differ.
    pub fn touch(&mut self, service: ServiceKey) {
        self.exits.touch(service);
    }

    /// Registers in the guest what is shown of touched services.
    pub fn refresh(&mut self, holder: &Holder) {
        if self.exits.refresh(holder, &self.guest) {
            self.want();
        }
    }

    /// Follows other tasks from here on, if the disk takes them. Blocks for the length of one small synced write.
    pub fn assign(
        &mut self,
        now: Moment,
        unix_ms: u64,
        tasks: Vec<Task>,
        holder: &Holder,
    ) -> Result<Vec<Input>, String> {
        if tasks.len() > TASKS_MAX {
            return Err(format!("more than {TASKS_MAX} tasks"));
        }
        self.ledger.keep(&tasks)?;
        self.exits.touch_all(holder, &tasks);
        let inputs = self.step(now, unix_ms, Told::Tasks(tasks), holder);
        self.refresh(holder);
        Ok(inputs)
    }

    /// Lets go what is held back.
    pub fn release(&mut self, now: Moment, unix_ms: u64, holder: &Holder) -> Vec<Input> {
        self.step(now, unix_ms, Told::Release, holder)
    }

    pub fn tasks(&self) -> &[Task] {
        self.guest.tasks()
    }

    /// Why the guest is not there whole, if it is not.
    pub fn lacks(&self) -> Option<String> {
        let (heard, watched) = (self.guest.heard(), self.guest.watched().len());
        match (self.guest.state(), &self.down) {
            (State::Open, _) => None,
            (State::Gathering, _) => Some(format!("{heard} of {watched} services of the guest are heard")),
            (State::Silent, Some(why)) => Some(format!("the guest is silent: {why}")),
            (State::Silent, None) => Some("the guest has not been reached yet".to_owned()),
        }
    }

    pub fn row(&self, now: Moment) -> GuestRow {
        let (instances, held) = self.guest.counts();
        GuestRow {
            state: self.guest.state().name(),
            settling: self.guest.is_settling(now),
            why: self.lacks(),
            watched: self.guest.watched().len(),
            heard: self.guest.heard(),
            instances,
            held,
            put: self.exits.count(),
            refused: self.refused.iter().map(|(service, why)| (service.to_string(), why.clone())).collect(),
            tasks: self.tasks().iter().map(TaskPage::of).collect(),
        }
    }

    fn step(&mut self, now: Moment, unix_ms: u64, told: Told, holder: &Holder) -> Vec<Input> {
        let mut effects = Vec::new();
        self.guest.step(now, unix_ms, told, &mut effects);
        let mut inputs = Vec::new();
        for effect in effects {
            match effect {
                Effect::Open { records } => inputs.extend(self.open_feed(records, holder)),
                Effect::Write { changes } => inputs.extend(self.write(changes)),
                Effect::Close => {
                    tracing::warn!(event = "guest_lost", region = %self.region, "what the guest showed is kept and grows stale");
                    inputs.push(Input::Ended);
                }
                Effect::Wants => self.want(),
                Effect::Held { instances } => {
                    tracing::warn!(
                        event = "guest_held",
                        instances,
                        "so many instances are held: their loss looks like a fault"
                    );
                }
                Effect::Went { instances } => metrics::guest_went(instances),
                Effect::Full { instances } => {
                    metrics::guest_full(instances);
                    tracing::error!(event = "guest_full", instances, "guest.instances_max leaves no room");
                }
            }
        }
        inputs
    }

    /// A new feed with this content takes the place of all that are listed.
    fn open_feed(&mut self, records: Vec<(RecordKey, Record)>, holder: &Holder) -> Vec<Input> {
        let (persistent, ephemeral): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|(key, _)| matches!(key, RecordKey::Persistent(..)));
        let index = self.advance();
        let feed = FeedId::Member { region: self.region.clone(), era: self.position.era, index };
        let persistent: BTreeMap<RecordKey, Record> = persistent.into_iter().collect();
        let raft = holder.copy(&FeedId::Raft(self.region.clone()));
        let old = raft.into_iter().flat_map(|copy| copy.records().map(|(key, _)| key));
        let gone = old.filter(|key| match key {
            RecordKey::Directory(_) | RecordKey::Settling => true,
            RecordKey::Persistent(..) => !persistent.contains_key(*key),
            _ => false,
        });
        let mut changes: Vec<Change> = gone.map(|key| Change { key: key.clone(), record: None }).collect();
        changes.extend(persistent.into_iter().map(|(key, record)| Change { key, record: Some(record) }));
        // Whoever holds the feed before lets it go when it has the first step of this one.
        let entry = DirectoryEntry { member: MemberId(1), address: "".into(), nonce: index, need: 1 };
        changes
            .push(Change { key: RecordKey::Directory(feed.clone()), record: Some(Record::Directory(entry)) });
        tracing::info!(event = "guest_open", region = %self.region, %feed, instances = ephemeral.len(), "the guest was heard whole");
        let applied = Input::Applied { position: self.position, changes };
        vec![applied, Input::Begun { feed, records: ephemeral }]
    }

    fn write(&mut self, changes: Vec<Change>) -> Vec<Input> {
        let (persistent, ephemeral): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| matches!(change.key, RecordKey::Persistent(..)));
        let mut inputs: Vec<Input> = Vec::new();
        for step in persistent.chunks(STEP_CHANGES) {
            self.advance();
            inputs.push(Input::Applied { position: self.position, changes: step.to_vec() });
        }
        inputs.extend(ephemeral.chunks(STEP_CHANGES).map(|step| Input::Wrote { changes: step.to_vec() }));
        inputs
    }

    /// The next position of the Raft feed.
    fn advance(&mut self) -> u64 {
        self.position.seq += 1;
        self.position.seq
    }

    fn want(&self) {
        let wants = Wants {
            places: self.guest.places(),
            watched: Arc::new(self.guest.watched().clone()),
            puts: self.exits.puts().clone(),
        };
        self.wants.send_if_modified(|before| {
            let differs = *before != wants;
            *before = wants;
            differs
        });
    }
}

/// What the copies of the region's own feeds showed when they were saved.
fn known(region: &Region, loaded: &[Loaded]) -> Vec<(RecordKey, Record)> {
    let raft = loaded.iter().find(|copy| copy.feed == FeedId::Raft(region.clone()));
    let listed = raft.into_iter().flat_map(|copy| copy.records.iter());
    let listed: BTreeSet<&FeedId> = listed
        .filter_map(|(key, _)| match key {
            RecordKey::Directory(feed) => Some(feed),
            _ => None,
        })
        .collect();
    let own = loaded.iter().filter(|copy| {
        copy.view == View::WHOLE
            && *copy.feed.region() == *region
            && (copy.feed.is_raft() || listed.contains(&copy.feed))
    });
    own.flat_map(|copy| copy.records.iter().cloned()).collect()
}

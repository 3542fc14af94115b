//! How a store comes up: takes the directory, checks that nothing is missing from it, starts the group; and how it ends.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use openraft::{Config, Raft, SnapshotPolicy};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    aside,
    config::StoreConfig,
    disk::{DiskFile, DiskSays, Part},
    failed::Failed,
    failure::StoreError,
    identity::{DirLock, Identity},
    incoming::Incoming,
    log::{FoundLog, LogCloser, LogParts},
    mark::MarkFile,
    meters::Meters,
    network::Network,
    room::Room,
    rpc,
    state::{
        Applied, Listeners, StateMachine,
        disk::{Loaded, StateDisk},
        snapshot::Snapshots,
    },
    store::{Inner, Standing, Store},
    transport::Transport,
    work::Work,
};

/// A store whose group has not begun to move.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) applied: mpsc::Receiver<Applied>,
}

/// What is closed last.
pub(crate) struct Closing {
    log: LogCloser,
    state: Arc<StateDisk>,
    lock: DirLock,
    begun: watch::Sender<bool>,
    work: Work,
}

impl Closing {
    /// Whoever waits for a listener stops waiting.
    pub(crate) fn begin(&self) {
        self.begun.send_replace(true);
    }

    /// Writes what is not yet on disk and gives the directory free.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        let Self { log, state, lock, begun: _, work } = self;
        let closed = log.close().await;
        let synced = work.run(move || {
            let synced = state.sync();
            drop(state);
            drop(lock);
            synced
        });
        closed.map_err(|error| StoreError::disk("closing the log", error))?;
        synced.await.flatten().map_err(|error| StoreError::disk("closing the state machine", error))
    }
}

/// What was found in the directory.
struct Found {
    lock: DirLock,
    disk: DiskFile,
    log: FoundLog,
    mark: MarkFile,
    state: Arc<StateDisk>,
    loaded: Loaded,
    snapshots: Arc<Snapshots>,
}

/// Opens everything, so that the group can begin.
pub(crate) async fn open(config: StoreConfig, transport: Arc<dyn Transport>) -> Result<Opened, StoreError> {
    check(&config)?;
    let found = look_or_set_aside(&config).await?;
    let (failed, meters) = (Failed::new(), Arc::new(Meters::default()));
    let room = Arc::new(Room::new(config.dir.clone(), config.limits.reserve_bytes));
    let (events, applied) = mpsc::channel(config.limits.applied_queue_max);
    let region = config.group.region.clone();
    let closing = watch::Sender::new(false);
    let listeners = Listeners {
        events,
        failed: failed.clone(),
        closing: closing.subscribe(),
        room: Arc::clone(&room),
        work: config.work,
    };
    let machine =
        StateMachine::new(region, found.loaded, found.state.clone(), found.snapshots.clone(), listeners);
    let (founded, notes) = (machine.founded(), machine.notes());
    let synced = found.state.clone();
    let parts = LogParts {
        mark: found.mark,
        limits: config.limits,
        before_purge: Box::new(move || synced.sync()),
        failed: failed.clone(),
        meters: meters.clone(),
        work: config.work,
    };
    let (log, closer) =
        found.log.start(parts).map_err(|error| StoreError::disk("starting the log's thread", error))?;
    let network = network(&config, transport, found.disk.says().line);
    let raft_config = raft_config(&config)?;
    let raft = Raft::new(config.member.0.into(), Arc::new(raft_config), network.clone(), log, machine).await;
    let raft = raft.map_err(|fatal| StoreError::Stopped(fatal.to_string()))?;
    let mut tasks = JoinSet::new();
    tasks.spawn(closer.keep_mark());
    let incoming = Incoming::new(found.snapshots.dir().to_owned(), config.limits.snapshot_bytes_max);
    let work = config.work;
    let inner = Inner {
        room,
        config,
        raft,
        network,
        admitted: watch::Sender::new(found.disk.says().part.admitted()),
        disk: found.disk,
        changing: tokio::sync::Mutex::new(()),
        failed,
        meters,
        standing: watch::Sender::new(Standing::default()),
        founded,
        notes,
        incoming: tokio::sync::Mutex::new(incoming),
        tasks: Mutex::new(tasks),
        closing: Mutex::new(Some(Closing {
            log: closer,
            state: found.state,
            lock: found.lock,
            begun: closing,
            work,
        })),
    };
    Ok(Opened { store: Store { inner: Arc::new(inner) }, applied })
}

fn network(config: &StoreConfig, transport: Arc<dyn Transport>, line: u64) -> Network {
    Network {
        group: rpc::group_number(&config.group),
        line: Arc::new(AtomicU64::new(line)),
        transport,
        snapshot_part_bytes: config.limits.snapshot_part_bytes,
        append_within: Duration::from_millis(config.timing.answer_ms / 2),
    }
}

fn check(config: &StoreConfig) -> Result<(), StoreError> {
    let wrong = |what: &str| Err(StoreError::Misconfigured(what.to_owned()));
    if !config.voters.contains_key(&config.member) {
        return wrong("this member is not among the voters");
    }
    let limits = &config.limits;
    let queues = [limits.log_queue_max, limits.applied_queue_max, limits.proposals_max];
    if queues.contains(&0) || limits.snapshot_part_bytes == 0 {
        return wrong("a bound is zero");
    }
    Ok(())
}

/// What lies in the directory, or an empty one where that is damaged and others hold it: the member then comes back as a stranger,
/// and they refill it.
async fn look_or_set_aside(config: &StoreConfig) -> Result<Found, StoreError> {
    match look(config).await {
        Err(damage @ StoreError::Damaged { .. }) if config.voters.len() > 1 => {
            let dir = config.dir.clone();
            let into = config.work.run(move || aside::set_aside(&dir)).await;
            let into = into.map_err(|_| unreadable(config))??;
            metrics::counter!("landbridge_store_set_aside_total").increment(1);
            tracing::error!(event = "raft_set_aside", %damage, into = %into.display(), "waits to be refilled");
            look(config).await
        }
        found => found,
    }
}

async fn look(config: &StoreConfig) -> Result<Found, StoreError> {
    let wanted = config.clone();
    let found = config.work.run(move || find(&wanted)).await;
    found.map_err(|_| unreadable(config))?
}

/// Opens what lies in the directory, and refuses it if it holds less than it must.
fn find(config: &StoreConfig) -> Result<Found, StoreError> {
    let dir = config.dir.as_path();
    let disk = |error| StoreError::disk("opening the directory", error);
    let damaged = |what: &str| StoreError::Damaged { dir: dir.to_owned(), what: what.to_owned() };
    let lock = DirLock::take(dir)?;
    let identity = Identity::new(dir, &config.group, config.member);
    let owned = identity.check()?;
    let known = DiskFile::open(dir)?;
    let admitted = known.as_ref().map(|known| known.says().part.admitted());
    if aside::lost(dir) && owned && admitted != Some(false) {
        return Err(damaged("it was being set aside"));
    }
    if !owned && admitted == Some(true) && config.voters.len() > 1 {
        return Err(damaged("the file that names its owner is missing"));
    }
    let mark_path = dir.join("mark");
    let mark = MarkFile::open(&mark_path).map_err(disk)?;
    let (log_dir, state_dir) = (dir.join("log"), dir.join("state"));
    if owned && !(present(&log_dir) && present(&state_dir)) {
        return Err(damaged("a database is missing"));
    }
    // Both databases sync while they open; side by side that takes half the time.
    let (log, state) = std::thread::scope(|scope| {
        let state = scope.spawn(|| {
            let disk = StateDisk::open(&state_dir)?;
            let loaded = disk.load()?;
            Ok::<_, StoreError>((disk, loaded))
        });
        let log = FoundLog::open(&log_dir, mark.as_ref(), &config.limits);
        (log, state.join())
    });
    let log = log?;
    let (state, loaded) = state.map_err(|_| unreadable(config))??;
    if !owned && !log.is_new() {
        return Err(damaged("it has a log, but the file that names its owner is missing"));
    }
    if log.purged() > loaded.head.applied {
        return Err(damaged("the state machine is older than the start of the log"));
    }
    let mark = match mark {
        Some(mark) => mark,
        None if log.is_new() && !owned => MarkFile::create(&mark_path).map_err(disk)?,
        None => return Err(damaged("the high-water mark is missing or unreadable")),
    };
    // A member killed between applying an entry and writing it has a log that ends before its state; openraft then lets
    // the log begin behind the state, and an older snapshot would lead nobody there.
    let applied = loaded.head.applied;
    let since = if log.last() < applied { applied } else { log.purged() };
    let snapshots = Arc::new(Snapshots::open(dir.join("snapshots"), since).map_err(disk)?);
    let number = match known {
        Some(known) => known,
        None => DiskFile::create(dir, DiskSays::new(config.disk, part(config, owned))).map_err(disk)?,
    };
    if !owned {
        identity.write().map_err(disk)?;
    }
    aside::replaced(dir).map_err(disk)?;
    Ok(Found { lock, disk: number, log, mark, state, loaded, snapshots })
}

/// The part of a disk that has no number so far: a directory with an owner was written by a version that drew none.
fn part(config: &StoreConfig, owned: bool) -> Part {
    if owned || config.voters.len() == 1 {
        Part::Member
    } else if aside::lost(&config.dir) {
        Part::Joining
    } else {
        Part::Fresh
    }
}

/// fjall panics on some damaged journals instead of refusing them.
fn unreadable(config: &StoreConfig) -> StoreError {
    let what = "reading a database ended in a panic, which stands above".to_owned();
    StoreError::Damaged { dir: config.dir.clone(), what }
}

fn present(dir: &Path) -> bool {
    fs::metadata(dir).is_ok_and(|found| found.is_dir())
}

fn raft_config(config: &StoreConfig) -> Result<Config, StoreError> {
    let (timing, limits) = (config.timing, config.limits);
    let raft = Config {
        cluster_name: format!("{}/{}", config.group.deployment, config.group.region),
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_min_ms,
        election_timeout_max: timing.election_max_ms,
        install_snapshot_timeout: timing.answer_ms,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(limits.snapshot_entries),
        max_in_snapshot_log_to_keep: limits.kept_entries,
        replication_lag_threshold: limits.snapshot_entries.saturating_add(limits.kept_entries),
        api_channel_size: Some(limits.proposals_max as u64),
        enable_pre_vote: Some(true),
        // A new term for each start: the heartbeats of a feed hold the term and must never run back.
        enable_leader_restore: Some(false),
        ..Config::default()
    };
    raft.validate().map_err(|error| StoreError::Misconfigured(error.to_string()))
}

/// The longest that a lone member takes to lead; only a stuck disk takes longer.
pub(crate) const ALONE_WITHIN: Duration = Duration::from_secs(30);

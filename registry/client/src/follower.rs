//! Follows a region's registry for a gateway and publishes what it may route by as one table.
//!
//! ```text
//! streams ──▶ holder ──touched──▶ join ──at most every publish_ms──▶ table ──at most every keepsake_ms──▶ file
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use landbridge_carrier::{Carrier, CarrierConfig, Event};
use landbridge_feed::{Effect, Holder, Input, Peer, Role, Settings};
use landbridge_model::{Moment, Region};
use landbridge_runtime::{
    clock::Clock,
    shutdown::Shutdown,
    tls::{Identity, PeerRole},
};
use landbridge_wire::feeds::Hello;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior},
};

use crate::{
    join::Join,
    keepsake::{self, Forgotten},
    metrics,
    table::{Standing, Table},
};

pub use landbridge_carrier::{Limits as Carrying, Target, TargetState};
pub use landbridge_feed::Limits as Holding;

/// One own tick of a holder.
const TICK: Duration = Duration::from_secs(1);

/// Events that wait for the loop; when more come, the streams are held back.
const EVENTS_MAX: usize = 256;

/// What a follower is told once.
pub struct FollowConfig {
    /// The region to follow; the identity must be of it.
    pub region: Region,
    /// Addresses of its members' feed ports, `host:port`.
    pub registries: Vec<String>,
    /// Who the gateway is.
    pub identity: Identity,
    /// Where the last table is kept.
    pub keepsake: PathBuf,
    /// A table is published at most once in this time.
    pub publish_ms: u64,
    /// The keepsake is written at most once in this time.
    pub keepsake_ms: u64,
    /// Bounds of what is held.
    pub holding: Holding,
    /// Bounds of the streams.
    pub carrying: Carrying,
}

/// A gateway's view of its region's registry; copies show the same table.
#[derive(Clone)]
pub struct Follower {
    table: Arc<ArcSwap<Table>>,
    changes: watch::Receiver<u64>,
    carrier: Carrier,
}

impl Follower {
    /// Loads the keepsake, publishes it, and starts to follow. An error is a wrong identity.
    pub async fn start(config: FollowConfig, shutdown: &Shutdown) -> Result<Self, String> {
        let hello = hello(&config)?;
        let clock = Clock::start();
        let remembered = remember(config.keepsake.clone(), clock.unix_ms()).await;
        let table = Arc::new(ArcSwap::from_pointee(remembered.clone()));
        let (changed, changes) = watch::channel(0);
        let (events, inbox) = mpsc::channel(EVENTS_MAX);
        let carrying = CarrierConfig {
            hello,
            identity: config.identity.clone(),
            listen: None,
            neighbours: BTreeSet::new(),
            budgets: BTreeMap::new(),
            limits: config.carrying,
        };
        let carrier = Carrier::start(carrying, events, shutdown);
        let targets = config.registries.iter();
        carrier.dial(
            targets
                .map(|address| Target { address: address.clone(), region: config.region.clone() })
                .collect(),
        );
        let settings =
            Settings { region: config.region.clone(), role: Role::Gateway, limits: config.holding.clone() };
        let driver = Driver {
            join: Join::new(config.region.clone(), remembered),
            holder: Holder::new(settings),
            effects: Vec::new(),
            clock,
            carrier: carrier.clone(),
            table: Arc::clone(&table),
            changed,
            publish_at: None,
            worth_keeping: false,
            keep_at: None,
            keeping: None,
            config,
        };
        shutdown.spawn(driver.run(inbox, shutdown.clone()));
        Ok(Self { table, changes, carrier })
    }

    /// The table as it stands: one atomic load.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Counts published tables.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Whether a stream to a registry is up.
    pub fn is_connected(&self) -> bool {
        !self.carrier.streams().is_empty()
    }

    /// The addresses that are followed, with what is wrong with each.
    pub fn registries(&self) -> Vec<TargetState> {
        self.carrier.dialled()
    }
}

/// What the gateway says of itself, if its certificate bears it out.
fn hello(config: &FollowConfig) -> Result<Hello, String> {
    let name = config.identity.name();
    if name.region != config.region.as_str() {
        return Err(format!("the certificate is {name}, and region {} is to be followed", config.region));
    }
    if !matches!(name.role, PeerRole::Gateway | PeerRole::Client) {
        return Err(format!("the certificate is {name}: a follower's role is gateway or client"));
    }
    let peer = Peer { region: config.region.clone(), role: Role::Gateway, id: name.id.as_str().into() };
    Ok(Hello::of(name.deployment.as_str().into(), peer))
}

async fn remember(file: PathBuf, unix_ms: u64) -> Table {
    let shown = file.display().to_string();
    let read = tokio::task::spawn_blocking(move || keepsake::read(&file, unix_ms)).await;
    match read.unwrap_or_else(|panic| Err(Forgotten::Unreadable(panic.to_string()))) {
        Ok(table) => {
            let (services, regions) = (table.services.len(), table.regions.len());
            tracing::info!(event = "keepsake_loaded", file = shown, services, regions, "serving from it");
            table
        }
        Err(Forgotten::Absent) => Table::default(),
        Err(Forgotten::Unreadable(why)) => {
            tracing::error!(event = "keepsake_unreadable", file = shown, why, "starting with an empty table");
            metrics::keepsake_failed();
            Table::default()
        }
    }
}

struct Driver {
    config: FollowConfig,
    clock: Clock,
    holder: Holder,
    effects: Vec<Effect>,
    join: Join,
    carrier: Carrier,
    table: Arc<ArcSwap<Table>>,
    changed: watch::Sender<u64>,
    /// When the next table is due, if something is touched.
    publish_at: Option<Instant>,
    /// Whether more than ages has changed since the last table that was published.
    worth_keeping: bool,
    /// When the next keepsake is due, if the table has changed since.
    keep_at: Option<Instant>,
    /// The keepsake that is being written.
    keeping: Option<JoinHandle<()>>,
}

impl Driver {
    async fn run(mut self, mut inbox: mpsc::Receiver<Event>, shutdown: Shutdown) {
        let mut ticks = tokio::time::interval_at(Instant::now() + TICK, TICK);
        // A paused process hears one tick, however long it slept.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = inbox.recv() => match event.map(Event::into_input) {
                    Some(Some(input)) => self.step(input),
                    Some(None) => {}
                    None => break,
                },
                _ = ticks.tick() => self.tick(),
                () = reach(self.publish_at) => self.publish(),
                () = reach(self.keep_at) => self.keep().await,
                () = shutdown.wait() => break,
            }
        }
        self.keep().await;
        if let Some(last) = self.keeping.take() {
            // A panic of the writer has nothing more to tell than its missing file.
            let _ = last.await;
        }
    }

    fn tick(&mut self) {
        self.step(Input::Tick { unix_ms: self.clock.unix_ms() });
        self.join.settle(&self.holder);
        let differs = self.join.refresh_regions(&self.holder);
        let ages = self.join.table().regions.values().any(|view| view.standing != Standing::Live);
        self.worth_keeping |= differs;
        if self.join.is_touched() || differs || ages {
            self.soon();
        }
    }

    fn step(&mut self, input: Input) {
        let mut effects = std::mem::take(&mut self.effects);
        self.holder.step(Moment(self.clock.now()), input, &mut effects);
        for effect in effects.drain(..) {
            self.perform(effect);
        }
        self.effects = effects;
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send { stream, message } => self.carrier.send_or_close(stream, message),
            Effect::Refuse { stream, why } => self.carrier.close(stream, why),
            Effect::Touched { service, .. } => {
                self.join.touch(service);
                self.soon();
            }
            Effect::StandingChanged { region, standing } => {
                tracing::info!(event = "region_standing", %region, ?standing, "a region stands differently");
                self.join.touch_region(&self.holder, &region);
                self.soon();
            }
            Effect::DirectoryChanged { .. } => {
                self.join.settle(&self.holder);
                self.soon();
            }
            Effect::Dropped { .. } => {}
            Effect::Doubted { feed } => {
                tracing::warn!(event = "copy_doubted", %feed, "a copy differs from its writer and is repaired");
            }
        }
    }

    fn soon(&mut self) {
        let due = || Instant::now() + Duration::from_millis(self.config.publish_ms);
        self.publish_at.get_or_insert_with(due);
    }

    fn publish(&mut self) {
        self.publish_at = None;
        self.worth_keeping |= self.join.is_touched() | self.join.refresh_regions(&self.holder);
        self.join.rebuild(&self.holder);
        let table = Arc::new(self.join.table().clone());
        metrics::table(&table, self.join.endpoint_count());
        self.table.store(table);
        self.changed.send_modify(|count| *count += 1);
        if std::mem::take(&mut self.worth_keeping) {
            let due = || Instant::now() + Duration::from_millis(self.config.keepsake_ms);
            self.keep_at.get_or_insert_with(due);
        }
    }

    /// Writes the keepsake in the background, after the one before it.
    async fn keep(&mut self) {
        if self.keep_at.take().is_none() {
            return;
        }
        if let Some(earlier) = self.keeping.take() {
            // A panic of the writer has nothing more to tell than its missing file.
            let _ = earlier.await;
        }
        let (file, table) = (self.config.keepsake.clone(), self.table.load_full());
        let unix_ms = self.clock.unix_ms();
        self.keeping = Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = keepsake::write(&file, &table, unix_ms) {
                metrics::keepsake_failed();
                tracing::error!(
                    event = "keepsake_not_written",
                    file = %file.display(),
                    %error,
                    "a restart without a registry would serve an older table"
                );
            }
        }));
    }
}

async fn reach(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

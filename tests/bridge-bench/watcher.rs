//! A follower of a far member, as its gateways are: what it has of an origin, and how late each change came.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use landbridge_carrier::{Carrier, CarrierConfig, Event, Limits, Target};
use landbridge_feed::{Effect, Holder, Input, Message, Peer, Role, Settings};
use landbridge_model::{Change, Moment, Region};
use landbridge_runtime::shutdown::Shutdown;
use landbridge_tests::authority::Authority;
use landbridge_wire::feeds::Hello;
use tokio::{sync::mpsc, time::MissedTickBehavior};

/// Events that wait for the watcher.
const EVENTS_MAX: usize = 64;

/// What is later counts as this late, microseconds.
const LATEST_US: u64 = 600_000_000;

/// The metadata key under which a change says when it was asked for.
pub const ASKED: &str = "asked-us";

/// What all times of this process count from.
pub static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What was seen so far.
pub struct Seen {
    /// From the caller's question to here, microseconds.
    pub took_us: Histogram<u64>,
    /// Changes of the origin that came as steps.
    pub changes: u64,
    /// The same that take an instance away.
    pub removals: u64,
    /// The longest time between two changes.
    pub longest_gap: Duration,
    /// Records of the origin that are held.
    pub records: usize,
    /// When the latest change came, or the latest rebuild ended.
    pub latest: Option<Instant>,
}

impl Seen {
    fn new() -> Self {
        Self {
            took_us: Histogram::new_with_bounds(1, LATEST_US, 3).expect("good bounds"),
            changes: 0,
            removals: 0,
            longest_gap: Duration::ZERO,
            records: 0,
            latest: None,
        }
    }

    /// A quantile of how late changes came, in milliseconds.
    pub fn late_ms(&self, quantile: f64) -> f64 {
        self.took_us.value_at_quantile(quantile) as f64 / 1_000.0
    }
}

/// A running watcher; it ends with this.
pub struct Watcher {
    seen: Arc<Mutex<Seen>>,
    shutdown: Shutdown,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

impl Watcher {
    /// Follows what stands at a port of a region, and watches an origin.
    pub fn start(authority: &Authority, (near, port): (&str, u16), origin: &str) -> Self {
        let region = |name: &str| Region::parse(name).expect("benches name regions well");
        let identity = authority.identity(&format!("demo/{near}/gateway/1"));
        let name = identity.name();
        let peer = Peer { region: region(near), role: Role::Gateway, id: name.id.as_str().into() };
        let hello = Hello::of(name.deployment.as_str().into(), peer);
        let limits = Limits { reconnect_floor_ms: 20, reconnect_cap_ms: 200, ..Limits::STANDARD };
        let (events, inbox) = mpsc::channel(EVENTS_MAX);
        let shutdown = Shutdown::new();
        let (neighbours, budgets) = (BTreeSet::new(), BTreeMap::new());
        let config = CarrierConfig { hello, identity, listen: None, neighbours, budgets, limits };
        let carrier = Carrier::start(config, events, &shutdown);
        let target = Target { address: format!("127.0.0.1:{port}"), region: region(near) };
        carrier.dial(BTreeSet::from([target]));
        let settings =
            Settings { region: region(near), role: Role::Gateway, limits: landbridge_feed::Limits::STANDARD };
        let seen = Arc::new(Mutex::new(Seen::new()));
        let watch =
            Watch { holder: Holder::new(settings), carrier, origin: region(origin), seen: Arc::clone(&seen) };
        tokio::spawn(watch.run(inbox));
        Self { seen, shutdown }
    }

    /// What was seen so far.
    pub fn look<T>(&self, read: impl FnOnce(&Seen) -> T) -> T {
        read(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts anew from here on.
    pub fn forget(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let records = seen.records;
        *seen = Seen { records, ..Seen::new() };
    }
}

struct Watch {
    holder: Holder,
    carrier: Carrier,
    origin: Region,
    seen: Arc<Mutex<Seen>>,
}

impl Watch {
    async fn run(mut self, mut inbox: mpsc::Receiver<Event>) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unix_ms = 1_700_000_000_000;
        loop {
            tokio::select! {
                event = inbox.recv() => match event.map(Event::into_input) {
                    Some(Some(input)) => self.hear(input),
                    Some(None) => {}
                    None => return,
                },
                _ = ticks.tick() => {
                    unix_ms += 1_000;
                    self.step(Input::Tick { unix_ms });
                }
            }
        }
    }

    fn hear(&mut self, input: Input) {
        let is_end = match &input {
            Input::Received { message: Message::Batch { feed, changes, .. }, .. }
                if *feed.region() == self.origin && !feed.is_raft() =>
            {
                self.note(changes);
                true
            }
            Input::Received { message: Message::End { feed, .. }, .. } => *feed.region() == self.origin,
            _ => false,
        };
        self.step(input);
        if is_end && let Some(status) = self.holder.status(&self.origin) {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.records = status.records;
            seen.latest = Some(Instant::now());
        }
    }

    fn note(&self, changes: &[Change]) {
        let now = Instant::now();
        let now_us = u64::try_from(now.duration_since(*BEGUN).as_micros()).unwrap_or(u64::MAX);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let gap = seen.latest.map_or(Duration::ZERO, |latest| now - latest);
        seen.longest_gap = seen.longest_gap.max(gap);
        for change in changes {
            seen.changes += 1;
            seen.removals += u64::from(change.record.is_none());
            let instance = change.record.as_ref().and_then(|record| record.registration()?.instance());
            let asked = instance.and_then(|instance| instance.metadata.value(ASKED)?.parse::<u64>().ok());
            if let Some(asked_us) = asked {
                seen.took_us.saturating_record(now_us.saturating_sub(asked_us));
            }
        }
    }

    fn step(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.holder.step(Moment(BEGUN.elapsed().as_millis() as u64), input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Send { stream, message } => self.carrier.send_or_close(stream, message),
                Effect::Refuse { stream, why } => self.carrier.close(stream, why),
                Effect::Touched { .. }
                | Effect::DirectoryChanged { .. }
                | Effect::StandingChanged { .. }
                | Effect::Dropped { .. }
                | Effect::Doubted { .. } => {}
            }
        }
    }
}

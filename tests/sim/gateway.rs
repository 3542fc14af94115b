//! A simulated gateway: the production holder, join, table, guard, snapshot and choice, without the proxy around them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use landbridge_client::{Standing, Table, join::Join, keepsake};
use landbridge_feed::{Effect, Holder, Input};
use landbridge_gateway::spec_of;
use landbridge_gateway_core::{
    Book, Caller, Costs, Decision, Evacuation, Guard, GuardRules, HealthRules, Name, PickRules, Service,
    Snapshot, pick,
};
use landbridge_model::{Moment, Region, ServiceKey, Zone};

use crate::sim::names;

/// Failures in a row that take an endpoint out of rotation.
pub const FAILURES_MAX: u32 = 3;

/// How long the first ejection lasts.
pub const EJECT_MS: u64 = 9_000;

/// How long an endpoint that nobody calls is on probation after its ejection.
pub const PROBATION_MS: u64 = 10_000;

pub const RULES: PickRules = PickRules {
    over_provision: 1.4,
    panic_share: 0.5,
    region_share_min: 0.25,
    health: HealthRules {
        probe_failures_max: 0,
        failures_max: FAILURES_MAX,
        failure_share_max: 0.5,
        share_calls_min: 20,
        eject_ms: EJECT_MS,
        eject_max_ms: 60_000,
        failure_penalty_us: 1_000_000,
        latency_decay_ms: 10_000,
        slow_start_ms: 5_000,
        slow_floor_us: 100_000,
        slow_factor: 5.0,
    },
};

/// As in the defaults: this small world never loses so many endpoints at once that they are held.
const GUARD: GuardRules = GuardRules { share_max: 0.5, floor: 100, window_ms: 30_000, hold_max_ms: 600_000 };

/// What its callers saw of one endpoint, kept apart from the code under test.
#[derive(Clone, Copy, Default)]
pub struct Blamed {
    /// In a row.
    pub failures: u32,
    /// Whether this row began long after any other failure.
    pub is_first: bool,
    /// When it failed last.
    pub failed: Option<u64>,
    /// Until when it must be out of rotation.
    pub until: u64,
}

pub struct Gateway {
    pub holder: Holder,
    pub table: Arc<Table>,
    /// What it found on disk when it started.
    pub kept: Table,
    pub blamed: BTreeMap<u64, Blamed>,
    /// Calls of the last round that did not succeed at the first try.
    pub missed: usize,
    /// The place that calls are to leave.
    pub drill: Option<Evacuation>,
    join: Join,
    book: Book,
    guard: Guard,
    snapshot: Snapshot,
}

impl Gateway {
    /// Starts from the bytes of a keepsake, if there are some.
    pub fn start(holder: Holder, kept: Option<&[u8]>, now: Moment, unix_ms: u64) -> Self {
        let own = holder.settings().region.clone();
        let kept = kept.map(|bytes| keepsake::unpack(bytes, unix_ms).expect("this disk damages no keepsake"));
        let kept = kept.unwrap_or_default();
        let zone = Zone::parse("b").expect("a valid zone");
        let costs = (0..names::REGIONS_MAX).map(|r| (names::region(r), r as u32));
        let home = Caller { region: own.clone(), zone };
        let mut book = Book::new(home, Costs::new(costs), Vec::new());
        let mut gateway = Self {
            holder,
            table: Arc::default(),
            join: Join::new(own, kept.clone()),
            kept,
            blamed: BTreeMap::new(),
            missed: 0,
            drill: None,
            snapshot: book.snapshot(),
            book,
            guard: Guard::default(),
        };
        gateway.follow(Arc::new(gateway.join.table().clone()), now);
        gateway
    }

    pub fn step(&mut self, now: Moment, input: Input) -> Vec<Effect> {
        let is_tick = matches!(input, Input::Tick { .. });
        let mut said = Vec::new();
        self.holder.step(now, input, &mut said);
        for effect in &said {
            match effect {
                Effect::Touched { service, .. } => self.join.touch(service.clone()),
                Effect::StandingChanged { region, .. } => self.join.touch_region(&self.holder, region),
                Effect::DirectoryChanged { .. } => self.join.settle(&self.holder),
                Effect::Send { .. }
                | Effect::Refuse { .. }
                | Effect::Dropped { .. }
                | Effect::Doubted { .. } => {}
            }
        }
        if is_tick {
            self.join.settle(&self.holder);
        }
        if is_tick || self.join.is_touched() {
            self.join.refresh_regions(&self.holder);
            self.join.rebuild(&self.holder);
            self.follow(Arc::new(self.join.table().clone()), now);
        }
        said
    }

    /// The service of this key as calls find it.
    pub fn service(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        let is_it = |service: &&Arc<Service>| matches!(&service.name, Name::Registered(name) if name == key);
        self.snapshot.services().find(is_it)
    }

    /// Where the first try of a call goes.
    pub fn choose(&self, service: &Service, now: Moment, lot: u64) -> Option<u32> {
        match pick(&RULES, service, service.home(), now, lot, &[]) {
            Decision::Use(choice) => Some(choice.endpoint),
            Decision::Nobody => None,
        }
    }

    /// Whether an origin's link is silent as far as the table knows.
    pub fn calls_stale(&self, region: &Region) -> bool {
        let frozen = self.table.regions.get(region).is_some_and(|view| view.standing == Standing::Frozen);
        frozen && *region != self.holder.settings().region
    }

    /// Calls leave a place for a while; one drill at a time.
    pub fn evacuate(&mut self, drill: Evacuation) {
        self.book.set_evacuations(vec![Arc::new(drill.clone())]);
        self.snapshot = self.book.snapshot();
        self.drill = Some(drill);
    }

    /// The bytes of a keepsake of the table as it stands.
    pub fn keep(&self, unix_ms: u64) -> Vec<u8> {
        keepsake::pack(&self.table, unix_ms).expect("a table can be encoded")
    }

    /// Takes a newer table, as the writer of the gateway's views does.
    fn follow(&mut self, table: Arc<Table>, now: Moment) {
        for (key, endpoints) in &table.services {
            if self.table.services.get(key) != Some(endpoints) {
                let specs = endpoints.iter().filter(|endpoint| endpoint.enabled).map(spec_of).collect();
                self.guard.offer(now, Name::Registered(key.clone()), Some(specs));
            }
        }
        for key in self.table.services.keys().filter(|key| !table.services.contains_key(key)) {
            self.guard.offer(now, Name::Registered(key.clone()), None);
        }
        self.table = table;
        let touched = self.guard.settle(&GUARD, now);
        for name in &touched {
            match self.guard.shown(name) {
                Some(specs) => self.book.put(name.clone(), specs, &RULES.health, now),
                None => self.book.remove(name, now),
            }
        }
        if !touched.is_empty() {
            self.snapshot = self.book.snapshot();
            self.forgive();
        }
    }

    /// Who left is another when it comes back, even where it has its number again: its failures are forgotten, as in production.
    fn forgive(&mut self) {
        let there = self.snapshot.services().flat_map(|service| service.endpoints());
        let there: BTreeSet<u64> = there.map(|endpoint| endpoint.state.serial()).collect();
        self.blamed.retain(|serial, _| there.contains(serial));
    }
}

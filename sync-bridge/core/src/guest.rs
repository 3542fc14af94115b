//! Decides what a foreign registry shows as a region: which of its services are followed, and what of its answers stands in
//! the feed that this bridge writes in its name.
//!
//! ```text
//! silent ──connected──▶ gathering ──all places listed, all services heard──▶ open ──lost──▶ silent
//!    ▲                      │                                  (a new feed with all that is shown; the one before ends)
//!    └─────────lost─────────┘
//! missing from an answer: while settling: doubtful, goes at its end unless too many are; later: goes unless too many do
//! ```
//!
//! Invariant: only a whole answer of the guest, given on a connection that settled, lets an instance go; silence, errors,
//! refusals, partial lists and a guest that has just come back never do.
//! Invariant: what a bridge put into the guest never comes back as the guest's own.

mod settings;
mod table;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use landbridge_model::{Change, InstanceKey, Metadata, Moment, Record, RecordKey, ServiceKey};

pub use settings::{Place, Selection, Settings, State, Task, Way};
use table::Table;
pub use table::{Native, SOURCE, SOURCE_CLUSTER, STAMPS};

/// What a guest is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// A connection stands, and nothing is known on it yet.
    Connected,
    /// The connection, or the trust in it, is gone.
    Lost,
    /// The names of a place's services: all of them if `whole`.
    Listed {
        /// Which place.
        place: Place,
        /// Their names.
        services: BTreeSet<ServiceKey>,
        /// Whether the list is known to lack nothing.
        whole: bool,
    },
    /// All instances of a service, as an answer or as news.
    Heard {
        /// Which service.
        service: ServiceKey,
        /// When the guest made the list, by its own clock: what is older than the last one is dropped.
        made_ms: u64,
        /// All of them.
        instances: Vec<Native>,
    },
    /// The guest answered that it does not tell this service: what is held of it stays.
    Refused {
        /// Which service.
        service: ServiceKey,
    },
    /// What is to be followed, in place of what was.
    Tasks(Vec<Task>),
    /// An operator lets go what is held back.
    Release,
    /// A second has passed.
    Tick,
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Open a new feed with exactly this content, and end the one before.
    Open {
        /// All that is shown.
        records: Vec<(RecordKey, Record)>,
    },
    /// Write this as one step.
    Write {
        /// What changed.
        changes: Vec<Change>,
    },
    /// Write and vouch for nothing from here on; what was written stands.
    Close,
    /// What is to be listed and watched differs: read it again.
    Wants,
    /// So many instances are held back against a loss that looks like a fault; 0 when that is over.
    Held {
        /// How many.
        instances: usize,
    },
    /// Instances were deleted because the guest has them no more.
    Went {
        /// How many.
        instances: usize,
    },
    /// Instances were not taken: there is no room for them.
    Full {
        /// How many.
        instances: usize,
    },
}

/// A foreign registry as this bridge knows it.
#[derive(Clone, Debug)]
pub struct Guest {
    settings: Settings,
    tasks: Vec<Task>,
    state: State,
    connected: Moment,
    table: Table,
    /// What is listed, by place, as the last whole list on this connection says.
    listed: BTreeMap<Place, BTreeSet<ServiceKey>>,
    /// Services heard on this connection, with when the guest made the list.
    heard: BTreeMap<ServiceKey, u64>,
    watched: BTreeSet<ServiceKey>,
    /// What went in the last `mass_window_ms`, and when.
    went: VecDeque<(Moment, usize)>,
    held: usize,
}

impl Guest {
    /// A guest that is silent, of which this was known when the process last ended.
    pub fn new(settings: Settings, tasks: Vec<Task>, known: Vec<(RecordKey, Record)>) -> Self {
        let mut guest = Self {
            settings,
            tasks,
            state: State::Silent,
            connected: Moment::default(),
            table: Table::of(known),
            listed: BTreeMap::new(),
            heard: BTreeMap::new(),
            watched: BTreeSet::new(),
            went: VecDeque::new(),
            held: 0,
        };
        guest.watched = guest.selected();
        guest
    }

    /// Takes one input and appends what follows from it to `effects`. `unix_ms` is for stamps alone.
    pub fn step(&mut self, now: Moment, unix_ms: u64, input: Input, effects: &mut Vec<Effect>) {
        self.table.clock(unix_ms);
        match input {
            Input::Connected => {
                self.lose(effects);
                self.state = State::Gathering;
                self.connected = now;
            }
            Input::Lost => self.lose(effects),
            Input::Listed { place, services, whole } => self.list(now, place, services, whole, effects),
            Input::Heard { service, made_ms, instances } => {
                self.hear(now, service, made_ms, instances, effects);
            }
            Input::Refused { service } => {
                self.heard.entry(service).or_default();
            }
            Input::Tasks(tasks) => self.assign(tasks, effects),
            Input::Release => self.release(effects),
            Input::Tick => {}
        }
        self.lapse(now, effects);
        self.settle(effects);
    }

    /// How the guest stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether a guest that came back may still lack what it will have again.
    pub fn is_settling(&self, now: Moment) -> bool {
        now.since(self.connected) < self.settings.settle_ms
    }

    /// The places to be listed: those of running tasks.
    pub fn places(&self) -> BTreeSet<Place> {
        let running = self.tasks.iter().filter(|task| task.way == Way::In && !task.paused);
        running.map(|task| task.selection.place()).collect()
    }

    /// The services to be watched.
    pub fn watched(&self) -> &BTreeSet<ServiceKey> {
        &self.watched
    }

    /// The tasks as they stand.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// How many instances are shown, and how many of them are held back from being deleted.
    pub fn counts(&self) -> (usize, usize) {
        (self.table.len(), self.held)
    }

    /// How many services were heard on this connection, of those that are watched.
    pub fn heard(&self) -> usize {
        self.watched.iter().filter(|service| self.heard.contains_key(*service)).count()
    }

    /// Whether the guest has an instance of its own under this key.
    pub fn has(&self, service: &ServiceKey, instance: &InstanceKey) -> bool {
        self.table.has(service, instance)
    }

    fn lose(&mut self, effects: &mut Vec<Effect>) {
        if self.state == State::Open {
            effects.push(Effect::Close);
        }
        self.state = State::Silent;
        self.listed.clear();
        self.heard.clear();
        // Only answers on the next connection count.
        self.table.miss_none();
    }

    /// Takes a list of names: what a whole one lacks has no instances.
    fn list(
        &mut self,
        now: Moment,
        place: Place,
        services: BTreeSet<ServiceKey>,
        whole: bool,
        effects: &mut Vec<Effect>,
    ) {
        if self.state == State::Silent {
            return;
        }
        let mut known = services;
        if whole {
            let held = self.table.services().filter(|service| place.holds(service));
            let gone = held.filter(|service| !known.contains(*service) && self.is_followed(service));
            let gone: Vec<ServiceKey> = gone.cloned().collect();
            for service in &gone {
                self.table.miss_all(now, service, self.is_settling(now));
            }
        } else {
            known.extend(self.listed.get(&place).into_iter().flatten().cloned());
        }
        if whole || self.listed.contains_key(&place) {
            self.listed.insert(place, known);
        } else {
            // Not a whole list yet: what it names is watched, and the guest stays incomplete.
            self.watched.extend(known.into_iter().filter(|service| follows(&self.tasks, service)));
            effects.push(Effect::Wants);
            return;
        }
        self.choose(effects);
    }

    fn hear(
        &mut self,
        now: Moment,
        service: ServiceKey,
        made_ms: u64,
        instances: Vec<Native>,
        effects: &mut Vec<Effect>,
    ) {
        let is_old = self.heard.get(&service).is_some_and(|last| made_ms < *last);
        if self.state == State::Silent || is_old || !self.is_followed(&service) {
            return;
        }
        self.heard.insert(service.clone(), made_ms);
        let own = instances.into_iter().filter(|native| !is_ours(&native.instance.metadata)).collect();
        let room = self.settings.instances_max.saturating_sub(self.table.len());
        let settling = self.is_settling(now);
        let took = self.table.take(now, &service, own, (settling, room));
        if took.refused > 0 {
            effects.push(Effect::Full { instances: took.refused });
        }
        self.write(took.changes, effects);
    }

    fn write(&self, changes: Vec<Change>, effects: &mut Vec<Effect>) {
        if self.state == State::Open && !changes.is_empty() {
            effects.push(Effect::Write { changes });
        }
    }

    /// Follows these tasks; what no task names any more is an operator's wish and goes at once.
    fn assign(&mut self, tasks: Vec<Task>, effects: &mut Vec<Effect>) {
        self.tasks = tasks;
        let named = |service: &ServiceKey| {
            let mut inward = self.tasks.iter().filter(|task| task.way == Way::In);
            inward.any(|task| task.selection.selects(service))
        };
        let gone: Vec<ServiceKey> =
            self.table.services().filter(|service| !named(service)).cloned().collect();
        let mut changes = Vec::new();
        for service in gone {
            self.heard.remove(&service);
            changes.extend(self.table.forget(&service));
        }
        self.write(changes, effects);
        let places = self.places();
        self.listed.retain(|place, _| places.contains(place));
        self.choose(effects);
        effects.push(Effect::Wants);
    }

    fn is_followed(&self, service: &ServiceKey) -> bool {
        follows(&self.tasks, service)
    }

    /// What is listed and selected, and what is held of a place that is not listed yet.
    fn selected(&self) -> BTreeSet<ServiceKey> {
        let listed = self.listed.values().flatten();
        let is_unlisted = |service: &&ServiceKey| !self.listed.keys().any(|place| place.holds(service));
        let held = self.table.services().filter(is_unlisted);
        let all = listed.chain(held).filter(|service| self.is_followed(service));
        all.take(self.settings.services_max).cloned().collect()
    }

    fn choose(&mut self, effects: &mut Vec<Effect>) {
        let watched = self.selected();
        if watched != self.watched {
            self.heard.retain(|service, _| watched.contains(service));
            self.watched = watched;
            effects.push(Effect::Wants);
        }
    }

    fn release(&mut self, effects: &mut Vec<Effect>) {
        let missing: Vec<_> = self.table.missing().map(|(key, _)| key.clone()).collect();
        if self.state == State::Open {
            self.remove(missing, effects);
        }
    }

    /// Lets go what the guest has no more, unless that looks like a fault of it.
    fn lapse(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        while self.went.front().is_some_and(|(at, _)| now.since(*at) >= self.settings.mass_window_ms) {
            self.went.pop_front();
        }
        if self.state == State::Open {
            let over = self.due(now);
            let instances = over.len();
            if instances > 0 {
                self.remove(over, effects);
                self.went.push_back((now, instances));
            }
        }
        let settling = self.is_settling(now);
        let held = if settling || self.state != State::Open { 0 } else { self.table.missing().count() };
        if held != self.held {
            self.held = held;
            effects.push(Effect::Held { instances: held });
        }
    }

    /// What may go at this moment.
    fn due(&self, now: Moment) -> Vec<(ServiceKey, InstanceKey)> {
        let settings = &self.settings;
        let wait_ms = if settings.notices { 0 } else { settings.settle_ms };
        let recently: usize = self.went.iter().map(|(_, instances)| instances).sum();
        let all = self.table.len() + recently;
        let (mut doubtful, mut plain) = (Vec::new(), Vec::new());
        let mut over = Vec::new();
        for (key, missing) in self.table.missing() {
            let waited_ms = now.since(missing.since);
            if waited_ms >= settings.hold_max_ms {
                over.push(key.clone());
            } else if missing.doubtful {
                doubtful.push(key.clone());
            } else if waited_ms >= wait_ms {
                plain.push(key.clone());
            }
        }
        let is_much = |count: usize| count * 100 > all * settings.mass_share_percent;
        // After an interruption a few can be all there is: the share alone decides, and one instance is no mass.
        let is_settled = !self.is_settling(now);
        let is_forgetful = doubtful.len() > 1 && is_much(doubtful.len());
        if is_settled && !is_forgetful {
            over.append(&mut doubtful);
        }
        let plain_all = plain.len() + recently;
        let is_mass = plain_all >= settings.mass_instances_min && is_much(plain_all);
        if is_settled && !is_mass {
            over.append(&mut plain);
        }
        over
    }

    fn remove(&mut self, keys: Vec<(ServiceKey, InstanceKey)>, effects: &mut Vec<Effect>) {
        let instances = keys.len();
        let changes = keys.iter().filter_map(|(service, key)| self.table.remove(service, key)).collect();
        self.write(changes, effects);
        if instances > 0 {
            effects.push(Effect::Went { instances });
        }
    }

    /// Opens the feed once everything that is watched has been heard.
    fn settle(&mut self, effects: &mut Vec<Effect>) {
        let is_listed = || self.places().iter().all(|place| self.listed.contains_key(place));
        let is_heard = || self.watched.iter().all(|service| self.heard.contains_key(service));
        if self.state == State::Gathering && is_listed() && is_heard() {
            self.state = State::Open;
            effects.push(Effect::Open { records: self.table.records() });
        }
    }
}

fn follows(tasks: &[Task], service: &ServiceKey) -> bool {
    tasks.iter().any(|task| task.way == Way::In && !task.paused && task.selection.selects(service))
}

/// Whether a bridge or another synchroniser wrote an instance: it is somebody else's.
fn is_ours(metadata: &Metadata) -> bool {
    STAMPS.iter().any(|stamp| metadata.value(stamp).is_some())
}

#[cfg(test)]
mod tests;

//! Everything a core needs to route one call, as one immutable value; and the book from which snapshots are made.
//!
//! Invariant: a snapshot never changes; a service nothing was said about is the very same value in the next one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use landbridge_model::{Address, Moment};

use crate::{
    endpoint::{EndpointState, HealthRules},
    evacuation::Evacuation,
    ladder::{Caller, Costs, Ladder, Orders, Terms},
    leavers::{Leavers, way},
    route::{Asked, Index, Matched, Policy, Positions, Route, RouteTable, Routed},
    service::{Endpoint, EndpointSpec, Name, Service, ServiceState},
    shelves::Shelves,
};

/// What routing sees at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts snapshots.
    pub version: u64,
    /// Where the gateway stands.
    pub home: Caller,
    /// What leaving for other regions costs.
    pub costs: Costs,
    /// Services with an order of regions of their own.
    pub orders: Orders,
    /// The drills that run.
    pub evacuations: Arc<[Arc<Evacuation>]>,
    services: Shelves,
    endpoints: usize,
    index: Arc<Index>,
    listeners: Arc<[RouteTable]>,
    targets: Targets,
}

/// Of each listener's routes the positions of their services.
type Targets = Arc<[Box<[Positions]>]>;

impl Snapshot {
    /// Finds where a call on a listener goes.
    pub fn find(&self, listener: usize, asked: &impl Asked) -> Matched {
        self.listeners[listener].find(&self.index, &self.targets[listener], asked)
    }

    /// Finds as [`Snapshot::find`] does and tells why.
    pub fn explain(&self, listener: usize, asked: &impl Asked) -> Routed {
        self.listeners[listener].explain(&self.index, &self.targets[listener], asked)
    }

    /// All services, by their names.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.iter()
    }

    /// How many services there are.
    pub fn service_count(&self) -> usize {
        self.services.count()
    }

    /// How many endpoints they have.
    pub fn endpoint_count(&self) -> usize {
        self.endpoints
    }

    /// A service by its position.
    pub fn service(&self, position: u32) -> &Service {
        self.services.get(position)
    }

    /// The position of a service.
    pub fn position(&self, name: &Name) -> Option<u32> {
        self.index.of(name)
    }

    /// A service by what people write: `[[namespace@@]group@@]service` or `static:name`.
    pub fn named(&self, name: &str) -> Option<&Service> {
        let position = match name.strip_prefix("static:") {
            Some(name) => self.index.of(&Name::Static(name.into())),
            None => self.index.named(name),
        };
        position.map(|position| self.service(position))
    }

    /// The ladder of a service for callers of any place, by the same rules as its own for callers of `home`.
    pub fn ladder(&self, caller: &Caller, service: &Service) -> Ladder {
        let ladder = ladder_of(service, caller, &self.costs, &self.orders, &self.evacuations);
        ladder.of_home(*caller == self.home)
    }

    /// The same while other drills run: for looking ahead.
    pub fn ladder_with(&self, service: &Service, evacuations: &[Arc<Evacuation>]) -> Ladder {
        ladder_of(service, &self.home, &self.costs, &self.orders, evacuations).of_home(true)
    }

    /// The listeners' routes.
    pub fn listeners(&self) -> &[RouteTable] {
        &self.listeners
    }

    /// A configured route.
    pub fn route(&self, listener: usize, position: u32) -> &Route {
        &self.listeners[listener].routes[position as usize]
    }

    /// What a configured route sets, or nothing.
    pub fn policy(&self, listener: usize, route: Option<u32>) -> Policy {
        route.map_or_else(Policy::default, |position| self.route(listener, position).policy)
    }
}

fn ladder_of(
    service: &Service,
    caller: &Caller,
    costs: &Costs,
    orders: &Orders,
    evacuations: &[Arc<Evacuation>],
) -> Ladder {
    let concerned: Vec<_> =
        evacuations.iter().filter(|drill| drill.concerns(&service.name)).cloned().collect();
    let order = orders.of(&service.name);
    Ladder::new(&Terms { caller, costs, order, leaving: &concerned }, &service.endpoints)
}

/// Where the writer of snapshots keeps what the next one is made of.
#[derive(Debug)]
pub struct Book {
    home: Caller,
    costs: Costs,
    orders: Orders,
    evacuations: Arc<[Arc<Evacuation>]>,
    services: BTreeMap<Name, Arc<Service>>,
    /// As the last snapshot has them.
    shelves: Shelves,
    /// What is another since then, by its position.
    changed: BTreeMap<u32, Arc<Service>>,
    /// Of all services together.
    endpoints: usize,
    index: Arc<Index>,
    listeners: Arc<[RouteTable]>,
    targets: Targets,
    leavers: Leavers,
    /// The set of names changed since the index was made.
    renamed: bool,
    /// The routes changed since their targets were found.
    relisted: bool,
    serial: u64,
    version: u64,
}

impl Book {
    /// An empty book of a gateway that stands at `home`.
    pub fn new(home: Caller, costs: Costs, listeners: Vec<RouteTable>) -> Self {
        Self {
            home,
            costs,
            orders: Orders::default(),
            evacuations: Arc::default(),
            services: BTreeMap::new(),
            shelves: Shelves::default(),
            changed: BTreeMap::new(),
            endpoints: 0,
            index: Arc::default(),
            listeners: listeners.into(),
            targets: Arc::default(),
            leavers: Leavers::default(),
            renamed: false,
            relisted: true,
            serial: 0,
            version: 0,
        }
    }

    /// Replaces the routes of all listeners.
    pub fn set_listeners(&mut self, listeners: Vec<RouteTable>) {
        self.listeners = listeners.into();
        self.relisted = true;
    }

    /// Replaces the costs; services keep what was learned of them.
    pub fn set_costs(&mut self, costs: Costs) {
        if self.costs == costs {
            return;
        }
        self.costs = costs;
        self.rebuild(|_| true);
    }

    /// Replaces the services' own orders of regions.
    pub fn set_orders(&mut self, orders: Orders) {
        let before = std::mem::replace(&mut self.orders, orders);
        let after = self.orders.clone();
        self.rebuild(|name| before.of(name) != after.of(name));
    }

    /// Replaces the drills that run.
    pub fn set_evacuations(&mut self, evacuations: Vec<Arc<Evacuation>>) {
        let before = std::mem::replace(&mut self.evacuations, evacuations.into());
        let after = self.evacuations.clone();
        self.rebuild(|name| before.iter().chain(after.iter()).any(|drill| drill.concerns(name)));
    }

    /// Makes the ladders of some services anew; what was learned of their endpoints stays.
    fn rebuild(&mut self, concerned: impl Fn(&Name) -> bool) {
        let names: Vec<Name> = self.services.keys().filter(|name| concerned(name)).cloned().collect();
        for name in names {
            if let Some(old) = self.services.get(&name).cloned() {
                let fresh = self.made(name.clone(), old.serial(), old.endpoints.to_vec(), old.state.clone());
                self.keep(fresh);
            }
        }
    }

    /// Takes a service in, in the place of the one with its name.
    fn keep(&mut self, service: Service) {
        let service = Arc::new(service);
        self.endpoints += service.endpoints.len();
        if let Some(position) = self.index.of(&service.name).filter(|_| !self.renamed) {
            self.changed.insert(position, service.clone());
        }
        if let Some(old) = self.services.insert(service.name.clone(), service) {
            self.endpoints -= old.endpoints.len();
        }
    }

    fn made(&self, name: Name, serial: u64, endpoints: Vec<Endpoint>, state: Arc<ServiceState>) -> Service {
        let concerned: Vec<_> =
            self.evacuations.iter().filter(|drill| drill.concerns(&name)).cloned().collect();
        let order = self.orders.of(&name);
        let terms = Terms { caller: &self.home, costs: &self.costs, order, leaving: &concerned };
        Service::new(name.clone(), serial, endpoints, &terms, state)
    }

    /// The names it holds.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.services.keys()
    }

    /// Replaces a service's endpoints. Endpoints of weight 0 are left out; of two with one address the first stays. Who comes
    /// back at once has its old number, and with it its connections.
    pub fn put(&mut self, name: Name, specs: Vec<EndpointSpec>, rules: &HealthRules, now: Moment) {
        let specs = listed(specs);
        let old = self.services.get(&name).cloned();
        let same = |old: &Arc<Service>| old.endpoints.iter().map(|endpoint| &endpoint.spec).eq(&specs);
        if old.as_ref().is_some_and(same) {
            return;
        }
        let (serial, state, guess_us) = match &old {
            Some(old) => (old.serial(), old.state.clone(), median_latency_us(old, rules, now)),
            None => {
                self.renamed = true;
                (self.next_serial(), Arc::<ServiceState>::default(), 0.0)
            }
        };
        let joins = old.as_ref().is_some_and(|old| !old.endpoints.is_empty());
        let mut newborn = false;
        let known = old.iter().flat_map(|old| old.endpoints.iter());
        let mut known: BTreeMap<_, _> =
            known.map(|endpoint| (way(&endpoint.spec), endpoint.state.clone())).collect();
        let state_of = |spec: &EndpointSpec| {
            let fresh = || {
                newborn |= joins;
                let state = if joins { EndpointState::newborn } else { EndpointState::new };
                let back = self.leavers.come_back(&name, way(spec), now);
                Arc::new(state(back.unwrap_or_else(|| self.next_serial()), guess_us, now))
            };
            known.remove(&way(spec)).unwrap_or_else(fresh)
        };
        let endpoints: Vec<_> =
            specs.into_iter().scan(state_of, |of, spec| Some(Endpoint { state: of(&spec), spec })).collect();
        for (way, state) in known {
            self.leavers.leave(name.clone(), way, state.serial(), now);
        }
        let service = self.made(name, serial, endpoints, state);
        if newborn {
            service.watch_until(now.after(rules.slow_start_ms));
        }
        self.keep(service);
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Forgets a service.
    pub fn remove(&mut self, name: &Name, now: Moment) {
        if let Some(old) = self.services.remove(name) {
            for endpoint in &old.endpoints {
                self.leavers.leave(name.clone(), way(&endpoint.spec), endpoint.state.serial(), now);
            }
            self.endpoints -= old.endpoints.len();
            self.renamed = true;
        }
    }

    /// Makes the next snapshot. What it costs follows what has changed, unless services have come or gone.
    pub fn snapshot(&mut self) -> Snapshot {
        let (renamed, relisted) = (std::mem::take(&mut self.renamed), std::mem::take(&mut self.relisted));
        let changed = std::mem::take(&mut self.changed);
        if renamed {
            self.index = Arc::new(Index::new(self.services.keys()));
            self.shelves = Shelves::filled(self.services.values().cloned());
        } else if !changed.is_empty() {
            self.shelves = self.shelves.with(changed);
        }
        if renamed || relisted {
            let positions =
                |route: &Route| route.targets.iter().map(|target| self.index.of(&target.name)).collect();
            let targets = |table: &RouteTable| table.routes.iter().map(positions).collect();
            self.targets = self.listeners.iter().map(targets).collect();
        }
        self.version += 1;
        Snapshot {
            version: self.version,
            home: self.home.clone(),
            costs: self.costs.clone(),
            orders: self.orders.clone(),
            evacuations: self.evacuations.clone(),
            services: self.shelves.clone(),
            endpoints: self.endpoints,
            index: self.index.clone(),
            targets: self.targets.clone(),
            listeners: self.listeners.clone(),
        }
    }
}

fn place(spec: &EndpointSpec) -> (Address, u16) {
    (spec.address.clone(), spec.port)
}

/// What may be sent traffic, once per address.
fn listed(mut specs: Vec<EndpointSpec>) -> Vec<EndpointSpec> {
    let mut seen = BTreeSet::new();
    specs.retain(|spec| spec.weight > 0.0 && spec.weight.is_finite() && seen.insert(place(spec)));
    specs
}

/// What a new endpoint of a service is expected to be like.
fn median_latency_us(service: &Service, rules: &HealthRules, now: Moment) -> f32 {
    let latency = |endpoint: &Endpoint| endpoint.state.latency_us(rules, now);
    let mut all: Vec<f32> = service.endpoints.iter().map(latency).collect();
    all.sort_by(f32::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        endpoint::Outcome,
        leavers::RETURN_MS,
        service::testing::{RULES, caller, spec},
    };

    fn name(text: &str) -> Name {
        Name::Static(text.into())
    }

    fn at(port: u16) -> EndpointSpec {
        EndpointSpec { port, ..spec("home", "a") }
    }

    fn book() -> Book {
        Book::new(caller("home", "a"), Costs::default(), vec![RouteTable::default()])
    }

    #[test]
    fn what_was_learned_of_an_endpoint_survives_a_change_of_its_neighbours() {
        let mut book = book();
        book.put(name("s"), vec![at(1), at(2)], &RULES, Moment(0));
        let before = book.snapshot();
        before.service(0).report(1, &RULES, Moment(1), Outcome::Answered { latency_us: 7_000 });

        book.put(name("s"), vec![at(2), at(3)], &RULES, Moment(1));
        let after = book.snapshot();

        let latency = |position| after.service(0).endpoint(position).state.latency_us(&RULES, Moment(1));
        assert_eq!(latency(0), 7_000.0);
        assert_eq!(latency(1), 7_000.0, "a new endpoint is expected to be like its siblings");
        assert_eq!(before.service(0).serial(), after.service(0).serial());
    }

    #[test]
    fn an_endpoint_that_comes_back_at_once_has_its_connections_and_learns_anew() {
        let mut book = book();
        let mut at_port_1 = |ports: &[u16], ms| {
            let specs = ports.iter().map(|port| at(*port)).collect();
            book.put(name("s"), specs, &RULES, Moment(ms));
            let snapshot = book.snapshot();
            let endpoint = snapshot.service(0).endpoints().iter().find(|endpoint| endpoint.port == 1);
            endpoint.map(|endpoint| (endpoint.state.serial(), endpoint.state.grown(&RULES, Moment(ms)) < 1.0))
        };
        let (first, _) = at_port_1(&[1, 2], 0).unwrap();

        assert_eq!(at_port_1(&[2], 1), None);
        assert_eq!(at_port_1(&[1, 2], 2), Some((first, true)));
        assert_eq!(at_port_1(&[2], 3), None);
        assert_ne!(at_port_1(&[1, 2], 4 + RETURN_MS), Some((first, true)), "it was away for too long");
    }

    #[test]
    fn an_unchanged_service_is_the_same_value_in_the_next_snapshot() {
        let mut book = book();
        book.put(name("a"), vec![at(1)], &RULES, Moment(0));
        book.put(name("b"), vec![at(1)], &RULES, Moment(0));
        let before = book.snapshot();

        book.put(name("a"), vec![at(1)], &RULES, Moment(5));
        book.put(name("b"), vec![at(2)], &RULES, Moment(5));
        let after = book.snapshot();

        let same: Vec<_> = before
            .services()
            .zip(after.services())
            .map(|(before, after)| Arc::ptr_eq(before, after))
            .collect();
        assert_eq!(same, [true, false]);
    }

    #[test]
    fn a_change_of_one_service_among_thousands_makes_one_service_and_one_shelf_anew() {
        let mut book = book();
        let of = |number: u32| name(&format!("s{number:04}"));
        for number in 0..5_000 {
            book.put(of(number), vec![at(1), at(2)], &RULES, Moment(0));
        }
        let before = book.snapshot();

        book.put(of(1_234), vec![at(2)], &RULES, Moment(5));
        let after = book.snapshot();

        let both = before.services().zip(after.services());
        assert_eq!(both.filter(|(before, after)| !Arc::ptr_eq(before, after)).count(), 1);
        assert_eq!(after.services.made_since(&before.services), 1);
        assert!(Arc::ptr_eq(&before.index, &after.index) && Arc::ptr_eq(&before.targets, &after.targets));
        assert_eq!((after.service_count(), after.endpoint_count()), (5_000, 9_999));
        assert_eq!(after.service(1_234).endpoints().len(), 1);
    }

    #[test]
    fn positions_hold_whatever_comes_goes_and_changes_between_two_snapshots() {
        let mut book = book();
        let mut dice = 7_u64;
        let mut known = BTreeMap::new();
        for _ in 0..300 {
            for _ in 0..4 {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (which, ports) = (name(&format!("s{}", (dice >> 33) % 200)), (dice >> 20) % 4);
                if ports == 0 {
                    book.remove(&which, Moment(0));
                    known.remove(&which);
                } else {
                    let specs = (0..ports as u16).map(|port| at(1 + port)).collect();
                    book.put(which.clone(), specs, &RULES, Moment(0));
                    known.insert(which, ports as usize);
                }
            }
            let snapshot = book.snapshot();

            let told = snapshot.services().map(|service| (service.name.clone(), service.endpoints().len()));
            assert!(told.eq(known.clone()));
            assert_eq!(snapshot.endpoint_count(), known.values().sum::<usize>());
            for (name, count) in &known {
                let service = snapshot.service(snapshot.position(name).unwrap());
                assert_eq!((&service.name, service.endpoints().len()), (name, *count));
            }
        }
    }

    #[test]
    fn weightless_and_doubled_endpoints_are_left_out() {
        let mut book = book();
        let specs = vec![at(1), at(1).weighing(9.0), at(2).weighing(0.0), at(3).weighing(f64::NAN)];

        book.put(name("s"), specs, &RULES, Moment(0));

        let ports: Vec<_> =
            book.snapshot().service(0).endpoints().iter().map(|e| (e.port, e.weight)).collect();
        assert_eq!(ports, [(1, 1.0)]);
    }

    #[test]
    fn a_removed_service_is_found_no_more() {
        let mut book = book();
        book.put(name("s"), vec![at(1)], &RULES, Moment(0));
        assert!(book.snapshot().named("static:s").is_some());

        book.remove(&name("s"), Moment(0));

        assert!(book.snapshot().named("static:s").is_none());
    }
}

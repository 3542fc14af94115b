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
    route::{Asked, Index, Matched, Policy, Positions, Route, RouteTable, Routed},
    service::{Endpoint, EndpointSpec, Name, Service, ServiceState},
    speech::Speech,
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
    services: Box<[Arc<Service>]>,
    index: Arc<Index>,
    listeners: Arc<[RouteTable]>,
    targets: Box<[Box<[Positions]>]>,
}

impl Snapshot {
    /// Finds where a call on a listener goes.
    pub fn find(&self, listener: usize, asked: &impl Asked) -> Matched {
        self.listeners[listener].find(&self.index, &self.targets[listener], asked)
    }

    /// Finds as [`Snapshot::find`] does and tells why.
    pub fn explain(&self, listener: usize, asked: &impl Asked) -> Routed {
        self.listeners[listener].explain(&self.index, &self.targets[listener], asked)
    }

    /// All services.
    pub fn services(&self) -> &[Arc<Service>] {
        &self.services
    }

    /// A service by its position.
    pub fn service(&self, position: u32) -> &Service {
        &self.services[position as usize]
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
        ladder_of(service, caller, &self.costs, &self.orders, &self.evacuations)
    }

    /// The same while other drills run: for looking ahead.
    pub fn ladder_with(&self, service: &Service, evacuations: &[Arc<Evacuation>]) -> Ladder {
        ladder_of(service, &self.home, &self.costs, &self.orders, evacuations)
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
    index: Arc<Index>,
    listeners: Arc<[RouteTable]>,
    /// The set of names changed since the index was made.
    renamed: bool,
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
            index: Arc::default(),
            listeners: listeners.into(),
            renamed: false,
            serial: 0,
            version: 0,
        }
    }

    /// Replaces the routes of all listeners.
    pub fn set_listeners(&mut self, listeners: Vec<RouteTable>) {
        self.listeners = listeners.into();
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
                self.services.insert(name, Arc::new(fresh));
            }
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

    /// Replaces a service's endpoints. Endpoints of weight 0 are left out; of two with one address the first stays.
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
                Arc::new(state(self.next_serial(), guess_us, now))
            };
            known.remove(&way(spec)).unwrap_or_else(fresh)
        };
        let endpoints: Vec<_> =
            specs.into_iter().scan(state_of, |of, spec| Some(Endpoint { state: of(&spec), spec })).collect();
        let service = self.made(name.clone(), serial, endpoints, state);
        if newborn {
            service.watch_until(now.after(rules.slow_start_ms));
        }
        self.services.insert(name, Arc::new(service));
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Forgets a service.
    pub fn remove(&mut self, name: &Name) {
        self.renamed |= self.services.remove(name).is_some();
    }

    /// Makes the next snapshot.
    pub fn snapshot(&mut self) -> Snapshot {
        if std::mem::take(&mut self.renamed) {
            self.index = Arc::new(Index::new(self.services.keys()));
        }
        self.version += 1;
        let positions =
            |route: &Route| route.targets.iter().map(|target| self.index.of(&target.name)).collect();
        let targets = |table: &RouteTable| table.routes.iter().map(positions).collect();
        Snapshot {
            version: self.version,
            home: self.home.clone(),
            costs: self.costs.clone(),
            orders: self.orders.clone(),
            evacuations: self.evacuations.clone(),
            services: self.services.values().cloned().collect(),
            index: self.index.clone(),
            targets: self.listeners.iter().map(targets).collect(),
            listeners: self.listeners.clone(),
        }
    }
}

fn place(spec: &EndpointSpec) -> (Address, u16) {
    (spec.address.clone(), spec.port)
}

/// What connections and latencies belong to: a place, and how it is spoken to.
fn way(spec: &EndpointSpec) -> (Address, u16, Speech) {
    (spec.address.clone(), spec.port, spec.speech.clone())
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
    fn an_unchanged_service_is_the_same_value_in_the_next_snapshot() {
        let mut book = book();
        book.put(name("a"), vec![at(1)], &RULES, Moment(0));
        book.put(name("b"), vec![at(1)], &RULES, Moment(0));
        let before = book.snapshot();

        book.put(name("a"), vec![at(1)], &RULES, Moment(5));
        book.put(name("b"), vec![at(2)], &RULES, Moment(5));
        let after = book.snapshot();

        assert!(Arc::ptr_eq(&before.services()[0], &after.services()[0]));
        assert!(!Arc::ptr_eq(&before.services()[1], &after.services()[1]));
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

        book.remove(&name("s"));

        assert!(book.snapshot().named("static:s").is_none());
    }
}

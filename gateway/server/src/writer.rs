//! Writes the views that all cores read: from the registry's table, the static endpoints and the routes.
//!
//! Invariant: a view is replaced as a whole, never changed; services nothing was said about are carried over as they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use landbridge_client::{Endpoint, Table};
use landbridge_gateway_core::{Book, EndpointSpec, Evacuation, Guard, Name, RouteTable, Speech};
use landbridge_model::Moment;
use landbridge_runtime::tls::Identity;

use crate::{
    config::{Config, Live, Settings},
    crossing::{self, Crossings},
    limiter::{Rule, Shares},
    metrics::{EVACUATIONS, TABLE_CHANGES, TABLE_ENDPOINTS, TABLE_HELD, TABLE_SERVICES},
    relay::Roads,
    tls::Trust,
    view::{Shared, View},
};

/// What the next view is made of.
pub(crate) struct Writer {
    book: Book,
    guard: Guard,
    live: Live,
    /// As `live` has them, shared by views.
    settings: Arc<Settings>,
    rules: Arc<[Arc<Rule>]>,
    shares: Shares,
    trust: Option<Arc<Trust>>,
    relay: Option<Identity>,
    roads: Roads,
    crossings: Arc<Crossings>,
    table: Arc<Table>,
    /// Drills by the number operators call them by.
    drills: BTreeMap<u64, Arc<Evacuation>>,
    drills_begun: u64,
    /// Views that were replaced and that cores may still use.
    retired: Vec<Arc<View>>,
}

/// Replaced views that are kept until no core uses them; of more, the oldest are left to the last core that does.
const RETIRED_MAX: usize = 64;

/// Drills that may run at once.
pub(crate) const EVACUATIONS_MAX: usize = 16;

/// The rules of these settings; those of limits that stay are the old ones, with all that they have counted.
fn rules_of(live: &Live, shares: &Shares, old: &[Arc<Rule>]) -> Arc<[Arc<Rule>]> {
    let (keys_max, mut old) = (live.settings.limiter_keys_max, old.to_vec());
    let rule = |limit| match old.iter().position(|rule| rule.holds(limit, keys_max)) {
        Some(stays) => old.remove(stays),
        None => Rule::new(limit, keys_max, shares),
    };
    live.settings.limits.iter().map(rule).collect()
}

impl Writer {
    /// A writer that knows the config and nothing of a registry.
    pub(crate) fn new(
        config: &Config,
        trust: Option<Arc<Trust>>,
        relay: Option<Identity>,
        now: Moment,
    ) -> Self {
        let live = config.live.clone();
        let mut book = Book::new(config.home.clone(), live.costs.clone(), live.routes.clone());
        for (name, specs) in &live.statics {
            book.put(name.clone(), specs.clone(), &live.settings.pick.health, now);
        }
        book.set_orders(live.orders.clone());
        let shares = Shares::default();
        let rules = rules_of(&live, &shares, &[]);
        Self {
            book,
            guard: Guard::default(),
            rules,
            shares,
            trust,
            relay,
            roads: Roads::new(&live.peers),
            crossings: crossing::crossings(&live.peers, &Crossings::new()),
            settings: Arc::new(live.settings.clone()),
            live,
            table: Arc::default(),
            drills: BTreeMap::new(),
            drills_begun: 0,
            retired: Vec::new(),
        }
    }

    /// Where its parts of the limits are taken from.
    pub(crate) fn shares(&self) -> &Shares {
        &self.shares
    }

    /// Takes the routes of all ports.
    pub(crate) fn route(&mut self, tables: Vec<RouteTable>) {
        self.book.set_listeners(tables);
    }

    /// The next view.
    pub(crate) fn view(&mut self) -> View {
        let snapshot = self.book.snapshot();
        let (rules, trust) = (self.rules.clone(), self.trust.clone());
        let (relay, crossings) = (self.relay.clone(), self.crossings.clone());
        View { snapshot, settings: self.settings.clone(), rules, trust, relay, crossings }
    }

    /// True once a registry, or its keepsake, has said anything.
    pub(crate) fn knows_something(&self) -> bool {
        !self.table.services.is_empty() || !self.table.regions.is_empty()
    }

    /// Takes a newer table of the registry. True when something is to be published.
    pub(crate) fn follow(&mut self, table: Arc<Table>, now: Moment) -> bool {
        for (key, endpoints) in table.services.changed_since(&self.table.services) {
            let specs = endpoints.map(|endpoints| self.roads.specs(endpoints));
            self.guard.offer(now, Name::Registered(key.clone()), specs);
        }
        if self.roads.learn(&table) {
            // What was offered just now went by the roads before: all goes by the new ones.
            self.offer_all(&table, now);
        }
        self.table = table;
        self.settle(now)
    }

    /// Offers every service of a table anew, because regions are reached otherwise than before.
    fn offer_all(&mut self, table: &Table, now: Moment) {
        for (key, endpoints) in &table.services {
            let specs = self.roads.specs(endpoints);
            self.guard.offer(now, Name::Registered(key.clone()), Some(specs));
        }
    }

    /// Looks at what is due without news. True when something is to be published.
    pub(crate) fn settle(&mut self, now: Moment) -> bool {
        let held_before = self.guard.holding();
        let touched: BTreeSet<Name> = self.guard.settle(&self.live.guard, now);
        for name in &touched {
            match self.guard.shown(name) {
                Some(specs) => self.book.put(name.clone(), specs, &self.live.settings.pick.health, now),
                None => self.book.remove(name, now),
            }
        }
        match (held_before, self.guard.holding()) {
            (false, true) => tracing::error!(
                event = "table_held",
                endpoints = self.guard.held(),
                "the table shrank too fast: what is gone is kept as unverified until it returns or is released"
            ),
            (true, false) => tracing::warn!(event = "table_released", "the table follows the registry again"),
            (false, false) | (true, true) => {}
        }
        self.end_drills(now) || !touched.is_empty()
    }

    /// Ends drills whose time is over. True if there were any.
    fn end_drills(&mut self, now: Moment) -> bool {
        let over: Vec<u64> =
            self.drills.iter().filter(|(_, drill)| now >= drill.until).map(|(id, _)| *id).collect();
        for id in &over {
            self.recall(*id);
        }
        !over.is_empty()
    }

    /// Begins a drill and returns its number, unless too many run.
    pub(crate) fn evacuate(&mut self, drill: Evacuation) -> Option<u64> {
        if self.drills.len() >= EVACUATIONS_MAX {
            return None;
        }
        self.drills_begun += 1;
        tracing::warn!(event = "evacuation_begun", id = self.drills_begun, ?drill, "calls leave a place");
        self.drills.insert(self.drills_begun, Arc::new(drill));
        self.set_drills();
        Some(self.drills_begun)
    }

    /// Ends a drill. False if none has this number.
    pub(crate) fn recall(&mut self, id: u64) -> bool {
        let known = self.drills.remove(&id).is_some();
        if known {
            tracing::warn!(event = "evacuation_ended", id, "calls come back");
            self.set_drills();
        }
        known
    }

    fn set_drills(&mut self) {
        self.book.set_evacuations(self.drills.values().cloned().collect());
    }

    /// The drills that run.
    pub(crate) fn drills(&self) -> Vec<(u64, Arc<Evacuation>)> {
        self.drills.iter().map(|(id, drill)| (*id, drill.clone())).collect()
    }

    /// The moment at which something is due without news.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        let drills = self.drills.values().map(|drill| drill.until).min();
        self.guard.next_deadline(&self.live.guard).into_iter().chain(drills).min()
    }

    /// Gives up what is held. Returns how many endpoints that was.
    pub(crate) fn release(&mut self, now: Moment) -> usize {
        let held = self.guard.held();
        self.guard.release();
        self.settle(now);
        held
    }

    /// Takes changed settings; endpoints, calls in flight and unchanged limits are not touched.
    pub(crate) fn reload(&mut self, live: Live, trust: Option<Arc<Trust>>, now: Moment) {
        self.trust = trust;
        if self.live.peers != live.peers {
            self.roads = Roads::new(&live.peers);
            self.crossings = crossing::crossings(&live.peers, &self.crossings);
            let table = self.table.clone();
            self.roads.learn(&table);
            self.offer_all(&table, now);
            self.settle(now);
        }
        let old = &self.live;
        let rules = rules_of(&live, &self.shares, &self.rules);
        // Cores look for their buckets anew where the rules are others.
        if rules.len() != self.rules.len()
            || !rules.iter().zip(&*self.rules).all(|(new, old)| Arc::ptr_eq(new, old))
        {
            self.rules = rules;
        }
        for (name, _) in
            old.statics.iter().filter(|(name, _)| !live.statics.iter().any(|(new, _)| new == name))
        {
            self.book.remove(name, now);
        }
        for (name, specs) in &live.statics {
            self.book.put(name.clone(), specs.clone(), &live.settings.pick.health, now);
        }
        self.book.set_costs(live.costs.clone());
        self.book.set_orders(live.orders.clone());
        self.book.set_listeners(live.routes.clone());
        self.settings = Arc::new(live.settings.clone());
        self.live = live;
    }

    /// Gives the cores a new view.
    pub(crate) fn publish(&mut self, shared: &Shared) {
        let view = self.view();
        metrics::gauge!(TABLE_SERVICES).set(view.snapshot.service_count() as f64);
        metrics::gauge!(TABLE_ENDPOINTS).set(view.snapshot.endpoint_count() as f64);
        metrics::gauge!(TABLE_HELD).set(self.guard.held() as f64);
        metrics::gauge!(EVACUATIONS).set(self.drills.len() as f64);
        metrics::counter!(TABLE_CHANGES).increment(1);
        self.retired.push(shared.view.swap(Arc::new(view)));
        self.forget_retired();
    }

    /// Drops views that no core uses any more. Done here, for on a core the calls would wait for it.
    pub(crate) fn forget_retired(&mut self) {
        self.retired.retain(|view| Arc::strong_count(view) > 1);
        let surplus = self.retired.len().saturating_sub(RETIRED_MAX);
        self.retired.drain(..surplus);
    }
}

/// An endpoint of the registry's table as routing takes it.
pub fn spec_of(endpoint: &Endpoint) -> EndpointSpec {
    EndpointSpec {
        address: endpoint.ip.clone(),
        port: endpoint.port,
        cluster: endpoint.cluster.clone(),
        region: endpoint.origin.clone(),
        zone: endpoint.zone.clone(),
        weight: endpoint.weight,
        healthy: endpoint.healthy,
        unverified: endpoint.unverified,
        stale: endpoint.stale,
        speech: Speech::of(&endpoint.metadata),
    }
}

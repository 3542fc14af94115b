//! Writes the views that all cores read: from the registry's table, the static endpoints and the routes.
//!
//! Invariant: a view is replaced as a whole, never changed; services nothing was said about are carried over as they are.

use std::{collections::BTreeSet, sync::Arc};

use landbridge_client::{Endpoint, Table};
use landbridge_gateway_core::{Book, EndpointSpec, Guard, Name};
use landbridge_model::Moment;

use crate::{
    config::{Config, Live},
    limiter::Rule,
    metrics::{TABLE_CHANGES, TABLE_ENDPOINTS, TABLE_HELD, TABLE_SERVICES},
    view::{Shared, View},
};

/// What the next view is made of.
pub(crate) struct Writer {
    book: Book,
    guard: Guard,
    live: Live,
    rules: Arc<[Arc<Rule>]>,
    table: Arc<Table>,
}

fn rules_of(live: &Live) -> Arc<[Arc<Rule>]> {
    live.settings.limits.iter().map(|limit| Rule::new(limit, live.settings.limiter_keys_max)).collect()
}

impl Writer {
    /// A writer that knows the config and nothing of a registry.
    pub(crate) fn new(config: &Config, now: Moment) -> Self {
        let live = config.live.clone();
        let mut book = Book::new(config.home.clone(), live.costs.clone(), live.routes.clone());
        for (name, specs) in &live.statics {
            book.put(name.clone(), specs.clone(), &live.settings.pick.health, now);
        }
        let rules = rules_of(&live);
        Self { book, guard: Guard::default(), rules, live, table: Arc::default() }
    }

    /// The next view.
    pub(crate) fn view(&mut self) -> View {
        let snapshot = self.book.snapshot();
        View { snapshot, settings: self.live.settings.clone(), rules: self.rules.clone() }
    }

    /// True once a registry, or its keepsake, has said anything.
    pub(crate) fn knows_something(&self) -> bool {
        !self.table.services.is_empty() || !self.table.regions.is_empty()
    }

    /// Takes a newer table of the registry. True when something is to be published.
    pub(crate) fn follow(&mut self, table: Arc<Table>, now: Moment) -> bool {
        for (key, endpoints) in &table.services {
            let same = |old: &Arc<[Endpoint]>| Arc::ptr_eq(old, endpoints) || old == endpoints;
            if !self.table.services.get(key).is_some_and(same) {
                let specs = endpoints.iter().filter(|endpoint| endpoint.enabled).map(spec_of).collect();
                self.guard.offer(now, Name::Registered(key.clone()), Some(specs));
            }
        }
        for key in self.table.services.keys().filter(|key| !table.services.contains_key(*key)) {
            self.guard.offer(now, Name::Registered(key.clone()), None);
        }
        self.table = table;
        self.settle(now)
    }

    /// Looks at what is due without news. True when something is to be published.
    pub(crate) fn settle(&mut self, now: Moment) -> bool {
        let held_before = self.guard.holding();
        let touched: BTreeSet<Name> = self.guard.settle(&self.live.guard, now);
        for name in &touched {
            match self.guard.shown(name) {
                Some(specs) => self.book.put(name.clone(), specs, &self.live.settings.pick.health, now),
                None => self.book.remove(name),
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
        !touched.is_empty()
    }

    /// The moment at which something is due without news.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.guard.next_deadline(&self.live.guard)
    }

    /// Gives up what is held. Returns how many endpoints that was.
    pub(crate) fn release(&mut self, now: Moment) -> usize {
        let held = self.guard.held();
        self.guard.release();
        self.settle(now);
        held
    }

    /// Takes changed settings; endpoints, calls in flight and unchanged limits are not touched.
    pub(crate) fn reload(&mut self, live: Live, now: Moment) {
        let old = &self.live;
        let same_limits = |(old, new): (&crate::config::Limit, &crate::config::Limit)| {
            old.by == new.by
                && old.services == new.services
                && old.requests_per_second == new.requests_per_second
                && old.burst == new.burst
        };
        let (before, after) = (&old.settings.limits, &live.settings.limits);
        if before.len() != after.len() || !before.iter().zip(after).all(same_limits) {
            self.rules = rules_of(&live);
        }
        for (name, _) in
            old.statics.iter().filter(|(name, _)| !live.statics.iter().any(|(new, _)| new == name))
        {
            self.book.remove(name);
        }
        for (name, specs) in &live.statics {
            self.book.put(name.clone(), specs.clone(), &live.settings.pick.health, now);
        }
        self.book.set_costs(live.costs.clone());
        self.book.set_listeners(live.routes.clone());
        self.live = live;
    }

    /// Gives the cores a new view.
    pub(crate) fn publish(&mut self, shared: &Shared) {
        let view = self.view();
        let endpoints: usize = view.snapshot.services().iter().map(|service| service.endpoints().len()).sum();
        metrics::gauge!(TABLE_SERVICES).set(view.snapshot.services().len() as f64);
        metrics::gauge!(TABLE_ENDPOINTS).set(endpoints as f64);
        metrics::gauge!(TABLE_HELD).set(self.guard.held() as f64);
        metrics::counter!(TABLE_CHANGES).increment(1);
        shared.view.store(Arc::new(view));
    }
}

fn spec_of(endpoint: &Endpoint) -> EndpointSpec {
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
    }
}

//! The reference model: what should be visible where, once nothing is on its way any more.
//!
//! It knows only what clients were told, what Raft committed and what the policies let out; nothing of feeds or copies.

use std::collections::{BTreeMap, BTreeSet};

use landbridge_feed::Holder;
use landbridge_model::{InstanceKey, ServiceKey};

use crate::sim::{invariants::together, names, world::World};

/// One instance of one service.
pub type Place = (ServiceKey, InstanceKey);

/// What must be shown: each instance with the values that it may have. Two clients of one key may both be right.
pub type Expected = BTreeMap<Place, BTreeSet<u64>>;

/// What is shown.
pub type Seen = BTreeMap<Place, u64>;

impl World {
    /// What everybody in `near` must see of `origin`.
    pub fn expected(&self, near: usize, origin: usize) -> Expected {
        let mask = if near == origin { u32::MAX } else { self.mask(origin, near) };
        let mut expected = Expected::new();
        let wanted = self.clients.iter().filter(|client| client.region == origin && client.wants);
        for client in wanted.filter(|client| mask >> client.key & 1 == 1) {
            for instance in client.instances() {
                let values = expected.entry((names::service(client.key), instance)).or_default();
                values.extend(client.acknowledged);
            }
        }
        for (p, value) in self.persistent[origin].iter().filter(|(p, _)| mask >> (8 + **p) & 1 == 1) {
            let place = (names::persistent(*p), names::instance(origin));
            expected.insert(place, [*value].into());
        }
        expected
    }

    /// How a process differs from the model in what it shows of an origin.
    pub fn differs_from_model(&self, n: usize, origin: usize) -> Option<String> {
        let node = &self.nodes[n];
        let expected = self.expected(node.region, origin);
        let region = names::region(origin);
        if let Err(wrong) = together::check(&expected, &shown(node.holder()?, origin)) {
            return Some(format!("node {n} of {region}: {wrong}"));
        }
        let gateway = node.gateway()?;
        if let Err(wrong) = together::check(&expected, &listed(&gateway.table, origin)) {
            return Some(format!("gateway {n} of {region}: {wrong}"));
        }
        if gateway.table.regions.get(&region).is_none_or(|view| view.remembered) {
            return Some(format!("gateway {n} still remembers {region}"));
        }
        (gateway.missed > 0).then(|| format!("{} calls at gateway {n} missed at first", gateway.missed))
    }
}

/// What a holder shows of an origin.
pub fn shown(holder: &Holder, origin: usize) -> Seen {
    let region = names::region(origin);
    let services: Vec<_> = holder.services(&region).collect();
    let all = services.into_iter().flat_map(|service| {
        let shown = holder.shown(&region, &service);
        shown.into_iter().map(move |shown| ((service.clone(), shown.key), names::value_of(&shown.instance)))
    });
    all.collect()
}

/// What a gateway's table lists of an origin.
pub fn listed(table: &landbridge_client::Table, origin: usize) -> Seen {
    let region = names::region(origin);
    let all = table.services.iter().flat_map(|(service, endpoints)| {
        let here = endpoints.iter().filter(|endpoint| endpoint.origin == region);
        here.map(|endpoint| {
            let value = endpoint.metadata.value("v").and_then(|text| text.parse().ok()).unwrap_or(0);
            ((service.clone(), endpoint.key()), value)
        })
    });
    all.collect()
}

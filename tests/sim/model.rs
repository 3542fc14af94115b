//! The reference model: what should be visible where, once nothing is on its way any more.
//!
//! It knows only what clients were told, what Raft committed and what the policies let out; nothing of feeds or copies.

use std::collections::{BTreeMap, BTreeSet};

use landbridge_feed::Holder;
use landbridge_model::{InstanceKey, ServiceKey};

use crate::sim::{names, world::World};

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
        let wrong = difference(&expected, &shown(node.holder()?, origin));
        if let Some(wrong) = wrong {
            return Some(format!("I1/I5/I9 node {n} of {region}: {wrong}"));
        }
        let gateway = node.gateway()?;
        let wrong = difference(&expected, &listed(&gateway.table, origin));
        if let Some(wrong) = wrong {
            return Some(format!("I1/G1 gateway {n} of {region}: {wrong}"));
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
    let services: Vec<_> = holder.services(&region).cloned().collect();
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

/// The first thing that is missing, too much or of a wrong value.
fn difference(expected: &Expected, seen: &Seen) -> Option<String> {
    let lacking = expected.keys().find(|place| !seen.contains_key(*place));
    if let Some((service, instance)) = lacking {
        return Some(format!("{service} {instance:?} is missing"));
    }
    seen.iter().find_map(|((service, instance), value)| {
        let right = expected.get(&(service.clone(), instance.clone()));
        let is_right = right.is_some_and(|values| values.contains(value));
        (!is_right).then(|| format!("{service} {instance:?} shown with {value}, expected {right:?}"))
    })
}

//! What must hold of a gateway's table after every tick, and after a start.

use std::collections::BTreeMap;

use crate::sim::{
    model::{listed, shown},
    names,
    world::{Checked, World},
};

impl World {
    /// G1: the table lists what the holder shows, and of regions that the holder does not have completely also what it
    /// remembers; what comes from a silent region is marked stale.
    pub fn check_table(&self, n: usize) -> Checked {
        let Some(gateway) = self.nodes[n].gateway() else { return Ok(()) };
        for o in 0..self.regions() {
            let region = names::region(o);
            let (seen, table) = (shown(&gateway.holder, o), listed(&gateway.table, o));
            let kept = listed(&gateway.kept, o);
            let remembers = gateway.table.regions.get(&region).is_some_and(|view| view.remembered);
            let mut expected = if remembers { kept } else { BTreeMap::new() };
            expected.extend(seen);
            if table != expected {
                return self
                    .bad(format!("G1 gateway {n} lists {table:?} of {region} instead of {expected:?}"));
            }
            let is_stale = gateway.calls_stale(&region);
            let endpoints = gateway.table.services.values().flat_map(|endpoints| endpoints.iter());
            let mut wrong = endpoints.filter(|e| e.origin == region && !remembers && e.stale != is_stale);
            if let Some(endpoint) = wrong.next() {
                return self.bad(format!(
                    "G1 gateway {n} marks {endpoint:?} wrongly: its region is stale: {is_stale}"
                ));
            }
        }
        Ok(())
    }

    /// G5: a gateway starts with what it kept, all of it unverified, and nothing else.
    pub fn check_keepsake(&self, n: usize) -> Checked {
        let Some(gateway) = self.nodes[n].gateway() else { return Ok(()) };
        let is_same = (0..self.regions()).all(|o| listed(&gateway.table, o) == listed(&gateway.kept, o));
        let mut endpoints = gateway.table.services.values().flat_map(|endpoints| endpoints.iter());
        if !is_same || !endpoints.all(|endpoint| endpoint.unverified) {
            return self.bad(format!("G5 gateway {n} does not start with what it kept"));
        }
        Ok(())
    }
}

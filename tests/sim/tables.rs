//! What must hold of a gateway's table after every tick, and after a start.

use crate::sim::{
    invariants::{
        Invariant, kept,
        listed::{self, Listed},
    },
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
            let remembers = gateway.table.regions.get(&region).is_some_and(|view| view.remembered);
            let endpoints = gateway.table.services.values().flat_map(|endpoints| endpoints.iter());
            let table = Listed {
                shown: shown(&gateway.holder, o),
                remembered: remembers.then(|| listed(&gateway.kept, o)),
                listed: listed(&gateway.table, o),
                is_stale: gateway.calls_stale(&region),
                marks: endpoints.filter(|e| e.origin == region).map(|e| e.stale).collect(),
            };
            let held = listed::check(&table).map_err(|why| format!("{why}: {region}"));
            self.judge_at(n, Invariant::Listed, held)?;
        }
        Ok(())
    }

    /// G5: a gateway starts with what it kept, all of it unverified, and nothing else.
    pub fn check_keepsake(&self, n: usize) -> Checked {
        let Some(gateway) = self.nodes[n].gateway() else { return Ok(()) };
        for o in 0..self.regions() {
            let region = names::region(o);
            let endpoints = gateway.table.services.values().flat_map(|endpoints| endpoints.iter());
            let is_unverified = endpoints.filter(|e| e.origin == region).all(|e| e.unverified);
            let (kept, table) = (listed(&gateway.kept, o), listed(&gateway.table, o));
            self.judge_at(n, Invariant::Kept, kept::check(&kept, &table, is_unverified))?;
        }
        Ok(())
    }
}

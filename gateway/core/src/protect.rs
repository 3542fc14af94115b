//! Holds a table that shrinks too much too fast: an empty answer may only be a broken source.
//!
//! ```text
//! open ── more than half of the table and more than 100 endpoints gone within the window ──▶ holding
//!   ▲                                                                                          │
//!   └── they came back · an operator releases · hold_max_ms passed ────────────────────────────┘
//! ```
//! Invariant: while holding, no endpoint leaves the table; those the source no longer lists are shown as unverified.

use std::collections::{BTreeMap, BTreeSet};

use landbridge_model::{Address, Moment};

use crate::service::{EndpointSpec, Name};

/// When a table is held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GuardRules {
    /// The share of the table that may go within the window.
    pub share_max: f64,
    /// This many endpoints may always go.
    pub floor: usize,
    /// The window in which departures are added up.
    pub window_ms: u64,
    /// The longest time a table is held.
    pub hold_max_ms: u64,
}

/// What tells endpoints of one service apart.
type Place = (Address, u16);

/// Watches a table shrink.
#[derive(Debug, Default)]
pub struct Guard {
    present: BTreeMap<Name, Vec<EndpointSpec>>,
    present_count: usize,
    departed: BTreeMap<Name, BTreeMap<Place, (EndpointSpec, Moment)>>,
    departed_count: usize,
    /// Services with departed endpoints by the moment the first of these left: who is not due is not looked at.
    first_left: BTreeSet<(Moment, Name)>,
    touched: BTreeSet<Name>,
    holding_since: Option<Moment>,
}

impl Guard {
    /// Notes what the source lists for a service; `None` when it no longer lists the service at all.
    pub fn offer(&mut self, now: Moment, name: Name, specs: Option<Vec<EndpointSpec>>) {
        let listed: BTreeSet<Place> = specs.iter().flatten().map(place).collect();
        let old = match specs {
            Some(specs) => {
                self.present_count += specs.len();
                self.present.insert(name.clone(), specs)
            }
            None => self.present.remove(&name),
        };
        let old = old.unwrap_or_default();
        self.present_count -= old.len();
        self.alter_departed(&name, |departed| {
            departed.extend(old.into_iter().map(|spec| (place(&spec), (spec, now))));
            departed.retain(|place, _| !listed.contains(place));
        });
        self.touched.insert(name);
    }

    /// Changes what has departed from one service.
    fn alter_departed(
        &mut self,
        name: &Name,
        change: impl FnOnce(&mut BTreeMap<Place, (EndpointSpec, Moment)>),
    ) {
        let first = |departed: &BTreeMap<Place, (EndpointSpec, Moment)>| {
            departed.values().map(|(_, left)| *left).min().map(|left| (left, name.clone()))
        };
        let mut departed = self.departed.remove(name).unwrap_or_default();
        self.departed_count -= departed.len();
        if let Some(before) = first(&departed) {
            self.first_left.remove(&before);
        }
        change(&mut departed);
        self.departed_count += departed.len();
        if let Some(now) = first(&departed) {
            self.first_left.insert(now);
            self.departed.insert(name.clone(), departed);
        }
    }

    /// Decides after a round of offers, or when a hold may be over. Returns the services whose shown list may differ.
    pub fn settle(&mut self, rules: &GuardRules, now: Moment) -> BTreeSet<Name> {
        if !self.holding() {
            self.forget(rules.window_ms, now);
        }
        let all = self.departed_count + self.present_count;
        let many =
            self.departed_count > rules.floor && self.departed_count as f64 > all as f64 * rules.share_max;
        match (self.holding_since, many) {
            (None, true) => {
                self.holding_since = Some(now);
                self.touched.extend(self.departed.keys().cloned());
            }
            (Some(since), true) if now.since(since) >= rules.hold_max_ms => self.release(),
            (Some(_), false) => self.release(),
            (None, false) | (Some(_), true) => {}
        }
        std::mem::take(&mut self.touched)
    }

    /// What is to be shown for a service; `None` when it is neither listed nor held.
    pub fn shown(&self, name: &Name) -> Option<Vec<EndpointSpec>> {
        let held = self.departed.get(name).filter(|_| self.holding());
        let present = self.present.get(name);
        if held.is_none() && present.is_none() {
            return None;
        }
        let kept = held.into_iter().flat_map(BTreeMap::values);
        let kept = kept.map(|(spec, _)| EndpointSpec { unverified: true, ..spec.clone() });
        Some(present.into_iter().flatten().cloned().chain(kept).collect())
    }

    /// True while departed endpoints are kept in the table.
    pub fn holding(&self) -> bool {
        self.holding_since.is_some()
    }

    /// How many departed endpoints are kept.
    pub fn held(&self) -> usize {
        if self.holding() { self.departed_count } else { 0 }
    }

    /// An operator says that what is gone is gone; the next `settle` tells which services that changes.
    pub fn release(&mut self) {
        self.holding_since = None;
        self.touched.extend(std::mem::take(&mut self.departed).into_keys());
        self.departed_count = 0;
        self.first_left.clear();
    }

    /// The moment at which to settle although the source says nothing new.
    pub fn next_deadline(&self, rules: &GuardRules) -> Option<Moment> {
        self.holding_since.map(|since| since.after(rules.hold_max_ms))
    }

    /// Forgets what left so long ago that it is believed.
    fn forget(&mut self, window_ms: u64, now: Moment) {
        let over = |left: Moment| now.since(left) >= window_ms;
        while let Some((_, name)) = self.first_left.first().filter(|(left, _)| over(*left)).cloned() {
            self.alter_departed(&name, |departed| departed.retain(|_, (_, left)| !over(*left)));
        }
    }
}

fn place(spec: &EndpointSpec) -> Place {
    (spec.address.clone(), spec.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::testing::spec;

    type Table = BTreeMap<Name, Vec<EndpointSpec>>;

    const RULES: GuardRules =
        GuardRules { share_max: 0.5, floor: 100, window_ms: 10_000, hold_max_ms: 600_000 };

    fn table(services: u16, endpoints: u16) -> Table {
        let list = |_| (0..endpoints).map(|port| EndpointSpec { port, ..spec("home", "a") }).collect();
        (0..services).map(|n| (Name::Static(format!("s{n}").into()), list(n))).collect()
    }

    fn size(table: &Table) -> usize {
        table.values().map(Vec::len).sum()
    }

    /// Offers a whole table as a source does, and returns what is shown then.
    fn admitted(guard: &mut Guard, ms: u64, offered: Table) -> Table {
        let names: BTreeSet<_> = guard.present.keys().chain(offered.keys()).cloned().collect();
        for name in names {
            let specs = offered.get(&name).cloned();
            guard.offer(Moment(ms), name, specs);
        }
        guard.settle(&RULES, Moment(ms));
        let names: BTreeSet<_> = guard.present.keys().chain(guard.departed.keys()).cloned().collect();
        names.into_iter().filter_map(|name| Some((name.clone(), guard.shown(&name)?))).collect()
    }

    #[test]
    fn an_emptied_table_is_kept_and_marked_unverified() {
        let mut guard = Guard::default();
        admitted(&mut guard, 0, table(50, 4));

        let kept = admitted(&mut guard, 1, Table::new());

        assert_eq!(size(&kept), 200);
        assert!(kept.values().flatten().all(|spec| spec.unverified));
        assert_eq!(guard.held(), 200);
    }

    #[test]
    fn a_small_table_may_empty_at_once() {
        let mut guard = Guard::default();
        admitted(&mut guard, 0, table(25, 4));

        assert_eq!(size(&admitted(&mut guard, 1, Table::new())), 0);
    }

    #[test]
    fn half_of_a_large_table_may_go() {
        let mut guard = Guard::default();
        admitted(&mut guard, 0, table(100, 4));

        assert_eq!(size(&admitted(&mut guard, 1, table(50, 4))), 200);
        assert!(!guard.holding());
    }

    #[test]
    fn a_table_that_drains_service_by_service_is_restored_when_it_is_too_much() {
        let mut guard = Guard::default();
        for left in (0..=100).rev() {
            admitted(&mut guard, 10 * (100 - left), table(left as u16, 4));
        }

        assert!(guard.holding());
        assert_eq!(size(&admitted(&mut guard, 1_001, Table::new())), 400);
    }

    #[test]
    fn a_slow_drain_is_believed() {
        let mut guard = Guard::default();
        for left in (0..=100).rev() {
            admitted(&mut guard, 10_000 * (100 - left), table(left as u16, 4));
        }

        assert!(!guard.holding());
    }

    #[test]
    fn what_left_is_forgotten_when_its_window_is_over_whatever_left_after_it() {
        let mut guard = Guard::default();
        admitted(&mut guard, 0, table(10, 4));
        let left = |guard: &mut Guard, ms: u64, endpoints| {
            admitted(guard, ms, table(10, endpoints));
            (guard.departed_count, guard.first_left.len())
        };

        assert_eq!(left(&mut guard, 1, 3), (10, 10));
        assert_eq!(left(&mut guard, 5_000, 2), (20, 10));
        assert_eq!(left(&mut guard, 10_001, 2), (10, 10), "what left at 1 is over");
        assert_eq!(left(&mut guard, 10_002, 4), (0, 0), "all are back");
    }

    #[test]
    fn the_hold_ends_when_endpoints_come_back_when_time_is_up_and_when_told() {
        let emptied = || {
            let mut guard = Guard::default();
            admitted(&mut guard, 0, table(100, 4));
            admitted(&mut guard, 1, Table::new());
            guard
        };

        let mut back = emptied();
        assert_eq!(size(&admitted(&mut back, 5, table(60, 4))), 240);
        let mut late = emptied();
        assert_eq!(late.next_deadline(&RULES), Some(Moment(600_001)));
        assert_eq!(size(&admitted(&mut late, 600_001, Table::new())), 0);
        let mut told = emptied();
        told.release();
        assert_eq!(size(&admitted(&mut told, 5, Table::new())), 0);
        assert!(!back.holding() && !late.holding() && !told.holding());
    }

    #[test]
    fn what_comes_anew_during_a_hold_is_listed_and_trusted() {
        let mut guard = Guard::default();
        admitted(&mut guard, 0, table(100, 4));
        admitted(&mut guard, 1, Table::new());

        let kept = admitted(&mut guard, 2, table(1, 5));

        assert_eq!(kept.values().flatten().filter(|spec| !spec.unverified).count(), 5);
        assert_eq!(size(&kept), 401, "four of the four hundred are back, one is new");
    }

    #[test]
    fn a_hold_that_begins_or_ends_names_every_service_it_changes() {
        let mut guard = Guard::default();
        admitted(&mut guard, 0, table(100, 4));
        for n in 0..99 {
            guard.offer(Moment(1), Name::Static(format!("s{n}").into()), None);
        }
        guard.touched.clear();
        assert_eq!(guard.settle(&RULES, Moment(1)).len(), 99);

        guard.release();

        assert_eq!(guard.settle(&RULES, Moment(2)).len(), 99);
    }
}

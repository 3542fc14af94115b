//! What a member remembers of a service beside its instances: its kind, whether it exists, and whether remote ones show.
//!
//! Kind is decided per service: by its first instance, and kept until it has been without local ones for a while.

use std::collections::{BTreeMap, BTreeSet};

use landbridge_model::{Group, Namespace, ServiceKey, ServiceName};

use crate::{
    outcome::Kind,
    settings::{Limits, Visibility},
};

/// What is there of a service at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub ephemeral: usize,
    pub persistent: usize,
    pub healthy: usize,
    pub remote: usize,
    pub defined: bool,
}

/// When remote instances show (visibility `failover`).
///
/// ```text
/// hidden ──too few local for failover_ticks, or none ever──▶ shown ──enough local for the linger──▶ hidden
/// ```
#[derive(Clone, Copy, Debug, Default)]
struct Failover {
    had_local: bool,
    shown: bool,
    /// Since when the other state is due.
    since: Option<u32>,
}

impl Failover {
    /// Looks at the number of healthy local instances; tells whether a later tick may change something.
    fn look(&mut self, healthy: usize, tick: u32, limits: &Limits) -> bool {
        let enough = healthy >= limits.failover_min;
        self.had_local |= enough;
        if enough != self.shown {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(tick);
        let wait = if enough { limits.failover_linger_ticks } else { limits.failover_ticks };
        if !self.had_local || tick.saturating_sub(since) >= wait {
            (self.shown, self.since) = (!self.shown, None);
        }
        self.since.is_some()
    }
}

/// One service.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub revision: u64,
    pub last_ref_ms: u64,
    pub kind: Option<Kind>,
    /// Since when no instance of the own region is there.
    vacant_since: Option<u32>,
    /// Since when nothing at all is there.
    empty_since: Option<u32>,
    conflict: bool,
    failover: Failover,
}

/// All services that exist, by key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Services {
    states: BTreeMap<ServiceKey, State>,
    dirty: BTreeSet<ServiceKey>,
    timed: BTreeSet<ServiceKey>,
    conflicts: u64,
    /// The greatest `lastRefTime` of a service that is forgotten: one of the same name must not start below.
    last_ref_floor_ms: u64,
}

impl Services {
    /// Something about the service changed; tells whether that is news since it was last looked at.
    pub fn touch(&mut self, service: &ServiceKey) -> bool {
        !self.dirty.contains(service) && self.dirty.insert(service.clone())
    }

    /// What has changed since it was last looked at.
    pub fn dirty(&self) -> Vec<ServiceKey> {
        self.dirty.iter().cloned().collect()
    }

    /// Whether it changed since it was last looked at.
    pub fn is_dirty(&self, service: &ServiceKey) -> bool {
        self.dirty.contains(service)
    }

    /// What may change with time alone.
    pub fn timed(&self) -> Vec<ServiceKey> {
        self.timed.iter().cloned().collect()
    }

    /// Looks at a service; tells whether that changed what is shown.
    pub fn look(&mut self, service: &ServiceKey, facts: Facts, tick: u32, limits: &Limits) -> bool {
        self.dirty.remove(service);
        let vacant = facts.ephemeral + facts.persistent == 0;
        let empty = vacant && facts.remote == 0 && !facts.defined;
        if empty && !self.states.contains_key(service) {
            return false;
        }
        let floor = self.last_ref_floor_ms;
        let fresh = || State { last_ref_ms: floor, ..State::default() };
        let state = self.states.entry(service.clone()).or_insert_with(fresh);
        let before = (state.failover.shown, state.kind);
        let conflict = facts.ephemeral > 0 && facts.persistent > 0;
        self.conflicts += u64::from(conflict && !state.conflict);
        state.conflict = conflict;
        let gone_long = state.outlived(vacant, empty, tick, limits);
        state.kind = match (facts.persistent > 0, facts.ephemeral > 0) {
            (true, _) => Some(Kind::Persistent),
            (false, true) => Some(Kind::Ephemeral),
            (false, false) if gone_long => None,
            (false, false) => state.kind,
        };
        let waiting = state.failover.look(facts.healthy, tick, limits) && facts.remote > 0;
        let after = (state.failover.shown, state.kind);
        let over = empty && gone_long;
        if over {
            self.last_ref_floor_ms = self.last_ref_floor_ms.max(state.last_ref_ms);
            self.states.remove(service);
        }
        if !over && (waiting || (vacant && !gone_long)) {
            self.timed.insert(service.clone());
        } else {
            self.timed.remove(service);
        }
        over || before != after
    }

    pub fn state(&self, service: &ServiceKey) -> Option<&State> {
        self.states.get(service)
    }

    pub fn state_mut(&mut self, service: &ServiceKey) -> Option<&mut State> {
        self.states.get_mut(service)
    }

    /// Whether remote instances show now.
    pub fn remote_shown(&self, service: &ServiceKey, visibility: Visibility) -> bool {
        match visibility {
            Visibility::Merge => true,
            Visibility::Hidden => false,
            Visibility::Failover | Visibility::Gateway { .. } => {
                self.states.get(service).is_some_and(|state| state.failover.shown)
            }
        }
    }

    /// All services of a namespace in key order.
    pub fn of(&self, namespace: &Namespace) -> impl Iterator<Item = &ServiceKey> {
        let namespace = namespace.clone();
        // No valid group or service name sorts before these.
        let first = Group::parse("-")
            .ok()
            .zip(ServiceName::parse("!").ok())
            .map(|(group, service)| ServiceKey::new(namespace.clone(), group, service));
        let all = first.map(|first| self.states.range(first..)).into_iter().flatten();
        all.map(|(service, _)| service).take_while(move |service| *service.namespace() == namespace)
    }

    /// How many services exist.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// How often a service was found with instances of both kinds.
    pub fn conflicts(&self) -> u64 {
        self.conflicts
    }
}

impl State {
    /// Counts how long nothing is there; tells whether it is long enough to forget.
    fn outlived(&mut self, vacant: bool, empty: bool, tick: u32, limits: &Limits) -> bool {
        let count = |since: &mut Option<u32>, holds: bool| {
            if !holds {
                *since = None;
                return false;
            }
            tick.saturating_sub(*since.get_or_insert(tick)) >= limits.empty_service_ticks
        };
        let vacant = count(&mut self.vacant_since, vacant);
        let forgotten = count(&mut self.empty_since, empty);
        if empty { forgotten } else { vacant }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits::STANDARD;

    fn key(service: &str) -> ServiceKey {
        ServiceKey::parse("", "", service).unwrap()
    }

    fn looked(services: &mut Services, facts: Facts, ticks: std::ops::Range<u32>) -> Vec<bool> {
        let shown = |services: &Services| services.remote_shown(&key("a"), Visibility::Failover);
        ticks
            .map(|tick| {
                services.look(&key("a"), facts, tick, &LIMITS);
                shown(services)
            })
            .collect()
    }

    const BOTH: Facts = Facts { ephemeral: 2, persistent: 0, healthy: 2, remote: 1, defined: false };
    const SICK: Facts = Facts { healthy: 0, ..BOTH };

    #[test]
    fn remote_ones_appear_after_2_s_without_a_healthy_local_one_and_vanish_30_s_after() {
        let mut services = Services::default();

        assert_eq!(looked(&mut services, BOTH, 0..2), [false, false]);
        assert_eq!(looked(&mut services, SICK, 2..6), [false, false, true, true]);
        assert!(looked(&mut services, BOTH, 6..36).into_iter().all(|shown| shown));
        assert_eq!(looked(&mut services, BOTH, 36..37), [false]);
    }

    #[test]
    fn remote_ones_appear_at_once_where_no_healthy_local_one_ever_was() {
        let mut services = Services::default();

        assert_eq!(looked(&mut services, Facts { remote: 1, ..Facts::default() }, 0..1), [true]);
    }

    #[test]
    fn a_short_dip_shows_no_remote_ones() {
        let mut services = Services::default();
        looked(&mut services, BOTH, 0..1);

        assert_eq!(looked(&mut services, SICK, 1..3), [false, false]);
        assert_eq!(looked(&mut services, BOTH, 3..4), [false]);
        assert_eq!(looked(&mut services, SICK, 4..6), [false, false], "the wait starts anew");
    }

    #[test]
    fn a_service_is_remembered_for_60_s_after_its_last_instance() {
        let mut services = Services::default();
        let full = Facts { ephemeral: 1, healthy: 1, ..Facts::default() };
        services.look(&key("a"), full, 0, &LIMITS);

        let there = |services: &mut Services, tick| {
            services.look(&key("a"), Facts::default(), tick, &LIMITS);
            services.state(&key("a")).map(|state| state.kind)
        };

        assert_eq!(there(&mut services, 1), Some(Some(Kind::Ephemeral)));
        assert_eq!(there(&mut services, 60), Some(Some(Kind::Ephemeral)));
        assert_eq!(there(&mut services, 61), None);
        assert!(services.timed().is_empty());
    }

    #[test]
    fn a_defined_service_takes_the_type_of_its_first_instance_again_after_60_s_without_any() {
        let mut services = Services::default();
        let defined = Facts { defined: true, ..Facts::default() };
        let kind = |services: &mut Services, facts, tick| {
            services.look(&key("a"), facts, tick, &LIMITS);
            services.state(&key("a")).and_then(|state| state.kind)
        };

        assert_eq!(kind(&mut services, defined, 0), None);
        assert_eq!(kind(&mut services, Facts { persistent: 1, ..defined }, 1), Some(Kind::Persistent));
        assert_eq!(kind(&mut services, defined, 2), Some(Kind::Persistent));
        assert_eq!(kind(&mut services, defined, 62), None);
        assert_eq!(kind(&mut services, Facts { ephemeral: 1, ..defined }, 63), Some(Kind::Ephemeral));
    }

    #[test]
    fn a_race_of_both_kinds_is_counted_once() {
        let mut services = Services::default();
        let both = Facts { ephemeral: 1, persistent: 1, ..Facts::default() };

        services.look(&key("a"), both, 0, &LIMITS);
        services.look(&key("a"), both, 1, &LIMITS);

        assert_eq!(services.conflicts(), 1);
        assert_eq!(services.state(&key("a")).and_then(|state| state.kind), Some(Kind::Persistent));
    }

    #[test]
    fn a_namespace_lists_its_own_services_only() {
        let mut services = Services::default();
        let there = Facts { ephemeral: 1, ..Facts::default() };
        for (namespace, group, service) in
            [("a", "g", "x"), ("b", "-", "!"), ("b", "h", "y"), ("c", "g", "z")]
        {
            services.look(&ServiceKey::parse(namespace, group, service).unwrap(), there, 0, &LIMITS);
        }

        let of_b: Vec<_> = services.of(&Namespace::parse("b").unwrap()).map(ServiceKey::grouped).collect();

        assert_eq!(of_b, ["-@@!", "h@@y"]);
    }
}

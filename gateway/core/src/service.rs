//! One service as the gateway sees it: its endpoints, the ladder for callers of this place, and what is learned.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use ecow::EcoString;
use landbridge_model::{Address, Cluster, Moment, Region, ServiceKey, Zone};

use crate::{
    endpoint::{EndpointState, HealthRules, Outcome, PROBATION_MS, Turn},
    ladder::{Ladder, Terms},
    slowness::Stay,
    speech::Speech,
};

/// What a route leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// A service of the registry.
    Registered(ServiceKey),
    /// A list of endpoints in the gateway's own config.
    Static(EcoString),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registered(key) => key.fmt(f),
            Self::Static(name) => write!(f, "static:{name}"),
        }
    }
}

/// An endpoint as a table or a config lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSpec {
    /// Its address: an IP address or a host name.
    pub address: Address,
    /// Its port.
    pub port: u16,
    /// Nacos's label inside the service.
    pub cluster: Cluster,
    /// The region where it was registered.
    pub region: Region,
    /// Its zone.
    pub zone: Zone,
    /// Its share of traffic; one of weight 0 is not listed at all.
    pub weight: f64,
    /// What its registry says of its health.
    pub healthy: bool,
    /// Its writer is silent.
    pub unverified: bool,
    /// Its region's link is silent.
    pub stale: bool,
    /// How it wants to be spoken to.
    pub speech: Speech,
}

/// An endpoint of a snapshot: what was listed, and the shared state.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// What was listed.
    pub spec: EndpointSpec,
    /// What all cores learn of it.
    pub state: Arc<EndpointState>,
}

impl std::ops::Deref for Endpoint {
    type Target = EndpointSpec;

    fn deref(&self) -> &EndpointSpec {
        &self.spec
    }
}

/// What all cores know of one service besides its endpoints; it survives snapshots.
#[derive(Debug, Default)]
pub(crate) struct ServiceState {
    /// The moment by which every ejection, probation and slow start so far is over: before it, endpoints are looked
    /// at one by one.
    horizon: AtomicU64,
    /// What the own zone keeps while it is slow.
    pub(crate) stay: Stay,
}

/// One service of a snapshot.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: Name,
    serial: u64,
    pub(crate) endpoints: Box<[Endpoint]>,
    pub(crate) home: Ladder,
    near: OnceLock<Ladder>,
    pub(crate) state: Arc<ServiceState>,
}

impl Service {
    pub(crate) fn new(
        name: Name,
        serial: u64,
        endpoints: Vec<Endpoint>,
        home: &Terms<'_>,
        state: Arc<ServiceState>,
    ) -> Self {
        let home = Ladder::new(home, &endpoints).of_home(true);
        Self { name, serial, endpoints: endpoints.into(), home, near: OnceLock::new(), state }
    }

    /// A number no other service of this process ever had.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Its endpoints.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// One endpoint by its position.
    pub fn endpoint(&self, position: u32) -> &Endpoint {
        &self.endpoints[position as usize]
    }

    /// The ladder for callers of the gateway's own place.
    pub fn home(&self) -> &Ladder {
        &self.home
    }

    /// The same for callers of other regions who came to have it answered here: it never leaves the region.
    pub fn near(&self) -> &Ladder {
        self.near.get_or_init(|| self.home.near())
    }

    /// True when all endpoints are in rotation and grown: what the snapshot counted beforehand holds.
    pub(crate) fn calm(&self, now: Moment) -> bool {
        self.state.horizon.load(Relaxed) <= now.0
    }

    /// Looks at endpoints one by one until then.
    pub(crate) fn watch_until(&self, moment: Moment) {
        self.state.horizon.fetch_max(moment.0, Relaxed);
    }

    /// Learns from a call that ended, and tells what that changed.
    pub fn report(&self, position: u32, rules: &HealthRules, now: Moment, outcome: Outcome) -> Turn {
        let endpoint = self.endpoint(position);
        let turn = self.turned(endpoint.state.report(rules, now, outcome));
        self.state.stay.look(rules, self, endpoint, now);
        turn
    }

    /// Learns from a probe, and tells what that changed; see [`EndpointState::report_probe`].
    pub fn report_probe(
        &self,
        position: u32,
        rules: &HealthRules,
        now: Moment,
        passed: bool,
        proves: bool,
    ) -> Turn {
        self.turned(self.endpoint(position).state.report_probe(rules, now, passed, proves))
    }

    fn turned(&self, turn: Turn) -> Turn {
        match turn {
            Turn::Stays => {}
            Turn::Ejected { until } => self.watch_until(until.after(PROBATION_MS)),
            Turn::Returned { grown } => self.watch_until(grown),
        }
        turn
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::ladder::{Caller, Costs};

    pub(crate) const RULES: HealthRules = HealthRules {
        failures_max: 3,
        probe_failures_max: 2,
        failure_share_max: 0.5,
        share_calls_min: 20,
        eject_ms: 1_000,
        eject_max_ms: 30_000,
        failure_penalty_us: 1_000_000,
        latency_decay_ms: 3_000,
        slow_start_ms: 5_000,
        slow_floor_us: 100_000,
        slow_factor: 5.0,
    };

    pub(crate) fn region(name: &str) -> Region {
        Region::parse(name).unwrap()
    }

    pub(crate) fn caller(region: &str, zone: &str) -> Caller {
        Caller { region: Region::parse(region).unwrap(), zone: Zone::parse(zone).unwrap() }
    }

    pub(crate) fn spec(region: &str, zone: &str) -> EndpointSpec {
        EndpointSpec {
            address: Address::parse("10.0.0.1").unwrap(),
            port: 80,
            cluster: Cluster::parse("").unwrap(),
            region: Region::parse(region).unwrap(),
            zone: Zone::parse(zone).unwrap(),
            weight: 1.0,
            healthy: true,
            unverified: false,
            stale: false,
            speech: Speech::default(),
        }
    }

    impl EndpointSpec {
        pub(crate) fn stale(self) -> Self {
            Self { stale: true, ..self }
        }

        pub(crate) fn unverified(self) -> Self {
            Self { unverified: true, ..self }
        }

        pub(crate) fn unhealthy(self) -> Self {
            Self { healthy: false, ..self }
        }

        pub(crate) fn weighing(self, weight: f64) -> Self {
            Self { weight, ..self }
        }
    }

    pub(crate) fn endpoints(specs: impl IntoIterator<Item = EndpointSpec>) -> Vec<Endpoint> {
        let one = |(serial, spec)| Endpoint {
            spec: EndpointSpec { port: 1_000 + serial as u16, ..spec },
            state: Arc::new(EndpointState::new(serial, 0.0, Moment(0))),
        };
        (0..).zip(specs).map(one).collect()
    }

    /// A service as callers of `home`/`a` see it.
    pub(crate) fn service(specs: impl IntoIterator<Item = EndpointSpec>) -> Service {
        leaving(specs, &[])
    }

    /// The same while drills run.
    pub(crate) fn leaving(
        specs: impl IntoIterator<Item = EndpointSpec>,
        leaving: &[Arc<crate::evacuation::Evacuation>],
    ) -> Service {
        let (home, costs) = (caller("home", "a"), Costs::default());
        let terms = Terms { caller: &home, costs: &costs, order: &[], leaving };
        Service::new(Name::Static("s".into()), 0, endpoints(specs), &terms, Arc::default())
    }

    /// Takes one endpoint out of rotation until a second after `ms`.
    pub(crate) fn eject(service: &Service, position: u32, ms: u64) {
        for _ in 0..RULES.failures_max {
            service.report(position, &RULES, Moment(ms), Outcome::Failed { latency_us: 10 });
        }
    }
}

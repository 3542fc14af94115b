//! Service ports (visibility `gateway`): the leader has services of other regions given one, and clients are shown gateways.
//!
//! Invariant: a service keeps its port as long as anybody knows the service, and for a day after.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

use landbridge_model::{GATEWAYS, Instance, InstanceKey, Metadata, Record, RecordKey, ServiceKey};

use super::Member;
use crate::{
    input::{Effect, Leading},
    settings::Visibility,
    state::Command,
    view::{Host, VIA},
};

/// Ports that are asked for in one tick; further services wait for the next.
const ASKED_MAX: usize = 16;

/// How long a port outlives its service.
const LINGER_TICKS: u32 = 86_400;

/// How often the leader asks, and looks for ports of services that are gone.
const LOOK_TICKS: u32 = 2;

/// What gateways register as.
static GATEWAY_SERVICE: LazyLock<ServiceKey> =
    LazyLock::new(|| ServiceKey::parse("", "", GATEWAYS).expect("a constant that is a valid name"));

/// The ports that services have, and who wants one.
#[derive(Debug, Default)]
pub(super) struct Doors {
    given: BTreeMap<ServiceKey, u16>,
    wanting: BTreeSet<ServiceKey>,
    /// Services with a port that nobody knows, since which own tick.
    idle: BTreeMap<ServiceKey, u32>,
}

impl Doors {
    /// The region's decisions are read anew.
    pub(super) fn forget(&mut self) {
        self.given.clear();
    }

    /// Takes a change of the region's decisions in.
    pub(super) fn note(&mut self, key: &RecordKey, record: Option<&Record>) {
        let RecordKey::Port(service) = key else { return };
        if let Some(Record::Port(port)) = record {
            self.given.insert(service.clone(), *port);
            self.wanting.remove(service);
        } else {
            self.given.remove(service);
        }
    }

    /// What the leader proposes: a port for each service that wants one, and the end of those that outlived theirs.
    fn propose(
        &mut self,
        ports: (u16, u16),
        tick: u32,
        is_known: impl Fn(&ServiceKey) -> bool,
    ) -> Vec<Command> {
        let inside = |port: &u16| (ports.0..=ports.1).contains(port);
        let moved = self.given.iter().filter(|(_, port)| !inside(port)).map(|(service, _)| service);
        let asked = self.wanting.iter().chain(moved).take(ASKED_MAX);
        let mut commands: Vec<_> =
            asked.map(|service| Command::AssignPort { service: service.clone(), range: ports }).collect();
        let given = &self.given;
        self.idle.retain(|service, _| given.contains_key(service) && !is_known(service));
        for service in given.keys().filter(|service| !is_known(service)) {
            let since = *self.idle.entry(service.clone()).or_insert(tick);
            if tick.saturating_sub(since) >= LINGER_TICKS {
                commands.push(Command::ReleasePort { service: service.clone() });
            }
        }
        commands
    }
}

impl Member {
    /// Notes whether a service is to have a port.
    pub(super) fn want_port(&mut self, service: &ServiceKey, is_far: bool) {
        let Visibility::Gateway { .. } = self.settings.visibility else { return };
        let wants = is_far && *service != *GATEWAY_SERVICE && !self.doors.given.contains_key(service);
        if wants {
            self.doors.wanting.insert(service.clone());
        } else {
            self.doors.wanting.remove(service);
        }
    }

    pub(super) fn give_ports(&mut self, leading: Option<Leading>, effects: &mut Vec<Effect>) {
        let Visibility::Gateway { ports } = self.settings.visibility else { return };
        let leads = leading.is_some_and(|leading| leading.quorum);
        if leads && self.founded && self.tick.is_multiple_of(LOOK_TICKS) {
            let services = &self.services;
            let commands = self.doors.propose(ports, self.tick, |service| services.state(service).is_some());
            effects.extend(commands.into_iter().map(|command| Effect::Propose { ticket: None, command }));
        }
    }

    /// Where gateways stand for other services, a change of the gateways is one of those.
    pub(super) fn touch_doors(&mut self, service: &ServiceKey, effects: &mut Vec<Effect>) {
        let by_gateway = matches!(self.settings.visibility, Visibility::Gateway { .. });
        if by_gateway && *service == *GATEWAY_SERVICE {
            let others: Vec<_> = self.doors.given.keys().cloned().collect();
            for other in others {
                self.touch(&other, effects);
            }
        }
    }

    /// Adds the region's gateways at the service's port; tells how many places were not free.
    pub(super) fn gateways(&self, service: &ServiceKey, hosts: &mut Vec<Host>) -> usize {
        let Some(port) = self.doors.given.get(service) else { return 0 };
        let is_far = self.others().any(|region| !self.shown_of(region, service).is_empty());
        if !is_far {
            return 0;
        }
        let mut shadowed = 0;
        for shown in self.holder.shown(&self.settings.region, &GATEWAY_SERVICE) {
            if !shown.instance.healthy || !shown.instance.enabled {
                continue;
            }
            let key = InstanceKey { port: *port, ..shown.key };
            let at = match hosts.binary_search_by(|host| host.key.cmp(&key)) {
                Ok(_) => {
                    shadowed += 1;
                    continue;
                }
                Err(at) => at,
            };
            let metadata = Metadata::new([(VIA.into(), "gateway".into())]).unwrap_or_default();
            let instance = Arc::new(Instance { weight: shown.instance.weight, ..Instance::plain(metadata) });
            let (persistent, origin, stale, slot) = (false, None, false, None);
            let unverified = shown.unverified;
            hosts.insert(at, Host { key, instance, persistent, origin, unverified, stale, slot });
        }
        shadowed
    }
}

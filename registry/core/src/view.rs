//! What a service looks like to plain clients: the own region's instances, and those of others as visibility says.

use std::sync::Arc;

use landbridge_model::{Cluster, Instance, InstanceKey, Metadata, Region, ServiceKey};

use crate::{board::BeatSlot, outcome::Kind};

/// The metadata key under which an imported instance names its region.
pub const ORIGIN: &str = "landbridge.origin";

/// One service as this member shows it at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceView {
    /// Which service.
    pub service: ServiceKey,
    /// Counts up with every view of the service.
    pub revision: u64,
    /// Nacos's `lastRefTime`: strictly rising per service, also across members of a region.
    pub last_ref_ms: u64,
    /// Whether someone defined it.
    pub defined: bool,
    /// What its instances are, none before the first.
    pub kind: Option<Kind>,
    /// Below this share of healthy instances all are answered as healthy.
    pub protect_threshold: f64,
    /// The service's own metadata.
    pub metadata: Metadata,
    /// Its instances in key order, disabled ones included; keys are unique.
    pub hosts: Vec<Host>,
    /// How many imported instances are not shown because a nearer one has their key.
    pub shadowed: usize,
}

/// One instance in a view.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Which.
    pub key: InstanceKey,
    /// As registered, under its overlay; an imported one carries [`ORIGIN`] in its metadata.
    pub instance: Arc<Instance>,
    /// Whether the registry vouches for it rather than a client.
    pub persistent: bool,
    /// The region it was born in, none for the own one.
    pub origin: Option<Region>,
    /// Whether its writer is silent, or its removal is held back.
    pub unverified: bool,
    /// Whether its region's link is silent.
    pub stale: bool,
    /// Where its beats are noted, if this member keeps its lease.
    pub slot: Option<BeatSlot>,
}

/// Which instances a client wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of these clusters, all if empty.
    pub clusters: Vec<Cluster>,
    /// Only healthy ones.
    pub healthy_only: bool,
}

/// What a client gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection<'a> {
    /// The enabled instances that pass the filter, in key order.
    pub hosts: Vec<&'a Host>,
    /// The protection threshold is reached: every host is to be written as healthy.
    pub protected: bool,
}

impl ServiceView {
    /// The instance of this key.
    pub fn host(&self, key: &InstanceKey) -> Option<&Host> {
        let at = self.hosts.binary_search_by(|host| host.key.cmp(key)).ok()?;
        Some(&self.hosts[at])
    }

    /// Whether plain clients would be answered the same by both; marks and numbers that they never see are left out.
    pub fn answers_like(&self, other: &Self) -> bool {
        let same = |(a, b): (&Host, &Host)| {
            a.key == b.key && a.persistent == b.persistent && a.instance == b.instance
        };
        self.protect_threshold == other.protect_threshold
            && self.hosts.len() == other.hosts.len()
            && self.hosts.iter().zip(&other.hosts).all(same)
    }

    /// Selects as Nacos 2.x does (`selectInstancesWithHealthyProtection`): clusters, enabled, health, then the
    /// threshold, which is reached with `healthy / total <= threshold`.
    pub fn select(&self, filter: &Filter) -> Selection<'_> {
        let passes = |host: &&Host| {
            host.instance.enabled
                && (filter.clusters.is_empty() || filter.clusters.contains(&host.key.cluster))
                && (host.instance.healthy || !filter.healthy_only)
        };
        let hosts: Vec<&Host> = self.hosts.iter().filter(passes).collect();
        let healthy = hosts.iter().filter(|host| host.instance.healthy).count();
        let protected = !hosts.is_empty() && healthy as f64 / hosts.len() as f64 <= self.protect_threshold;
        Selection { hosts, protected }
    }
}

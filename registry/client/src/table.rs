//! What a gateway knows: for each service the endpoints of all regions, and how each region stands.

use std::{collections::BTreeMap, sync::Arc};

use landbridge_model::{Address, Cluster, InstanceKey, Metadata, Region, ServiceKey, Zone};

pub use landbridge_feed::Standing;

use crate::shelved::Shelved;

/// One address of a service, as a gateway sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// The address.
    pub ip: Address,
    /// The port.
    pub port: u16,
    /// Nacos's label inside the service.
    pub cluster: Cluster,
    /// The region it was born in, set from the peer's certificate.
    pub origin: Region,
    /// The failure domain its metadata names.
    pub zone: Zone,
    /// Share of traffic, 0 to 10,000; 0 means none.
    pub weight: f64,
    /// What its client or a probe says of it.
    pub healthy: bool,
    /// False keeps it out of use.
    pub enabled: bool,
    /// Its writer is silent, or it is remembered from before this process started.
    pub unverified: bool,
    /// Its origin's link is silent: the last that was heard.
    pub stale: bool,
    /// Free pairs, for routes that select by them.
    pub metadata: Metadata,
}

impl Endpoint {
    /// What tells it from the others of its origin.
    pub fn key(&self) -> InstanceKey {
        InstanceKey { ip: self.ip.clone(), port: self.port, cluster: self.cluster.clone() }
    }
}

/// How a region stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionView {
    /// Live, suspect or frozen.
    pub standing: Standing,
    /// Milliseconds since a heartbeat of any of its feeds last advanced here.
    pub age_ms: u64,
    /// Whether what is shown of it comes, at least in part, from the keepsake.
    pub remembered: bool,
}

/// Everything a gateway routes by; never changed, only replaced. A copy shares with its original what is the same in both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Endpoints by service, ordered by origin and key.
    pub services: Shelved<Arc<[Endpoint]>>,
    /// How each known region stands.
    pub regions: BTreeMap<Region, RegionView>,
    /// Under which port the region's gateways carry connections to a service, as the registry has given them.
    pub ports: Shelved<u16>,
}

impl Table {
    /// The endpoints of a service, none when it is unknown.
    pub fn endpoints(&self, service: &ServiceKey) -> &[Endpoint] {
        self.services.get(service).map_or(&[], |endpoints| endpoints)
    }
}

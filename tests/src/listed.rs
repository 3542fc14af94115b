//! Instances as a registry lists them for gateways.

use landbridge_client::Endpoint;
use landbridge_model::{Address, Cluster, Metadata, Region, Zone};

/// An instance in zone a of a region, with which all is well.
pub fn listed(origin: &str, ip: &str, port: u16, metadata: &[(&str, &str)]) -> Endpoint {
    let pairs = metadata.iter().map(|(key, value)| ((*key).into(), (*value).into()));
    Endpoint {
        ip: Address::parse(ip).expect("an address"),
        port,
        cluster: Cluster::parse("").expect("the default"),
        origin: Region::parse(origin).expect("a region"),
        zone: Zone::parse("a").expect("a zone"),
        weight: 1.0,
        healthy: true,
        enabled: true,
        unverified: false,
        stale: false,
        metadata: Metadata::new(pairs).expect("few pairs"),
    }
}

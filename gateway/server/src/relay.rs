//! Between gateways of two regions: which calls go by the far region's gateways, how they are addressed, and who may send any.
//!
//! For routing, the endpoints of a region that is reached by relay are its gateways: they are chosen, tried, ejected and
//! hedged like any endpoint, and the far gateway chooses among its own.
//!
//! Invariant: a call that came by relay is answered in this region or not at all, so no call can go in circles.
//! Invariant: who asks for a call by relay, and who answers it, is a gateway of this deployment by its certificate.

pub(crate) mod connect;

use std::{
    collections::BTreeMap,
    hash::{Hash as _, Hasher as _},
    io,
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use landbridge_client::{Endpoint as Listed, Table};
use landbridge_gateway_core::{Endpoint, EndpointSpec, Protocol, Service, Speech};
use landbridge_model::{Address, Cluster, Region, ServiceKey, Zone};
use landbridge_runtime::tls::{Identity, PeerName, PeerRole};
use rustc_hash::FxHasher;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{client, server};

use crate::{
    config::PeerRegion, dial, layers::limit::CALLER_REGION, presence::GATEWAYS, refusal::Refusal, view::View,
    writer::spec_of,
};

/// The header that names the service of a call by relay.
const SERVICE: HeaderName = HeaderName::from_static("x-landbridge-service");

/// The regions a call by relay has left, in order.
const PATH: HeaderName = HeaderName::from_static("x-landbridge-path");

/// The metadata key under which a gateway says where other regions' gateways reach it.
pub(crate) const RELAY_PORT_KEY: &str = "landbridge.relay-port";

/// A gateway of another region.
#[derive(Clone, Debug, PartialEq)]
struct Far {
    address: Address,
    port: u16,
    zone: Zone,
    healthy: bool,
}

/// By which way each region is reached.
#[derive(Debug)]
pub(crate) struct Roads {
    peers: Vec<PeerRegion>,
    far: BTreeMap<Region, Vec<Far>>,
}

impl Roads {
    /// The configured ways; gateways that are not configured come from tables.
    pub(crate) fn new(peers: &[PeerRegion]) -> Self {
        let mut roads = Self { peers: peers.to_vec(), far: BTreeMap::new() };
        roads.learn(&Table::default());
        roads
    }

    /// Takes the far gateways of a table in. True if a region is reached otherwise than before.
    pub(crate) fn learn(&mut self, table: &Table) -> bool {
        let relayed = self.peers.iter().filter(|peer| peer.relayed);
        if relayed.clone().next().is_none() {
            return !std::mem::take(&mut self.far).is_empty();
        }
        let service = ServiceKey::parse("", "", GATEWAYS).expect("a constant that is a valid name");
        let listed = table.endpoints(&service);
        let far = relayed.map(|peer| {
            let fixed = peer.gateways.iter().map(|(address, port)| Far {
                address: address.clone(),
                port: *port,
                zone: Zone::unknown(),
                healthy: true,
            });
            let here = listed.iter().filter(|one| one.origin == peer.region && one.enabled);
            let told = here.filter(|_| peer.gateways.is_empty()).filter_map(|one| {
                let port = one.metadata.value(RELAY_PORT_KEY)?.parse().ok()?;
                let (address, zone) = (one.ip.clone(), one.zone.clone());
                Some(Far { address, port, zone, healthy: one.healthy })
            });
            (peer.region.clone(), fixed.chain(told).collect())
        });
        let far = far.collect();
        let changed = self.far != far;
        self.far = far;
        changed
    }

    /// What routing takes for these endpoints of one service.
    pub(crate) fn specs(&self, endpoints: &[Listed]) -> Vec<EndpointSpec> {
        let direct = endpoints.iter().filter(|one| one.enabled && !self.far.contains_key(&one.origin));
        let mut specs: Vec<EndpointSpec> = direct.map(spec_of).collect();
        for (region, gateways) in &self.far {
            let behind: Vec<&Listed> = endpoints
                .iter()
                .filter(|one| one.enabled && one.origin == *region && one.weight > 0.0)
                .collect();
            if behind.is_empty() || gateways.is_empty() {
                continue;
            }
            let weight = behind.iter().map(|one| one.weight).sum::<f64>() / gateways.len() as f64;
            let speech = Speech { protocol: Protocol::Relay, tls_name: None };
            specs.extend(gateways.iter().map(|far| EndpointSpec {
                address: far.address.clone(),
                port: far.port,
                cluster: Cluster::parse("").expect("the default cluster is a valid name"),
                region: region.clone(),
                zone: far.zone.clone(),
                weight,
                healthy: far.healthy && behind.iter().any(|one| one.healthy),
                unverified: behind.iter().all(|one| one.unverified),
                stale: behind.iter().all(|one| one.stale),
                speech: speech.clone(),
            }));
        }
        specs
    }
}

/// What connections to an endpoint belong to: a far gateway has a few for all services together.
pub(crate) fn pool_key(endpoint: &Endpoint) -> u64 {
    if endpoint.speech.protocol != Protocol::Relay {
        return endpoint.state.serial();
    }
    let mut hasher = FxHasher::default();
    (endpoint.address.as_str(), endpoint.port).hash(&mut hasher);
    // No serial number of an endpoint is ever so great.
    hasher.finish() | 1 << 63
}

/// Says to the far gateway what is wanted, and where the call comes from.
pub(crate) fn address(headers: &mut HeaderMap, view: &View, service: &Service) {
    let name = HeaderValue::try_from(service.name.to_string());
    // What cannot stand in a header has no name there, and the far gateway says so.
    headers.insert(SERVICE, name.unwrap_or_else(|_| HeaderValue::from_static("-")));
    let home = HeaderValue::from_str(view.snapshot.home.region.as_str())
        .expect("a region is lower-case letters, digits and dashes");
    if !headers.contains_key(CALLER_REGION) {
        headers.insert(CALLER_REGION, home.clone());
    }
    headers.append(PATH, home);
}

/// Refuses a call by relay that has been in this region before.
pub(crate) fn guard(headers: &HeaderMap, home: &Region) -> Result<(), Refusal> {
    let left = |value: &HeaderValue| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|region| region.trim_ascii() == home.as_str().as_bytes())
    };
    if headers.get_all(PATH).iter().any(left) { Err(Refusal::Loop) } else { Ok(()) }
}

/// Takes away what was meant for this gateway only.
pub(crate) fn unaddress(headers: &mut HeaderMap) {
    headers.remove(SERVICE);
    headers.remove(PATH);
}

/// Opens a connection to a far gateway; the handshake gets as long as the connection before it.
pub(crate) async fn connect(endpoint: &Endpoint, view: &View) -> io::Result<client::TlsStream<TcpStream>> {
    let identity = view.relay.as_ref().ok_or_else(|| io::Error::other("relay is not configured"))?;
    let stream = dial::tcp(endpoint, view).await?;
    let wait = Duration::from_millis(view.settings.upstream.connect_timeout_ms);
    let shaken = timeout(wait, identity.connect(stream)).await;
    let (stream, name) = shaken.map_err(|_| io::ErrorKind::TimedOut)??;
    if name.role == PeerRole::Gateway && name.region == endpoint.region.as_str() {
        Ok(stream)
    } else {
        Err(io::Error::other(format!("{name} is no gateway of {}", endpoint.region)))
    }
}

/// Takes a connection of another gateway in, and tells of which region it is.
pub(crate) async fn accept(
    identity: &Identity,
    stream: TcpStream,
) -> io::Result<(server::TlsStream<TcpStream>, Region)> {
    let (stream, name) = identity.accept(stream).await?;
    let PeerName { role: PeerRole::Gateway, region, .. } = &name else {
        return Err(io::Error::other(format!("{name} is no gateway")));
    };
    let region = Region::parse(region).map_err(io::Error::other)?;
    Ok((stream, region))
}

#[cfg(test)]
mod tests {
    use super::*;
    use landbridge_model::Metadata;

    fn listed(origin: &str, ip: &str, metadata: &[(&str, &str)]) -> Listed {
        let pairs = metadata.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        Listed {
            ip: Address::parse(ip).unwrap(),
            port: 80,
            cluster: Cluster::parse("").unwrap(),
            origin: Region::parse(origin).unwrap(),
            zone: Zone::parse("a").unwrap(),
            weight: 2.0,
            healthy: true,
            enabled: true,
            unverified: false,
            stale: false,
            metadata: Metadata::new(pairs).unwrap(),
        }
    }

    fn relayed(region: &str) -> PeerRegion {
        let region = Region::parse(region).unwrap();
        PeerRegion {
            region,
            relayed: true,
            gateways: Vec::new(),
            requests_per_second: None,
            bytes_per_second: None,
        }
    }

    fn told(specs: &[EndpointSpec]) -> Vec<(String, u16, f64)> {
        specs.iter().map(|spec| (spec.address.to_string(), spec.port, spec.weight)).collect()
    }

    #[test]
    fn a_region_that_is_reached_by_relay_is_its_gateways() {
        let mut roads = Roads::new(&[relayed("west")]);
        let orders = [
            listed("east", "10.0.0.1", &[]),
            listed("west", "10.1.0.1", &[]),
            listed("west", "10.1.0.2", &[]),
        ];
        assert_eq!(told(&roads.specs(&orders)), [("10.0.0.1".to_owned(), 80, 2.0)], "no gateway is known");
        let gateways = [
            listed("west", "10.1.0.8", &[(RELAY_PORT_KEY, "8443")]),
            listed("west", "10.1.0.9", &[(RELAY_PORT_KEY, "8443")]),
            listed("south", "10.2.0.9", &[(RELAY_PORT_KEY, "8443")]),
        ];
        let key = ServiceKey::parse("", "", GATEWAYS).unwrap();
        let table = Table { services: [(key, gateways.into())].into(), ..Table::default() };

        assert!(roads.learn(&table) && !roads.learn(&table));

        let far = [("10.1.0.8".to_owned(), 8443, 2.0), ("10.1.0.9".to_owned(), 8443, 2.0)];
        assert_eq!(told(&roads.specs(&orders))[1..], far);
        assert!(roads.specs(&orders[..1]).len() == 1, "nothing runs there");
    }

    #[test]
    fn a_call_that_has_been_here_is_refused() {
        let home = Region::parse("east").unwrap();
        let path = |text: &'static str| crate::testing::map(&[("x-landbridge-path", text)]);

        assert_eq!(guard(&path("west, east"), &home), Err(Refusal::Loop));
        assert_eq!(guard(&path("west,eastern"), &home), Ok(()));
        assert_eq!(guard(&HeaderMap::new(), &home), Ok(()));
    }
}

//! How the gateway shows itself to its region: as an instance of `landbridge-gateway`, at the ports of services.
//!
//! Invariant: the ports it listens on are the configured ones and those that the registry has given, never others.

use std::net::SocketAddr;

use landbridge_client::{Shelved, Table};
use landbridge_gateway_core::Name;
use landbridge_model::{Address, ServiceKey};
use landbridge_runtime::shutdown::Shutdown;

use crate::{
    config::{Config, ServicePort},
    metrics::{GIVEN_PORTS, GIVEN_PORTS_MISSING},
    ports::Change,
    relay::RELAY_PORT_KEY,
};

/// What gateways register as, in the default namespace and group.
pub(crate) const GATEWAYS: &str = "landbridge-gateway";

/// The metadata key of an instance's failure domain.
const ZONE_KEY: &str = "landbridge.zone";

/// The metadata key of the gateway's own name.
const NAME_KEY: &str = "landbridge.gateway";

/// How many looks (one a second) pass before a port that could not be opened is tried again.
const LOOKS_PER_TRY: u32 = 5;

/// The ports that the registry has given to services, as this gateway is to open them.
#[derive(Debug)]
pub(crate) struct Given {
    listen: Option<std::net::IpAddr>,
    known: Shelved<u16>,
    ports: Vec<ServicePort>,
    missing: usize,
    looks: u32,
}

impl Given {
    /// Nothing is given yet; nothing ever will be to a gateway that does not show itself.
    pub(crate) fn new(config: &Config) -> Self {
        let listen = config.presence.as_ref().map(|presence| presence.listen);
        Self { listen, known: Shelved::default(), ports: Vec::new(), missing: 0, looks: 0 }
    }

    /// Takes a table in. True if other ports are given than before.
    pub(crate) fn take(&mut self, table: &Table) -> bool {
        let Some(listen) = self.listen else { return false };
        if self.known == table.ports {
            return false;
        }
        self.known = table.ports.clone();
        let port = |(service, port): (&ServiceKey, &u16)| ServicePort {
            name: format!("given:{service}").into(),
            listen: SocketAddr::new(listen, *port),
            target: Name::Registered(service.clone()),
            idle_timeout_ms: None,
            proxy_from: Vec::new(),
            proxy_to_endpoints: false,
            http: true,
        };
        self.ports = self.known.iter().map(port).collect();
        true
    }

    /// What is given.
    pub(crate) fn ports(&self) -> &[ServicePort] {
        &self.ports
    }

    /// Notes what became of it.
    pub(crate) fn opened(&mut self, change: &Change) {
        self.missing = change.missing();
        metrics::gauge!(GIVEN_PORTS).set((self.ports.len() - self.missing) as f64);
        metrics::gauge!(GIVEN_PORTS_MISSING).set(self.missing as f64);
    }

    /// True when a port that could not be opened is to be tried again.
    pub(crate) fn is_due(&mut self) -> bool {
        self.looks += 1;
        self.missing > 0 && self.looks.is_multiple_of(LOOKS_PER_TRY)
    }
}

/// Registers the gateway, if it is to show itself, at the port of its first listener. An error is a token that cannot be
/// read.
pub(crate) fn keep(
    config: &Config,
    addresses: &[SocketAddr],
    relay: Option<SocketAddr>,
    shutdown: &Shutdown,
) -> Result<(), String> {
    let (Some(presence), Some(first)) = (&config.presence, addresses.first()) else { return Ok(()) };
    let token = presence.token_file.as_ref().map(|file| {
        let read = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()));
        read.map(|text| text.trim().to_owned())
    });
    let mut metadata = vec![(ZONE_KEY, config.home.zone.to_string()), (NAME_KEY, config.name.to_string())];
    metadata.extend(relay.map(|relay| (RELAY_PORT_KEY, relay.port().to_string())));
    landbridge_client::Presence {
        registries: presence.registries.clone(),
        service: ServiceKey::parse("", "", GATEWAYS).expect("a constant that is a valid name"),
        ip: Address::parse(&presence.address).expect("checked when the config was read"),
        port: first.port(),
        token: token.transpose()?,
        metadata: metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
    }
    .keep(shutdown);
    Ok(())
}

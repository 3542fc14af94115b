//! One end of a carried stream, driven by hand.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use landbridge_carrier::{Carrier, CarrierConfig, Event, Limits, Target};
use landbridge_feed::{Peer, Role};
use landbridge_model::{MemberId, Region};
use landbridge_runtime::{
    shutdown::Shutdown,
    tls::{Identity, PeerRole},
};
use landbridge_wire::feeds::Hello;
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

/// How long anything may take before a test gives up.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Short waits, so that tests of reconnects are quick.
pub const LIMITS: Limits = Limits { reconnect_floor_ms: 20, reconnect_cap_ms: 200, ..Limits::STANDARD };

pub fn region(name: &str) -> Region {
    Region::parse(name).expect("a valid region")
}

/// What an honest process of this identity says of itself.
pub fn hello(identity: &Identity) -> Hello {
    let name = identity.name();
    let role = match name.role {
        PeerRole::Registry => Role::Member(MemberId(name.id.parse().expect("a number"))),
        PeerRole::Bridge => Role::Bridge,
        PeerRole::Gateway | PeerRole::Client => Role::Gateway,
    };
    let peer = Peer { region: region(&name.region), role, id: name.id.as_str().into() };
    Hello::of(name.deployment.as_str().into(), peer)
}

/// A carrier with its events.
pub struct End {
    pub carrier: Carrier,
    pub events: mpsc::Receiver<Event>,
    pub address: SocketAddr,
    shutdown: Shutdown,
}

impl Drop for End {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

impl End {
    /// Starts a carrier that listens on a free port.
    pub async fn start(identity: Identity, neighbours: &[&str]) -> Self {
        let hello = hello(&identity);
        Self::start_as(identity, neighbours, hello).await
    }

    /// As `start`, saying something else of itself.
    pub async fn start_as(identity: Identity, neighbours: &[&str], hello: Hello) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::start_with(identity, neighbours, hello, listener, LIMITS)
    }

    /// As `start`, with a listener and bounds of its own.
    pub fn start_with(
        identity: Identity,
        neighbours: &[&str],
        hello: Hello,
        listener: TcpListener,
        limits: Limits,
    ) -> Self {
        let address = listener.local_addr().expect("bound");
        let neighbours: BTreeSet<Region> = neighbours.iter().map(|name| region(name)).collect();
        let (sender, events) = mpsc::channel(64);
        let shutdown = Shutdown::new();
        let listen = Some(listener);
        let config = CarrierConfig { hello, identity, listen, neighbours, budgets: BTreeMap::new(), limits };
        let carrier = Carrier::start(config, sender, &shutdown);
        Self { carrier, events, address, shutdown }
    }

    /// Keeps a stream with another end.
    pub fn dial(&self, other: &Self, region_name: &str) {
        self.dial_at(other.address, region_name);
    }

    /// Keeps a stream with whoever is at an address.
    pub fn dial_at(&self, address: SocketAddr, region_name: &str) {
        let target = Target { address: address.to_string(), region: region(region_name) };
        self.carrier.dial(BTreeSet::from([target]));
    }

    /// The next event.
    pub async fn next(&mut self) -> Event {
        timeout(DEADLINE, self.events.recv()).await.expect("an event in time").expect("a living carrier")
    }

    /// Waits for the dialled address to fail, and tells why.
    pub async fn failure(&self) -> String {
        landbridge_tests::wait::until_async("a failure to dial", DEADLINE, async || {
            self.carrier.dialled().into_iter().find_map(|target| target.failure)
        })
        .await
    }
}

//! The ports for callers: one socket per core and port, among which the kernel spreads connections.
//!
//! ```text
//! prepare: everything that a config asks for is read and opened, or nothing ─▶ commit: cores take new ports in,
//! kept ports go on under their new terms, ports that are gone take nothing more and let their connections leave
//! ```
//! Invariant: a port that stays is never closed, not even for a moment; one that goes first takes what the kernel holds.

use std::{
    collections::BTreeSet,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use arc_swap::ArcSwap;
use ecow::EcoString;
use landbridge_gateway_core::RouteTable;
use landbridge_runtime::{
    listen::{listen, listen_shared},
    tls::Identity,
};
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Cidr, Config, Listener, ServicePort},
    service_port::{self, Carriage},
    tls,
};

/// How many connections the kernel keeps waiting per core; more are refused by it.
const BACKLOG_MAX: i32 = 4_096;

/// Ports opened in the life of a process, those that were closed included; more need a restart.
pub(crate) const PORTS_MAX: usize = 8_192;

/// How a port treats who comes; may change while it is open.
pub(crate) struct Terms {
    /// Whose connections begin with an introduction (PROXY protocol).
    pub(crate) proxy_from: Vec<Cidr>,
    pub(crate) purpose: Purpose,
}

/// What a port is for.
#[derive(Clone)]
pub(crate) enum Purpose {
    /// HTTP calls.
    Calls {
        /// The position of its routes.
        listener: usize,
        /// What it shows its callers; without one it speaks clear text.
        acceptor: Option<TlsAcceptor>,
    },
    /// One service's connections, unread.
    Service(Arc<Carriage>),
    /// Calls of other gateways.
    Relay {
        /// The position of its routes.
        listener: usize,
        /// Who this gateway is.
        identity: Identity,
    },
}

/// One core's part of a port.
pub(crate) struct Door {
    /// The port's number.
    pub(crate) port: u64,
    pub(crate) socket: TcpListener,
    pub(crate) terms: Arc<ArcSwap<Terms>>,
    /// Cancelled when the port goes, or the process ends.
    pub(crate) closing: CancellationToken,
}

/// What tells a port from the others: two configs that ask for the same keep it open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    calls: bool,
    name: EcoString,
    wanted: SocketAddr,
}

/// An open port.
struct Port {
    key: Key,
    address: SocketAddr,
    /// The position of its routes, if it has any.
    listener: Option<usize>,
    terms: Arc<ArcSwap<Terms>>,
    closing: CancellationToken,
}

/// All open ports.
pub(crate) struct Ports {
    open: Vec<Port>,
    tables: Vec<RouteTable>,
    opened: u64,
    threads: usize,
    identity: Option<Identity>,
    ending: CancellationToken,
    cores: Vec<mpsc::Sender<Door>>,
    addresses: Arc<Mutex<Vec<SocketAddr>>>,
}

/// A port that the next config keeps, or a new one with its sockets.
enum Next {
    Kept(Key, Terms),
    New { key: Key, listener: Option<usize>, terms: Terms, address: SocketAddr, sockets: Vec<TcpListener> },
}

/// What is ready to become of the ports.
pub(crate) struct Change {
    next: Vec<Next>,
    tables: Vec<RouteTable>,
    /// Given ports that could not be opened.
    missing: usize,
}

impl Change {
    /// How many given ports could not be opened.
    pub(crate) fn missing(&self) -> usize {
        self.missing
    }

    /// The routes of all listeners, by the positions that the ports have.
    pub(crate) fn tables(&self) -> Vec<RouteTable> {
        self.tables.clone()
    }
}

impl Ports {
    /// No port yet; all end with `ending`.
    pub(crate) fn new(threads: usize, identity: Option<Identity>, ending: CancellationToken) -> Self {
        let (open, tables, cores) = (Vec::new(), Vec::new(), Vec::new());
        Self { open, tables, opened: 0, threads, identity, ending, cores, addresses: Arc::default() }
    }

    /// Adds a core, which takes its doors from what is returned.
    pub(crate) fn add_core(&mut self) -> mpsc::Receiver<Door> {
        let (sender, doors) = mpsc::channel(PORTS_MAX);
        self.cores.push(sender);
        doors
    }

    /// Where callers come in: listeners, then service ports, in the order of the config that was committed last.
    pub(crate) fn addresses(&self) -> Arc<Mutex<Vec<SocketAddr>>> {
        self.addresses.clone()
    }

    /// Reads and opens what a config asks for beyond what is open, or tells everything that is in the way. Ports that
    /// the registry has `given` to services are left out, and told of, where they cannot be opened.
    pub(crate) fn prepare(&self, config: &Config, given: &[ServicePort]) -> Result<Change, Vec<String>> {
        let mut tables = self.tables.clone();
        let (mut next, mut mistakes) = (Vec::new(), Vec::new());
        let mut note = |name: &EcoString, prepared: Result<Next, String>| match prepared {
            Ok(one) => next.push(one),
            Err(why) => mistakes.push(format!("port {name}: {why}")),
        };
        for (listener, table) in config.listeners.iter().zip(&config.live.routes) {
            let key = Key { calls: true, name: listener.name.clone(), wanted: listener.listen };
            let position = self.of(&key).and_then(|port| port.listener).unwrap_or(tables.len());
            match tables.get_mut(position) {
                Some(known) => *known = table.clone(),
                None => tables.push(table.clone()),
            }
            let terms = terms_of(listener, position);
            note(&listener.name, terms.and_then(|terms| self.next(key, Some(position), terms)));
        }
        for port in &config.service_ports {
            note(&port.name, self.next_service(port, &mut tables));
        }
        if let Some((wanted, identity)) = relay_port(config, self.identity.as_ref()) {
            let (name, table) =
                (EcoString::from(RELAY), RouteTable { by_header: true, ..RouteTable::default() });
            let key = Key { calls: true, name: name.clone(), wanted };
            let listener = self.of(&key).and_then(|port| port.listener).unwrap_or(tables.len());
            if listener == tables.len() {
                tables.push(RouteTable { listener: name.clone(), ..table });
            }
            let purpose = Purpose::Relay { listener, identity: identity.clone() };
            note(&name, self.next(key, Some(listener), Terms { proxy_from: Vec::new(), purpose }));
        }
        let mut missing = 0;
        for port in given {
            match self.next_service(port, &mut tables) {
                Ok(one) => next.push(one),
                Err(error) => {
                    missing += 1;
                    tracing::error!(event = "given_port_not_open", name = %port.name, error, "tried again soon");
                }
            }
        }
        let fresh = next.iter().filter(|one| matches!(one, Next::New { .. })).count();
        if self.opened as usize + fresh > PORTS_MAX {
            mistakes.push(format!("more than {PORTS_MAX} ports since the start: restart"));
        }
        if mistakes.is_empty() { Ok(Change { next, tables, missing }) } else { Err(mistakes) }
    }

    /// A service port; with `http` it has routes of its own, which all lead to its service.
    fn next_service(&self, port: &ServicePort, tables: &mut Vec<RouteTable>) -> Result<Next, String> {
        let key = Key { calls: false, name: port.name.clone(), wanted: port.listen };
        let mut listener = None;
        if port.http {
            let position = self.of(&key).and_then(|port| port.listener).unwrap_or(tables.len());
            let table = service_port::route_all(port);
            match tables.get_mut(position) {
                Some(known) => *known = table,
                None => tables.push(table),
            }
            listener = Some(position);
        }
        self.next(key, listener, carriage_of(port, listener))
    }

    /// Where other gateways call, if they may.
    pub(crate) fn relay(&self) -> Option<SocketAddr> {
        self.open.iter().find(|port| port.key.name == RELAY).map(|port| port.address)
    }

    fn of(&self, key: &Key) -> Option<&Port> {
        self.open.iter().find(|port| port.key == *key)
    }

    fn next(&self, key: Key, listener: Option<usize>, terms: Terms) -> Result<Next, String> {
        if self.of(&key).is_some() {
            return Ok(Next::Kept(key, terms));
        }
        let (address, sockets) = open(key.wanted, self.threads)?;
        Ok(Next::New { key, listener, terms, address, sockets })
    }

    /// Makes a change real. New doors go to the cores; ports that are not in it close.
    pub(crate) fn commit(&mut self, change: Change) {
        let Change { next, tables, missing: _ } = change;
        self.tables = tables;
        let keys: BTreeSet<Key> = next
            .iter()
            .map(|one| match one {
                Next::Kept(key, _) | Next::New { key, .. } => key.clone(),
            })
            .collect();
        let (kept, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.open).into_iter().partition(|port| keys.contains(&port.key));
        self.open = kept;
        let mut addresses = Vec::new();
        for one in next {
            match one {
                Next::Kept(key, terms) => {
                    if let Some(port) = self.of(&key) {
                        port.terms.store(Arc::new(terms));
                        addresses.push(port.address);
                    }
                }
                Next::New { key, listener, terms, address, sockets } => {
                    addresses.push(address);
                    self.show(key, listener, terms, address, sockets);
                }
            }
        }
        for port in gone {
            tracing::info!(event = "port_closing", name = %port.key.name, address = %port.address);
            port.closing.cancel();
        }
        *self.addresses.lock() = addresses;
    }

    /// Hands a new port to all cores.
    fn show(
        &mut self,
        key: Key,
        listener: Option<usize>,
        terms: Terms,
        address: SocketAddr,
        sockets: Vec<TcpListener>,
    ) {
        self.opened += 1;
        let (number, closing) = (self.opened, self.ending.child_token());
        let terms = Arc::new(ArcSwap::from_pointee(terms));
        for (core, socket) in self.cores.iter().zip(sockets) {
            let door = Door { port: number, socket, terms: terms.clone(), closing: closing.clone() };
            if core.try_send(door).is_err() {
                tracing::error!(event = "port_not_served", name = %key.name, "a core takes no port in");
            }
        }
        self.open.push(Port { key, address, listener, terms, closing });
        tracing::debug!(event = "port_open", number, %address);
    }
}

/// The name of the port for other gateways; no listener can have it, for it is no name.
const RELAY: &str = "(relay)";

fn relay_port<'a>(config: &Config, identity: Option<&'a Identity>) -> Option<(SocketAddr, &'a Identity)> {
    config.relay.as_ref().and_then(|relay| relay.listen).zip(identity)
}

fn terms_of(listener: &Listener, position: usize) -> Result<Terms, String> {
    let acceptor = listener.tls.as_ref().map(tls::acceptor).transpose()?;
    let purpose = Purpose::Calls { listener: position, acceptor };
    Ok(Terms { proxy_from: listener.proxy_from.clone(), purpose })
}

fn carriage_of(port: &ServicePort, calls: Option<usize>) -> Terms {
    let carriage = Carriage {
        name: port.name.clone(),
        target: port.target.clone(),
        idle_timeout_ms: port.idle_timeout_ms,
        introduces: port.proxy_to_endpoints,
        calls,
    };
    Terms { proxy_from: port.proxy_from.clone(), purpose: Purpose::Service(Arc::new(carriage)) }
}

/// Opens a socket for each core, and tells which address that is.
fn open(wanted: SocketAddr, threads: usize) -> Result<(SocketAddr, Vec<TcpListener>), String> {
    let mut address = wanted;
    let mut sockets = Vec::with_capacity(threads);
    if address.port() == 0 {
        let first = listen_shared(address, "callers")?;
        address = first.local_addr().map_err(|error| error.to_string())?;
        sockets.push(first.into_std().map_err(|error| error.to_string())?);
    } else {
        // Sockets that share a port would share it with another gateway too, in silence: first see that it is free.
        drop(listen(address, "callers")?);
    }
    while sockets.len() < threads {
        sockets.push(share(address).map_err(|error| format!("cannot listen on {address}: {error}"))?);
    }
    Ok((address, sockets))
}

/// One more socket on a port.
fn share(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG_MAX)?;
    Ok(socket.into())
}

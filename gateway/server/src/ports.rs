//! Opens the ports for calls: one socket per core and listener, among which the kernel spreads connections.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use landbridge_runtime::listen::{listen, listen_shared};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{config::Listener, tls};

/// How many connections the kernel keeps waiting per core; more are refused by it.
const BACKLOG_MAX: i32 = 4_096;

/// A listener's sockets, one per core, and what it shows its callers.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    pub(crate) sockets: Vec<TcpListener>,
    pub(crate) acceptor: Option<tokio_rustls::TlsAcceptor>,
}

/// Opens all ports, or tells every one that cannot be opened.
pub(crate) fn open(listeners: &[Listener], threads: usize) -> Result<Vec<Port>, Vec<String>> {
    let mut ports = Vec::new();
    let mut mistakes = Vec::new();
    for listener in listeners {
        match open_one(listener, threads) {
            Ok(port) => ports.push(port),
            Err(mistake) => mistakes.push(format!("listener {}: {mistake}", listener.name)),
        }
    }
    if mistakes.is_empty() { Ok(ports) } else { Err(mistakes) }
}

fn open_one(listener: &Listener, threads: usize) -> Result<Port, String> {
    let acceptor = listener.tls.as_ref().map(tls::acceptor).transpose()?;
    let mut address = listener.listen;
    let mut sockets = Vec::with_capacity(threads);
    if address.port() == 0 {
        let first = listen_shared(address, "calls")?;
        address = first.local_addr().map_err(|error| error.to_string())?;
        sockets.push(first.into_std().map_err(|error| error.to_string())?);
    } else {
        // Sockets that share a port would share it with another gateway too, in silence: first see that it is free.
        drop(listen(address, "calls")?);
    }
    while sockets.len() < threads {
        sockets.push(share(address).map_err(|error| format!("cannot listen on {address}: {error}"))?);
    }
    Ok(Port { address, sockets, acceptor })
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

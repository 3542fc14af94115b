//! The doors: bytes become nouns and then orders for the core, or answers from the window.

pub(crate) mod connections;
pub(crate) mod grpc;
pub(crate) mod watch;

pub(crate) mod admin;
pub(crate) mod http;

pub(crate) mod status;

use std::net::SocketAddr;

use landbridge_runtime::http::PeerAddress;

/// The socket address a request came from.
pub(crate) fn peer<B>(request: &::http::Request<B>) -> Option<SocketAddr> {
    request.extensions().get::<PeerAddress>().map(|PeerAddress(address)| *address)
}

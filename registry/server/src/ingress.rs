//! The doors: bytes become nouns and then orders for the core, or answers from the window.

pub(crate) mod connections;
pub(crate) mod freshness;
pub(crate) mod grpc;
pub(crate) mod watch;

pub(crate) mod admin;
pub(crate) mod http;

pub(crate) mod status;

use std::net::SocketAddr;

use landbridge_runtime::http::PeerAddress;

/// Every Nacos route over HTTP: method, path, and the word for the right it needs; `ANY` stands for all methods.
pub fn nacos_routes() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    http::routes::all().map(|route| (route.method, route.path, route.right.word()))
}

/// The socket address a request came from.
pub(crate) fn peer<B>(request: &::http::Request<B>) -> Option<SocketAddr> {
    request.extensions().get::<PeerAddress>().map(|PeerAddress(address)| *address)
}

//! The doors: bytes become nouns and then orders for the core, or answers from the window.

pub(crate) mod connections;
pub(crate) mod freshness;
pub(crate) mod grpc;
pub(crate) mod watch;

pub(crate) mod admin;
pub(crate) mod http;

pub(crate) mod status;

use std::net::SocketAddr;

use landbridge_model::{InstanceKey, ServiceKey};
use landbridge_runtime::http::PeerAddress;

use crate::member::Shared;

/// Every Nacos route over HTTP: method, path, and the word for the right it needs; `ANY` stands for all methods.
pub fn nacos_routes() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    http::routes::all().map(|route| (route.method, route.path, route.right.word()))
}

/// The key of the instance that a deregistration means: by ip and port, whatever cluster it says, as in Nacos 2.
pub(crate) async fn meant(
    shared: &Shared,
    service: &ServiceKey,
    key: InstanceKey,
    persistent: bool,
) -> InstanceKey {
    let shown = || {
        let pane = shared.window.find(service)?;
        pane.face().meant(&key, persistent, false).map(|host| host.key.clone())
    };
    if let Some(found) = shown() {
        return found;
    }
    if persistent {
        // Another member may have answered its registration a moment ago.
        freshness::catch_up(shared).await;
    }
    shown().unwrap_or(key)
}

/// The socket address a request came from.
pub(crate) fn peer<B>(request: &::http::Request<B>) -> Option<SocketAddr> {
    request.extensions().get::<PeerAddress>().map(|PeerAddress(address)| *address)
}

//! Views as Nacos answers: encoded when first asked for, once per revision and wish.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use landbridge_registry_core::{Filter, ServiceView};
use landbridge_wire::nacos::{
    EncodedService, Naming, encode_host,
    grpc::{self, Payload, Push},
};

use crate::labels::Wanted;

/// The request id of every question whether a client lives; any word of the client is answer enough.
const DETECTION_ID: u64 = 0;

/// One view as it is wanted, each form encoded when first asked for.
#[derive(Debug, Default)]
pub(crate) struct Encodings {
    queried: OnceLock<Payload>,
    push: OnceLock<Bytes>,
    grouped: OnceLock<EncodedService>,
}

/// A reference to encodings.
pub(crate) type Encoded = Arc<Encodings>;

impl Encodings {
    /// The answer to a gRPC query.
    pub(crate) fn queried(&self, view: &ServiceView, wanted: &Wanted) -> Payload {
        let encode = || grpc::answer::queried(&encode(view, Naming::Bare, wanted, false), view.last_ref_ms);
        self.queried.get_or_init(encode).clone()
    }

    /// A push, framed for gRPC; `push` is its request id for every subscriber.
    pub(crate) fn push(&self, view: &ServiceView, wanted: &Wanted, push: u64) -> Bytes {
        let frame = || {
            let service = encode(view, Naming::Bare, wanted, false);
            let [head, shared] = Push::new(&service, view.last_ref_ms).framed(push);
            let mut frame = BytesMut::with_capacity(head.len() + shared.len());
            frame.extend_from_slice(&head);
            frame.extend_from_slice(&shared);
            frame.freeze()
        };
        self.push.get_or_init(frame).clone()
    }

    /// The list as HTTP v1 and UDP show it.
    pub(crate) fn grouped(&self, view: &ServiceView, wanted: &Wanted) -> Bytes {
        let encode = || encode(view, Naming::Grouped, wanted, false);
        self.grouped.get_or_init(encode).answer(view.last_ref_ms)
    }
}

/// Encodes what a client gets that wants this.
pub(crate) fn encode(
    view: &ServiceView,
    naming: Naming,
    wanted: &Wanted,
    healthy_only: bool,
) -> EncodedService {
    let (hosts, protected) = hosts(view, wanted, healthy_only);
    EncodedService::new(naming, &view.service, &wanted.clusters, &hosts, protected)
}

/// The hosts that a client gets that wants this, each encoded.
pub(crate) fn hosts(view: &ServiceView, wanted: &Wanted, healthy_only: bool) -> (Vec<Bytes>, bool) {
    let clusters = wanted.clusters.clusters().to_vec();
    let filter = Filter { clusters, healthy_only, labels: wanted.labels.clone() };
    let selection = view.select(&filter);
    let one = |host: &&landbridge_registry_core::Host| {
        if selection.protected && !host.instance.healthy {
            let forged = landbridge_model::Instance { healthy: true, ..(*host.instance).clone() };
            encode_host(&view.service, &host.key, &forged, !host.persistent)
        } else {
            encode_host(&view.service, &host.key, &host.instance, !host.persistent)
        }
    };
    (selection.hosts.iter().map(one).collect(), selection.protected)
}

/// Sends a client to another server, framed for its stream.
pub(crate) fn reset(to: Option<std::net::SocketAddr>) -> Bytes {
    let to = to.map(|address| (address.ip().to_string(), address.port()));
    grpc::answer::connect_reset(DETECTION_ID, to.as_ref().map(|(ip, port)| (ip.as_str(), *port))).framed()
}

/// Asks a silent client whether it is there, framed for its stream.
pub(crate) fn detection() -> Bytes {
    grpc::answer::client_detection(DETECTION_ID).framed()
}

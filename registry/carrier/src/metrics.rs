//! All metric names of this room.

use landbridge_feed::{Peer, Role};
use landbridge_model::Region;
use metrics::{Counter, Gauge, counter, gauge};

use crate::gate::Refusal;

/// Which side opened a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    /// This process dialled.
    Dialled,
    /// The peer did.
    Accepted,
}

impl Side {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dialled => "out",
            Self::Accepted => "in",
        }
    }
}

/// Which way frames go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// From the peer.
    In,
    /// To the peer.
    Out,
}

/// Frames and bytes of one stream in one direction.
#[derive(Clone)]
pub(crate) struct Traffic {
    frames: Counter,
    bytes: Counter,
    plain_bytes: Counter,
}

impl Traffic {
    pub fn with(peer: &Peer, way: Way) -> Self {
        let way = match way {
            Way::In => "in",
            Way::Out => "out",
        };
        let region = peer.region.to_string();
        Self {
            frames: counter!("landbridge_carrier_frames_total", "direction" => way, "peer" => region.clone()),
            bytes: counter!("landbridge_carrier_bytes_total", "direction" => way, "peer" => region.clone()),
            plain_bytes: counter!("landbridge_carrier_plain_bytes_total", "direction" => way, "peer" => region),
        }
    }

    /// Counts a frame of so many bytes, and of so many before it was packed.
    pub fn count(&self, bytes: usize, plain_bytes: usize) {
        self.frames.increment(1);
        self.bytes.increment(bytes as u64);
        self.plain_bytes.increment(plain_bytes as u64);
    }
}

/// Streams that are up with peers of one region and role.
pub(crate) fn streams(peer: &Peer) -> Gauge {
    let role = match peer.role {
        Role::Member(_) => "registry",
        Role::Bridge => "bridge",
        Role::Gateway => "gateway",
    };
    gauge!("landbridge_carrier_streams", "peer" => peer.region.to_string(), "role" => role)
}

/// Counts a stream that did not come to be.
pub(crate) fn refused(refusal: &Refusal, side: Side) {
    counter!("landbridge_carrier_refusals_total", "reason" => refusal.reason(), "direction" => side.as_str())
        .increment(1);
}

/// Counts a stream that ended.
pub(crate) fn parted(peer: &Peer, reason: &'static str) {
    let region = peer.region.to_string();
    counter!("landbridge_carrier_streams_closed_total", "reason" => reason, "peer" => region).increment(1);
}

/// Tells the bytes a second that may go to a region.
pub(crate) fn tell_budget(peer: &Region, bytes_per_second: u32) {
    gauge!("landbridge_carrier_budget_bytes_per_second", "peer" => peer.to_string()).set(bytes_per_second);
}

/// Frames to a region that had to wait for its budget.
pub(crate) fn budget_waits(peer: &Region) -> Counter {
    counter!("landbridge_carrier_budget_waits_total", "peer" => peer.to_string())
}

/// Counts a saved copy, or a whole shelf, that could not be read.
pub(crate) fn shelf_unreadable() {
    counter!("landbridge_carrier_shelf_unreadable_total").increment(1);
}

/// Counts a write of copies that failed, or a try after it; while it rises nothing is saved.
pub(crate) fn shelf_failed() {
    counter!("landbridge_carrier_shelf_failures_total").increment(1);
}

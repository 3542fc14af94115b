//! What the members of one region say to each other beside feeds: client, server and messages of `landbridge.peers.v1`.

pub use proto::{
    HailAnswer, HailCall, RaftAnswer, RaftCall,
    peers_client::PeersClient,
    peers_server::{Peers, PeersServer},
};

/// The longest message between members, in bytes: one part of a snapshot, or entries of one append, fit several times.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The generated messages, client and server.
#[allow(missing_docs, unused_qualifications, clippy::all, clippy::too_many_lines, reason = "generated")]
mod proto {
    tonic::include_proto!("landbridge.peers.v1");
}

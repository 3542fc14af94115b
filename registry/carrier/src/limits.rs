//! The bounds of a carrier by name.

use landbridge_feed::MESSAGE_BYTES_MIN;

/// Room in an outbox for what is said beside the holder's credit: forwarded beats and their answers.
const BESIDE_CREDIT_FRAMES: usize = 64;

/// Every bound of a carrier. What a single frame may hold is the wire's own bound (`FRAME_BYTES_MAX`).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Frames waiting in one stream's outbox; one more is not taken, and the driver closes the stream. A holder that
    /// keeps within its credit never needs more than [`Limits::outbox_frames`].
    pub outbox_frames_max: usize,
    /// Connections accepted at once; further callers are turned away.
    pub connections_max: u32,
    /// How long a connection may take to stand, and TLS on it as long again; then it is given up.
    pub connect_ms: u64,
    /// How long the other side may take to say Hello; then it is refused.
    pub hello_ms: u64,
    /// How long a connection may be silent before it is asked for a sign of life.
    pub keepalive_ms: u64,
    /// How long that sign may take; then the connection is gone.
    pub keepalive_answer_ms: u64,
    /// The shortest wait between two attempts to reach an address.
    pub reconnect_floor_ms: u64,
    /// The longest such wait; attempts wait longer and longer up to it.
    pub reconnect_cap_ms: u64,
    /// Bytes that may be on their way on one stream before the other side takes them in.
    pub window_bytes: u32,
}

impl Limits {
    /// Fit for regions some 50 ms apart; a process's configuration starts from these.
    pub const STANDARD: Self = Self {
        outbox_frames_max: Self::outbox_frames(landbridge_feed::Limits::STANDARD.credit_bytes),
        connections_max: 1024,
        connect_ms: 3_000,
        hello_ms: 5_000,
        keepalive_ms: 3_000,
        keepalive_answer_ms: 3_000,
        reconnect_floor_ms: 200,
        reconnect_cap_ms: 5_000,
        window_bytes: 2 << 20,
    };

    /// The most frames that a holder with so much credit has on their way on one stream.
    pub const fn outbox_frames(credit_bytes: usize) -> usize {
        credit_bytes / MESSAGE_BYTES_MIN + 1 + BESIDE_CREDIT_FRAMES
    }
}

#[cfg(test)]
mod tests {
    use landbridge_feed::Message;

    use super::*;

    #[test]
    fn an_outbox_holds_all_that_a_holders_credit_allows() {
        let credit_bytes = landbridge_feed::Limits::STANDARD.credit_bytes;
        let smallest = Message::Beats { unix_ms: 0, beats: Vec::new(), hears: Vec::new() }.weight_bytes();

        assert!(Limits::STANDARD.outbox_frames_max * smallest > credit_bytes);
    }
}

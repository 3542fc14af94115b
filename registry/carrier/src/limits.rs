//! The bounds of a carrier by name.

/// Every bound of a carrier. What a single frame may hold is the wire's own bound (`FRAME_BYTES_MAX`).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Frames waiting in one stream's outbox; one more is not taken, and the driver closes the stream.
    pub outbox_frames_max: usize,
    /// Connections accepted at once; further callers are turned away.
    pub connections_max: u32,
    /// How long a connection may take to stand, TLS included; then it is given up.
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
        outbox_frames_max: 1024,
        connections_max: 1024,
        connect_ms: 3_000,
        hello_ms: 5_000,
        keepalive_ms: 3_000,
        keepalive_answer_ms: 3_000,
        reconnect_floor_ms: 200,
        reconnect_cap_ms: 5_000,
        window_bytes: 2 << 20,
    };
}

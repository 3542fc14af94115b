//! The bounds of a port that speaks HTTP, each with its name in the configuration.

use serde::Deserialize;

/// The smallest `header_bytes_max`; hyper needs this much to read at all.
const HEADER_BYTES_FLOOR: usize = 8_192;

/// What a peer may cost a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpLimits {
    /// Open connections; more are closed at once and counted.
    pub connections_max: u32,
    /// Open connections from one address; more are closed at once and counted.
    pub connections_per_address_max: u32,
    /// A request's headers, or a TLS handshake, must be complete after this; else the connection is closed.
    pub header_read_timeout_ms: u64,
    /// A request's headers in all; more get 431.
    pub header_bytes_max: usize,
    /// Number of a request's headers; more get 431.
    pub headers_max: usize,
    /// A request's body; more get 413. Absent for streams, whose frames have their own bound.
    pub body_bytes_max: Option<usize>,
    /// From the headers of a request to the headers of its answer; later gets 503. Absent for streams.
    pub request_timeout_ms: Option<u64>,
    /// A connection without a request is closed after this.
    pub idle_timeout_ms: u64,
    /// A connection whose peer takes no byte of an answer for this long is closed.
    pub write_stall_timeout_ms: u64,
    /// HTTP/2 streams at once on one connection; more are refused by the protocol.
    pub streams_max: u32,
    /// HTTP/2 streams reset by the peer and not yet seen by us; more end the connection (rapid reset).
    pub pending_resets_max: usize,
    /// How far a peer may send ahead on one HTTP/2 stream.
    pub stream_window_bytes: u32,
    /// How far a peer may send ahead on one HTTP/2 connection.
    pub connection_window_bytes: u32,
    /// What we keep of an answer on one HTTP/2 stream while its peer does not take it.
    pub send_buffer_bytes_max: usize,
    /// An HTTP/2 connection is asked for a sign of life this often.
    pub keepalive_interval_ms: u64,
    /// An HTTP/2 connection that gives no sign of life for this long is closed.
    pub keepalive_timeout_ms: u64,
    /// After the end was asked for, open requests get this long.
    pub drain_ms: u64,
}

impl HttpLimits {
    /// Limits that suit a port for calls; the files in `configs/` start from these.
    pub const fn recommended() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_address_max: 5_000,
            header_read_timeout_ms: 10_000,
            header_bytes_max: 32_768,
            headers_max: 100,
            body_bytes_max: Some(2_097_152),
            request_timeout_ms: Some(30_000),
            idle_timeout_ms: 60_000,
            write_stall_timeout_ms: 30_000,
            streams_max: 100,
            pending_resets_max: 20,
            stream_window_bytes: 65_535,
            connection_window_bytes: 1_048_576,
            send_buffer_bytes_max: 65_536,
            keepalive_interval_ms: 30_000,
            keepalive_timeout_ms: 10_000,
            drain_ms: 5_000,
        }
    }

    /// The same for ports with long streams: no bound on a body or on a request's time.
    pub const fn streaming(self) -> Self {
        Self { body_bytes_max: None, request_timeout_ms: None, ..self }
    }

    /// Every mistake in these limits, as sentences; `at` is their place in the configuration.
    pub fn mistakes(&self, at: &str) -> Vec<String> {
        let positive = [
            ("connections_max", u64::from(self.connections_max)),
            ("connections_per_address_max", u64::from(self.connections_per_address_max)),
            ("header_read_timeout_ms", self.header_read_timeout_ms),
            ("headers_max", self.headers_max as u64),
            ("idle_timeout_ms", self.idle_timeout_ms),
            ("write_stall_timeout_ms", self.write_stall_timeout_ms),
            ("streams_max", u64::from(self.streams_max)),
            ("request_timeout_ms", self.request_timeout_ms.unwrap_or(1)),
            ("keepalive_interval_ms", self.keepalive_interval_ms),
            ("keepalive_timeout_ms", self.keepalive_timeout_ms),
        ];
        let mut mistakes: Vec<String> = positive
            .iter()
            .filter(|(_, value)| *value == 0)
            .map(|(name, _)| format!("{at}.{name} is 0, which lets nobody in: write at least 1"))
            .collect();
        if self.header_bytes_max < HEADER_BYTES_FLOOR {
            mistakes.push(format!(
                "{at}.header_bytes_max is {}: write at least {HEADER_BYTES_FLOOR}",
                self.header_bytes_max
            ));
        }
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recommended_limits_have_no_mistake() {
        assert_eq!(HttpLimits::recommended().mistakes("http"), Vec::<String>::new());
        assert_eq!(HttpLimits::recommended().streaming().mistakes("http"), Vec::<String>::new());
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let wrong = HttpLimits { connections_max: 0, header_bytes_max: 100, ..HttpLimits::recommended() };

        let mistakes = wrong.mistakes("gateway.http");

        assert_eq!(mistakes.len(), 2);
        assert!(mistakes[0].starts_with("gateway.http.connections_max"), "{mistakes:?}");
        assert!(mistakes[1].contains("8192"), "{mistakes:?}");
    }
}

//! How long callers say they wait, and what the endpoint is told of it: `grpc-timeout`, or a header of our own.
//!
//! A caller's word can only shorten what the config allows.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Milliseconds that the caller waits from now on.
const OURS: HeaderName = HeaderName::from_static("x-landbridge-timeout-ms");

/// The same in gRPC: up to eight digits and a unit.
const GRPC: HeaderName = HeaderName::from_static("grpc-timeout");

/// The most digits in either.
const DIGITS_MAX: usize = 8;

/// How long the caller waits, if it says so; what cannot be read was not said.
pub(super) fn told(headers: &HeaderMap, grpc: bool) -> Option<Duration> {
    let ours = headers.get(OURS).and_then(|value| number(value.as_bytes())).map(Duration::from_millis);
    let theirs = headers.get(GRPC).filter(|_| grpc).and_then(|value| grpc_timeout(value.as_bytes()));
    ours.into_iter().chain(theirs).min()
}

/// Tells the endpoint what is left of that.
pub(super) fn tell(headers: &mut HeaderMap, left: Duration, grpc: bool) {
    // Rounded up: an endpoint told 0 would not even begin.
    let left_ms = u64::try_from(left.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
    headers.insert(OURS, HeaderValue::from(left_ms));
    if grpc {
        let value = match left_ms {
            0..100_000_000 => format!("{left_ms}m"),
            _ => format!("{}S", (left_ms / 1_000).min(99_999_999)),
        };
        headers.insert(GRPC, HeaderValue::try_from(value).expect("digits and a letter are a header value"));
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let fits = (1..=DIGITS_MAX).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    fits.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let count = number(digits)?;
    match unit {
        b'H' => Some(Duration::from_secs(count * 3_600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::map;

    #[test]
    fn the_shortest_word_that_can_be_read_counts() {
        let grpc = |value| told(&map(&[("grpc-timeout", value)]), true);
        let ours = |value| told(&map(&[("x-landbridge-timeout-ms", value)]), false);

        assert_eq!(grpc("2H"), Some(Duration::from_secs(7_200)));
        assert_eq!(grpc("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(grpc("15m"), Some(Duration::from_millis(15)));
        assert_eq!(grpc("0n"), Some(Duration::ZERO));
        for unread in ["", "m", "1", "-1m", "1x", "999999999m", "1 m"] {
            assert_eq!(grpc(unread), None, "{unread:?}");
        }
        assert_eq!(ours("250"), Some(Duration::from_millis(250)));
        assert_eq!(ours("1e3"), None);
        let both = map(&[("x-landbridge-timeout-ms", "250"), ("grpc-timeout", "1S")]);
        assert_eq!(told(&both, true), Some(Duration::from_millis(250)));
        assert_eq!(told(&map(&[("grpc-timeout", "1m")]), false), None, "only gRPC means it");
    }

    #[test]
    fn what_is_told_can_be_read_again_and_is_never_longer_by_a_millisecond() {
        for left in [Duration::from_micros(1), Duration::from_millis(30_000), Duration::from_secs(200_000)] {
            let mut headers = HeaderMap::new();

            tell(&mut headers, left, true);

            let read = told(&headers, true).unwrap();
            assert!(
                read <= left + Duration::from_millis(1) && read + Duration::from_secs(1) >= left,
                "{read:?}"
            );
        }
    }
}

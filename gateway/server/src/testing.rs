//! A page and headers for tests.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The smallest page.
pub(crate) const PAGE: &str = r#"
region = "east"
zone = "a"
[[listeners]]
name = "calls"
listen = "127.0.0.1:0"
by_path = true
"#;

/// These headers.
pub(crate) fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    headers.iter().map(pair).collect()
}

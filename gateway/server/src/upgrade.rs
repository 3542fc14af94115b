//! Tells a caller's wish for a WebSocket from all other upgrades, and writes it for the next hop.
//!
//! Invariant: nothing but a WebSocket is asked of an endpoint. An upgrade to clear-text HTTP/2 in particular would carry
//! requests past every check.

use http::{HeaderMap, HeaderValue, Method, Version, header, request::Parts};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const UPGRADE: HeaderValue = HeaderValue::from_static("Upgrade");

/// True if a call asks for a WebSocket as RFC 6455, section 4.1 has it; `bodiless` if it has no body.
pub(crate) fn wants_websocket(head: &Parts, bodiless: bool) -> bool {
    // Most calls have no such header: one look is all they cost.
    let Some(wish) = head.headers.get(header::UPGRADE) else { return false };
    let listed = |listed: &HeaderValue| {
        let mut names = listed.as_bytes().split(|byte| *byte == b',');
        names.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    };
    bodiless
        && head.method == Method::GET
        && head.version == Version::HTTP_11
        && wish.as_bytes().eq_ignore_ascii_case(b"websocket")
        && head.headers.get_all(header::UPGRADE).iter().count() == 1
        && head.headers.get_all(header::CONNECTION).iter().any(listed)
        && head.headers.contains_key(header::SEC_WEBSOCKET_KEY)
}

/// Writes the wish, or the consent to it, for the next hop.
pub(crate) fn write_websocket(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, UPGRADE);
    headers.insert(header::UPGRADE, WEBSOCKET);
}

/// True if a request that was made ours asks for a WebSocket.
pub(crate) fn asks_websocket(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
}

/// True if an endpoint that switches protocols switches to the one that was asked for.
pub(crate) fn agrees(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn wants(headers: &[(&str, &str)], bodiless: bool) -> bool {
        let mut request = Request::get("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        wants_websocket(&request.body(()).unwrap().into_parts().0, bodiless)
    }

    #[test]
    fn only_a_whole_wish_for_a_websocket_is_one() {
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let (listed, wish) = (("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket"));

        assert!(wants(&[listed, wish, key], true));
        assert!(!wants(&[listed, wish, key], false), "with a body");
        assert!(!wants(&[wish, key], true), "not listed");
        assert!(!wants(&[listed, wish], true), "without a key");
        assert!(!wants(&[listed, ("upgrade", "h2c"), key], true), "another protocol");
        assert!(!wants(&[listed, wish, ("upgrade", "h2c"), key], true), "two protocols");
    }
}

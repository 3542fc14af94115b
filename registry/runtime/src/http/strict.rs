//! Refuses requests that two readers could understand differently.
//!
//! hyper has already refused what is no HTTP at all, but forgives some things and leaves no trace of them; those are
//! noticed while the bytes come in (`head.rs`), and refused here with the rest.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, StatusCode, Version};

use super::limits::HttpLimits;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ambiguity {
    /// CONNECT and TRACE mean nothing here.
    Method,
    /// More headers than may be.
    Headers,
    /// Not exactly one host, or a host beside a different authority.
    Host,
    /// A muddled head, a transfer encoding other than one `chunked`, or a length beside it.
    Framing,
    /// A control character in the path, plain or escaped.
    Path,
    /// The announced body is longer than may be.
    Body,
}

impl Ambiguity {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Headers => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Host | Self::Framing | Self::Path => StatusCode::BAD_REQUEST,
            Self::Body => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }

    /// The reason as the peer reads it.
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::Method => "this method is not served here\n",
            Self::Headers => "too many headers\n",
            Self::Host => "the host must be given once, and agree with the request line\n",
            Self::Framing => "the head must have clean lines and give the length of the body once\n",
            Self::Path => "the path holds a control character\n",
            Self::Body => "the body is too long\n",
        }
    }

    /// The reason as a metric label.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Headers => "headers",
            Self::Host => "host",
            Self::Framing => "framing",
            Self::Path => "path",
            Self::Body => "body",
        }
    }
}

/// Checks a request before anybody acts on it.
pub(super) fn check<B>(request: &Request<B>, is_muddled: bool, limits: &HttpLimits) -> Result<(), Ambiguity> {
    let headers = request.headers();
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(Ambiguity::Method);
    }
    if headers.len() > limits.headers_max {
        return Err(Ambiguity::Headers);
    }
    if !host_is_clear(request) {
        return Err(Ambiguity::Host);
    }
    if is_muddled || !framing_is_clear(headers) {
        return Err(Ambiguity::Framing);
    }
    if has_control(request.uri().path()) {
        return Err(Ambiguity::Path);
    }
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match (announced, limits.body_bytes_max) {
        (Some(announced), Some(bytes_max)) if announced > bytes_max as u64 => Err(Ambiguity::Body),
        _ => Ok(()),
    }
}

fn host_is_clear<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return false;
    }
    let authority = request.uri().authority();
    if authority.is_some_and(|authority| authority.as_str().contains('@')) {
        return false;
    }
    match (host, authority) {
        (Some(host), Some(authority)) => host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()),
        (Some(_), None) => true,
        // HTTP/1.1 must name a host in its own header even with an absolute target.
        (None, Some(_)) => request.version() == Version::HTTP_2,
        (None, None) => request.version() == Version::HTTP_10 || request.version() == Version::HTTP_2,
    }
}

fn framing_is_clear(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    let (encoding, second) = (encodings.next(), encodings.next());
    let lengths = headers.get_all(CONTENT_LENGTH).iter().count();
    match encoding {
        None => lengths <= 1,
        Some(encoding) => {
            second.is_none() && lengths == 0 && encoding.as_bytes().eq_ignore_ascii_case(b"chunked")
        }
    }
}

/// Whether a path holds a control character, also as `%00` to `%1f` and `%7f`.
fn has_control(path: &str) -> bool {
    let escaped = |pair: &[u8]| {
        matches!(pair, [b'0' | b'1', digit] if digit.is_ascii_hexdigit()) || {
            pair.eq_ignore_ascii_case(b"7f")
        }
    };
    let bytes = path.as_bytes();
    bytes.iter().any(u8::is_ascii_control)
        || bytes.windows(3).any(|window| window[0] == b'%' && escaped(&window[1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HttpLimits =
        HttpLimits { body_bytes_max: Some(10), headers_max: 4, ..HttpLimits::recommended() };

    fn verdict(target: &str, version: Version, headers: &[(&str, &str)]) -> Result<(), Ambiguity> {
        let mut request = Request::builder().uri(target).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap(), false, &LIMITS)
    }

    fn over_http1(target: &str, headers: &[(&str, &str)]) -> Result<(), Ambiguity> {
        verdict(target, Version::HTTP_11, headers)
    }

    #[test]
    fn ordinary_requests_pass() {
        assert_eq!(over_http1("/nacos/v1/ns/instance?ip=1.2.3.4", &[("host", "a:8848")]), Ok(()));
        assert_eq!(over_http1("http://a:8848/x", &[("host", "A:8848")]), Ok(()));
        assert_eq!(over_http1("/", &[("host", "a"), ("transfer-encoding", "chunked")]), Ok(()));
        assert_eq!(over_http1("/a%20b", &[("host", "a"), ("content-length", "10")]), Ok(()));
        assert_eq!(verdict("http://a/x", Version::HTTP_2, &[]), Ok(()));
        assert_eq!(verdict("/", Version::HTTP_10, &[]), Ok(()));
    }

    #[test]
    fn a_host_that_is_missing_doubled_or_contradicted_is_refused() {
        let refused = Err(Ambiguity::Host);
        assert_eq!(over_http1("/", &[]), refused);
        assert_eq!(over_http1("/", &[("host", "a"), ("host", "b")]), refused);
        assert_eq!(over_http1("http://a/", &[("host", "b")]), refused);
        assert_eq!(over_http1("http://a/", &[]), refused);
        assert_eq!(verdict("http://a/", Version::HTTP_2, &[("host", "b")]), refused);
        assert_eq!(over_http1("http://user@a/", &[("host", "user@a")]), refused);
    }

    #[test]
    fn a_body_with_two_lengths_is_refused() {
        let refused = Err(Ambiguity::Framing);
        let host = ("host", "a");
        assert_eq!(
            over_http1("/", &[host, ("content-length", "1"), ("transfer-encoding", "chunked")]),
            refused
        );
        assert_eq!(over_http1("/", &[host, ("transfer-encoding", "gzip, chunked")]), refused);
        assert_eq!(
            over_http1("/", &[host, ("transfer-encoding", "chunked"), ("transfer-encoding", "x")]),
            refused
        );
        assert_eq!(over_http1("/", &[host, ("content-length", "1"), ("content-length", "1")]), refused);
    }

    #[test]
    fn control_characters_in_a_path_are_refused_in_any_spelling() {
        for path in ["/a%00b", "/a%0Ab", "/a%1fb", "/a%7Fb"] {
            assert_eq!(over_http1(path, &[("host", "a")]), Err(Ambiguity::Path), "{path}");
        }
    }

    #[test]
    fn too_long_bodies_and_too_many_headers_are_refused() {
        let many = [("host", "a"), ("b", ""), ("c", ""), ("d", ""), ("e", "")];
        assert_eq!(over_http1("/", &[("host", "a"), ("content-length", "11")]), Err(Ambiguity::Body));
        assert_eq!(over_http1("/", &many), Err(Ambiguity::Headers));
    }

    #[test]
    fn tunnels_and_traces_are_refused() {
        for method in [Method::CONNECT, Method::TRACE] {
            let request = Request::builder().method(method).uri("/").header("host", "a").body(()).unwrap();
            assert_eq!(check(&request, false, &LIMITS), Err(Ambiguity::Method));
        }
    }
}

//! Refuses requests that two readers could read differently, and those a gateway does not serve.
//!
//! The bytes of HTTP/1 were looked at by the scanner (`head`); here its verdict is heard, and what the parsed request
//! still shows is checked, for HTTP/2 too.

use std::{convert::Infallible, rc::Rc};

use http::{HeaderMap, HeaderValue, Method, Request, Version, header};
use hyper::body::Incoming;
use tower::{Service, service_fn};

use super::{Arrived, Passage, speaks_grpc};
use crate::{answer::Answer, local::Local, refusal::Refusal};

/// The layer.
pub(crate) fn layer<S>(
    local: Rc<Local>,
    inner: S,
) -> impl Service<Arrived, Response = Answer, Error = Infallible, Future: 'static> + Clone + 'static
where
    S: Service<Arrived, Response = Answer, Error = Infallible, Future: 'static> + Clone + 'static,
{
    service_fn(move |arrived: Arrived| match judge(&local, &arrived) {
        Ok(()) => Passage::open(inner.clone().call(arrived)),
        Err(refusal) => Passage::refused(refuse(&arrived.request, refusal)),
    })
}

fn judge(local: &Local, arrived: &Arrived) -> Result<(), Refusal> {
    if let Some(fault) = arrived.peer.seat.fault() {
        return Err(Refusal::Malformed(fault));
    }
    if arrived.request.headers().len() > local.shared.connections.headers_max {
        return Err(Refusal::Headers);
    }
    check(
        arrived.request.method(),
        arrived.request.uri(),
        arrived.request.version(),
        arrived.request.headers(),
    )
}

/// A refused HTTP/1 connection is closed: nobody knows where its next request begins.
fn refuse(request: &Request<Incoming>, refusal: Refusal) -> Answer {
    let mut answer = Answer::refuse(refusal, speaks_grpc(request.headers()));
    if request.version() != Version::HTTP_2 {
        answer.response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// Headers that `Connection` must not take away, for they say what the message is.
const KEPT: [&str; 6] =
    ["host", "content-length", "transfer-encoding", "content-type", "authorization", "cookie"];

/// Refuses by what a parsed head shows.
pub(crate) fn check(
    method: &Method,
    uri: &http::Uri,
    version: Version,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    if *method == Method::CONNECT || *method == Method::TRACE {
        return Err(Refusal::Method);
    }
    host(uri, version, headers)?;
    if let Some(authority) = uri.authority()
        && authority.as_str().contains('@')
    {
        return Err(Refusal::Malformed("the authority names a user"));
    }
    if uri.path() == "*" && *method != Method::OPTIONS {
        return Err(Refusal::Malformed("only OPTIONS may ask for *"));
    }
    for listed in headers.get_all(header::CONNECTION) {
        let listed =
            listed.to_str().map_err(|_| Refusal::Malformed("a connection header that is no text"))?;
        let takes = |name: &str| KEPT.iter().any(|kept| name.trim().eq_ignore_ascii_case(kept));
        if listed.split(',').any(takes) {
            return Err(Refusal::Malformed("the connection header takes away what says what the message is"));
        }
    }
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(encoding) = encodings.next() {
        let plain = encoding.as_bytes().eq_ignore_ascii_case(b"chunked") && encodings.next().is_none();
        if !plain || version != Version::HTTP_11 || headers.contains_key(header::CONTENT_LENGTH) {
            return Err(Refusal::Malformed("the length of the body is not told once"));
        }
    }
    Ok(())
}

/// Exactly one host, and none beside a different authority.
fn host(uri: &http::Uri, version: Version, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(Refusal::Malformed("two hosts"));
    }
    let fits = |host: &HeaderValue| {
        let name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]%".contains(byte);
        host.as_bytes().iter().all(name)
    };
    if host.is_some_and(|host| !fits(host)) {
        return Err(Refusal::Malformed("the host is no host"));
    }
    match (host, uri.authority()) {
        (Some(host), Some(authority)) => {
            let same = host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
            if same { Ok(()) } else { Err(Refusal::Malformed("the host is not the authority")) }
        }
        (Some(_), None) => Ok(()),
        (None, Some(_)) if version == Version::HTTP_2 => Ok(()),
        (None, _) if version == Version::HTTP_11 => Err(Refusal::Malformed("no host")),
        (None, _) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(
        method: &str,
        target: &str,
        version: Version,
        headers: &[(&str, &str)],
    ) -> Result<(), Refusal> {
        let mut request = Request::builder().method(method).uri(target).version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        check(request.method(), request.uri(), version, request.headers())
    }

    fn get(target: &str, headers: &[(&str, &str)]) -> Result<(), Refusal> {
        verdict("GET", target, Version::HTTP_11, headers)
    }

    #[test]
    fn ordinary_requests_are_admitted() {
        assert_eq!(get("/a?b", &[("host", "a.example:80")]), Ok(()));
        assert_eq!(get("http://a/x", &[("host", "A")]), Ok(()));
        assert_eq!(get("/", &[("host", "[::1]:80"), ("connection", "keep-alive, x-mine")]), Ok(()));
        assert_eq!(verdict("GET", "http://a/x", Version::HTTP_2, &[("te", "trailers")]), Ok(()));
        assert_eq!(verdict("GET", "/", Version::HTTP_10, &[]), Ok(()));
    }

    #[test]
    fn tunnels_and_traces_are_refused() {
        assert_eq!(verdict("TRACE", "/", Version::HTTP_11, &[("host", "a")]), Err(Refusal::Method));
        assert_eq!(verdict("CONNECT", "a:80", Version::HTTP_11, &[("host", "a:80")]), Err(Refusal::Method));
    }

    #[test]
    fn an_unclear_host_is_refused() {
        for (target, headers) in [
            ("/", &[][..]),
            ("/", &[("host", "a"), ("host", "a")]),
            ("http://a/", &[("host", "b")]),
            ("/", &[("host", "a b")]),
            ("/", &[("host", "a/b")]),
            ("/", &[("host", "user@a")]),
        ] {
            assert!(matches!(get(target, headers), Err(Refusal::Malformed(_))), "{target} {headers:?}");
        }
    }

    #[test]
    fn a_connection_header_cannot_take_away_the_length() {
        for listed in ["content-length", "close, Host", "Transfer-Encoding"] {
            let verdict = get("/", &[("host", "a"), ("connection", listed)]);
            assert!(matches!(verdict, Err(Refusal::Malformed(_))), "{listed}");
        }
    }
}

//! Makes a caller's request ours: hop-by-hop headers go, forwarding headers say for whom it is, the path is rewritten.
//!
//! Invariant: an untrusted caller cannot say for whom its call is, nor speak in our own headers.

use std::{convert::Infallible, rc::Rc, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri, Version, header,
    uri::{PathAndQuery, Scheme},
};
use http_body::Body as _;
use landbridge_gateway_core::Route;
use tower::{Service, service_fn};

use super::{Called, Passage, Peer, deadline, limit::CALLER, route::host};
use crate::{answer::Answer, local::Local, refusal::Refusal, relay, upgrade};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What our own headers begin with.
const OURS: &str = "x-landbridge-";

/// The layer.
pub(crate) fn layer<S>(
    local: Rc<Local>,
    inner: S,
) -> impl Service<Called, Response = Answer, Error = Infallible, Future: 'static> + Clone + 'static
where
    S: Service<Called, Response = Answer, Error = Infallible, Future: 'static> + Clone + 'static,
{
    service_fn(move |mut called: Called| match rewrite(&local, &mut called) {
        Ok(()) => Passage::open(inner.clone().call(called)),
        Err(refusal) => {
            let answer = Answer::refuse(refusal, called.grpc).about(&called.view, called.service);
            Passage::refused(answer)
        }
    })
}

fn rewrite(local: &Local, called: &mut Called) -> Result<(), Refusal> {
    if passed_here(&called.head.headers, &local.shared.name) {
        return Err(Refusal::Loop);
    }
    let keep_trailers = called.head.headers.get(header::TE).is_some_and(wants_trailers);
    let websocket = !called.grpc && upgrade::wants_websocket(&called.head, called.body.is_end_stream());
    strip_hop_by_hop(&mut called.head.headers);
    if websocket {
        let part = local.shared.connections.tunnels_max.div_ceil(local.shared.threads);
        if local.beat.tunnels.get() as usize >= part {
            return Err(Refusal::Overloaded);
        }
        upgrade::write_websocket(&mut called.head.headers);
    }
    if keep_trailers && called.grpc {
        called.head.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    called.told = deadline::told(&called.head.headers, called.grpc);
    if called.told == Some(Duration::ZERO) {
        return Err(Refusal::Late);
    }
    tell_caller(&mut called.head.headers, &called.peer);
    if called.peer.relayed_from.is_some() {
        relay::unaddress(&mut called.head.headers);
    }
    if called.head.version == Version::HTTP_2 {
        join_cookies(&mut called.head.headers);
    }
    called.head.headers.append(header::VIA, local.shared.via.clone());
    let route = called.route.map(|route| called.view.snapshot.route(called.peer.listener, route));
    let path = rewritten(route, called.cut, &called.head.uri)?;
    address(called, path)
}

/// HTTP/2 may tell cookies one by one; readers of HTTP/1 expect them in one line (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() < 2 {
        return;
    }
    // Values that are values stay one when they are joined by a semicolon and a space.
    if let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// True if the call went through this gateway before.
fn passed_here(headers: &HeaderMap, name: &str) -> bool {
    let names = |via: &HeaderValue| {
        let mut stations = via.as_bytes().split(|byte| *byte == b',');
        stations
            .any(|station| station.trim_ascii().split(|byte| *byte == b' ').nth(1) == Some(name.as_bytes()))
    };
    headers.get_all(header::VIA).iter().any(names)
}

fn wants_trailers(te: &HeaderValue) -> bool {
    te.as_bytes()
        .split(|byte| *byte == b',')
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Removes what is meant for the next hop only (RFC 9110, section 7.6.1).
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    while let Some(listed) = headers.remove(header::CONNECTION) {
        let named = listed.to_str().unwrap_or_default().split(',');
        for name in named.filter_map(|name| HeaderName::try_from(name.trim()).ok()) {
            headers.remove(name);
        }
    }
    // Looking at the few headers there are is cheaper than asking for the many there could be.
    let mut wrong: [Option<HeaderName>; 7] = Default::default();
    let mut count = 0;
    for name in headers.keys() {
        let hop = *name == header::TRANSFER_ENCODING
            || *name == header::TE
            || *name == header::UPGRADE
            || *name == header::EXPECT
            || *name == header::PROXY_AUTHORIZATION
            || *name == KEEP_ALIVE
            || *name == PROXY_CONNECTION;
        if hop && count < wrong.len() {
            wrong[count] = Some(name.clone());
            count += 1;
        }
    }
    for name in wrong.into_iter().flatten() {
        headers.remove(name);
    }
}

/// Says for whom the call is.
fn tell_caller(headers: &mut HeaderMap, peer: &Peer) {
    tell_address(headers, peer);
    if let Some(caller) = &peer.caller {
        // A name that cannot stand in a header is told to nobody, and then nobody else's is.
        match HeaderValue::from_str(caller) {
            Ok(caller) => drop(headers.insert(CALLER, caller)),
            Err(_) => drop(headers.remove(CALLER)),
        }
    }
}

/// Says from where the call is, and takes away what a stranger says of that.
fn tell_address(headers: &mut HeaderMap, peer: &Peer) {
    if peer.trusted {
        let before = headers.get(FORWARDED_FOR).and_then(|list| list.to_str().ok());
        let list = before.map(|before| format!("{before}, {}", peer.address));
        let list = list.and_then(|list| HeaderValue::try_from(list).ok());
        headers.insert(FORWARDED_FOR, list.unwrap_or_else(|| peer.written.clone()));
        if !headers.contains_key(FORWARDED_PROTO) {
            headers.insert(FORWARDED_PROTO, peer.scheme.clone());
        }
        return;
    }
    let claims = |name: &HeaderName| {
        let text = name.as_str();
        if text.contains('_') {
            return claims_underscored(text);
        }
        *name == header::FORWARDED
            || (text.starts_with("x-")
                && (*name == FORWARDED_HOST
                    || *name == FORWARDED_PORT
                    || *name == REAL_IP
                    || text.starts_with(OURS)))
    };
    if headers.keys().any(claims) {
        let claimed: Vec<HeaderName> = headers.keys().filter(|name| claims(name)).cloned().collect();
        for name in claimed {
            headers.remove(name);
        }
    }
    headers.insert(FORWARDED_FOR, peer.written.clone());
    headers.insert(FORWARDED_PROTO, peer.scheme.clone());
}

/// True for what a reader would take for a forwarding header who reads `_` as `-`, as CGI, WSGI and PHP do.
fn claims_underscored(name: &str) -> bool {
    let name = name.replace('_', "-");
    name == "forwarded" || name == "x-real-ip" || name.starts_with("x-forwarded-") || name.starts_with(OURS)
}

/// The path for the endpoint, if it is another than the caller's: the route replaces its first `cut` bytes.
pub(crate) fn rewritten(
    route: Option<&Route>,
    cut: usize,
    uri: &Uri,
) -> Result<Option<PathAndQuery>, Refusal> {
    if cut == 0 {
        return Ok(None);
    }
    let prefix = route.and_then(|route| route.rewrite_prefix.as_deref()).unwrap_or_default();
    let rest = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let rest = rest.get(cut..).unwrap_or_default();
    let slash = if prefix.is_empty() && !rest.starts_with('/') { "/" } else { "" };
    let path = format!("{prefix}{slash}{rest}").try_into();
    path.map(Some).map_err(|_| Refusal::Malformed("the path cannot be rewritten"))
}

/// Writes target and host as the endpoint's protocol wants them.
fn address(called: &mut Called, path: Option<PathAndQuery>) -> Result<(), Refusal> {
    let head = &mut called.head;
    if called.grpc {
        let authority = host(head).parse().map_err(|_| Refusal::Malformed("the host is no host"))?;
        let mut parts = std::mem::take(&mut head.uri).into_parts();
        parts.path_and_query = path.or(parts.path_and_query);
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(authority);
        head.uri = Uri::from_parts(parts).map_err(|_| Refusal::Malformed("the target is no target"))?;
        head.headers.remove(header::HOST);
        head.version = Version::HTTP_2;
        return Ok(());
    }
    if !head.headers.contains_key(header::HOST) {
        let value =
            HeaderValue::from_str(host(head)).map_err(|_| Refusal::Malformed("the host is no host"))?;
        head.headers.insert(header::HOST, value);
    }
    if path.is_some() || head.uri.authority().is_some() {
        let mut parts = std::mem::take(&mut head.uri).into_parts();
        (parts.scheme, parts.authority) = (None, None);
        parts.path_and_query =
            Some(path.or(parts.path_and_query).unwrap_or_else(|| PathAndQuery::from_static("/")));
        head.uri = Uri::from_parts(parts).map_err(|_| Refusal::Malformed("the target is no target"))?;
    }
    head.version = Version::HTTP_11;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::map;

    #[test]
    fn headers_for_the_next_hop_go_no_further() {
        let mut headers = map(&[
            ("connection", "close, x-mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("expect", "100-continue"),
            ("proxy-authorization", "x"),
            ("proxy-connection", "x"),
            ("x-stays", "1"),
        ]);

        strip_hop_by_hop(&mut headers);

        assert_eq!(headers, map(&[("x-stays", "1")]));
    }

    #[test]
    fn cookies_that_came_one_by_one_go_on_in_one_line() {
        let mut headers = map(&[("cookie", "a=1"), ("x-own", "1")]);
        headers.append("cookie", HeaderValue::from_static("b=2"));

        join_cookies(&mut headers);

        assert_eq!(headers, map(&[("cookie", "a=1; b=2"), ("x-own", "1")]));
    }

    #[test]
    fn a_gateway_knows_itself_in_via_by_its_whole_name() {
        let via = |text| map(&[("via", text)]);

        assert!(passed_here(&via("1.1 one, 1.1 landbridge-east-a"), "landbridge-east-a"));
        assert!(!passed_here(&via("1.1 landbridge-east-ab, 1.1 x"), "landbridge-east-a"));
    }

    fn peer(trusted: bool) -> Peer {
        Peer {
            address: [10, 0, 0, 9].into(),
            written: HeaderValue::from_static("10.0.0.9"),
            trusted,
            scheme: HeaderValue::from_static("http"),
            listener: 0,
            relayed_from: None,
            caller: None,
            seat: Rc::new(crate::seat::Seat::new(0, 0)),
        }
    }

    #[test]
    fn an_untrusted_caller_cannot_say_for_whom_its_call_is() {
        let forged = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
            ("x-landbridge-caller-region", "west"),
            ("x_forwarded_for", "1.1.1.1"),
            ("x-forwarded_proto", "https"),
            ("x_real_ip", "1.1.1.1"),
            ("x_landbridge_caller_region", "west"),
            ("x-own", "kept"),
        ];
        let mut headers = map(&forged);

        tell_caller(&mut headers, &peer(false));

        let told = [("x-forwarded-for", "10.0.0.9"), ("x-forwarded-proto", "http"), ("x-own", "kept")];
        assert_eq!(headers, map(&told));
    }

    #[test]
    fn a_trusted_callers_word_is_kept_and_added_to() {
        let mut headers = map(&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https")]);

        tell_caller(&mut headers, &peer(true));

        let told = [("x-forwarded-for", "1.1.1.1, 10.0.0.9"), ("x-forwarded-proto", "https")];
        assert_eq!(headers, map(&told));
    }
}

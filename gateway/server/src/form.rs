//! Writes the target and host of a request as the endpoint's version of HTTP wants them.

use http::{
    HeaderValue, Request, Uri, Version, header,
    uri::{Authority, PathAndQuery, Scheme},
};
use landbridge_gateway_core::Endpoint;

/// Gives a request the form of HTTP/2 for this endpoint; one that has it already is left alone.
pub(crate) fn as_http2<B>(request: &mut Request<B>, endpoint: &Endpoint) {
    let secure = endpoint.speech.protocol.is_secure();
    let scheme = if secure { Scheme::HTTPS } else { Scheme::HTTP };
    if request.version() == Version::HTTP_2 && request.uri().scheme() == Some(&scheme) {
        return;
    }
    let host = request.headers_mut().remove(header::HOST);
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    let named = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let address = || format!("{}:{}", endpoint.address, endpoint.port).parse().ok();
    parts.authority = parts.authority.or(named).or_else(address);
    parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    parts.scheme = parts.authority.is_some().then_some(scheme);
    *request.uri_mut() =
        Uri::from_parts(parts).expect("scheme, authority and path are there, or the path alone");
    *request.version_mut() = Version::HTTP_2;
}

/// Gives a request the form of HTTP/1.1; one that has it already is left alone.
pub(crate) fn as_http1<B>(request: &mut Request<B>) {
    if request.version() != Version::HTTP_2 {
        return;
    }
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    let authority = parts.authority.take();
    let host = authority.and_then(|authority| HeaderValue::try_from(authority.as_str()).ok());
    if let Some(host) = host {
        request.headers_mut().insert(header::HOST, host);
    }
    parts.scheme = None;
    parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from_parts(parts).expect("a path alone is a target");
    *request.version_mut() = Version::HTTP_11;
}

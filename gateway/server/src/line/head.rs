//! The heads of HTTP/1.1: writes a request's, reads an answer's and where its body ends.
//!
//! Invariant: an answer that says in two ways where its body ends is refused.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::ext::ReasonPhrase;

use crate::payload::Payload;

/// The most headers of an answer.
const HEADERS_MAX: usize = 128;

/// What most request heads fit into.
const REQUEST_BYTES: usize = 512;

/// Where the body of an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// After so many bytes.
    Exact(u64),
    /// After the last chunk.
    Chunks,
    /// Where the connection does.
    ToTheEnd,
}

/// A head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) response: Response<()>,
    pub(super) length: Length,
    /// The connection may be used again.
    pub(super) keep: bool,
    /// Its length.
    pub(super) bytes: usize,
}

/// What some bytes are.
#[derive(Debug)]
pub(super) enum Heard {
    /// The begin of a head.
    Part,
    /// A whole head that announces another, so many bytes long.
    Interim(usize),
    /// A whole head.
    Final(Head),
}

/// The head of a request without a body.
pub(super) fn written(request: &Request<Payload>) -> Vec<u8> {
    let mut head = Vec::with_capacity(REQUEST_BYTES);
    let uri = request.uri();
    let words = [request.method().as_str(), " ", uri.path()];
    words.iter().for_each(|word| head.extend_from_slice(word.as_bytes()));
    if let Some(query) = uri.query() {
        head.push(b'?');
        head.extend_from_slice(query.as_bytes());
    }
    head.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in request.headers() {
        head.extend_from_slice(name.as_ref());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Reads the head at the begin of some bytes; `to_head` if HEAD was asked.
pub(super) fn read(bytes: &[u8], to_head: bool) -> Result<Heard, &'static str> {
    let mut room = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let length = match parser.parse_response_with_uninit_headers(&mut parsed, bytes, &mut room) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(Heard::Part),
        Err(_) => return Err("the head of an answer is none"),
    };
    let code = parsed.code.unwrap_or_default();
    let status = StatusCode::from_u16(code).map_err(|_| "the status is none")?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err("it switches to a protocol that nobody asked for");
    }
    if status.is_informational() {
        return Ok(Heard::Interim(length));
    }
    let old = parsed.version == Some(0);
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = if old { Version::HTTP_10 } else { Version::HTTP_11 };
    *response.headers_mut() = headers(&bytes[..length], parsed.headers)?;
    let reason = parsed.reason.filter(|reason| status.canonical_reason() != Some(*reason));
    if let Some(reason) = reason.and_then(|reason| ReasonPhrase::try_from(reason.as_bytes()).ok()) {
        response.extensions_mut().insert(reason);
    }
    let keep = is_kept(old, response.headers());
    let bodiless = to_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let told = length_of(old, response.headers_mut())?;
    let body = if bodiless { Length::Exact(0) } else { told };
    let keep = keep && body != Length::ToTheEnd;
    Ok(Heard::Final(Head { response, length: body, keep, bytes: length }))
}

/// The headers, their values in one piece of memory.
fn headers(head: &[u8], parsed: &[httparse::Header<'_>]) -> Result<HeaderMap, &'static str> {
    let block = Bytes::copy_from_slice(head);
    let mut headers = HeaderMap::with_capacity(parsed.len());
    for header in parsed {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| "a header has no name")?;
        let from = header.value.as_ptr() as usize - head.as_ptr() as usize;
        let value = block.slice(from..from + header.value.len());
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| "a header has no value")?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// True if the endpoint lets the connection stay.
fn is_kept(old: bool, headers: &HeaderMap) -> bool {
    let lists = |word: &[u8]| {
        let mut listed = headers.get_all(header::CONNECTION).iter();
        listed.any(|list| {
            let mut words = list.as_bytes().split(|byte| *byte == b',');
            words.any(|listed| listed.trim_ascii().eq_ignore_ascii_case(word))
        })
    };
    if old { lists(b"keep-alive") } else { !lists(b"close") }
}

/// Where the body ends (RFC 9112, section 6.3), told in one way when this returns.
fn length_of(old: bool, headers: &mut HeaderMap) -> Result<Length, &'static str> {
    if let Some(encoding) = headers.get(header::TRANSFER_ENCODING) {
        let alone = headers.get_all(header::TRANSFER_ENCODING).iter().nth(1).is_none();
        if old || !alone || !encoding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err("the encoding is not chunked alone");
        }
        if headers.contains_key(header::CONTENT_LENGTH) {
            return Err("a length and chunks at once");
        }
        return Ok(Length::Chunks);
    }
    let mut told = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = told.next() else { return Ok(Length::ToTheEnd) };
    if told.next().is_some() {
        return Err("the length is given twice");
    }
    let digits = first.as_bytes();
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return Err("the length is not a number");
    }
    Ok(Length::Exact(digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))))
}

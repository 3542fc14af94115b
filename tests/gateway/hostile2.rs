//! The smuggling set over HTTP/2: what would become another request when written as HTTP/1.
//!
//! All but two cases are refused: the honest one, and pseudo headers in trailers, which nobody reads and nobody passes on.

use crate::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, block, frame};

/// One case: frames of stream 1.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) frames: Vec<u8>,
    /// It arrives, as one honest request.
    pub(crate) passes: bool,
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "web.test")];

/// Heads of a request without a body; each must be refused.
const HEADS: &[(&str, &[(&str, &str)])] = &[
    ("a CRLF in a value", &[GET[0], GET[1], GET[2], GET[3], ("x", "a\r\nTransfer-Encoding: chunked")]),
    ("a line feed in a value", &[GET[0], GET[1], GET[2], GET[3], ("x", "a\ny: b")]),
    ("a NUL in a value", &[GET[0], GET[1], GET[2], GET[3], ("x", "a\0b")]),
    ("a CRLF in a name", &[GET[0], GET[1], GET[2], GET[3], ("x\r\ntransfer-encoding", "chunked")]),
    ("a colon in a name", &[GET[0], GET[1], GET[2], GET[3], ("x: y\r\nz", "a")]),
    ("a space in a name", &[GET[0], GET[1], GET[2], GET[3], ("x y", "a")]),
    ("an empty name", &[GET[0], GET[1], GET[2], GET[3], ("", "a")]),
    ("a capital letter in a name", &[GET[0], GET[1], GET[2], GET[3], ("X-Y", "a")]),
    ("chunks", &[GET[0], GET[1], GET[2], GET[3], ("transfer-encoding", "chunked")]),
    ("a connection header", &[GET[0], GET[1], GET[2], GET[3], ("connection", "host")]),
    ("an upgrade", &[GET[0], GET[1], GET[2], GET[3], ("upgrade", "websocket")]),
    ("two hosts", &[GET[0], GET[1], GET[2], GET[3], ("host", "web.test"), ("host", "web.test")]),
    ("a host beside another authority", &[GET[0], GET[1], GET[2], GET[3], ("host", "other.test")]),
    (
        "a request line in the path",
        &[GET[0], GET[1], (":path", "/ HTTP/1.1\r\nHost: web.test\r\n\r\nGET /smuggled"), GET[3]],
    ),
    ("a space in the path", &[GET[0], GET[1], (":path", "/a /smuggled"), GET[3]]),
    ("a path without a slash", &[GET[0], GET[1], (":path", "smuggled"), GET[3]]),
    ("an empty path", &[GET[0], GET[1], (":path", ""), GET[3]]),
    ("no path", &[GET[0], GET[1], GET[3]]),
    ("two paths", &[GET[0], GET[1], GET[2], (":path", "/smuggled"), GET[3]]),
    ("a request line in the method", &[(":method", "GET /smuggled HTTP/1.1\r\nx: "), GET[1], GET[2], GET[3]]),
    ("a space in the method", &[(":method", "GET /smuggled"), GET[1], GET[2], GET[3]]),
    ("two methods", &[GET[0], (":method", "POST"), GET[1], GET[2], GET[3]]),
    ("a scheme that is a target", &[GET[0], (":scheme", "http://web.test/smuggled?"), GET[2], GET[3]]),
    ("a path in the authority", &[GET[0], GET[1], GET[2], (":authority", "web.test/smuggled")]),
    ("a user in the authority", &[GET[0], GET[1], GET[2], (":authority", "web.test@other.test")]),
    ("a CRLF in the authority", &[GET[0], GET[1], GET[2], (":authority", "web.test\r\nx: y")]),
    ("a pseudo header nobody knows", &[GET[0], GET[1], GET[2], GET[3], (":smuggled", "a")]),
    ("a pseudo header after others", &[GET[0], GET[1], GET[2], ("x", "y"), GET[3]]),
    ("an answer's pseudo header", &[GET[0], GET[1], GET[2], GET[3], (":status", "200")]),
    ("CONNECT", &[(":method", "CONNECT"), GET[3]]),
    (
        "CONNECT for another protocol",
        &[(":method", "CONNECT"), (":protocol", "websocket"), GET[1], GET[2], GET[3]],
    ),
    ("two lengths", &[GET[0], GET[1], GET[2], GET[3], ("content-length", "0"), ("content-length", "1")]),
    ("a length without a body", &[GET[0], GET[1], GET[2], GET[3], ("content-length", "5")]),
];

/// A body that is not what its head says; each must be refused.
const BODIES: &[(&str, &str, &str)] = &[
    ("a body longer than it says", "3", "hello"),
    ("a body shorter than it says", "7", "hello"),
    ("a length with a sign", "+5", "hello"),
    ("an empty length", "", "hello"),
];

/// All cases; the first is honest.
pub(crate) fn cases() -> Vec<Case> {
    let whole = |fields: &[(&str, &str)]| frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(fields));
    let mut cases = vec![Case { name: "an honest request", frames: whole(&GET), passes: true }];
    cases.extend(HEADS.iter().map(|(name, fields)| Case { name, frames: whole(fields), passes: false }));
    let post = |length: &str| {
        let mut fields = vec![(":method", "POST"), GET[1], GET[2], GET[3]];
        fields.push(("content-length", length));
        frame(HEADERS, END_HEADERS, 1, &block(&fields))
    };
    for (name, length, body) in BODIES {
        let frames = [post(length), frame(DATA, END_STREAM, 1, body.as_bytes())].concat();
        cases.push(Case { name, frames, passes: false });
    }
    let trailers = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[(":path", "/smuggled")]));
    let frames = [post("5"), frame(DATA, 0, 1, b"hello"), trailers].concat();
    cases.push(Case { name: "a pseudo header in the trailers", frames, passes: true });
    cases
}

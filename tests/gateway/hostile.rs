//! The smuggling set over HTTP/1: bytes as they are sent, and what is expected of each.
//!
//! What must never arrive asks for `/smuggled`; `Host: web.test` is the host that the gateway serves.

/// What the gateway must do with a case.
#[derive(Clone, Debug)]
pub(crate) enum Expected {
    /// A 4xx or 5xx of its own, or no word; the connection is closed, nothing arrives.
    Refused,
    /// The same, but the connection may go on: its framing was clear.
    Denied,
    /// These requests arrive, in this order and no other.
    Passed(&'static [Arriving]),
}

/// One request as it must arrive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arriving {
    pub(crate) line: &'static str,
    pub(crate) body: &'static str,
    /// In no header line, in lower case.
    pub(crate) without: &'static [&'static str],
}

/// One case.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) expected: Expected,
}

/// A request that must not be seen.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: web.test\r\n\r\n";

/// Head lines of a `POST` whose framing is told in two ways or in none, and what follows the blank line.
const FRAMING: &[(&str, &str, &str)] = &[
    ("CL.TE", "Content-Length: 47\r\nTransfer-Encoding: chunked", "0\r\n\r\n~"),
    ("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 4", "2a\r\n~\r\n0\r\n\r\n"),
    ("CL.TE with a length of zero", "Content-Length: 0\r\nTransfer-Encoding: chunked", "0\r\n\r\n~"),
    ("two equal lengths", "Content-Length: 5\r\nContent-Length: 5", "hello~"),
    ("two lengths", "Content-Length: 5\r\nContent-Length: 0", "hello~"),
    ("two lengths in a list", "Content-Length: 5, 5", "hello~"),
    ("a length with a sign", "Content-Length: +5", "hello~"),
    ("a negative length", "Content-Length: -5", "hello~"),
    ("a length in hexadecimal", "Content-Length: 0x5", "hello~"),
    ("a length with a space inside", "Content-Length: 5 5", "hello~"),
    ("a length with an underscore", "Content-Length: 5_0", "hello~"),
    ("a length beyond 64 bits", "Content-Length: 18446744073709551621", "hello~"),
    ("an empty length", "Content-Length:", "hello~"),
    ("TE.TE, an unknown coding", "Transfer-Encoding: xchunked", "0\r\n\r\n~"),
    ("TE.TE, two codings", "Transfer-Encoding: gzip, chunked", "0\r\n\r\n~"),
    ("TE.TE, chunked not last", "Transfer-Encoding: chunked, identity", "0\r\n\r\n~"),
    ("TE.TE, chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n~"),
    ("TE.TE, a second line", "Transfer-Encoding: chunked\r\nTransfer-encoding: cow", "0\r\n\r\n~"),
    ("TE.TE, quoted", "Transfer-Encoding: \"chunked\"", "0\r\n\r\n~"),
    ("TE.TE, a vertical tab", "Transfer-Encoding: \x0bchunked", "0\r\n\r\n~"),
    ("TE.TE, a NUL", "Transfer-Encoding: chunked\0", "0\r\n\r\n~"),
    ("TE.TE, a parameter", "Transfer-Encoding: chunked;q=1", "0\r\n\r\n~"),
    ("TE identity beside a length", "Transfer-Encoding: identity\r\nContent-Length: 5", "hello~"),
    ("a space before the colon of TE", "Transfer-Encoding : chunked", "0\r\n\r\n~"),
    ("a tab before the colon of CL", "Content-Length\t: 5", "hello~"),
    ("TE on a continued line", "X: a\r\n\tTransfer-Encoding: chunked", "0\r\n\r\n~"),
    ("a value on a continued line", "Transfer-Encoding:\r\n chunked", "0\r\n\r\n~"),
    ("TE behind a bare line feed", "X: a\nTransfer-Encoding: chunked", "0\r\n\r\n~"),
    ("TE behind a bare carriage return", "X: a\rTransfer-Encoding: chunked", "0\r\n\r\n~"),
    ("a length that Connection takes away", "Connection: content-length\r\nContent-Length: 5", "hello~"),
    ("a letter as the length of a chunk", "Transfer-Encoding: chunked", "x\r\nhello\r\n0\r\n\r\n~"),
    ("a space after the length of a chunk", "Transfer-Encoding: chunked", "5 \r\nhello\r\n0\r\n\r\n~"),
    ("a sign before the length of a chunk", "Transfer-Encoding: chunked", "+5\r\nhello\r\n0\r\n\r\n~"),
    ("0x before the length of a chunk", "Transfer-Encoding: chunked", "0x5\r\nhello\r\n0\r\n\r\n~"),
    ("a chunk beyond 64 bits", "Transfer-Encoding: chunked", "10000000000000005\r\nhello\r\n0\r\n\r\n~"),
    ("a chunk longer than it says", "Transfer-Encoding: chunked", "3\r\nhello\r\n0\r\n\r\n~"),
    ("a chunk ended by a bare line feed", "Transfer-Encoding: chunked", "5\nhello\r\n0\r\n\r\n~"),
    ("a line feed in a chunk extension", "Transfer-Encoding: chunked", "5;a\nb\r\nhello\r\n0\r\n\r\n~"),
    ("a length in the trailers", "Transfer-Encoding: chunked", "0\r\nContent-Length: 42\r\n\r\n~"),
    ("an encoding in the trailers", "Transfer-Encoding: chunked", "0\r\nTransfer-Encoding: chunked\r\n\r\n~"),
];

/// Whole heads that must be refused.
const HEADS: &[(&str, &str)] = &[
    (
        "chunks in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n~",
    ),
    ("two hosts", "GET / HTTP/1.1\r\nHost: web.test\r\nHost: other.test\r\n\r\n"),
    ("two equal hosts", "GET / HTTP/1.1\r\nHost: web.test\r\nHost: web.test\r\n\r\n"),
    ("no host", "GET / HTTP/1.1\r\nAccept: a\r\n\r\n"),
    ("an authority beside another host", "GET http://other.test/ HTTP/1.1\r\nHost: web.test\r\n\r\n"),
    ("a user in the host", "GET / HTTP/1.1\r\nHost: web.test@other.test\r\n\r\n"),
    ("a path in the host", "GET / HTTP/1.1\r\nHost: web.test/smuggled\r\n\r\n"),
    (
        "a host that Connection takes away",
        "GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close, host\r\n\r\n",
    ),
    ("a NUL in a value", "GET / HTTP/1.1\r\nHost: web.test\r\nX: a\0b\r\n\r\n"),
    ("a NUL in a name", "GET / HTTP/1.1\r\nHost: web.test\r\nX\0: a\r\n\r\n"),
    ("a NUL in the target", "GET /\0smuggled HTTP/1.1\r\nHost: web.test\r\n\r\n"),
    ("a bare carriage return in a value", "GET / HTTP/1.1\r\nHost: web.test\r\nX: a\rb\r\n\r\n"),
    ("a doubled carriage return", "GET / HTTP/1.1\r\nHost: web.test\r\nX: a\r\r\n\r\n"),
    ("lines ended by line feeds", "GET / HTTP/1.1\nHost: web.test\n\n"),
    ("one line ended by a line feed", "GET / HTTP/1.1\r\nHost: web.test\nX: y\r\n\r\n"),
    ("a blank line of a line feed alone", "GET / HTTP/1.1\r\nHost: web.test\r\n\n~"),
    ("a header without a colon", "GET / HTTP/1.1\r\nHost: web.test\r\nnocolon\r\n\r\n"),
    ("a header without a name", "GET / HTTP/1.1\r\nHost: web.test\r\n: nothing\r\n\r\n"),
    ("a space in a name", "GET / HTTP/1.1\r\nHost: web.test\r\nX Y: a\r\n\r\n"),
    ("a space before the first name", "GET / HTTP/1.1\r\n Host: web.test\r\n\r\n"),
    ("two spaces in the request line", "GET  / HTTP/1.1\r\nHost: web.test\r\n\r\n"),
    ("a tab in the request line", "GET\t/ HTTP/1.1\r\nHost: web.test\r\n\r\n"),
    ("four words", "GET / HTTP/1.1 x\r\nHost: web.test\r\n\r\n"),
    ("a version nobody knows", "GET / HTTP/9.9\r\nHost: web.test\r\n\r\n"),
    ("a version in small letters", "GET / http/1.1\r\nHost: web.test\r\n\r\n"),
    ("HTTP/0.9", "GET /\r\n\r\n"),
    ("a fragment in the target", "GET /a#/smuggled HTTP/1.1\r\nHost: web.test\r\n\r\n"),
    ("a target of a star", "GET * HTTP/1.1\r\nHost: web.test\r\n\r\n"),
    ("a target without a slash", "GET smuggled HTTP/1.1\r\nHost: web.test\r\n\r\n"),
    ("CONNECT", "CONNECT web.test:80 HTTP/1.1\r\nHost: web.test:80\r\n\r\n~"),
    ("TRACE", "TRACE / HTTP/1.1\r\nHost: web.test\r\n\r\n"),
    ("a broken HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSMUGGLED"),
];

/// A request that must arrive as it is.
const fn arriving(line: &'static str, body: &'static str) -> Arriving {
    Arriving { line, body, without: &[] }
}

/// Heads that must pass, and what may be left of them.
const PASSING: &[(&str, &str, &[Arriving])] = &[
    (
        "an honest request behind another",
        "POST /1 HTTP/1.1\r\nHost: web.test\r\nContent-Length: 5\r\n\r\nhelloGET /2 HTTP/1.1\r\nHost: web.test\r\n\r\n",
        &[arriving("POST /1 HTTP/1.1", "hello"), arriving("GET /2 HTTP/1.1", "")],
    ),
    (
        "a body that looks like a request",
        "POST /1 HTTP/1.1\r\nHost: web.test\r\nContent-Length: 42\r\n\r\n~",
        &[arriving("POST /1 HTTP/1.1", SMUGGLED)],
    ),
    (
        "a GET with a body that looks like a request",
        "GET /1 HTTP/1.1\r\nHost: web.test\r\nContent-Length: 42\r\n\r\n~",
        &[arriving("GET /1 HTTP/1.1", SMUGGLED)],
    ),
    (
        "a chunk that looks like a request",
        "PUT /1 HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: CHUNKED\r\n\r\n2a\r\n~\r\n0\r\n\r\n",
        &[arriving("PUT /1 HTTP/1.1", SMUGGLED)],
    ),
    (
        "chunk extensions",
        "POST /1 HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b;c\r\nhello\r\n0;d\r\n\r\n",
        &[arriving("POST /1 HTTP/1.1", "hello")],
    ),
    (
        "an underscored encoding",
        "POST /1 HTTP/1.1\r\nHost: web.test\r\nTransfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello",
        &[arriving("POST /1 HTTP/1.1", "hello")],
    ),
    (
        "a blank line before the request",
        "\r\nGET /1 HTTP/1.1\r\nHost: web.test\r\n\r\n",
        &[arriving("GET /1 HTTP/1.1", "")],
    ),
    (
        "an authority that is the host",
        "GET http://web.test/1 HTTP/1.1\r\nHost: web.test\r\n\r\n",
        &[arriving("GET /1 HTTP/1.1", "")],
    ),
    (
        "a caller waits before its body",
        "POST /1 HTTP/1.1\r\nHost: web.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        &[Arriving { line: "POST /1 HTTP/1.1", body: "hello", without: &["expect:"] }],
    ),
    (
        "an upgrade to h2c with a request behind it",
        "GET /1 HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        &[Arriving { line: "GET /1 HTTP/1.1", body: "", without: &["upgrade:", "http2-settings:", "h2c"] }],
    ),
    (
        "headers for the next hop only",
        "GET /1 HTTP/1.1\r\nHost: web.test\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
         Proxy-Authorization: Basic QQ==\r\nTE: gzip\r\nConnection: x-mine\r\nX-Mine: 6.6.6.6\r\n\r\n",
        &[Arriving {
            line: "GET /1 HTTP/1.1",
            body: "",
            without: &["keep-alive", "proxy-", "te:", "connection:", "6.6.6.6"],
        }],
    ),
    (
        "a forged x-forwarded-for",
        "GET /1 HTTP/1.1\r\nHost: web.test\r\nX-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 6.6.6.7\r\n\r\n",
        &[Arriving { line: "GET /1 HTTP/1.1", body: "", without: &["6.6.6."] }],
    ),
    (
        "other forged forwarding headers",
        "GET /1 HTTP/1.1\r\nHost: web.test\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
         X-Forwarded-Host: 6.6.6.6\r\nX-Forwarded-Port: 6666\r\nX-Forwarded-Proto: gopher\r\n\r\n",
        &[Arriving { line: "GET /1 HTTP/1.1", body: "", without: &["6.6.6.6", "6666", "gopher"] }],
    ),
    (
        "forged headers with underscores",
        "GET /1 HTTP/1.1\r\nHost: web.test\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded_Proto: 6.6.6.6\r\n\
         X_Real_IP: 6.6.6.6\r\nX_Landbridge_Caller_Region: 6.6.6.6\r\n\r\n",
        &[Arriving { line: "GET /1 HTTP/1.1", body: "", without: &["6.6.6.6"] }],
    ),
    (
        "the gateway's own headers",
        "GET /1 HTTP/1.1\r\nHost: web.test\r\nX-Landbridge-Caller-Region: forged\r\nX-LANDBRIDGE-Hops: forged\r\n\r\n",
        &[Arriving { line: "GET /1 HTTP/1.1", body: "", without: &["forged"] }],
    ),
    (
        "forwarding headers that Connection takes away",
        "GET /1 HTTP/1.1\r\nHost: web.test\r\nConnection: x-forwarded-for, via\r\n\r\n",
        &[Arriving { line: "GET /1 HTTP/1.1", body: "", without: &["connection:"] }],
    ),
];

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    let refused = |name, text: &str| {
        let bytes = text.replace('~', SMUGGLED).into_bytes();
        Case { name, bytes, expected: Expected::Refused }
    };
    let framing = FRAMING.iter().map(|(name, headers, body)| {
        refused(name, &format!("POST / HTTP/1.1\r\nHost: web.test\r\n{headers}\r\n\r\n{body}"))
    });
    let heads = HEADS.iter().map(|(name, text)| refused(name, text));
    let with = |headers: &str| format!("GET / HTTP/1.1\r\nHost: web.test\r\n{headers}\r\n");
    let many: String = (0..500).map(|n| format!("X-{n}: y\r\n")).collect();
    let sizes = [
        refused("five hundred headers", &with(&many)),
        refused("a header of 200 kB", &with(&format!("X: {}\r\n", "y".repeat(200_000)))),
        refused(
            "a target of 100 kB",
            &format!("GET /{} HTTP/1.1\r\nHost: web.test\r\n\r\n", "y".repeat(100_000)),
        ),
    ];
    let passing = PASSING.iter().map(|(name, text, arriving)| {
        let bytes = text.replace('~', SMUGGLED).into_bytes();
        Case { name, bytes, expected: Expected::Passed(arriving) }
    });
    let looping = Case {
        name: "a call that says it went through here",
        bytes: with("Via: 1.1 landbridge-east-a\r\n").into_bytes(),
        expected: Expected::Denied,
    };
    framing.chain(heads).chain(sizes).chain(passing).chain([looping]).collect()
}

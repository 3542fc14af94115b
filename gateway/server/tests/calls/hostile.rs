//! Raw bytes that are no honest request: refused or closed, never passed on, never stuck.

use std::time::Duration;

use http::Response;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::harness::{Endpoint, House, PATIENCE, at, full, page};

/// Requests that two servers could read differently; none may reach the endpoint.
const AMBIGUOUS: [&str; 42] = [
    "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 5, 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: +5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 0x5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 5 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: -5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 99999999999999999999999\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length:\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: web.test\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: web.test\r\nX: a\r\n\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding:\u{b}chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.0\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: web.test\r\nHost: other.test\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: web.test\r\nHost: web.test\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "GET http://other.test/ HTTP/1.1\r\nHost: web.test\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: web.test@other.test\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: web.test\r\nConnection: content-length\r\nContent-Length: 5\r\n\r\nhello",
    "GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close, host\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: web.test\r\nX: a\0b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: web.test\r\nX\0: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: web.test\r\nX: a\rb\r\n\r\n",
    "GET / HTTP/1.1\nHost: web.test\n\n",
    "GET / HTTP/1.1\r\nHost: web.test\nX: y\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: web.test\r\nnocolon\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: web.test\r\n: nothing\r\n\r\n",
    "GET  / HTTP/1.1\r\nHost: web.test\r\n\r\n",
    "GET / HTTP/1.1 x\r\nHost: web.test\r\n\r\n",
    "GET / HTTP/9.9\r\nHost: web.test\r\n\r\n",
    "GET /\r\n\r\n",
    "CONNECT web.test:80 HTTP/1.1\r\nHost: web.test:80\r\n\r\n",
    "TRACE / HTTP/1.1\r\nHost: web.test\r\n\r\n",
    "GET * HTTP/1.1\r\nHost: web.test\r\n\r\n",
];

#[tokio::test]
async fn an_ambiguous_request_never_reaches_an_endpoint() {
    let endpoint = Endpoint::named("reached").await;
    let house = House::before(&[&endpoint], "").await;

    let mut passed = Vec::new();
    for request in AMBIGUOUS {
        let answer = house.raw(request.as_bytes()).await;
        let refused =
            answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.0 4") || answer.is_empty();
        if !refused {
            passed.push((request, answer));
        }
    }

    assert!(passed.is_empty(), "{passed:#?}");
    assert_eq!(endpoint.count(), 0);
    assert_eq!(house.get("/").await.0, 200, "the gateway still serves");
}

#[tokio::test]
async fn a_request_smuggled_behind_another_is_not_served() {
    let endpoint = Endpoint::named("reached").await;
    let house = House::before(&[&endpoint], "").await;
    let smuggled = "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
                    5c\r\nGPOST /admin HTTP/1.1\r\nHost: web.test\r\nContent-Length: 15\r\n\r\nx=1\r\n0\r\n\r\n";

    let answer = house.raw(smuggled.as_bytes()).await;

    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    assert_eq!(endpoint.count(), 0);
}

#[tokio::test]
async fn broken_chunks_end_the_call_and_the_connection() {
    let endpoint = Endpoint::start(|asked| async move { Response::new(full(asked.body)) }).await;
    let house = House::before(&[&endpoint], "").await;
    for chunks in ["x\r\nhello\r\n0\r\n\r\n", "5\r\nhello0\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n", "-1\r\n\r\n"]
    {
        let request =
            format!("POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");

        let answer = house.raw(request.as_bytes()).await;

        assert!(!answer.starts_with("HTTP/1.1 2"), "{chunks:?}: {answer}");
    }
    assert_eq!(endpoint.count(), 0);
}

/// Sends a good begin, then, once the endpoint has it, what breaks a rule; returns what caller and endpoint read.
async fn broken_late(answered_early: bool, begin: &str, end: &str) -> (String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let house = House::open(&page(&[at(listener.local_addr().unwrap(), "east", "a")], "")).await;
    let mut caller = TcpStream::connect(house.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    caller.write_all(format!("{head}{begin}").as_bytes()).await.unwrap();
    let (mut endpoint, _) = listener.accept().await.unwrap();
    let mut arrived = Vec::new();
    while !arrived.ends_with(begin.as_bytes()) {
        assert!(endpoint.read_buf(&mut arrived).await.unwrap() > 0, "the begin never came");
    }
    let (mut answer, early) = (Vec::new(), b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    if answered_early {
        endpoint.write_all(early).await.unwrap();
        while !answer.ends_with(b"ok") {
            assert!(caller.read_buf(&mut answer).await.unwrap() > 0, "the answer never came");
        }
    }
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: web.test\r\n\r\n";
    caller.write_all(format!("{end}{smuggled}").as_bytes()).await.unwrap();
    // Either side may be reset: what was read until then counts.
    let ended = async {
        let _ = endpoint.read_to_end(&mut arrived).await;
        let _ = caller.read_to_end(&mut answer).await;
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(answer), text(arrived))
}

#[tokio::test]
async fn what_is_broken_late_in_a_body_is_answered_once_and_goes_no_further() {
    for end in [
        "5 \r\nhello\r\n0\r\n\r\n",
        "0\r\nContent-Length: 44\r\n\r\n",
        "0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
    ] {
        let (answer, arrived) = broken_late(false, "3\r\nabc\r\n", end).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.matches("HTTP/1.1").count() == 1, "{answer}");
        assert!(arrived.ends_with("3\r\nabc\r\n"), "{end:?}: {arrived}");

        let (answer, arrived) = broken_late(true, "3\r\nabc\r\n", end).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.matches("HTTP/1.1").count() == 1, "{answer}");
        assert!(arrived.ends_with("3\r\nabc\r\n"), "{end:?}: {arrived}");
    }
}

#[tokio::test]
async fn garbage_on_the_port_is_refused_and_forgotten() {
    let endpoint = Endpoint::named("a").await;
    let house = House::before(&[&endpoint], "").await;
    let noise: Vec<u8> = (0..20_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();

    for garbage in [
        &noise[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxxxxxxxx",
    ] {
        let answer = house.raw(garbage).await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    }

    assert_eq!(house.get("/").await.0, 200);
    assert_eq!(endpoint.count(), 1);
}

#[tokio::test]
async fn header_bombs_are_refused() {
    let endpoint = Endpoint::named("a").await;
    let house = House::before(&[&endpoint], "").await;
    let many: String = (0..500).map(|n| format!("X-{n}: y\r\n")).collect();
    let long = format!("X: {}\r\n", "y".repeat(200_000));
    let target = format!("GET /{} HTTP/1.1\r\nHost: web.test\r\n\r\n", "y".repeat(100_000));
    let with = |headers: &str| format!("GET / HTTP/1.1\r\nHost: web.test\r\n{headers}\r\n");

    for bomb in [with(&many), with(&long), target] {
        let answer = house.raw(bomb.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 4") || answer.is_empty(), "{answer}");
    }

    assert_eq!(endpoint.count(), 0);
}

#[tokio::test]
async fn a_head_that_never_completes_is_cut() {
    let endpoint = Endpoint::named("a").await;
    let house = House::before(&[&endpoint], "[connections]\nheader_timeout_ms = 300\n").await;
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web.test\r\n").await.unwrap();
    let drip = async {
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        while stream.write_all(b"X: y\r\n").await.is_ok() {
            pace.tick().await;
        }
    };

    let cut = tokio::time::timeout(PATIENCE, drip).await;

    assert!(cut.is_ok(), "the drip went on");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let endpoint = Endpoint::named("a").await;
    let house = House::before(&[&endpoint], "[connections]\nidle_timeout_ms = 200\n").await;
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n").await.unwrap();

    let mut answer = Vec::new();
    let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;

    assert!(closed.is_ok(), "the connection stayed open");
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let endpoint =
        Endpoint::start(|asked| async move { Response::new(full(asked.uri.path().to_owned())) }).await;
    let house = House::before(&[&endpoint], "").await;
    let three =
        ["/1", "/2", "/3"].map(|path| format!("GET {path} HTTP/1.1\r\nHost: web.test\r\n\r\n")).concat();

    let answer = house.raw(three.as_bytes()).await;

    let places: Vec<_> = ["\r\n\r\n/1", "\r\n\r\n/2", "\r\n\r\n/3"].map(|body| answer.find(body)).into();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{answer}");
}

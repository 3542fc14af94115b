//! Tests of serving over real sockets: what a hostile or clumsy peer gets.

use std::net::Ipv4Addr;

use axum::Router;
use axum::extract::Extension;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};

use super::*;
use crate::listen::listen;
use crate::tls::tests::Office;

const LIMITS: HttpLimits = HttpLimits {
    header_read_timeout_ms: 150,
    request_timeout_ms: Some(400),
    idle_timeout_ms: 300,
    write_stall_timeout_ms: 300,
    body_bytes_max: Some(1_000),
    connections_max: 4,
    drain_ms: 300,
    ..HttpLimits::recommended()
};

/// No test waits longer for what must happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a condition is looked at, or a byte dripped.
const EVERY: Duration = Duration::from_millis(20);

struct Port {
    address: SocketAddr,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Port {
    fn open(limits: HttpLimits) -> Self {
        Self::open_with(limits, None)
    }

    fn open_with(limits: HttpLimits, tls: Option<Identity>) -> Self {
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), "a test").unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let routes =
            Router::new()
                .route("/", get(|| async { "hello" }))
                .route(
                    "/who",
                    get(|Extension(PeerAddress(address)): Extension<PeerAddress>| async move {
                        address.to_string()
                    }),
                )
                .route("/name", get(|Extension(name): Extension<PeerName>| async move { name.to_string() }))
                .route("/echo", post(|body: Bytes| async move { body }))
                .route("/never", get(std::future::pending::<()>))
                .route("/much", get(|| async { vec![b'x'; 64 * 1_048_576] }))
                .route("/panic", get(|| async { panic!("on purpose") as &'static str }));
        let serving = Serving { listener, what: "a test", tls, limits, shutdown: shutdown.clone() };
        Self { address, shutdown, task: tokio::spawn(serve(serving, routes)) }
    }

    async fn dial(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads until the port closes.
    async fn say(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.dial().await;
        stream.write_all(bytes.as_ref()).await.unwrap();
        rest(&mut stream).await
    }
}

/// Everything until the peer closes, one way or the other.
async fn rest(stream: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut heard)).await;
    // A reset is a way of closing too.
    let _ = read.expect("the port closes the connection in time");
    String::from_utf8_lossy(&heard).into_owned()
}

/// Reads until `end` was heard.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut heard = String::new();
    while !heard.contains(end) {
        let mut bytes = [0; 4_096];
        let count = timeout(PATIENCE, stream.read(&mut bytes)).await.unwrap().unwrap();
        assert_ne!(count, 0, "closed after {heard:?}");
        heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    heard
}

#[tokio::test]
async fn an_ordinary_request_is_answered_and_told_its_address() {
    let port = Port::open(LIMITS);
    let mut stream = port.dial().await;

    stream.write_all(b"GET /who HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();

    let own = stream.local_addr().unwrap().to_string();
    until(&mut stream, &own).await;
}

#[tokio::test]
async fn garbage_is_closed_and_the_port_lives_on() {
    let port = Port::open(LIMITS);
    let tls_hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00];

    for garbage in [
        &tls_hello[..],
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let heard = port.say(garbage).await;
        assert!(!heard.contains("200"), "{heard:?}");
    }

    assert!(port.say("GET / HTTP/1.0\r\n\r\n").await.contains("hello"));
}

#[tokio::test]
async fn a_panic_ends_one_connection_only() {
    let port = Port::open(LIMITS);

    let heard = port.say("GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await;

    assert_eq!(heard, "");
    assert!(port.say("GET / HTTP/1.0\r\n\r\n").await.contains("hello"));
}

#[tokio::test]
async fn slow_headers_are_cut_also_when_they_drip() {
    let port = Port::open(LIMITS);
    assert_eq!(port.say("").await, "");
    assert_eq!(port.say("GET / HTTP/1.1\r\nhost:").await, "");

    let mut stream = port.dial().await;
    let mut beat = interval(EVERY);
    let drip = async {
        // Ends with an error when the port has closed.
        while stream.write_all(b"a").await.is_ok() {
            beat.tick().await;
        }
    };

    timeout(PATIENCE, drip).await.expect("a dripped head is cut");
}

#[tokio::test]
async fn a_second_head_has_its_own_deadline() {
    let port = Port::open(HttpLimits { idle_timeout_ms: 60_000, ..LIMITS });
    let mut stream = port.dial().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    until(&mut stream, "hello").await;

    stream.write_all(b"GET / HT").await.unwrap();

    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let port = Port::open(LIMITS);
    let mut stream = port.dial().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    until(&mut stream, "hello").await;

    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn oversize_bodies_get_413_announced_or_not() {
    let port = Port::open(LIMITS);
    let announced = "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1001\r\n\r\n";
    let chunk = format!("3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1_001));
    let streamed = format!(
        "POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{chunk}"
    );

    assert!(port.say(announced).await.starts_with("HTTP/1.1 413"));
    assert!(port.say(streamed).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn a_body_at_the_limit_passes() {
    let port = Port::open(LIMITS);
    let body = "x".repeat(1_000);

    let heard = port
        .say(format!(
            "POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 1000\r\n\r\n{body}"
        ))
        .await;

    assert!(heard.starts_with("HTTP/1.1 200") && heard.ends_with(&body), "{heard}");
}

#[tokio::test]
async fn too_many_and_too_long_headers_get_431() {
    let port = Port::open(LIMITS);
    let long = "x".repeat(40_000);
    let many = "a: b\r\n".repeat(200);

    assert!(
        port.say(format!("GET / HTTP/1.1\r\nhost: a\r\nlong: {long}\r\n\r\n"))
            .await
            .starts_with("HTTP/1.1 431")
    );
    assert!(port.say(format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n")).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn ambiguous_requests_get_400_and_the_connection_is_closed() {
    let port = Port::open(LIMITS);

    for ambiguous in [
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /%00 HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        "GET / HTTP/1.1\r\nhost: a\r\nb : c\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\nb: c\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nb: c\r\n d\r\n\r\n",
        "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nxx",
    ] {
        let heard = port.say(ambiguous).await;
        assert!(heard.starts_with("HTTP/1.1 400"), "{ambiguous:?} got {heard:?}");
    }
}

#[tokio::test]
async fn a_muddled_head_is_noticed_on_a_connection_that_was_clear_before() {
    let port = Port::open(LIMITS);
    let mut stream = port.dial().await;
    for _ in 0..3 {
        stream.write_all(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx").await.unwrap();
        until(&mut stream, "\r\n\r\nx").await;
    }

    stream.write_all(b"GET / HTTP/1.1\nhost: a\r\n\r\n").await.unwrap();

    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn a_request_without_an_answer_in_time_gets_503() {
    let port = Port::open(LIMITS);

    assert!(port.say("GET /never HTTP/1.1\r\nhost: a\r\n\r\n").await.starts_with("HTTP/1.1 503"));
}

#[tokio::test]
async fn a_peer_that_takes_nothing_of_its_answer_is_cut() {
    let port = Port::open(HttpLimits { connections_max: 1, ..LIMITS });
    let mut greedy = port.dial().await;
    greedy.write_all(b"GET /much HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();

    let mut beat = interval(EVERY);
    let freed = async {
        while !port.say("GET / HTTP/1.0\r\n\r\n").await.contains("hello") {
            beat.tick().await;
        }
    };

    timeout(PATIENCE, freed).await.expect("the seat is free again");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let port = Port::open(HttpLimits { header_read_timeout_ms: 60_000, ..LIMITS });
    let mut held = Vec::new();
    for _ in 0..LIMITS.connections_max {
        let mut stream = port.dial().await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        until(&mut stream, "hello").await;
        held.push(stream);
    }

    let mut turned_away = port.dial().await;
    assert_eq!(rest(&mut turned_away).await, "");
    drop(held);
}

#[tokio::test]
async fn the_end_waits_for_open_requests_but_not_for_ever() {
    let port = Port::open(HttpLimits { request_timeout_ms: Some(60_000), ..LIMITS });
    let mut idle = port.dial().await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    until(&mut idle, "hello").await;
    let mut stuck = port.dial().await;
    stuck.write_all(b"GET /never HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut slow = port.dial().await;
    slow.write_all(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n")
        .await
        .unwrap();
    until(&mut slow, "100 Continue").await;

    port.shutdown.begin();
    slow.write_all(b"ab").await.unwrap();

    assert!(rest(&mut slow).await.ends_with("ab"));
    assert_eq!(rest(&mut idle).await, "");
    assert_eq!(rest(&mut stuck).await, "");
    timeout(PATIENCE, port.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(port.address).await.is_err());
}

#[tokio::test]
async fn http2_without_tls_is_answered() {
    let port = Port::open(LIMITS);
    let stream = hyper_util::rt::TokioIo::new(port.dial().await);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut calls, connection) = hyper::client::conn::http2::handshake(executor, stream).await.unwrap();
    tokio::spawn(connection);

    let request = Request::get("http://a/").body(Body::empty()).unwrap();
    let answer = calls.send_request(request).await.unwrap();

    assert_eq!(answer.status(), 200);
    let mut beat = interval(EVERY);
    let closed = async {
        while !calls.is_closed() {
            beat.tick().await;
        }
    };
    timeout(PATIENCE, closed).await.expect("an idle HTTP/2 connection is closed");
}

#[tokio::test]
async fn behind_tls_only_a_trusted_peer_is_answered_and_its_name_is_known() {
    let office = Office::open();
    let port = Port::open_with(LIMITS, Some(office.identity("member", "landbridge://demo/east/registry/1")));
    let ours = office.identity("bridge", "landbridge://demo/west/bridge/2");
    let theirs = Office::open().identity("bridge", "landbridge://demo/west/bridge/2");

    assert!(!port.say("GET / HTTP/1.0\r\n\r\n").await.contains("hello"));
    assert_eq!(port.say("").await, "");
    assert!(theirs.connect(port.dial().await).await.is_err());

    let (stream, name) = ours.connect(port.dial().await).await.unwrap();
    assert_eq!(name.id, "1");
    let (stream, executor) = (hyper_util::rt::TokioIo::new(stream), hyper_util::rt::TokioExecutor::new());
    let (mut calls, connection) = hyper::client::conn::http2::handshake(executor, stream).await.unwrap();
    tokio::spawn(connection);
    let answer =
        calls.send_request(Request::get("http://a/name").body(Body::empty()).unwrap()).await.unwrap();
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
    assert_eq!(body, "landbridge://demo/west/bridge/2");
}

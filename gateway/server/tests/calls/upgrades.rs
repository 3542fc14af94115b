//! What becomes of connections that are to carry something else than HTTP.

use std::{net::SocketAddr, time::Duration};

use http::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

use crate::harness::{Endpoint, House, PATIENCE, at, full, page, until};

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: web.test\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";

const CONSENT: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                       sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Reads one head.
async fn head(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        let byte = timeout(PATIENCE, stream.read_u8()).await.expect("a head in time");
        match byte {
            Ok(byte) => read.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(read).unwrap().to_ascii_lowercase()
}

/// An endpoint that answers every head with `answer` and then sends back what it gets; heads are told.
async fn echo(answer: &'static str) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heads, told) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let heads = heads.clone();
            tokio::spawn(async move {
                heads.send(head(&mut stream).await).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.write_all(b"bye").await;
            });
        }
    });
    (address, told)
}

async fn before(address: SocketAddr, more: &str) -> House {
    House::open(&page(&[at(address, "east", "a")], more)).await
}

async fn exchange(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut back = vec![0; text.len()];
    timeout(PATIENCE, stream.read_exact(&mut back)).await.expect("an echo in time").unwrap();
    String::from_utf8(back).unwrap()
}

async fn open(house: &House, early: &str) -> TcpStream {
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    stream.write_all(format!("{ASK}{early}").as_bytes()).await.unwrap();
    let answer = head(&mut stream).await;
    assert!(answer.starts_with("http/1.1 101"), "{answer}");
    assert!(answer.contains("upgrade: websocket") && answer.contains("sec-websocket-accept"), "{answer}");
    stream
}

#[tokio::test]
async fn a_websocket_passes_both_ways_after_the_endpoint_agreed() {
    let (address, mut heads) = echo(CONSENT).await;
    let house = before(address, "").await;

    let mut stream = open(&house, "").await;

    let asked = heads.recv().await.unwrap();
    for part in
        ["connection: upgrade", "upgrade: websocket", "sec-websocket-key", "x-forwarded-for: 127.0.0.1"]
    {
        assert!(asked.contains(part), "{part} is not in {asked}");
    }
    assert_eq!(exchange(&mut stream, "\u{1}not http at all\r\n\r\n").await, "\u{1}not http at all\r\n\r\n");
    let long = "x".repeat(1_000_000);
    let (mut reader, mut writer) = stream.split();
    let sending = async {
        writer.write_all(long.as_bytes()).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut back = String::new();
    let (_, read) = tokio::join!(sending, timeout(PATIENCE, reader.read_to_string(&mut back)));
    read.unwrap().unwrap();
    assert!(back.starts_with("xxx") && back.ends_with("xbye"), "one side's end lets the other one finish");
    assert_eq!(back.len(), long.len() + 3);
}

#[tokio::test]
async fn bytes_sent_before_the_consent_arrive_after_it() {
    let (address, _heads) = echo(CONSENT).await;
    let house = before(address, "").await;

    let mut stream = open(&house, "early").await;

    let mut back = [0; 5];
    timeout(PATIENCE, stream.read_exact(&mut back)).await.unwrap().unwrap();
    assert_eq!(&back, b"early");
}

#[tokio::test]
async fn an_endpoint_that_declines_is_answered_like_any_other() {
    let endpoint = Endpoint::failing(403).await;
    let house = House::before(&[&endpoint], "").await;
    let mut stream = TcpStream::connect(house.address).await.unwrap();

    for _ in 0..2 {
        stream.write_all(ASK.as_bytes()).await.unwrap();
        let answer = head(&mut stream).await;
        assert!(answer.starts_with("http/1.1 403") && answer.contains("content-length: 2"), "{answer}");
        let mut body = [0; 2];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"no");
    }
}

#[tokio::test]
async fn an_endpoint_that_agrees_to_something_else_is_a_failure() {
    let (address, _heads) =
        echo("HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n").await;
    let house = before(address, "[retries]\ntries_max = 1\n").await;

    let answer = house.raw(ASK.as_bytes()).await;

    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
}

#[tokio::test]
async fn a_websocket_finds_another_endpoint_when_one_cannot_be_reached() {
    let (address, _heads) = echo(CONSENT).await;
    let nobody = Endpoint::nobody().await;
    let house = House::open(&page(&[at(nobody, "east", "a"), at(address, "east", "b")], "")).await;

    let mut stream = open(&house, "").await;

    assert_eq!(exchange(&mut stream, "hello").await, "hello");
}

#[tokio::test]
async fn no_other_upgrade_reaches_an_endpoint() {
    let endpoint = Endpoint::named("a").await;
    let house = House::before(&[&endpoint], "").await;
    let with_h2c = ASK.replace("websocket\r\n", "h2c\r\nhttp2-settings: AAMAAABk\r\n");

    let answer = house.raw(with_h2c.as_bytes()).await;

    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!endpoint.asked()[0].headers.contains_key("upgrade"));
    assert!(!endpoint.asked()[0].headers.contains_key("connection"));
}

#[tokio::test]
async fn no_tunnel_is_opened_for_connect_in_either_version() {
    let endpoint = Endpoint::named("a").await;
    let house = House::before(&[&endpoint], "").await;
    let stream = TcpStream::connect(house.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);

    let one = house.raw(b"CONNECT web.test:80 HTTP/1.1\r\nhost: web.test:80\r\n\r\n").await;
    let ask = Request::builder().method(Method::CONNECT).uri("web.test:80").body(full("")).unwrap();
    let two = timeout(PATIENCE, sender.send_request(ask)).await.unwrap().unwrap();

    assert!(one.starts_with("HTTP/1.1 405"), "{one}");
    assert_eq!(two.status(), 405);
    assert_eq!(endpoint.count(), 0);
}

#[tokio::test]
async fn websockets_are_counted_and_bounded() {
    let (address, _heads) = echo(CONSENT).await;
    let house = before(address, "[connections]\ntunnels_max = 1\n").await;
    let first = open(&house, "").await;
    until("one is counted", async || {
        let page = house.ask("/metrics").await;
        page.contains("landbridge_gateway_tunnels_open 1")
            && page.contains("landbridge_gateway_tunnels_total{kind=\"websocket\"}")
    })
    .await;

    assert!(house.raw(ASK.as_bytes()).await.starts_with("HTTP/1.1 503"));
    drop(first);

    until("its place is free", async || house.raw(ASK.as_bytes()).await.starts_with("HTTP/1.1 101")).await;
}

#[tokio::test]
async fn an_open_websocket_goes_on_while_the_process_drains_and_no_longer() {
    let (address, _heads) = echo(CONSENT).await;
    let mut house = before(address, "[connections]\ndrain_ms = 600\n").await;
    let mut stream = open(&house, "").await;
    house.shutdown.begin();
    until("the port is closed", async || TcpStream::connect(house.address).await.is_err()).await;

    assert_eq!(exchange(&mut stream, "still here").await, "still here");
    let ended = timeout(PATIENCE, house.gateway.take().unwrap().ended()).await.unwrap();

    assert_eq!(ended, Ok(()));
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the gateway closed it");
    assert!(rest.is_empty(), "{rest:?}");
}

#[tokio::test]
async fn a_websocket_on_which_nothing_moves_is_cut() {
    let (address, _heads) = echo(CONSENT).await;
    let house = before(address, "[connections]\nstream_idle_timeout_ms = 300\n").await;
    let mut stream = open(&house, "").await;
    let begun = std::time::Instant::now();

    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the gateway cut it");

    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
}

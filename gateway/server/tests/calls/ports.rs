//! Service ports and introductions: connections that pass unread, and for whom they are.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::harness::{Endpoint, House, PATIENCE, at, page, until};

/// A server that says its name first and then sends back what it gets.
async fn named(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(name.as_bytes()).await.unwrap();
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            });
        }
    });
    address
}

/// A page with one service port for these endpoints, after its listener.
fn with_port(endpoints: &[String], port: &str, more: &str) -> String {
    let port =
        format!("[[service_ports]]\nname = \"db\"\nlisten = \"127.0.0.1:0\"\nstatic = \"web\"\n{port}\n");
    page(endpoints, &format!("{port}{more}"))
}

async fn open(endpoints: &[String], port: &str, more: &str) -> (House, SocketAddr) {
    let house = House::open(&with_port(endpoints, port, more)).await;
    let address = house.gateway.as_ref().unwrap().addresses()[1];
    (house, address)
}

async fn read(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.expect("bytes in time").unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an end in time");
    bytes
}

#[tokio::test]
async fn a_connection_passes_unread_whoever_speaks_first_and_each_side_may_end_first() {
    let server = named("hello").await;
    let (house, port) = open(&[at(server, "east", "a")], "", "").await;
    let mut stream = TcpStream::connect(port).await.unwrap();

    assert_eq!(read(&mut stream, 5).await, "hello");
    let long: Vec<u8> = (0..2_000_000_u32).map(|n| n as u8).collect();
    let (mut reader, mut writer) = stream.split();
    let mut back = Vec::new();
    let sending = async {
        writer.write_all(&long).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let (_, all) = tokio::join!(sending, timeout(PATIENCE, reader.read_to_end(&mut back)));
    all.unwrap().unwrap();

    assert!(back == long, "{} of {} bytes came back", back.len(), long.len());
    until("it is counted", async || {
        house.ask("/metrics").await.contains("landbridge_gateway_tunnels_total{kind=\"service_port\"}")
    })
    .await;
}

#[tokio::test]
async fn a_connection_goes_to_the_nearest_place_that_can_be_reached() {
    let (nobody, no_zone) = (Endpoint::nobody().await, Endpoint::nobody().await);
    let (region, far) = (named("region").await, named("faraway").await);
    let list =
        [at(nobody, "east", "a"), at(no_zone, "east", "b"), at(region, "east", "c"), at(far, "west", "a")];
    let (house, port) = open(&list, "", "").await;
    for _ in 0..10 {
        let mut stream = TcpStream::connect(port).await.unwrap();
        assert_eq!(read(&mut stream, 6).await, "region");
    }

    let (_far_house, port) = open(&[at(nobody, "east", "a"), at(far, "west", "a")], "", "").await;
    let mut stream = TcpStream::connect(port).await.unwrap();

    assert_eq!(read(&mut stream, 7).await, "faraway");
    until("failures to connect are counted", async || {
        house.ask("/metrics").await.contains("kind=\"connect\"")
    })
    .await;
}

#[tokio::test]
async fn a_connection_for_which_there_is_nobody_is_closed_and_counted() {
    let (house, port) = open(&[at(Endpoint::nobody().await, "east", "a")], "", "").await;
    let mut stream = TcpStream::connect(port).await.unwrap();

    assert!(rest(&mut stream).await.is_empty());

    until("it is counted", async || house.ask("/metrics").await.contains("reason=\"unreachable\"")).await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_moves_is_cut_after_the_ports_own_time() {
    let server = named("hello").await;
    let (_house, port) = open(&[at(server, "east", "a")], "idle_timeout_ms = 400", "").await;
    let mut stream = TcpStream::connect(port).await.unwrap();
    let begun = std::time::Instant::now();

    assert_eq!(rest(&mut stream).await, b"hello");

    assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn open_connections_go_on_while_the_process_drains_and_no_longer() {
    let server = named("hello").await;
    let (mut house, port) = open(&[at(server, "east", "a")], "", "[connections]\ndrain_ms = 600\n").await;
    let mut stream = TcpStream::connect(port).await.unwrap();
    assert_eq!(read(&mut stream, 5).await, "hello");
    house.shutdown.begin();
    until("the port is closed", async || TcpStream::connect(port).await.is_err()).await;

    stream.write_all(b"more").await.unwrap();
    assert_eq!(read(&mut stream, 4).await, "more");
    let ended = timeout(PATIENCE, house.gateway.take().unwrap().ended()).await.unwrap();

    assert_eq!(ended, Ok(()));
    assert!(rest(&mut stream).await.is_empty());
}

#[tokio::test]
async fn no_more_connections_are_carried_than_allowed() {
    let server = named("hello").await;
    let (_house, port) = open(&[at(server, "east", "a")], "", "[connections]\ntunnels_max = 1\n").await;
    let mut first = TcpStream::connect(port).await.unwrap();
    assert_eq!(read(&mut first, 5).await, "hello");

    let mut second = TcpStream::connect(port).await.unwrap();

    assert!(rest(&mut second).await.is_empty());
}

#[tokio::test]
async fn an_endpoint_is_told_for_whom_a_connection_is() {
    // An echo shows what it was told before anything else.
    let server = named("").await;
    let told = "proxy_from = [\"127.0.0.1\"]\nproxy_to_endpoints = true";
    let (_house, port) = open(&[at(server, "east", "a")], told, "").await;
    let mut stream = TcpStream::connect(port).await.unwrap();

    stream.write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 80\r\nhello").await.unwrap();

    let mut bytes = vec![0; 28 + 5];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
    assert_eq!(bytes[..12], *b"\r\n\r\n\0\r\nQUIT\n");
    assert_eq!(bytes[12..16], [0x21, 0x11, 0, 12]);
    assert_eq!(bytes[16..20], [192, 0, 2, 7]);
    assert_eq!(bytes[24..28], [[0x13, 0x88], port.port().to_be_bytes()].concat());
    assert_eq!(&bytes[28..], b"hello");
}

#[tokio::test]
async fn a_call_behind_a_balancer_is_for_whom_the_balancer_says() {
    let endpoint = Endpoint::named("a").await;
    let behind = page(&[at(endpoint.address, "east", "a")], "")
        .replace("host_suffix", "proxy_from = [\"127.0.0.0/8\"]\nhost_suffix");
    let house = House::open(&behind).await;
    let call = "GET / HTTP/1.1\r\nhost: web.test\r\nx-forwarded-for: 6.6.6.6\r\n\r\n";

    let answer = house.raw(format!("PROXY TCP4 192.0.2.7 10.0.0.1 5000 80\r\n{call}").as_bytes()).await;
    let without = house.raw(call.as_bytes()).await;

    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(endpoint.asked()[0].headers["x-forwarded-for"], "192.0.2.7");
    assert_eq!((without.as_str(), endpoint.count()), ("", 1), "everybody from there must introduce");
    until("it is counted", async || house.ask("/metrics").await.contains("reason=\"introduction\"")).await;
}

#[tokio::test]
async fn strangers_cannot_introduce_anybody() {
    let endpoint = Endpoint::named("a").await;
    let behind = page(&[at(endpoint.address, "east", "a")], "")
        .replace("host_suffix", "proxy_from = [\"10.0.0.0/8\"]\nhost_suffix");
    let house = House::open(&behind).await;

    let answer =
        house.raw(b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 80\r\nGET / HTTP/1.1\r\nhost: web.test\r\n\r\n").await;

    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(endpoint.count(), 0);
}

#[tokio::test]
async fn mistakes_in_service_ports_are_told() {
    let two = "[[service_ports]]\nname = \"calls\"\nlisten = \"127.0.0.1:0\"\nstatic = \"wob\"\n\
               [[service_ports]]\nname = \"x\"\nlisten = \"127.0.0.1:0\"\nidle_timeout_ms = 0\nproxy_from = [\"y\"]\n";

    let mistakes = landbridge_gateway::Config::read(&page(&[], two)).unwrap_err();

    for part in [
        "calls: this name is taken twice",
        "\"wob\"",
        "exactly one of service and static",
        "at least 1",
        "\"y\"",
    ] {
        assert!(mistakes.iter().any(|mistake| mistake.contains(part)), "{part} is not in {mistakes:?}");
    }
}

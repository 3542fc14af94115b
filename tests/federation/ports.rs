//! Connections of a service port to a plain TCP service of another region, by that region's gateways.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::TokioIo;
use landbridge_runtime::tls::Identity;
use landbridge_tests::{authority::Authority, http::ask, listed::listed, wait::until_async};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::relay::{House, PATIENCE, far, gateways, serve};

/// A server of no protocol we know: it says hello first and then sends back what it gets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(b"hello").await?;
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await?;
                writer.shutdown().await
            });
        }
    });
    address
}

/// A gateway of east with a port for the service, which reaches west by relay.
async fn near(authority: &Authority, quota: &str) -> (House, SocketAddr) {
    let port = "[[service_ports]]\nname = \"orders\"\nlisten = \"127.0.0.1:0\"\nservice = \"orders\"\n";
    let peer = format!("{port}[[relay.peers]]\nregion = \"west\"\nway = \"relay\"\n{quota}");
    let house = House::open(authority, "east", 1, &peer).await;
    let port = house.gateway.addresses()[1];
    (house, port)
}

/// A gateway of west that reaches the service.
async fn west(authority: &Authority) -> House {
    let (west, server) = (House::open(authority, "west", 1, "").await, echo().await);
    west.tell(&[("orders", vec![listed("west", "127.0.0.1", server.port(), &[])])]);
    west
}

/// A connection whose server has said hello.
async fn greeted(port: SocketAddr) -> TcpStream {
    until_async("the far service says hello", PATIENCE, async || {
        let mut stream = TcpStream::connect(port).await.ok()?;
        let mut hello = [0; 5];
        timeout(PATIENCE, stream.read_exact(&mut hello)).await.ok()?.ok()?;
        (&hello == b"hello").then_some(stream)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_tcp_service_that_cannot_be_reached_directly_is_reached_by_the_far_gateway() {
    let authority = Authority::new();
    let ((near, port), west) = (near(&authority, "").await, west(&authority).await);
    let dead = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound");
    near.tell(&[far(), gateways(&[dead, west.relay()])]);

    let mut stream = greeted(port).await;

    let long: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
    let (mut reader, mut writer) = stream.split();
    let mut back = Vec::new();
    let sending = async {
        writer.write_all(&long).await?;
        writer.shutdown().await
    };
    let (sent, read) = tokio::join!(sending, timeout(PATIENCE, reader.read_to_end(&mut back)));
    sent.expect("all is taken");
    read.expect("an end in time").expect("an end in order");
    assert!(back == long, "{} of {} bytes came back", back.len(), long.len());
}

/// Asks a port for a connection to the service, as a gateway of this identity would or, without one, as anybody.
async fn asked(identity: Option<&Identity>, port: SocketAddr, path: &str) -> std::io::Result<StatusCode> {
    let stream = TcpStream::connect(port).await?;
    match identity {
        Some(identity) => connect(identity.connect(stream).await?.0, path).await,
        None => connect(stream, path).await,
    }
}

async fn connect<Io>(io: Io, path: &str) -> std::io::Result<StatusCode>
where
    Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(io)).await;
    let (mut sender, connection) = shaken.map_err(std::io::Error::other)?;
    tokio::spawn(connection.with_upgrades());
    let request = Request::connect("orders:80").header("host", "orders:80");
    let request = request.header("x-landbridge-service", "orders").header("x-landbridge-path", path);
    let request = request.body(Empty::<bytes::Bytes>::new()).expect("a request");
    let answer = timeout(PATIENCE, sender.send_request(request)).await?;
    Ok(answer.map_err(std::io::Error::other)?.status())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_gateway_of_another_region_gets_a_connection_and_only_into_the_own_region() {
    let authority = Authority::new();
    let west = west(&authority).await;
    let gateway = authority.identity("demo/east/gateway/9");
    until_async("a gateway gets one", PATIENCE, async || {
        let status = asked(Some(&gateway), west.relay(), "east").await.ok()?;
        (status == StatusCode::OK).then_some(())
    })
    .await;

    let circle = asked(Some(&gateway), west.relay(), "west, east").await.expect("an answer");
    assert_eq!(circle, StatusCode::LOOP_DETECTED);
    let open = asked(None, west.calls, "east").await.expect("an answer");
    assert_eq!(open, StatusCode::METHOD_NOT_ALLOWED, "a caller gets no tunnel");
    let neighbour = authority.identity("demo/west/gateway/2");
    let told = asked(Some(&neighbour), west.relay(), "").await.expect("an answer");
    assert_eq!(told, StatusCode::NOT_FOUND, "a neighbour tells words and gets no tunnel");
    let stranger = authority.identity("demo/east/client/1");
    assert!(asked(Some(&stranger), west.relay(), "east").await.is_err(), "a client was let in");

    west.tell(&[("orders", vec![listed("south", "127.0.0.1", echo().await.port(), &[])])]);
    until_async("only south has it, and nobody is sent there", PATIENCE, async || {
        let status = asked(Some(&gateway), west.relay(), "east").await.ok()?;
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    let direct = ask(west.calls, "GET", "/svc/orders/").await.map(|(status, _)| status);
    assert_ne!(direct, Some(503), "its own callers are");
}

/// Crossings that were denied so far, in all gateways of this process.
async fn denied(house: &House) -> f64 {
    let (_, page) = ask(house.gateway.admin(), "GET", "/metrics").await.expect("a page");
    let row =
        page.lines().find(|row| row.starts_with("landbridge_gateway_crossings_denied_total{peer=\"west\"}"));
    row.and_then(|row| row.rsplit_once(' ')?.1.parse().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_past_the_quota_of_a_pair_of_regions_are_closed() {
    let authority = Authority::new();
    let ((near, port), west) = (near(&authority, "requests_per_second = 2\n").await, west(&authority).await);
    near.tell(&[far(), gateways(&[west.relay()])]);
    let _open = greeted(port).await;
    let before = denied(&near).await;

    until_async("the quota is used up", PATIENCE, async || {
        let stream = TcpStream::connect(port).await.ok()?;
        let mut heard = Vec::new();
        timeout(PATIENCE, stream.take(1).read_to_end(&mut heard)).await.ok()?.ok()?;
        heard.is_empty().then_some(())
    })
    .await;
    assert!(denied(&near).await > before, "it was closed, and not because of the quota");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_wait_for_a_far_gateway_count_where_tunnels_are_bounded() {
    let authority = Authority::new();
    let (house, port) = near(&authority, "[connections]\ntunnels_max = 1\n").await;
    // The kernel connects, and nobody shakes hands.
    let mute = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    house.tell(&[far(), gateways(&[mute.local_addr().expect("bound")])]);
    let mut held = Vec::new();

    until_async("one of those that came together is refused", PATIENCE, async || {
        held.push(TcpStream::connect(port).await.ok()?);
        held.push(TcpStream::connect(port).await.ok()?);
        let (_, page) = ask(house.gateway.admin(), "GET", "/metrics").await?;
        page.contains("landbridge_gateway_refusals_total{reason=\"overloaded\"}").then_some(())
    })
    .await;
}

/// What a second is worth to the pair of regions, and what is sent: three seconds' worth.
const BYTES_PER_SECOND: usize = 100_000;
const SENT_BYTES: usize = 3 * BYTES_PER_SECOND;

/// Sends one call and reads its answer to the end.
async fn exchanged(address: SocketAddr, method: &str, body: usize) -> std::io::Result<(Duration, usize)> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "{method} /svc/orders/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let begun = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let sending = async {
        for _ in 0..body / 1_000 {
            writer.write_all(b"3e8\r\n").await?;
            writer.write_all(&[b'x'; 1_000]).await?;
            writer.write_all(b"\r\n").await?;
        }
        writer.write_all(b"0\r\n\r\n").await
    };
    let (sent, read) = tokio::join!(sending, timeout(PATIENCE, reader.read_to_end(&mut answer)));
    sent?;
    read??;
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer[..60.min(answer.len())])
    );
    Ok((begun.elapsed(), answer.len()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_calls_keep_to_the_bytes_of_a_pair_of_regions_both_ways() {
    let authority = Authority::new();
    let (near, _) = near(&authority, &format!("bytes_per_second = {BYTES_PER_SECOND}\n")).await;
    let west = House::open(&authority, "west", 1, "").await;
    let endpoint = serve(|request| async move {
        let asks_much = request.method() == "GET";
        // Whoever sends a body is answered when all of it is there.
        let _ = request.into_body().collect().await;
        let answer = vec![b'y'; if asks_much { SENT_BYTES } else { 1 }];
        Response::new(Full::new(bytes::Bytes::from(answer)).map_err(|never| match never {}).boxed())
    })
    .await;
    west.tell(&[("orders", vec![listed("west", "127.0.0.1", endpoint.port(), &[])])]);
    near.tell(&[far(), gateways(&[west.relay()])]);
    until_async("west answers", PATIENCE, async || {
        ask(near.calls, "POST", "/svc/orders/").await.filter(|(status, _)| *status == 200)
    })
    .await;

    let (down, answered) = exchanged(near.calls, "GET", 0).await.expect("an answer");
    assert!(answered > SENT_BYTES);
    until_async("what is owed is paid", PATIENCE, async || {
        ask(near.calls, "POST", "/svc/orders/").await.filter(|(status, _)| *status == 200)
    })
    .await;
    let (up, _) = exchanged(near.calls, "POST", SENT_BYTES).await.expect("an answer");

    println!("{SENT_BYTES} bytes down in {down:?}, up in {up:?} at {BYTES_PER_SECOND}/s");
    // A second's worth may be owed, and a piece passes with it.
    assert!(down >= Duration::from_millis(1_200) && up >= Duration::from_millis(1_200), "{down:?} {up:?}");
}

//! Calls that go by the gateways of another region: reached, refused, passed on whole, and kept within their quota.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use landbridge_client::{Endpoint, Table};
use landbridge_gateway::{Config, Gateway, Surroundings};
use landbridge_model::ServiceKey;
use landbridge_runtime::{
    shutdown::Shutdown,
    telemetry::{self, BuildInfo},
    tls::Identity,
};
use landbridge_tests::{authority::Authority, http::ask, listed::listed, wait::until_async};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// An address that nobody has: TEST-NET-3 (RFC 5737). What is told of it cannot be reached directly.
const NOWHERE: &str = "203.0.113.7";

type Body = BoxBody<Bytes, std::io::Error>;

/// A gateway that runs in this process, told its table by the test.
pub(crate) struct House {
    pub(crate) gateway: Gateway,
    pub(crate) calls: SocketAddr,
    tables: watch::Sender<Arc<Table>>,
    shutdown: Shutdown,
}

impl Drop for House {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

impl House {
    pub(crate) async fn open(authority: &Authority, own: &str, number: u8, more: &str) -> Self {
        let files = authority.files(&format!("demo/{own}/gateway/{number}"));
        let page = format!(
            "region = {own:?}\nzone = \"a\"\nname = \"{own}-{number}\"\nthreads = 1\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n[upstream]\nconnect_timeout_ms = 2000\n\
             [[listeners]]\nname = \"calls\"\nlisten = \"127.0.0.1:0\"\nby_path = true\n\
             [relay]\nlisten = \"127.0.0.1:0\"\n\
             tls = {{ certificate = {:?}, key = {:?}, authority = {:?} }}\n{more}",
            files.certificate, files.key, files.authority
        );
        let config = Config::read(&page).expect("a good page");
        let (tables, news) = watch::channel(Arc::default());
        let shutdown = Shutdown::new();
        let metrics = telemetry::install(BuildInfo { version: "test", role: "test" }).expect("a recorder");
        let surroundings = Surroundings { tables: news, shutdown: shutdown.clone(), metrics };
        let gateway = Gateway::start(config, surroundings).await.expect("free ports");
        Self { calls: gateway.addresses()[0], gateway, tables, shutdown }
    }

    /// A gateway of east that reaches west by relay.
    async fn near(authority: &Authority, quota: &str) -> Self {
        let peer = format!("[[relay.peers]]\nregion = \"west\"\nway = \"relay\"\n{quota}");
        Self::open(authority, "east", 1, &peer).await
    }

    pub(crate) fn relay(&self) -> SocketAddr {
        self.gateway.relay().expect("it listens")
    }

    pub(crate) fn tell(&self, services: &[(&str, Vec<Endpoint>)]) {
        let one = |(name, endpoints): &(&str, Vec<Endpoint>)| {
            (ServiceKey::parse("", "", name).expect("a name"), endpoints.clone().into())
        };
        let services = services.iter().map(one).collect();
        self.tables.send(Arc::new(Table { services, ..Table::default() })).expect("it follows");
    }

    async fn get(&self) -> Option<(u16, String)> {
        ask(self.calls, "GET", "/svc/orders/a?b").await
    }
}

/// What east is told of the gateways of west.
pub(crate) fn gateways(addresses: &[SocketAddr]) -> (&'static str, Vec<Endpoint>) {
    let one = |address: &SocketAddr| {
        listed("west", "127.0.0.1", 1, &[("landbridge.relay-port", &address.port().to_string())])
    };
    // One registered port each, as instances have that differ.
    let each = addresses.iter().map(one).enumerate();
    ("landbridge-gateway", each.map(|(at, one)| Endpoint { port: 8_000 + at as u16, ..one }).collect())
}

/// What east is told of the service: an instance of west that cannot be reached from there.
pub(crate) fn far() -> (&'static str, Vec<Endpoint>) {
    ("orders", vec![listed("west", NOWHERE, 80, &[])])
}

/// An endpoint that answers with its name, the path it was asked for, and whoever came between.
async fn endpoint() -> SocketAddr {
    serve(|request| async move {
        let header = |name: &str| {
            let values = request.headers().get_all(name).iter().filter_map(|value| value.to_str().ok());
            let values: Vec<_> = values.collect();
            if values.is_empty() { "none".to_owned() } else { values.join(", ") }
        };
        let told = format!(
            "west {} via {} caller {} service {}",
            request.uri().path_and_query().map_or("", |path| path.as_str()),
            header("via"),
            header("x-landbridge-caller-region"),
            header("x-landbridge-service"),
        );
        Response::new(Full::new(Bytes::from(told)).map_err(|never| match never {}).boxed())
    })
    .await
}

pub(crate) async fn serve<F>(answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static) -> SocketAddr
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = hyper::service::service_fn(move |request| {
                let answering = answer(request);
                async move { Ok::<_, std::convert::Infallible>(answering.await) }
            });
            tokio::spawn(async move {
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                // A caller that leaves ends its connection; that is no failure of the endpoint.
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

async fn until_answered(near: &House) -> String {
    until_async("a call is answered from west", PATIENCE, async || {
        near.get().await.filter(|(status, _)| *status == 200).map(|(_, told)| told)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_far_endpoint_that_cannot_be_reached_directly_answers_by_relay() {
    let authority = Authority::new();
    let (near, west) = (House::near(&authority, "").await, House::open(&authority, "west", 1, "").await);
    let well = endpoint().await;
    west.tell(&[("orders", vec![listed("west", "127.0.0.1", well.port(), &[])])]);
    near.tell(&[far(), gateways(&[west.relay()])]);

    let told = until_answered(&near).await;

    assert_eq!(told, "west /a?b via 1.1 east-1, 1.1 west-1 caller east service none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_far_gateway_is_passed_over_for_another() {
    let authority = Authority::new();
    let (near, west) = (House::near(&authority, "").await, House::open(&authority, "west", 1, "").await);
    let well = endpoint().await;
    west.tell(&[("orders", vec![listed("west", "127.0.0.1", well.port(), &[])])]);
    let dead = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound");
    near.tell(&[far(), gateways(&[dead, west.relay()])]);
    until_answered(&near).await;

    for _ in 0..30 {
        assert_eq!(near.get().await.map(|(status, _)| status), Some(200));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_by_relay_is_answered_there_or_not_at_all() {
    let authority = Authority::new();
    let (near, west) = (House::near(&authority, "").await, House::open(&authority, "west", 1, "").await);
    let well = endpoint().await;
    // West knows only an instance of a third region, and would call it for its own callers.
    west.tell(&[("orders", vec![listed("south", "127.0.0.1", well.port(), &[])])]);
    near.tell(&[far(), gateways(&[west.relay()])]);
    until_async("west itself reaches south", PATIENCE, async || {
        ask(west.calls, "GET", "/svc/orders/").await.filter(|(status, _)| *status == 200)
    })
    .await;

    let refused = until_async("the call is refused by west", PATIENCE, async || {
        near.get().await.filter(|(_, told)| told.contains("no endpoint"))
    })
    .await;

    assert_eq!(refused.0, 503);
}

/// Asks a relay port as the gateway of this identity would.
async fn relayed(identity: &Identity, port: SocketAddr, path: Option<&str>) -> std::io::Result<StatusCode> {
    let stream = TcpStream::connect(port).await?;
    let (stream, _) = identity.connect(stream).await?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
    tokio::spawn(connection);
    let mut request = Request::get("https://orders/").header("x-landbridge-service", "orders");
    if let Some(path) = path {
        request = request.header("x-landbridge-path", path);
    }
    let request = request.body(Full::new(Bytes::new())).expect("a request");
    let answer = timeout(PATIENCE, sender.send_request(request)).await?;
    Ok(answer.map_err(std::io::Error::other)?.status())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_circles_and_strangers_are_refused_at_the_relay() {
    let authority = Authority::new();
    let west = House::open(&authority, "west", 1, "").await;
    let well = endpoint().await;
    west.tell(&[("orders", vec![listed("west", "127.0.0.1", well.port(), &[])])]);
    let gateway = authority.identity("demo/east/gateway/9");
    until_async("a gateway is let in", PATIENCE, async || {
        let status = relayed(&gateway, west.relay(), Some("east")).await.ok()?;
        (status == StatusCode::OK).then_some(())
    })
    .await;

    let circle = relayed(&gateway, west.relay(), Some("west, east")).await.expect("an answer");
    assert_eq!(circle, StatusCode::LOOP_DETECTED);
    for stranger in [
        authority.identity("demo/east/client/1"),
        authority.identity("demo/east/registry/1"),
        authority.identity("other/east/gateway/1"),
        Authority::new().identity("demo/east/gateway/1"),
    ] {
        let refused = relayed(&stranger, west.relay(), None).await;
        assert!(refused.is_err(), "{} was let in: {refused:?}", stranger.name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_and_trailers_pass_a_relay_as_they_come() {
    let authority = Authority::new();
    let (near, west) = (House::near(&authority, "").await, House::open(&authority, "west", 1, "").await);
    // Sends a frame back for each that it gets, and says at the end how many there were.
    let echo = serve(|request| async move {
        let mut body = request.into_body();
        let (frames, sent) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(4);
        tokio::spawn(async move {
            let mut count = 0;
            while let Some(Ok(frame)) = body.frame().await {
                let Some(data) = frame.into_data().ok().filter(|data| !data.is_empty()) else { continue };
                count += 1;
                if frames.send(Ok(Frame::data(data))).await.is_err() {
                    return;
                }
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().expect("a value"));
            trailers.insert("x-count", count.to_string().parse().expect("a value"));
            // A caller that has gone hears no trailers.
            let _ = frames.send(Ok(Frame::trailers(trailers))).await;
        });
        let stream = tokio_stream::wrappers::ReceiverStream::new(sent);
        let mut response = Response::new(BodyExt::boxed(StreamBody::new(stream)));
        response.headers_mut().insert("content-type", "application/grpc".parse().expect("a value"));
        response
    })
    .await;
    west.tell(&[("orders", vec![listed("west", "127.0.0.1", echo.port(), &[])])]);
    near.tell(&[far(), gateways(&[west.relay()])]);

    let stream = TcpStream::connect(near.calls).await.expect("near listens");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("h2");
    tokio::spawn(connection);
    let (words, said) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(4);
    let body = StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(said));
    let request = Request::post(format!("http://{}/svc/orders/Echo", near.calls))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    until_async("west is known", PATIENCE, async || near.get().await.filter(|(status, _)| *status < 500))
        .await;
    words.send(Ok(Frame::data(Bytes::from_static(b"one")))).await.expect("room");
    let answer = timeout(PATIENCE, sender.send_request(request.body(body).expect("a request")));
    let mut body = answer.await.expect("an answer in time").expect("an answer").into_body();
    let mut heard = Vec::new();
    for word in ["two", "three", ""] {
        let frame = timeout(PATIENCE, body.frame()).await.expect("a frame in time").expect("a frame");
        heard.push(frame.expect("a whole frame").into_data().expect("data"));
        if !word.is_empty() {
            // Said only now: nobody on the way waits for the whole body.
            words.send(Ok(Frame::data(Bytes::from(word)))).await.expect("room");
        }
    }
    drop(words);
    let last = timeout(PATIENCE, body.frame()).await.expect("trailers in time").expect("trailers");

    assert_eq!(heard, ["one", "two", "three"]);
    let trailers = last.expect("a whole frame").into_trailers().expect("trailers");
    assert_eq!(
        (&trailers["grpc-status"], &trailers["x-count"]),
        (&"0".parse().unwrap(), &"3".parse().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_past_the_quota_of_a_pair_of_regions_wait_at_their_caller() {
    let authority = Authority::new();
    let near = House::near(&authority, "requests_per_second = 5\n").await;
    let west = House::open(&authority, "west", 1, "").await;
    let well = endpoint().await;
    west.tell(&[("orders", vec![listed("west", "127.0.0.1", well.port(), &[])])]);
    near.tell(&[far(), gateways(&[west.relay()])]);
    until_answered(&near).await;

    until_async("the quota is used up", PATIENCE, async || {
        near.get().await.filter(|(status, _)| *status == 429)
    })
    .await;

    until_answered(&near).await;
}

/// Connections that one thread of a near gateway opens to a far one, however many calls and services there are: one, and
/// another while the first is being opened.
const FEW: usize = 2;

/// A door that counts who goes through it.
async fn counted(to: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let count = Arc::<AtomicUsize>::default();
    let counter = count.clone();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            counter.fetch_add(1, SeqCst);
            tokio::spawn(async move {
                let mut far = TcpStream::connect(to).await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    (address, count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_calls_to_many_services_take_few_connections_to_a_far_gateway() {
    const CALLERS: usize = 32;
    const CALLS: usize = 64;
    let authority = Authority::new();
    let (near, west) = (House::near(&authority, "").await, House::open(&authority, "west", 1, "").await);
    let well = endpoint().await;
    let (door, connections) = counted(west.relay()).await;
    let here = vec![listed("west", "127.0.0.1", well.port(), &[])];
    let there = vec![listed("west", NOWHERE, 80, &[])];
    west.tell(&[("orders", here.clone()), ("stock", here)]);
    near.tell(&[("orders", there.clone()), ("stock", there), gateways(&[door])]);
    until_answered(&near).await;

    let stream = TcpStream::connect(near.calls).await.expect("near listens");
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("h2");
    tokio::spawn(connection);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let (mut sender, near) = (sender.clone(), near.calls);
        let service = if caller % 2 == 0 { "orders" } else { "stock" };
        callers.spawn(async move {
            for _ in 0..CALLS {
                let request = Request::get(format!("http://{near}/svc/{service}/"));
                let request = request.body(Full::new(Bytes::new())).expect("a request");
                let answer = timeout(PATIENCE, sender.send_request(request)).await.expect("in time");
                let answer = answer.expect("an answer");
                assert_eq!(answer.status(), StatusCode::OK);
                answer.into_body().collect().await.expect("a whole answer");
            }
        });
    }
    callers.join_all().await;

    let opened = connections.load(SeqCst);
    assert!((1..=FEW).contains(&opened), "{opened} connections for {} calls", CALLERS * CALLS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_far_gateway_that_fails_its_probes_is_ejected_once_whatever_stands_behind_it() {
    let authority = Authority::new();
    let probes = "[[probes]]\nservices = [\"probed\"]\ninterval_ms = 100\ntimeout_ms = 90\n\
                  [health]\neject_ms = 600000\neject_max_ms = 600000\n";
    let near = House::near(&authority, probes).await;
    let dead = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound");
    let behind = (1..=20).map(|port| listed("west", NOWHERE, port, &[])).collect();
    near.tell(&[("probed", behind), gateways(&[dead])]);
    let counted = async |name: &str, more: &str| -> Option<u64> {
        let (_, page) = ask(near.gateway.admin(), "GET", "/metrics").await?;
        let own = |line: &&str| line.starts_with(name) && line.contains("probed") && line.contains(more);
        page.lines().find(own)?.rsplit_once(' ')?.1.parse().ok()
    };

    until_async("it failed many probes", PATIENCE, async || {
        counted("landbridge_gateway_probes_total", "failed").await.filter(|count| *count >= 6)
    })
    .await;

    let path = "/landbridge/v1/endpoints?service=probed";
    let told =
        until_async("operators see it", PATIENCE, async || ask(near.gateway.admin(), "GET", path).await);
    let told: serde_json::Value = serde_json::from_str(&told.await.1).expect("JSON");
    let endpoints = told["endpoints"].as_array().expect("a list");
    assert_eq!(endpoints.len(), 1, "{told}");
    assert_eq!(endpoints[0]["breaker"], "open", "{told}");
    assert_eq!(counted("landbridge_gateway_ejections_total", "").await, Some(1));
}

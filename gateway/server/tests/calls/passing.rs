//! What passes, and what is changed on the way.

use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::harness::{Endpoint, Frames, House, at, full, page};

#[tokio::test]
async fn a_call_passes_with_its_body_and_its_connection_is_used_again() {
    let echo = Endpoint::start(|asked| async move { Response::new(full(asked.body)) }).await;
    let house = House::before(&[&echo], "").await;

    for _ in 0..20 {
        assert_eq!(house.call("POST", "/a?b=c", "hello").await, (200, "hello".to_owned()));
    }

    let asked = &echo.asked()[0];
    assert_eq!(asked.uri, "/a?b=c");
    assert_eq!(asked.version, Version::HTTP_11);
    assert_eq!(echo.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn forwarding_headers_say_who_called_and_hop_headers_stay_behind() {
    let endpoint = Endpoint::named("a").await;
    let house = House::before(&[&endpoint], "").await;
    let request = house
        .request("GET", "/")
        .header("x-forwarded-for", "6.6.6.6")
        .header("x-landbridge-caller-region", "west")
        .header("connection", "x-mine")
        .header("x-mine", "1")
        .header("te", "gzip");

    house.send(request.body(full("")).unwrap()).await;

    let headers = &endpoint.asked()[0].headers;
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["via"], "1.1 landbridge-east-a");
    assert_eq!(headers["host"], "web.test");
    for gone in ["x-landbridge-caller-region", "x-mine", "te", "connection"] {
        assert!(!headers.contains_key(gone), "{gone} reached the endpoint");
    }
}

#[tokio::test]
async fn a_call_that_comes_back_is_refused() {
    let endpoint = Endpoint::named("a").await;
    let house = House::before(&[&endpoint], "").await;
    let request = house.request("GET", "/").header("via", "1.0 x, 1.1 landbridge-east-a");

    let answer = house.send(request.body(full("")).unwrap()).await;

    assert_eq!(answer.status(), 508);
    assert_eq!(endpoint.count(), 0);
}

#[tokio::test]
async fn an_unknown_host_is_answered_by_the_gateway_itself() {
    let endpoint = Endpoint::named("a").await;
    let house = House::before(&[&endpoint], "").await;
    let ask = |host: &str, path: &str| {
        Request::get(format!("http://{}{path}", house.address)).header("host", host).body(full("")).unwrap()
    };

    assert_eq!(house.send(ask("other.test", "/")).await.status(), 404);
    assert_eq!(house.send(ask("orders.default-group.public.svc.test", "/")).await.status(), 503);
    assert_eq!(house.send(ask("other.test", "/svc/orders/x")).await.status(), 503);
    assert_eq!(house.send(ask("other.test", "/svc/orders/../x")).await.status(), 400);
}

#[tokio::test]
async fn a_long_answer_streams_and_its_connection_is_used_again() {
    let endpoint = Endpoint::start(|_| async { Response::new(full(vec![b'x'; 3_000_000])) }).await;
    let house = House::before(&[&endpoint], "").await;

    for _ in 0..3 {
        assert_eq!(house.get("/").await.1.len(), 3_000_000);
    }

    assert_eq!(endpoint.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}

pub(crate) async fn http2(house: &House) -> hyper::client::conn::http2::SendRequest<crate::harness::Body> {
    let stream = TcpStream::connect(house.address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn http2_by_prior_knowledge_passes_many_calls_on_one_connection() {
    let endpoint = Endpoint::named("a").await;
    let house = House::before(&[&endpoint], "").await;
    let sender = http2(&house).await;

    let crumbs = Request::get("http://web.test/x").header("cookie", "a=1").header("cookie", "b=2");
    sender.clone().send_request(crumbs.body(full("")).unwrap()).await.unwrap();
    let seen: Vec<_> = endpoint.asked()[0].headers.get_all("cookie").iter().cloned().collect();
    assert_eq!(seen, ["a=1; b=2"]);

    let calls = (0..50).map(|_| {
        let mut sender = sender.clone();
        tokio::spawn(async move {
            let request = Request::get("http://web.test/x").body(full("")).unwrap();
            let answer = sender.send_request(request).await.unwrap();
            (answer.status(), answer.into_body().collect().await.unwrap().to_bytes())
        })
    });
    let calls: Vec<_> = calls.collect();

    for call in calls {
        assert_eq!(call.await.unwrap(), (http::StatusCode::OK, "a".into()));
    }
    assert_eq!(endpoint.asked()[0].headers["host"], "web.test");
}

#[tokio::test]
async fn grpc_passes_over_http2_with_trailers_both_ways() {
    let endpoint = Endpoint::start(|asked| async move {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let body = Frames([Frame::data(asked.body), Frame::trailers(trailers)].into()).boxed();
        Response::builder().header("content-type", "application/grpc").body(body).unwrap()
    })
    .await;
    let house = House::before(&[&endpoint], "").await;
    let mut sender = http2(&house).await;
    let mut sent = HeaderMap::new();
    sent.insert("x-checksum", HeaderValue::from_static("7"));
    let request = Request::post("http://web.test/pkg.Service/Call")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Frames([Frame::data("\0\0\0\0\u{5}hello".into()), Frame::trailers(sent)].into()).boxed())
        .unwrap();

    let answer = sender.send_request(request).await.unwrap();
    let body = answer.into_body().collect().await.unwrap();

    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(body.to_bytes(), "\0\0\0\0\u{5}hello");
    let asked = &endpoint.asked()[0];
    assert_eq!(asked.trailers.as_ref().unwrap()["x-checksum"], "7");
    assert_eq!(
        (asked.version, &asked.headers["te"]),
        (Version::HTTP_2, &HeaderValue::from_static("trailers"))
    );
}

#[tokio::test]
async fn a_grpc_call_that_cannot_be_served_gets_a_grpc_status() {
    let nobody = Endpoint::nobody().await;
    let house = House::open(&page(&[at(nobody, "east", "a")], "")).await;
    let mut sender = http2(&house).await;
    let request =
        Request::post("http://web.test/pkg.Service/Call").header("content-type", "application/grpc");

    let answer = sender.send_request(request.body(full("")).unwrap()).await.unwrap();

    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["grpc-status"], "14");
}

#[tokio::test]
async fn a_listener_with_a_certificate_speaks_what_its_caller_prefers() {
    let endpoint = Endpoint::named("a").await;
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["web.test".to_owned()]).unwrap();
    let (certificate, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = format!("tls = {{ certificate = {certificate:?}, key = {key:?} }}\nhost_suffix");
    let page = page(&[at(endpoint.address, "east", "a")], "").replace("host_suffix", &tls);
    let house = House::open(&page).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    for (alpn, version) in [(&b"h2"[..], Version::HTTP_2), (b"http/1.1", Version::HTTP_11)] {
        let builder = rustls::ClientConfig::builder_with_provider(provider.clone());
        let mut config = builder
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let stream = TcpStream::connect(house.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let stream = connector.connect("web.test".try_into().unwrap(), stream).await.unwrap();
        let io = TokioIo::new(stream);

        let answer = if version == Version::HTTP_2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            let request = Request::get("https://web.test/").body(full("")).unwrap();
            sender.send_request(request).await.unwrap()
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            let request = Request::get("/").header("host", "web.test").body(full("")).unwrap();
            sender.send_request(request).await.unwrap()
        };

        assert_eq!((answer.version(), answer.status().as_u16()), (version, 200));
    }
    assert!(endpoint.asked().iter().all(|asked| asked.headers["x-forwarded-proto"] == "https"));
}

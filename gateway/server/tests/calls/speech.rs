//! How endpoints are spoken to: over TLS, over HTTP/2, as they say themselves.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use http::{Request, Response, Version};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use landbridge_client::{Endpoint as Listed, Table};
use landbridge_model::ServiceKey;
use rcgen::{CertifiedIssuer, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::harness::{Endpoint, House, at, full, listed, page, until};

/// An authority, and files of what it vouches for.
struct Authority {
    dir: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new([]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { dir, issuer }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A certificate and key for a name, as files `{label}.pem` and `{label}.key`.
    fn certify(&self, label: &str, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.file(&format!("{label}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.file(&format!("{label}.key")), key.serialize_pem()).unwrap();
        (certificate, key)
    }

    fn tls(&self) -> String {
        format!("[endpoint_tls]\nauthority = {:?}\n", self.file("ca.pem"))
    }
}

/// What a secure endpoint was asked: version, target, and the names of headers that matter.
type Log = Arc<Mutex<Vec<(Version, String, bool)>>>;

/// An endpoint behind TLS.
struct Secure {
    address: SocketAddr,
    log: Log,
    connections: Arc<AtomicUsize>,
}

impl Secure {
    async fn start(authority: &Authority, name: &str, alpn: &[&[u8]], needs_client: bool) -> Self {
        let (certificate, key) = authority.certify("server", name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if needs_client {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(authority.issuer.der().clone()).unwrap();
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (log, connections) = (Log::default(), Arc::<AtomicUsize>::default());
        let (heard, count) = (log.clone(), connections.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, heard, count) = (acceptor.clone(), heard.clone(), count.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    count.fetch_add(1, SeqCst);
                    let service = service_fn(move |request: Request<Incoming>| {
                        let has_host = request.headers().contains_key("host");
                        heard.lock().unwrap().push((request.version(), request.uri().to_string(), has_host));
                        async { Ok::<_, Infallible>(Response::new(full("secure"))) }
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, log, connections }
    }

    fn log(&self) -> Vec<(Version, String, bool)> {
        self.log.lock().unwrap().clone()
    }
}

/// A line of `endpoints` with a protocol.
fn speaking(address: SocketAddr, zone: &str, more: &str) -> String {
    at(address, "east", zone).replace(" }", &format!(", {more} }}"))
}

#[tokio::test]
async fn an_endpoint_with_a_certificate_is_called_over_tls_on_connections_that_are_kept() {
    let authority = Authority::new();
    let endpoint = Secure::start(&authority, "web.internal", &[b"http/1.1"], false).await;
    let line = speaking(endpoint.address, "a", "protocol = \"https\", tls_name = \"web.internal\"");
    let house = House::open(&page(&[line], &authority.tls())).await;

    for _ in 0..5 {
        assert_eq!(house.get("/x").await, (200, "secure".to_owned()));
    }

    assert_eq!(endpoint.connections.load(SeqCst), 1);
    assert_eq!(endpoint.log()[0], (Version::HTTP_11, "/x".to_owned(), true));
}

#[tokio::test]
async fn an_endpoint_is_known_by_its_address_when_it_has_no_other_name() {
    let authority = Authority::new();
    let endpoint = Secure::start(&authority, "127.0.0.1", &[], false).await;
    let line = speaking(endpoint.address, "a", "protocol = \"https\"");
    let house = House::open(&page(&[line], &authority.tls())).await;

    assert_eq!(house.get("/").await.0, 200);
}

#[tokio::test]
async fn an_endpoint_that_is_not_who_it_should_be_gets_no_call() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let other_name = Secure::start(&authority, "other.internal", &[], false).await;
    let other_authority = Secure::start(&stranger, "web.internal", &[], false).await;
    let plain = Endpoint::named("plain").await;
    for address in [other_name.address, other_authority.address, plain.address] {
        let line = speaking(address, "a", "protocol = \"https\", tls_name = \"web.internal\"");
        let house = House::open(&page(&[line], &authority.tls())).await;

        assert_eq!(house.get("/").await.0, 502);
    }

    assert!(other_name.log().is_empty() && other_authority.log().is_empty());
    assert_eq!(plain.count(), 0, "no call falls back to clear text");
}

#[tokio::test]
async fn an_endpoint_that_wants_to_see_a_certificate_sees_ours() {
    let authority = Authority::new();
    authority.certify("gateway", "gateway.internal");
    let endpoint = Secure::start(&authority, "127.0.0.1", &[], true).await;
    let line = speaking(endpoint.address, "a", "protocol = \"https\"");
    let (certificate, key) = (authority.file("gateway.pem"), authority.file("gateway.key"));
    let shown = format!("{}certificate = {certificate:?}\nkey = {key:?}\n", authority.tls());
    let silent = House::open(&page(std::slice::from_ref(&line), &authority.tls())).await;
    let showing = House::open(&page(&[line], &shown)).await;

    assert_eq!(silent.get("/").await.0, 502);
    assert_eq!(showing.get("/").await.0, 200);
}

#[tokio::test]
async fn calls_to_an_http2_endpoint_share_one_connection() {
    let authority = Authority::new();
    let endpoint = Secure::start(&authority, "127.0.0.1", &[b"h2"], false).await;
    let line = speaking(endpoint.address, "a", "protocol = \"h2\"");
    let house = House::open(&page(&[line], &authority.tls())).await;
    assert_eq!(house.get("/first").await.0, 200);

    let calls = std::iter::repeat_with(|| house.get("/x")).take(20);
    for (status, _) in futures(calls).await {
        assert_eq!(status, 200);
    }

    assert_eq!(endpoint.connections.load(SeqCst), 1);
    assert_eq!(endpoint.log()[0], (Version::HTTP_2, "https://web.test/first".to_owned(), false));
}

/// Runs all at once.
async fn futures<F: Future>(calls: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = calls.map(Box::pin).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|cx| {
        pending.retain_mut(|call| match call.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => {
                done.push(output);
                false
            }
            std::task::Poll::Pending => true,
        });
        if pending.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done
}

#[tokio::test]
async fn an_endpoint_that_does_not_agree_to_http2_gets_no_call() {
    let authority = Authority::new();
    let endpoint = Secure::start(&authority, "127.0.0.1", &[b"http/1.1"], false).await;
    let line = speaking(endpoint.address, "a", "protocol = \"h2\"");
    let house = House::open(&page(&[line], &authority.tls())).await;

    assert_eq!(house.get("/").await.0, 502);
    assert!(endpoint.log().is_empty());
}

#[tokio::test]
async fn an_ordinary_call_reaches_a_clear_text_http2_endpoint_with_its_body() {
    let echo = Endpoint::start(|asked| async move { Response::new(full(asked.body)) }).await;
    let line = speaking(echo.address, "a", "protocol = \"h2c\"");
    let house = House::open(&page(&[line], "")).await;

    for _ in 0..3 {
        assert_eq!(house.call("POST", "/a?b=c", "hello").await, (200, "hello".to_owned()));
    }

    let asked = &echo.asked()[0];
    assert_eq!((asked.version, asked.uri.to_string()), (Version::HTTP_2, "http://web.test/a?b=c".to_owned()));
    assert_eq!(asked.headers["via"], "1.1 landbridge-east-a");
    assert_eq!(echo.connections.load(SeqCst), 1);
}

#[tokio::test]
async fn a_call_finds_another_endpoint_that_speaks_otherwise() {
    let (one, two) = (Endpoint::named("http1").await, Endpoint::named("http2").await);
    let nobody = Endpoint::nobody().await;
    let to_one =
        [speaking(nobody, "a", "protocol = \"h2c\""), speaking(one.address, "b", "protocol = \"http\"")];
    let to_two =
        [speaking(nobody, "a", "protocol = \"http\""), speaking(two.address, "b", "protocol = \"h2c\"")];

    assert_eq!(House::open(&page(&to_one, "")).await.get("/x").await, (200, "http1".to_owned()));
    assert_eq!(House::open(&page(&to_two, "")).await.get("/x").await, (200, "http2".to_owned()));

    assert_eq!((one.asked()[0].version, one.asked()[0].uri.to_string()), (Version::HTTP_11, "/x".to_owned()));
    assert_eq!(one.asked()[0].headers["host"], "web.test");
    assert_eq!(two.asked()[0].version, Version::HTTP_2);
}

#[tokio::test]
async fn an_instance_says_in_its_metadata_how_it_is_spoken_to_and_may_change_its_mind() {
    let authority = Authority::new();
    let secure = Secure::start(&authority, "127.0.0.1", &[], false).await;
    let plain = Endpoint::named("plain").await;
    let house = House::open(&page(&[], &authority.tls())).await;
    let show = |name: &str, one: Listed| {
        let key = ServiceKey::parse("", "", name).unwrap();
        let services = [(key, vec![one].into())].into();
        house.tables.send(Arc::new(Table { services, ..Table::default() })).unwrap();
    };

    show("orders", listed(secure.address, &[("secure", "true")]));
    until("it is called over TLS", async || house.by_path("/svc/orders/x").await == (200, "secure".into()))
        .await;
    show("orders", listed(plain.address, &[]));
    until("it is called in clear text", async || house.by_path("/svc/orders/x").await.1 == "plain").await;
    show("orders", listed(plain.address, &[("landbridge.protocol", "h2c")]));
    until("it is called over HTTP/2", async || {
        house.by_path("/svc/orders/x").await;
        plain.asked().last().unwrap().version == Version::HTTP_2
    })
    .await;
}

#[tokio::test]
async fn a_secure_endpoint_without_anybody_to_trust_is_a_mistake_in_the_config() {
    let line = speaking(Endpoint::nobody().await, "a", "protocol = \"https\"");
    let odd = speaking(Endpoint::nobody().await, "a", "protocol = \"gopher\"");

    let mistakes = landbridge_gateway::Config::read(&page(&[line, odd], "")).unwrap_err();

    assert!(mistakes.iter().any(|mistake| mistake.contains("endpoint_tls")), "{mistakes:?}");
    assert!(mistakes.iter().any(|mistake| mistake.contains("gopher")), "{mistakes:?}");
}

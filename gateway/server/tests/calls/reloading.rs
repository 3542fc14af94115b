//! Ports and certificates that come and go while calls run.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use http::Request;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use landbridge_gateway::Config;
use rustls::pki_types::CertificateDer;
use tokio::{net::TcpStream, time::timeout};

use crate::harness::{Body, Endpoint, House, PATIENCE, at, full, page, until};

/// A page with the usual listener and others of these names.
fn with_listeners(endpoint: SocketAddr, names: &[&str]) -> String {
    let one = |name: &&str| {
        format!(
            "[[listeners]]\nname = \"{name}\"\nlisten = \"127.0.0.1:0\"\n\
             [[listeners.routes]]\nid = \"all\"\nstatic = \"web\"\n"
        )
    };
    page(&[at(endpoint, "east", "a")], &names.iter().map(one).collect::<String>())
}

async fn reload(house: &House, page: &str) -> Result<(), Vec<String>> {
    house.gateway.as_ref().unwrap().reload(Config::read(page).unwrap()).await
}

fn addresses(house: &House) -> Vec<SocketAddr> {
    house.gateway.as_ref().unwrap().addresses()
}

type Sender = hyper::client::conn::http1::SendRequest<Body>;

async fn connect(address: SocketAddr) -> Sender {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn call(sender: &mut Sender) -> Result<(u16, bool), hyper::Error> {
    sender.ready().await?;
    let request = Request::get("/").header("host", "web.test").body(full("")).unwrap();
    let answer = timeout(PATIENCE, sender.send_request(request)).await.unwrap()?;
    let last = answer.headers().get("connection").is_some_and(|value| value == "close");
    let status = answer.status().as_u16();
    answer.into_body().collect().await?;
    Ok((status, last))
}

#[tokio::test]
async fn listeners_come_and_go_and_the_one_that_stays_never_fails_a_call() {
    let endpoint = Endpoint::named("a").await;
    let house = House::open(&with_listeners(endpoint.address, &[])).await;
    let (stop, calls) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let callers: Vec<_> = (0..4)
        .map(|number| {
            let (stop, calls, address) = (stop.clone(), calls.clone(), house.address);
            tokio::spawn(async move {
                let mut sender = connect(address).await;
                while !stop.load(SeqCst) {
                    // Half of them come anew for each call.
                    if number % 2 == 0 {
                        sender = connect(address).await;
                    }
                    assert_eq!(call(&mut sender).await.unwrap(), (200, false));
                    calls.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();

    for round in 0..20 {
        let names: &[&str] = if round % 2 == 0 { &["more"] } else { &[] };
        let before = calls.load(SeqCst);
        reload(&house, &with_listeners(endpoint.address, names)).await.unwrap();
        assert_eq!(addresses(&house)[0], house.address);
        if let Some(more) = addresses(&house).get(1) {
            assert_eq!(call(&mut connect(*more).await).await.unwrap(), (200, false));
        }
        until("calls go on", async || calls.load(SeqCst) > before + 8).await;
    }

    stop.store(true, SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
}

#[tokio::test]
async fn a_listener_that_goes_lets_its_connections_leave() {
    let endpoint = Endpoint::named("a").await;
    let house = House::open(&with_listeners(endpoint.address, &["more"])).await;
    let more = addresses(&house)[1];
    let (mut idle, mut stays) = (connect(more).await, connect(house.address).await);
    assert_eq!(call(&mut idle).await.unwrap(), (200, false));
    assert_eq!(call(&mut stays).await.unwrap(), (200, false));

    reload(&house, &with_listeners(endpoint.address, &[])).await.unwrap();

    until("the port is closed", async || TcpStream::connect(more).await.is_err()).await;
    until("its idle connection is closed", async || idle.is_closed()).await;
    assert_eq!(call(&mut stays).await.unwrap(), (200, false));
}

fn certify(dir: &Path, name: &str) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    std::fs::write(dir.join("c.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("k.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// Makes a connection and calls on it, if the listener shows this certificate.
async fn secure(address: SocketAddr, trusted: CertificateDer<'static>) -> Option<Sender> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect("web.test".try_into().unwrap(), stream).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(call(&mut sender).await.unwrap().0, 200);
    Some(sender)
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_connections_and_old_ones_go_on() {
    let endpoint = Endpoint::named("a").await;
    let dir = tempfile::tempdir().unwrap();
    let first = certify(dir.path(), "web.test");
    let (certificate, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
    let tls = format!("tls = {{ certificate = {certificate:?}, key = {key:?} }}\nhost_suffix");
    let page = page(&[at(endpoint.address, "east", "a")], "").replace("host_suffix", &tls);
    let house = House::open(&page).await;
    let mut old = secure(house.address, first.clone()).await.unwrap();

    let second = certify(dir.path(), "web.test");
    reload(&house, &page).await.unwrap();

    assert!(secure(house.address, second.clone()).await.is_some());
    assert!(secure(house.address, first).await.is_none());
    assert_eq!(call(&mut old).await.unwrap(), (200, false));
    std::fs::write(&key, "no key").unwrap();
    let refused = reload(&house, &page).await.unwrap_err();
    assert!(refused[0].contains("k.pem"), "{refused:?}");
    assert!(secure(house.address, second).await.is_some(), "the running certificate stays");
}

#[tokio::test]
async fn a_reload_that_cannot_be_whole_changes_nothing_and_tells_everything() {
    let endpoint = Endpoint::named("a").await;
    let house = House::open(&with_listeners(endpoint.address, &[])).await;
    let busy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = busy.local_addr().unwrap();
    let page = with_listeners(Endpoint::nobody().await, &["one", "two"]).replacen(
        "name = \"one\"\nlisten = \"127.0.0.1:0\"",
        &format!("name = \"one\"\nlisten = \"{taken}\""),
        1,
    ) + "[endpoint_tls]\nauthority = \"/nowhere/ca.pem\"\n";

    let mistakes = reload(&house, &page).await.unwrap_err();

    assert!(mistakes.iter().any(|mistake| mistake.contains(&taken.to_string())), "{mistakes:?}");
    assert!(mistakes.iter().any(|mistake| mistake.contains("/nowhere/ca.pem")), "{mistakes:?}");
    assert_eq!(addresses(&house), [house.address]);
    assert_eq!(house.get("/").await.0, 200, "the routes are the old ones too");
}

#[tokio::test]
async fn an_operator_reloads_by_asking_and_is_told_what_is_wrong() {
    let endpoint = Endpoint::named("a").await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.toml");
    std::fs::write(&file, with_listeners(endpoint.address, &[])).unwrap();
    let house = House::with(Config::load(Some(&file), &[], &[]).unwrap()).await;

    let more = with_listeners(endpoint.address, &["more"]).replace("threads = 1", "threads = 2");
    std::fs::write(&file, more).unwrap();
    let done = house.tell("POST", "/landbridge/v1/reload", "").await;
    std::fs::write(&file, "region = \"East\"\nzone = \"a\"\n").unwrap();
    let wrong = house.tell("POST", "/landbridge/v1/reload", "").await;

    assert_eq!(done, "{\"needs_restart\":[\"threads\"]}");
    assert!(wrong.contains("mistakes") && wrong.contains("region"), "{wrong}");
    assert_eq!(addresses(&house).len(), 2);
    assert_eq!(call(&mut connect(addresses(&house)[1]).await).await.unwrap(), (200, false));
}

/// Calls on one connection after the other, or on one that stays, until told to stop; every call must be answered well.
fn calling(
    address: SocketAddr,
    anew: bool,
    sender: Sender,
    stop: &Arc<AtomicBool>,
    calls: &Arc<AtomicUsize>,
) -> tokio::task::JoinHandle<()> {
    let (stop, calls, mut sender) = (stop.clone(), calls.clone(), sender);
    tokio::spawn(async move {
        while !stop.load(SeqCst) {
            if anew {
                sender = connect(address).await;
            }
            assert_eq!(call(&mut sender).await.unwrap(), (200, false));
            calls.fetch_add(1, SeqCst);
        }
    })
}

/// Who answers a host, or nobody if the call is refused.
async fn answered(house: &House, host: &str) -> Option<String> {
    let request = Request::get(format!("http://{}/", house.address)).header("host", host);
    let answer = house.send(request.body(full("")).unwrap()).await;
    let good = answer.status() == 200;
    assert!(good || answer.status() == 429, "{host}: {}", answer.status());
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    good.then(|| String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn routes_limits_listeners_and_certificates_change_under_load_and_no_call_is_lost() {
    let (one, two) = (Endpoint::named("one").await, Endpoint::named("two").await);
    let dir = tempfile::tempdir().unwrap();
    let mut trusted = certify(dir.path(), "web.test");
    let (certificate, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
    let page_of = |round: u32| {
        let (to, burst) = if round.is_multiple_of(2) { ("web", 2) } else { ("next", 5) };
        let more = if round.is_multiple_of(3) {
            "[[listeners]]\nname = \"more\"\nlisten = \"127.0.0.1:0\"\n"
        } else {
            ""
        };
        let more = format!(
            "[[listeners.routes]]\nid = \"moving\"\nhosts = [\"moving.test\"]\nstatic = \"{to}\"\n\
             [[listeners.routes]]\nid = \"capped\"\nhosts = [\"capped.test\"]\nstatic = \"capped\"\n\
             [[listeners]]\nname = \"secure\"\nlisten = \"127.0.0.1:0\"\n\
             tls = {{ certificate = {certificate:?}, key = {key:?} }}\n\
             [[listeners.routes]]\nid = \"all\"\nstatic = \"web\"\n{more}\
             [[statics]]\nname = \"next\"\nendpoints = [{}]\n[[statics]]\nname = \"capped\"\nendpoints = [{}]\n\
             [[limits]]\nby = \"service\"\nservices = [\"static:capped\"]\nrequests_per_second = 1\nburst = {burst}\n",
            at(two.address, "east", "a"),
            at(one.address, "east", "a"),
        );
        page(&[at(one.address, "east", "a")], &more)
    };
    let house = House::open(&page_of(1)).await;
    let (stop, calls) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let mut callers = Vec::new();
    for anew in [false, true, false, true] {
        callers.push(calling(house.address, anew, connect(house.address).await, &stop, &calls));
    }
    let old = secure(addresses(&house)[1], trusted.clone()).await.unwrap();
    callers.push(calling(house.address, false, old, &stop, &calls));

    for round in 2..14_u32 {
        if round.is_multiple_of(4) {
            trusted = certify(dir.path(), "web.test");
        }
        let (before, begun) = (calls.load(SeqCst), std::time::Instant::now());
        reload(&house, &page_of(round)).await.unwrap();

        let (who, burst) = if round.is_multiple_of(2) { ("one", 2) } else { ("two", 5) };
        assert_eq!(answered(&house, "moving.test").await.as_deref(), Some(who), "round {round}");
        let mut passed = 0;
        for _ in 0..8 {
            passed += u64::from(answered(&house, "capped.test").await.is_some());
        }
        let most = burst + begun.elapsed().as_secs() + 1;
        assert!((burst..=most.min(8)).contains(&passed), "round {round}: {passed} passed, {burst} may");
        let new = secure(addresses(&house)[1], trusted.clone()).await;
        assert!(new.is_some(), "round {round}: the newest certificate is shown");
        assert_eq!(addresses(&house).len(), if round.is_multiple_of(3) { 3 } else { 2 });
        until("calls go on", async || calls.load(SeqCst) > before + 8).await;
    }

    stop.store(true, SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
}

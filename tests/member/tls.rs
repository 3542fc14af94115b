//! TLS for SDKs and HTTP callers, on a member's own ports: shown to all, asked of those who must, and left out where that is said.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use landbridge_tests::{
    authority::{Authority, Shown},
    http,
    sdk::{ask_well, enrolment, service, set_up},
    wait::until_async,
};
use landbridge_wire::nacos::{ClusterFilter, grpc::ask};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};

use crate::one::{One, READY_WITHIN};

/// The name by which callers know the member.
const NAME: &str = "nacos.test";

/// A caller that trusts this authority, and shows a certificate if it has one.
fn caller(authority: &Authority, shown: Option<&Shown>, protocol: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let file = authority.folder().join("ca.pem");
    roots.add(CertificateDer::from_pem_file(file).expect("a certificate")).expect("an authority");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match shown {
        Some(files) => {
            let chain = vec![CertificateDer::from_pem_file(&files.certificate).expect("a certificate")];
            let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

async fn dial(address: SocketAddr, caller: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(NAME).expect("a name");
    TlsConnector::from(caller).connect(name, stream).await
}

/// Asks over HTTPS; none if it is not answered.
async fn get(one: &One, caller: &Arc<ClientConfig>, path: &str) -> Option<String> {
    let mut stream = dial(one.http(), Arc::clone(caller)).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {NAME}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    // An end without a farewell does not take the answer back.
    let _ = stream.read_to_string(&mut answer).await;
    (!answer.is_empty()).then_some(answer)
}

async fn channel(one: &One, caller: Arc<ClientConfig>) -> Result<Channel, tonic::transport::Error> {
    let address = one.grpc();
    let dial = tower::service_fn(move |_| {
        let caller = Arc::clone(&caller);
        async move { dial(address, caller).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://nacos.test").connect_with_connector(dial).await
}

/// A member that shows a certificate of this authority; it is ready when an HTTPS caller is told so.
async fn member(authority: &Authority, mutual: bool, plain: bool, caller: &Arc<ClientConfig>) -> One {
    let shown = authority.shown(NAME);
    let mut sets = vec![
        format!("listen.tls.certificate={}", shown.certificate.display()),
        format!("listen.tls.key={}", shown.key.display()),
        format!("listen.tls.plain={plain}"),
    ];
    if mutual {
        sets.push(format!("listen.tls.authority={}", authority.folder().join("ca.pem").display()));
    }
    let one = One::launch(&sets.iter().map(String::as_str).collect::<Vec<_>>()).await;
    until_async("the member is ready", READY_WITHIN, async || {
        get(&one, caller, "/readyz").await.filter(|answer| answer.starts_with("HTTP/1.1 200")).map(drop)
    })
    .await;
    one
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_sdk_registers_over_tls_and_callers_with_and_without_it_see_that() {
    let authority = Authority::new();
    let https = caller(&authority, None, b"http/1.1");
    let one = member(&authority, false, true, &https).await;
    let channel = channel(&one, caller(&authority, None, b"h2")).await.expect("dialled");

    let mut client = set_up(channel).await.expect("set up");
    ask_well(&mut client.requests, ask::register(&service("sealed"), &enrolment(3)))
        .await
        .expect("registered");
    let asked = ask::query(&service("sealed"), &ClusterFilter::default(), false);
    let queried = ask_well(&mut client.requests, asked).await.expect("answered");
    let list = "/nacos/v1/ns/instance/list?serviceName=sealed";
    let sealed = get(&one, &https, list).await.expect("answered");
    let plain = http::ask(one.http(), "GET", list).await.expect("answered");

    assert!(String::from_utf8_lossy(queried.json()).contains(r#""port":1027"#));
    assert!(sealed.contains(r#""port":1027"#) && plain.1.contains(r#""port":1027"#), "{sealed} {plain:?}");
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_plain_callers_are_not_served_they_get_nothing() {
    let authority = Authority::new();
    let https = caller(&authority, None, b"http/1.1");
    let one = member(&authority, false, false, &https).await;

    let plain = http::ask(one.http(), "GET", "/readyz").await;
    let sdk = landbridge_tests::sdk::connect(one.grpc());
    let sdk = tokio::time::timeout(Duration::from_secs(20), sdk).await.expect("an end");
    let stranger = get(&one, &caller(&Authority::new(), None, b"http/1.1"), "/readyz").await;

    assert!(plain.is_none() && sdk.is_err(), "{plain:?}");
    assert!(stranger.is_none(), "who trusts another authority does not take ours for the member");
    one.end().await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_authority_only_callers_that_it_signed_are_let_in() {
    let authority = Authority::new();
    let shown = authority.shown("client.test");
    let https = caller(&authority, Some(&shown), b"http/1.1");
    let one = member(&authority, true, false, &https).await;

    let nobody = get(&one, &caller(&authority, None, b"http/1.1"), "/readyz").await;
    let stranger = Authority::new();
    let other = stranger.shown("client.test");
    let forged = get(&one, &caller(&authority, Some(&other), b"http/1.1"), "/readyz").await;
    let signed = channel(&one, caller(&authority, Some(&shown), b"h2")).await.expect("dialled");

    assert!(nobody.is_none() && forged.is_none(), "{nobody:?} {forged:?}");
    assert!(set_up(signed).await.is_ok());
    one.end().await.expect("ends in order");
}

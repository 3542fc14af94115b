//! Who calls, by the certificate that it shows.

use std::{fs, path::Path, sync::Arc};

use hyper::Request;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::net::TcpStream;

use crate::harness::{Endpoint, House, at, full, page};

/// A certificate for one name, its files in a folder.
struct Papers {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

fn papers(folder: &Path, name: &str) -> Papers {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    fs::write(folder.join(format!("{name}.pem")), made.cert.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    Papers { certificate: made.cert.der().clone(), key }
}

/// Calls over TLS, showing a certificate or none, and claiming to be somebody.
async fn call(house: &House, server: &Papers, shown: Option<&Papers>) -> u16 {
    let mut roots = RootCertStore::empty();
    roots.add(server.certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match shown {
        Some(own) => {
            builder.with_client_auth_cert(vec![own.certificate.clone()], own.key.clone_key()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    let stream = TcpStream::connect(house.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect("web.test".try_into().unwrap(), stream).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/").header("host", "web.test").header("x-landbridge-caller", "boss");
    sender.send_request(request.body(full("")).unwrap()).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_certificate_says_whose_rate_a_call_counts_for_and_endpoints_are_told() {
    let endpoint = Endpoint::named("a").await;
    let folder = tempfile::tempdir().unwrap();
    let [server, shop, till] = ["web.test", "shop.test", "till.test"].map(|name| papers(folder.path(), name));
    let both =
        ["shop.test.pem", "till.test.pem"].map(|file| fs::read_to_string(folder.path().join(file)).unwrap());
    fs::write(folder.path().join("callers.pem"), both.concat()).unwrap();
    let at_folder = |file: &str| folder.path().join(file);
    let (certificate, key) = (at_folder("web.test.pem"), at_folder("web.test.key"));
    let callers = at_folder("callers.pem");
    let tls = format!(
        "tls = {{ certificate = {certificate:?}, key = {key:?}, callers = {callers:?} }}\nhost_suffix"
    );
    let limit = "[[limits]]\nby = \"caller\"\nrequests_per_second = 1\nburst = 1\n";
    let page = page(&[at(endpoint.address, "east", "a")], limit).replace("host_suffix", &tls);
    let house = House::open(&page).await;
    let mut statuses = Vec::new();

    for shown in [Some(&shop), Some(&shop), Some(&till), None, None] {
        statuses.push(call(&house, &server, shown).await);
    }

    assert_eq!(statuses, [200, 429, 200, 200, 429]);
    let told: Vec<_> =
        endpoint.asked().iter().map(|asked| asked.headers.get("x-landbridge-caller").cloned()).collect();
    assert_eq!(told, [Some("shop.test".parse().unwrap()), Some("till.test".parse().unwrap()), None]);
}

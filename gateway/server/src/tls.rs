//! TLS at both ends of the gateway: what a listener shows its callers, and whom endpoints must be.

use std::{fmt::Display, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio_rustls::TlsAcceptor;

use crate::config::{EndpointTls, ListenerTls};

/// HTTP/2 as TLS negotiates it.
pub(crate) const H2: &[u8] = b"h2";

/// HTTP/1.1 as TLS negotiates it.
const HTTP1: &[u8] = b"http/1.1";

/// How endpoints that speak TLS are spoken to, by the version of HTTP.
#[derive(Debug)]
pub(crate) struct Trust {
    pub(crate) http1: Arc<ClientConfig>,
    pub(crate) http2: Arc<ClientConfig>,
}

fn wrong(file: &Path, why: impl Display) -> String {
    format!("{}: {why}", file.display())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|why| wrong(file, why))?;
    if read.is_empty() { Err(wrong(file, "holds no certificate")) } else { Ok(read) }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(file).map_err(|why| wrong(file, why))
}

/// Reads a listener's files, or says which is wrong and how. Offers HTTP/2 and HTTP/1.1.
pub(crate) fn acceptor(files: &ListenerTls) -> Result<TlsAcceptor, String> {
    let (chain, key) = (certificates(&files.certificate)?, private_key(&files.key)?);
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|why| why.to_string())?
        .with_client_cert_verifier(callers(files.callers.as_deref())?)
        .with_single_cert(chain, key)
        .map_err(|why| wrong(&files.certificate, why))?;
    config.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Who may say by certificate who it is; nobody has to.
fn callers(authority: Option<&Path>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let Some(file) = authority else { return Ok(WebPkiClientVerifier::no_client_auth()) };
    let roots = Arc::new(authorities(file)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::new(ring::default_provider()));
    verifier.allow_unauthenticated().build().map_err(|why| wrong(file, why))
}

fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|why| wrong(file, why))?;
    }
    Ok(roots)
}

/// Reads whom endpoints must be, or says which file is wrong and how.
pub(crate) fn trust(files: Option<&EndpointTls>) -> Result<Option<Arc<Trust>>, String> {
    let Some(files) = files else { return Ok(None) };
    let roots = authorities(&files.authority)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|why| why.to_string())?
        .with_root_certificates(roots);
    let config = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|why| wrong(certificate, why))?,
        (None, _) | (_, None) => builder.with_no_client_auth(),
    };
    let speaking = |protocol: &[u8]| {
        let mut config = config.clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        Arc::new(config)
    };
    Ok(Some(Arc::new(Trust { http1: speaking(HTTP1), http2: speaking(H2) })))
}

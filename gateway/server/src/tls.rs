//! The certificate a listener shows, read from its files.

use std::sync::Arc;

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

use crate::config::ListenerTls;

/// Reads the files, or says which is wrong and how. Offers HTTP/2 and HTTP/1.1.
pub(crate) fn acceptor(files: &ListenerTls) -> Result<TlsAcceptor, String> {
    let wrong = |file: &std::path::Path, why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|why| wrong(&files.certificate, &why))?;
    if chain.is_empty() {
        return Err(wrong(&files.certificate, &"holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|why| wrong(&files.key, &why))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|why| why.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|why| wrong(&files.certificate, &why))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

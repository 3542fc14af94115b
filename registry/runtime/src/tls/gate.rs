//! Decides which certificates are let in: signed by our authority, of our deployment, for the right use.
//!
//! Invariant: no session is resumed, so every connection is checked against the files in use when it was opened.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, InconsistentKeys,
    OtherError, RootCertStore, ServerConfig, SignatureScheme, version,
};

use super::TlsFiles;
use super::files::Parsed;
use super::name::PeerName;

/// The one protocol spoken on ports between processes of ours.
const ALPN: &[u8] = b"h2";

/// Builds both sides from one reading of the files.
pub(super) fn configs(parsed: &Parsed) -> Result<(ServerConfig, ClientConfig), Error> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let deployment = parsed.name.deployment.clone();
    let chain_of_client =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&parsed.roots), Arc::clone(&provider))
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
    let client_gate = ClientGate { chain: chain_of_client, deployment: deployment.clone() };
    let server_gate = ServerGate { roots: Arc::clone(&parsed.roots), algorithms, deployment };
    Ok((server_config(parsed, &provider, client_gate)?, client_config(parsed, &provider, server_gate)?))
}

fn server_config(
    parsed: &Parsed,
    provider: &Arc<CryptoProvider>,
    gate: ClientGate,
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(Arc::new(gate))
        .with_single_cert(parsed.chain.clone(), parsed.key.clone_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client_config(
    parsed: &Parsed,
    provider: &Arc<CryptoProvider>,
    gate: ServerGate,
) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(gate))
        .with_client_auth_cert(parsed.chain.clone(), parsed.key.clone_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

/// Says in an operator's words why the files do not make an identity.
pub(super) fn explain(error: &Error, files: &TlsFiles) -> String {
    let (certificate, key) = (files.certificate.display(), files.key.display());
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            format!(
                "private key {key} does not belong to certificate {certificate}: put the pair made together there"
            )
        }
        other => format!("certificate {certificate} and private key {key} cannot be used: {other}"),
    }
}

/// A certificate that is trusted but not of our deployment, or without a name of ours.
#[derive(Debug)]
struct Stranger(String);

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the peer's certificate {}", self.0)
    }
}

impl std::error::Error for Stranger {}

fn check_deployment(deployment: &str, certificate: &CertificateDer<'_>) -> Result<(), Error> {
    let stranger =
        |why| Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Stranger(why)))));
    let name = PeerName::of_certificate(certificate).map_err(stranger)?;
    if name.deployment != deployment {
        return Err(stranger(format!("is of deployment {}, ours is {deployment}", name.deployment)));
    }
    Ok(())
}

/// Lets in whoever our authority signed for dialling, in our deployment.
#[derive(Debug)]
struct ClientGate {
    chain: Arc<dyn ClientCertVerifier>,
    deployment: String,
}

impl ClientCertVerifier for ClientGate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(certificate, intermediates, now)?;
        check_deployment(&self.deployment, certificate)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Accepts whoever our authority signed for serving, in our deployment; addresses are not compared, names are.
#[derive(Debug)]
struct ServerGate {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    deployment: String,
}

impl ServerCertVerifier for ServerGate {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        check_deployment(&self.deployment, certificate)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

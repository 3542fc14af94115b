//! TLS for callers from outside, SDKs and scripts: they know this process by its host name, and show a certificate of their own
//! only where an authority for that is given.
//!
//! Invariant: a bad renewal leaves the old files in use; open connections stay as they are.

use std::{
    io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Renewal, files, watch_files};
use crate::shutdown::Shutdown;

/// What is spoken over it: gRPC wants the first, most HTTP callers the second.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The first byte of a TLS handshake; no HTTP begins with it.
const HANDSHAKE: u8 = 0x16;

/// Where the PEM files lie that callers are shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallerFiles {
    /// The certificate, followed by its intermediates if there are any; callers look for their server's name in it.
    pub certificate: PathBuf,
    /// The private key; nobody but the owner and its group may read it.
    pub key: PathBuf,
    /// Callers must show a certificate of these authorities (mutual TLS); none of them must if it is not given.
    pub authority: Option<PathBuf>,
    /// Whether callers without TLS are served too, on the same ports.
    pub plain: bool,
}

/// The files as read.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authority: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Material {
    config: Arc<ServerConfig>,
    source: Source,
}

/// What callers are shown; copies share one state, and a renewal reaches all of them.
#[derive(Clone, Debug)]
pub struct CallerTls {
    files: Arc<CallerFiles>,
    material: Arc<ArcSwap<Material>>,
}

impl CallerTls {
    /// Reads the files, or says which one is wrong and how.
    pub fn load(files: CallerFiles) -> Result<Self, String> {
        let material = Material::read(&files)?;
        Ok(Self { files: Arc::new(files), material: Arc::new(ArcSwap::from_pointee(material)) })
    }

    /// Takes a caller in, with TLS or, where that is allowed, without. The caller of this sets a deadline.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<CallerStream> {
        if self.files.plain {
            let mut first = [0];
            if stream.peek(&mut first).await? == 0 || first[0] != HANDSHAKE {
                return Ok(CallerStream::Plain(stream));
            }
        }
        let acceptor = TlsAcceptor::from(Arc::clone(&self.material.load().config));
        Ok(CallerStream::Tls(Box::new(acceptor.accept(stream).await?)))
    }

    /// Reads the files again; new connections use what was read. On a mistake nothing changes.
    pub fn renew(&self) -> Result<Renewal, String> {
        if Source::read(&self.files)? == self.material.load().source {
            return Ok(Renewal::Unchanged);
        }
        self.material.store(Arc::new(Material::read(&self.files)?));
        Ok(Renewal::Renewed)
    }

    /// Starts the task that renews it when its files change or SIGHUP asks, until the process ends.
    pub fn keep_fresh(&self, shutdown: &Shutdown) {
        let tls = self.clone();
        watch_files(self.files.certificate.display().to_string(), shutdown, move || tls.renew());
    }
}

impl Source {
    fn read(files: &CallerFiles) -> Result<Self, String> {
        files::check_mode(&files.key)?;
        let authority = files.authority.as_ref().map(|path| files::read("authority", path)).transpose()?;
        Ok(Self {
            certificate: files::read("certificate", &files.certificate)?,
            key: files::read("private key", &files.key)?,
            authority,
        })
    }
}

impl Material {
    fn read(paths: &CallerFiles) -> Result<Self, String> {
        let source = Source::read(paths)?;
        let shown = paths.certificate.display();
        let chain = files::certificates("certificate", &paths.certificate, &source.certificate)?;
        if let Some(first) = chain.first() {
            files::check_dates(first).map_err(|why| format!("certificate {shown} {why}"))?;
        }
        let key = PrivateKeyDer::from_pem_slice(&source.key)
            .map_err(|error| format!("private key {} cannot be read ({error})", paths.key.display()))?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match (&paths.authority, &source.authority) {
            (Some(path), Some(pem)) => {
                let mut roots = RootCertStore::empty();
                for authority in files::certificates("authority", path, pem)? {
                    let about = |error| format!("authority {} cannot be used ({error})", path.display());
                    roots.add(authority).map_err(about)?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| error.to_string())?)
            }
            (None, _) | (_, None) => builder.with_no_client_auth(),
        };
        let config = builder.with_single_cert(chain, key);
        let mut config = config.map_err(|error| format!("certificate {shown} cannot be shown ({error})"))?;
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        Ok(Self { config: Arc::new(config), source })
    }
}

/// A caller's connection.
#[derive(Debug)]
pub enum CallerStream {
    /// Without TLS.
    Plain(TcpStream),
    /// With it.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for CallerStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for CallerStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tls::tests::Office;

    #[test]
    fn files_that_changed_are_used_and_damaged_ones_are_not() {
        let (office, other) = (Office::open(), Office::open());
        let files = office.callers("nacos");
        let newer = other.callers("nacos");
        let tls = CallerTls::load(files.clone()).unwrap();
        let in_use = || Arc::clone(&tls.material.load().config);
        let first = in_use();

        assert_eq!(tls.renew(), Ok(Renewal::Unchanged));
        fs::copy(&newer.key, &files.key).unwrap();
        let half_way = tls.renew();
        assert!(half_way.is_err() && Arc::ptr_eq(&first, &in_use()), "a key of another pair is no renewal");
        fs::copy(&newer.certificate, &files.certificate).unwrap();
        assert_eq!(tls.renew(), Ok(Renewal::Renewed));
        assert!(!Arc::ptr_eq(&first, &in_use()));
    }
}

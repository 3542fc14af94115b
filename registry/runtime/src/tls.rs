//! The TLS identity of a process: who it is by certificate, whom it trusts, and renewal without a restart.
//!
//! Every port between processes of ours is TLS 1.3 with certificates on both sides. A peer is known by the URI in its
//! certificate (`landbridge://deployment/region/role/id`), not by its address: members move, their names do not.
//!
//! Invariant: a renewed certificate never changes who the process is; a bad renewal leaves the old one in use.

mod callers;
mod files;
mod gate;
mod name;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ServerConfig};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

pub use self::callers::{CallerFiles, CallerStream, CallerTls};
pub use self::name::{PeerName, PeerRole, named_in};
use crate::shutdown::Shutdown;

/// How often the files are looked at; SIGHUP looks at once.
const RENEWAL_CHECK_MS: u64 = 10_000;

/// Where the PEM files of an identity lie.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate, followed by its intermediates if there are any.
    pub certificate: PathBuf,
    /// The private key; nobody but the owner and its group may read it.
    pub key: PathBuf,
    /// The authorities whose certificates are trusted.
    pub authority: PathBuf,
}

/// Who this process is and whom it trusts; copies share one state, and a renewal reaches all of them.
#[derive(Clone, Debug)]
pub struct Identity {
    files: Arc<TlsFiles>,
    name: PeerName,
    material: Arc<ArcSwap<Material>>,
}

/// What one reading of the files gave.
#[derive(Debug)]
struct Material {
    name: PeerName,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    not_after_unix_s: i64,
    /// The files as read, to notice a renewal.
    source: files::Source,
}

/// What a look at the files found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The files are as they were.
    Unchanged,
    /// New connections use the new files.
    Renewed,
}

impl Identity {
    /// Reads an identity, or says which file is wrong, how, and how to mend it.
    pub fn load(files: TlsFiles) -> Result<Self, String> {
        let material = Material::read(&files)?;
        let name = material.name.clone();
        tell_expiry(&material);
        Ok(Self { files: Arc::new(files), name, material: Arc::new(ArcSwap::from_pointee(material)) })
    }

    /// Who this process is.
    pub fn name(&self) -> &PeerName {
        &self.name
    }

    /// The configuration for accepting: ALPN h2, a trusted certificate of the same deployment required.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.material.load().server)
    }

    /// The configuration for dialling: ALPN h2, our certificate shown, any server of the same deployment accepted;
    /// the caller compares the name it gets with the one it wants.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.material.load().client)
    }

    /// Accepts a connection and tells who dialled. The caller sets a deadline.
    pub async fn accept<Io>(&self, io: Io) -> io::Result<(server::TlsStream<Io>, PeerName)>
    where
        Io: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = TlsAcceptor::from(self.server_config()).accept(io).await?;
        let name = peer_name(stream.get_ref().1.peer_certificates())?;
        Ok((stream, name))
    }

    /// Dials over an open connection and tells who answered. The caller sets a deadline.
    pub async fn connect<Io>(&self, io: Io) -> io::Result<(client::TlsStream<Io>, PeerName)>
    where
        Io: AsyncRead + AsyncWrite + Unpin,
    {
        let unused = ServerName::try_from("landbridge").expect("a constant that is a DNS name");
        let stream = TlsConnector::from(self.client_config()).connect(unused, io).await?;
        let name = peer_name(stream.get_ref().1.peer_certificates())?;
        Ok((stream, name))
    }

    /// Reads the files again; open connections stay, new ones use what was read. On a mistake nothing changes.
    pub fn renew(&self) -> Result<Renewal, String> {
        if files::Source::read(&self.files)? == self.material.load().source {
            return Ok(Renewal::Unchanged);
        }
        let material = Material::read(&self.files)?;
        if material.name != self.name {
            return Err(format!(
                "{} names {}, but this process is {}: put its own certificate there, or restart it as the other",
                self.files.certificate.display(),
                material.name,
                self.name
            ));
        }
        tell_expiry(&material);
        self.material.store(Arc::new(material));
        Ok(Renewal::Renewed)
    }

    /// Starts the task that renews the identity when its files change or SIGHUP asks, until the process ends.
    pub fn keep_fresh(&self, shutdown: &Shutdown) {
        let identity = self.clone();
        watch_files(self.name.to_string(), shutdown, move || identity.renew());
    }
}

/// Looks at files again and again until the process ends; `name` says in logs whose they are.
fn watch_files<Look>(name: String, shutdown: &Shutdown, renew: Look)
where
    Look: Fn() -> Result<Renewal, String> + Clone + Send + 'static,
{
    let ending = shutdown.clone();
    let mut reloads = shutdown.reloads();
    shutdown.spawn(async move {
        let mut complained = None;
        loop {
            tokio::select! {
                () = ending.wait() => return,
                () = tokio::time::sleep(Duration::from_millis(RENEWAL_CHECK_MS)) => {}
                Ok(()) = reloads.changed() => complained = None,
            }
            let found = tokio::task::spawn_blocking(renew.clone()).await;
            complained = report(&name, found.unwrap_or_else(|panic| Err(panic.to_string())), complained);
        }
    });
}

/// Logs what a look found, and a mistake only once.
fn report(name: &str, found: Result<Renewal, String>, complained: Option<String>) -> Option<String> {
    match found {
        Ok(Renewal::Unchanged) => None,
        Ok(Renewal::Renewed) => {
            tracing::info!(event = "certificate_renewed", name, "new connections use the new files");
            None
        }
        Err(mistake) => {
            if complained.as_ref() != Some(&mistake) {
                tracing::error!(
                    event = "certificate_not_renewed",
                    mistake,
                    "the old certificate stays in use"
                );
            }
            Some(mistake)
        }
    }
}

impl Material {
    fn read(files: &TlsFiles) -> Result<Self, String> {
        let source = files::Source::read(files)?;
        let parsed = source.parse(files)?;
        let (server, client) = gate::configs(&parsed).map_err(|error| gate::explain(&error, files))?;
        Ok(Self {
            name: parsed.name,
            server: Arc::new(server),
            client: Arc::new(client),
            not_after_unix_s: parsed.not_after_unix_s,
            source,
        })
    }
}

fn tell_expiry(material: &Material) {
    metrics::gauge!("landbridge_runtime_certificate_expiry_timestamp_seconds")
        .set(material.not_after_unix_s as f64);
}

/// Who a peer is, from the certificate that the handshake verified.
pub fn peer_name(certificates: Option<&[CertificateDer<'_>]>) -> io::Result<PeerName> {
    let first = certificates.and_then(<[_]>::first);
    let first = first.ok_or_else(|| io::Error::other("the peer showed no certificate"))?;
    PeerName::of_certificate(first).map_err(|why| io::Error::other(format!("the peer's certificate {why}")))
}

#[cfg(test)]
pub(crate) mod tests;

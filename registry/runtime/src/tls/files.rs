//! Reads the PEM files of an identity and says which one is wrong, how, and how to mend it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::TlsFiles;
use super::name::PeerName;

/// The largest PEM file read, in bytes; more is surely not a certificate.
const FILE_BYTES_MAX: u64 = 1_048_576;

/// Permission bits that let others than the owner and its group at a key.
const MODE_OTHERS: u32 = 0o007;

/// The files as read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authority: Vec<u8>,
}

/// The files understood.
pub(super) struct Parsed {
    pub(super) name: PeerName,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) not_after_unix_s: i64,
}

impl Source {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, String> {
        check_mode(&files.key)?;
        Ok(Self {
            certificate: read("certificate", &files.certificate)?,
            key: read("private key", &files.key)?,
            authority: read("authority", &files.authority)?,
        })
    }

    pub(super) fn parse(&self, files: &TlsFiles) -> Result<Parsed, String> {
        let chain = certificates("certificate", &files.certificate, &self.certificate)?;
        let about = |why| {
            format!("certificate {} {why}: make one with `landbridge certs`", files.certificate.display())
        };
        let first = chain.first().ok_or_else(|| about("is empty".to_owned()))?;
        let name = PeerName::of_certificate(first).map_err(about)?;
        let not_after_unix_s = check_dates(first).map_err(about)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| {
            format!(
                "private key {} cannot be read ({error}): it must be a PEM private key",
                files.key.display()
            )
        })?;
        let mut roots = RootCertStore::empty();
        for authority in certificates("authority", &files.authority, &self.authority)? {
            roots.add(authority).map_err(|error| {
                format!(
                    "authority {} cannot be used ({error}): it must be a CA certificate",
                    files.authority.display()
                )
            })?;
        }
        Ok(Parsed { name, chain, key, roots: Arc::new(roots), not_after_unix_s })
    }
}

/// Refuses a private key that everybody may read.
pub(super) fn check_mode(key: &Path) -> Result<(), String> {
    let mode = fs::metadata(key).map(|about| about.permissions().mode()).unwrap_or_default();
    if mode & MODE_OTHERS == 0 {
        return Ok(());
    }
    let (shown, mode) = (key.display(), mode & 0o777);
    Err(format!("private key {shown} may be read by everybody (mode {mode:o}): run chmod 600 on it"))
}

pub(super) fn read(what: &str, path: &Path) -> Result<Vec<u8>, String> {
    let about = |why: String| format!("{what} file {} cannot be read: {why}", path.display());
    let size = fs::metadata(path).map_err(|error| about(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(about(format!("it has {size} bytes, more than any PEM file of ours ({FILE_BYTES_MAX})")));
    }
    fs::read(path).map_err(|error| about(error.to_string()))
}

pub(super) fn certificates(
    what: &str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(format!(
            "{what} file {} holds no PEM certificate (-----BEGIN CERTIFICATE-----)",
            path.display()
        )),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("{what} file {} is damaged ({error}): write it anew", path.display())),
    }
}

/// Refuses a certificate outside its dates; gives the end of its life.
pub(super) fn check_dates(certificate: &CertificateDer<'_>) -> Result<i64, String> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| format!("cannot be parsed ({error})"))?;
    let dates = parsed.validity();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed());
    if dates.not_after.timestamp() < now {
        return Err(format!("expired on {}", dates.not_after));
    }
    if dates.not_before.timestamp() > now {
        return Err(format!("is valid only from {}; is the clock of this machine right?", dates.not_before));
    }
    Ok(dates.not_after.timestamp())
}

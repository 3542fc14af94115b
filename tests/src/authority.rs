//! Signs certificates for tests and reads them back as identities, through files as a process would.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use landbridge_runtime::tls::{Identity, TlsFiles};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, SanType,
    string::Ia5String,
};
use tempfile::TempDir;

/// What a server shows its callers, or a caller its server.
pub struct Shown {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A certificate authority and the files it has written; they go with it.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    /// A new authority that nobody trusts yet.
    #[expect(clippy::new_without_default, reason = "each call makes other keys")]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("written");
        Self { issuer, folder }
    }

    /// Writes a certificate for `landbridge://NAME`, for example `demo/east/bridge/b1`.
    pub fn files(&self, name: &str) -> TlsFiles {
        let uri = Ia5String::try_from(format!("landbridge://{name}")).expect("plain text");
        let Shown { certificate, key } = self.write(&name.replace('/', "-"), SanType::URI(uri));
        TlsFiles { certificate, key, authority: self.path("ca.pem") }
    }

    /// Writes a certificate for a host of this name.
    pub fn shown(&self, host: &str) -> Shown {
        self.write(host, SanType::DnsName(Ia5String::try_from(host).expect("plain text")))
    }

    fn write(&self, stem: &str, name: SanType) -> Shown {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let shown =
            Shown { certificate: self.path(&format!("{stem}.pem")), key: self.path(&format!("{stem}.key")) };
        fs::write(&shown.certificate, certificate.pem()).expect("written");
        fs::write(&shown.key, key.serialize_pem()).expect("written");
        fs::set_permissions(&shown.key, fs::Permissions::from_mode(0o600)).expect("set");
        shown
    }

    /// The identity of `landbridge://NAME`.
    pub fn identity(&self, name: &str) -> Identity {
        Identity::load(self.files(name)).expect("a good identity")
    }

    /// Where its files lie.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }
}

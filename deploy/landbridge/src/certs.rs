//! Makes a certificate authority and certificates for every role of every region, to try with.
//!
//! Invariant: a key is readable by its owner only, from its first byte on; an authority found in place is used again,
//! never replaced, so making certificates anew renews them.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::{Span, Timestamp, tz::TimeZone};
use landbridge_runtime::tls::{PeerName, PeerRole};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use serde_json::{Value, json};

use crate::arguments::{CertsWish, Output};
use crate::ending::Trouble;
use crate::output::{self, Shape};

/// How long the authority lasts.
const AUTHORITY_DAYS: u16 = 3_650;

/// Who may read a key.
const KEY_MODE: u32 = 0o600;

/// Who may read a certificate.
const CERTIFICATE_MODE: u32 = 0o644;

/// Makes what is wished, and lists it.
pub(crate) fn issue(wish: &CertsWish, output: Output) -> Result<(), Trouble> {
    let made = make(wish)?;
    eprintln!("landbridge: keep {} secret: whoever has it can be anybody", wish.dir.join("ca.key").display());
    let shape = Shape { columns: &["name", "certificate", "key"], name: "certificate" };
    output::print(&Value::Array(made), shape, output)
}

/// Makes what is wished; one row a certificate.
pub(crate) fn make(wish: &CertsWish) -> Result<Vec<Value>, Trouble> {
    let names = names(wish)?;
    let authority = authority(&wish.dir, &wish.deployment)?;
    let mut made = Vec::new();
    for name in names {
        let stem = wish.dir.join(&name.region).join(format!("{}-{}", name.role, name.id));
        let (certificate, key) = sign(&name, wish, &authority)
            .map_err(|error| Trouble::failed(format!("no certificate can be made for {name}: {error}")))?;
        let (certificate_path, key_path) = (stem.with_extension("pem"), stem.with_extension("key"));
        write(&key_path, &key, KEY_MODE)?;
        write(&certificate_path, &certificate, CERTIFICATE_MODE)?;
        made.push(row(&name, &certificate_path, &key_path));
    }
    Ok(made)
}

fn row(name: &PeerName, certificate: &Path, key: &Path) -> Value {
    json!({
        "name": name.to_string(),
        "certificate": certificate.display().to_string(),
        "key": key.display().to_string(),
    })
}

/// Every name that is wished, checked by the rules of the reader.
fn names(wish: &CertsWish) -> Result<Vec<PeerName>, Trouble> {
    let roles = |region| PeerRole::ALL.into_iter().map(move |role| (region, role));
    let wished = wish.regions.iter().flat_map(roles).flat_map(|(region, role)| {
        (1..=wish.each).map(move |id| format!("landbridge://{}/{region}/{role}/{id}", wish.deployment))
    });
    wished
        .map(|uri| {
            uri.parse()
                .map_err(|why| Trouble::usage(format!("{} cannot be a name: {why}", output::escaped(&uri))))
        })
        .collect()
}

/// The authority in the directory, made if there is none.
fn authority(dir: &Path, deployment: &str) -> Result<Issuer<'static, KeyPair>, Trouble> {
    let (certificate_path, key_path) = (dir.join("ca.pem"), dir.join("ca.key"));
    match (certificate_path.exists(), key_path.exists()) {
        (true, true) => {
            let unusable = |why: String| {
                Trouble::failed(format!("the authority in {} is unusable: {why}", dir.display()))
            };
            let read = |path: &PathBuf| fs::read_to_string(path).map_err(|error| unusable(error.to_string()));
            let key = KeyPair::from_pem(&read(&key_path)?).map_err(|error| unusable(error.to_string()))?;
            Issuer::from_ca_cert_pem(&read(&certificate_path)?, key)
                .map_err(|error| unusable(error.to_string()))
        }
        (false, false) => {
            let made = make_authority(deployment);
            let (certificate, key) =
                made.map_err(|error| Trouble::failed(format!("no authority can be made: {error}")))?;
            write(&key_path, &key, KEY_MODE)?;
            write(&certificate_path, &certificate, CERTIFICATE_MODE)?;
            authority(dir, deployment)
        }
        (true, false) | (false, true) => Err(Trouble::new(
            crate::ending::Ending::Conflict,
            format!(
                "{} holds only half an authority: ca.pem and ca.key belong together; add the other, or remove it",
                dir.display()
            ),
        )),
    }
}

fn make_authority(deployment: &str) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = called(&format!("landbridge {deployment} authority"));
    set_life(&mut params, AUTHORITY_DAYS);
    let made = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    Ok((made.pem(), made.key().serialize_pem()))
}

fn sign(
    name: &PeerName,
    wish: &CertsWish,
    authority: &Issuer<'_, KeyPair>,
) -> Result<(String, String), rcgen::Error> {
    // rcgen tells DNS names and addresses apart.
    let mut params = CertificateParams::new(wish.names.clone())?;
    params.subject_alt_names.push(SanType::URI(name.to_string().try_into()?));
    params.distinguished_name = called(&format!("{} {} {}", name.region, name.role, name.id));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match name.role {
        PeerRole::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        PeerRole::Registry | PeerRole::Bridge | PeerRole::Gateway => {
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth]
        }
    };
    params.use_authority_key_identifier_extension = true;
    set_life(&mut params, wish.days);
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, authority)?.pem(), key.serialize_pem()))
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

/// From yesterday, for clocks that are behind, for so many days.
fn set_life(params: &mut CertificateParams, days: u16) {
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    let day = |days: i64| now.saturating_add(Span::new().days(days)).date();
    let (first, last) = (day(-1), day(i64::from(days)));
    let calendar = |date: jiff::civil::Date| {
        date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = calendar(first);
    params.not_after = calendar(last);
}

/// Writes a file beside its place and moves it there, so that nobody reads half of it.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Trouble> {
    let about = |error: std::io::Error| Trouble::failed(format!("cannot write {}: {error}", path.display()));
    let directory = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(about)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // A leftover would keep its own mode.
    let _ = fs::remove_file(&beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside).map_err(about)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(about)?;
    fs::rename(&beside, path).map_err(about)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use landbridge_runtime::tls::{Identity, TlsFiles};

    use super::*;

    fn wish(dir: &Path) -> CertsWish {
        CertsWish {
            dir: dir.to_owned(),
            deployment: "demo".to_owned(),
            regions: vec!["east".to_owned(), "west".to_owned()],
            each: 2,
            names: vec!["registry.example".to_owned(), "127.0.0.1".to_owned()],
            days: 30,
        }
    }

    fn identity(dir: &Path, stem: &str) -> Result<Identity, String> {
        let path = |ending: &str| dir.join(format!("{stem}.{ending}"));
        Identity::load(TlsFiles { certificate: path("pem"), key: path("key"), authority: dir.join("ca.pem") })
    }

    #[test]
    fn every_process_gets_an_identity_of_its_own() {
        let dir = tempfile::tempdir().unwrap();

        make(&wish(dir.path())).unwrap();

        for (stem, uri) in [
            ("east/registry-1", "landbridge://demo/east/registry/1"),
            ("west/bridge-2", "landbridge://demo/west/bridge/2"),
            ("west/gateway-1", "landbridge://demo/west/gateway/1"),
            ("east/client-1", "landbridge://demo/east/client/1"),
        ] {
            assert_eq!(identity(dir.path(), stem).unwrap().name().to_string(), uri);
        }
    }

    #[test]
    fn keys_are_for_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();

        make(&wish(dir.path())).unwrap();

        for key in ["ca.key", "east/registry-1.key", "west/client-2.key"] {
            let mode = fs::metadata(dir.path().join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, KEY_MODE, "{key}");
        }
    }

    #[test]
    fn a_second_run_renews_under_the_same_authority() {
        let dir = tempfile::tempdir().unwrap();
        make(&wish(dir.path())).unwrap();
        let (authority, certificate) = (dir.path().join("ca.pem"), dir.path().join("east/registry-1.pem"));
        let before = (fs::read(&authority).unwrap(), fs::read(&certificate).unwrap());
        let running = identity(dir.path(), "east/registry-1").unwrap();

        make(&wish(dir.path())).unwrap();

        assert_eq!(fs::read(&authority).unwrap(), before.0);
        assert_ne!(fs::read(&certificate).unwrap(), before.1);
        assert_eq!(running.renew(), Ok(landbridge_runtime::tls::Renewal::Renewed));
    }

    #[test]
    fn half_an_authority_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), "half").unwrap();

        let trouble = make(&wish(dir.path())).unwrap_err();

        assert_eq!(trouble.ending, crate::ending::Ending::Conflict);
        assert_eq!(fs::read_to_string(dir.path().join("ca.pem")).unwrap(), "half");
    }

    #[test]
    fn a_name_that_no_peer_would_accept_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let wrong = CertsWish { regions: vec!["East/1".to_owned()], ..wish(dir.path()) };

        let trouble = make(&wrong).unwrap_err();

        assert_eq!(trouble.ending, crate::ending::Ending::Usage);
        assert!(!dir.path().join("ca.pem").exists());
    }
}

//! Tests of the identity against certificates made on the spot.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType, date_time_ymd,
};
use tokio::io::duplex;

use super::*;

/// An authority and a directory to put identities in.
pub(crate) struct Office {
    directory: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Office {
    pub(crate) fn open() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { directory: tempfile::tempdir().unwrap(), authority }
    }

    fn files(&self, stem: &str) -> TlsFiles {
        let path = |ending: &str| self.directory.path().join(format!("{stem}.{ending}"));
        TlsFiles { certificate: path("pem"), key: path("key"), authority: path("ca.pem") }
    }

    /// Writes the files of an identity.
    fn issue(&self, stem: &str, uri: &str, change: impl FnOnce(&mut CertificateParams)) -> TlsFiles {
        let files = self.files(stem);
        let (certificate, key) = self.sign(uri, change);
        write(&files.certificate, &certificate.pem());
        write(&files.key, &key.serialize_pem());
        write(&files.authority, &self.authority.pem());
        files
    }

    /// Writes the files that callers are shown.
    pub(crate) fn callers(&self, stem: &str) -> CallerFiles {
        let TlsFiles { certificate, key, .. } = self.issue(stem, "landbridge://demo/east/registry/1", |_| {});
        CallerFiles { certificate, key, authority: None, plain: false }
    }

    fn sign(&self, uri: &str, change: impl FnOnce(&mut CertificateParams)) -> (Certificate, KeyPair) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.authority).unwrap(), key)
    }

    pub(crate) fn identity(&self, stem: &str, uri: &str) -> Identity {
        Identity::load(self.issue(stem, uri, |_| {})).unwrap()
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// What both sides of a connection learn.
async fn meet(dialling: &Identity, accepting: &Identity) -> (io::Result<PeerName>, io::Result<PeerName>) {
    let (near, far) = duplex(16_384);
    let dial = async {
        let (mut stream, name) = dialling.connect(near).await?;
        // In TLS 1.3 the dialler learns only by reading whether its own certificate was accepted.
        let mut answer = [0];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut answer).await?;
        Ok(name)
    };
    let accept = async {
        let (mut stream, name) = accepting.accept(far).await?;
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"!").await?;
        tokio::io::AsyncWriteExt::flush(&mut stream).await?;
        Ok(name)
    };
    tokio::join!(dial, accept)
}

const BRIDGE: &str = "landbridge://demo/east/bridge/1";
const MEMBER: &str = "landbridge://demo/west/registry/3";

#[tokio::test]
async fn both_sides_learn_each_others_names() {
    let office = Office::open();

    let (seen_by_dialler, seen_by_acceptor) =
        meet(&office.identity("bridge", BRIDGE), &office.identity("member", MEMBER)).await;

    assert_eq!(seen_by_dialler.unwrap().to_string(), MEMBER);
    assert_eq!(seen_by_acceptor.unwrap().to_string(), BRIDGE);
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_by_both_sides() {
    let (ours, theirs) = (Office::open(), Office::open());

    let (dialled, _) = meet(&ours.identity("bridge", BRIDGE), &theirs.identity("member", MEMBER)).await;
    assert!(dialled.unwrap_err().to_string().contains("invalid peer certificate"));

    // The dialler trusts both authorities, the acceptor only its own.
    let files = ours.issue("trusting", BRIDGE, |_| {});
    write(&files.authority, &format!("{}{}", ours.authority.pem(), theirs.authority.pem()));
    let trusting = Identity::load(files).unwrap();
    let (dialled, accepted) = meet(&trusting, &theirs.identity("member", MEMBER)).await;
    assert!(dialled.is_err());
    assert!(accepted.unwrap_err().to_string().contains("invalid peer certificate"));
}

#[tokio::test]
async fn a_certificate_of_another_deployment_is_refused_by_both_sides() {
    let office = Office::open();
    let stranger = office.identity("stranger", "landbridge://other/east/bridge/1");
    let member = office.identity("member", MEMBER);

    let (dialled, _) = meet(&stranger, &member).await;
    let told = dialled.unwrap_err().to_string();
    assert!(told.contains("is of deployment demo, ours is other"), "{told}");
    let (dialled, _) = meet(&member, &stranger).await;

    assert!(dialled.is_err());
}

#[tokio::test]
async fn a_certificate_without_a_name_of_ours_is_refused() {
    let office = Office::open();
    let mistake = Identity::load(office.issue("nameless", "spiffe://demo/east", |_| {})).unwrap_err();

    assert!(mistake.contains("nameless.pem has no URI name landbridge://"), "{mistake}");
}

#[tokio::test]
async fn a_clients_certificate_cannot_serve() {
    let office = Office::open();
    let client = office.issue("client", "landbridge://demo/east/client/1", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let client = Identity::load(client).unwrap();
    let member = office.identity("member", MEMBER);

    let (_, accepted) = meet(&client, &member).await;
    assert_eq!(accepted.unwrap().role, PeerRole::Client);
    let (dialled, _) = meet(&member, &client).await;

    assert!(dialled.is_err());
}

#[tokio::test]
async fn a_renewed_certificate_is_used_for_new_connections_and_old_ones_stay() {
    let office = Office::open();
    let member = office.identity("member", MEMBER);
    let bridge = office.identity("bridge", BRIDGE);
    let shown = |stream: &client::TlsStream<tokio::io::DuplexStream>| {
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let (near, far) = duplex(16_384);
    let (dialled, accepted) = tokio::join!(bridge.connect(near), member.accept(far));
    let ((mut old, _), (mut old_far, _)) = (dialled.unwrap(), accepted.unwrap());

    assert_eq!(member.renew(), Ok(Renewal::Unchanged));
    office.issue("member", MEMBER, |_| {});
    assert_eq!(member.renew(), Ok(Renewal::Renewed));
    let (near, far) = duplex(16_384);
    let (dialled, accepted) = tokio::join!(bridge.connect(near), member.accept(far));

    assert_ne!(shown(&old), shown(&dialled.unwrap().0));
    assert!(accepted.is_ok());
    tokio::io::AsyncWriteExt::write_all(&mut old_far, b"still here").await.unwrap();
    let mut heard = [0; 10];
    tokio::io::AsyncReadExt::read_exact(&mut old, &mut heard).await.unwrap();
    assert_eq!(&heard, b"still here");
}

#[tokio::test(start_paused = true)]
async fn a_bad_renewal_leaves_the_old_certificate_in_use() {
    let office = Office::open();
    let member = office.identity("member", MEMBER);

    office.issue("member", BRIDGE, |_| {});
    let other_name = member.renew().unwrap_err();
    write(&office.files("member").certificate, "garbage");
    let garbage = member.renew().unwrap_err();

    assert!(other_name.contains("but this process is landbridge://demo/west/registry/3"), "{other_name}");
    assert!(garbage.contains("holds no PEM certificate"), "{garbage}");
    let (seen, _) = meet(&office.identity("bridge", BRIDGE), &member).await;
    assert_eq!(seen.unwrap().to_string(), MEMBER);
}

#[tokio::test]
async fn a_hangup_renews_at_once() {
    let office = Office::open();
    let member = office.identity("member", MEMBER);
    let before = member.server_config();
    let shutdown = Shutdown::new();
    member.keep_fresh(&shutdown);

    office.issue("member", MEMBER, |_| {});
    shutdown.ask_reload();

    let renewed = async {
        while Arc::ptr_eq(&before, &member.server_config()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), renewed)
        .await
        .expect("renewed long before the next timed look");
    assert_eq!(shutdown.finish(5_000).await, Ok(()));
}

#[test]
fn every_wrong_file_is_named_with_what_is_wrong() {
    let office = Office::open();
    let load = |stem: &str| Identity::load(office.files(stem)).unwrap_err();

    assert!(load("absent").contains("absent.pem cannot be read"));

    office.issue("open", MEMBER, |_| {});
    fs::set_permissions(office.files("open").key, Permissions::from_mode(0o644)).unwrap();
    assert!(
        load("open").contains("open.key may be read by everybody (mode 644): run chmod 600"),
        "{}",
        load("open")
    );

    office.issue("swapped", MEMBER, |_| {});
    write(&office.files("swapped").key, &KeyPair::generate().unwrap().serialize_pem());
    assert!(load("swapped").contains("swapped.key does not belong to certificate"), "{}", load("swapped"));

    office.issue("expired", MEMBER, |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    assert!(load("expired").contains("expired on Jan  1 00:00:00 2002"), "{}", load("expired"));

    office.issue("early", MEMBER, |params| params.not_before = date_time_ymd(2100, 1, 1));
    assert!(load("early").contains("is valid only from"), "{}", load("early"));

    office.issue("keyless", MEMBER, |_| {});
    write(&office.files("keyless").key, "no key");
    assert!(load("keyless").contains("keyless.key cannot be read"), "{}", load("keyless"));

    office.issue("faithless", MEMBER, |_| {});
    write(&office.files("faithless").authority, "");
    assert!(load("faithless").contains("faithless.ca.pem holds no PEM certificate"), "{}", load("faithless"));
}

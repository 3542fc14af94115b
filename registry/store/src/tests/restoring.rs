//! Regions that are started anew, from a backup or from what a survivor's disk holds.

use std::{fs, path::Path, sync::Arc};

use landbridge_model::{Era, RecordKey};
use landbridge_registry_core::Command;

use super::{config, installed, next, open, opened};
use crate::{Applied, NoPeers, Source, Store, StoreConfig, StoreError, restore, verify_backup};

fn noted(name: &str) -> Command {
    Command::Note { name: name.into(), text: Some("kept".into()) }
}

/// A policy is a record that outlives a new era; feeds do not.
fn policy() -> Command {
    let peer = landbridge_model::Region::parse("west").unwrap();
    Command::SetPolicy { peer, policy: Some(Arc::default()) }
}

/// A store with a feed, a record and a note, still open.
async fn written(dir: &Path) -> Store {
    let (store, mut applied) = open(config(dir)).await;
    tokio::spawn(async move { while applied.recv().await.is_some() {} });
    opened(&store, 1).await;
    store.propose(&policy()).await.unwrap();
    store.propose(&noted("namespace/dev")).await.unwrap();
    store
}

async fn backed_up(store: &Store, into: &Path) {
    let backup = store.backup(true).await.unwrap();
    fs::write(into, backup.part(0, 1 << 20).unwrap()).unwrap();
}

/// Opens what was restored: its era, and whether exactly what is to outlive the old one is there.
async fn reopened(config: StoreConfig) -> Era {
    let (store, mut applied) = Store::open(config, Arc::new(NoPeers)).await.expect("it opens");
    let Applied::Installed { position, records } = next(&mut applied).await else {
        panic!("not installed first")
    };
    let kept = |key: &RecordKey| matches!(key, RecordKey::Policy(_) | RecordKey::Settling);
    assert!(records.iter().all(|(key, _)| kept(key)) && records.len() == 2, "{records:?}");
    assert_eq!(store.notes().get("namespace/dev").map(|text| text.as_str()), Some("kept"));
    store.propose(&noted("after")).await.expect("it decides again");
    store.shutdown().await.unwrap();
    position.era
}

#[tokio::test]
async fn a_backup_starts_a_region_anew_under_a_greater_era() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = old.path().join("file");
    let store = written(&old.path().join("raft")).await;
    backed_up(&store, &file).await;
    opened(&store, 2).await;
    store.shutdown().await.unwrap();
    let says = verify_backup(&file).unwrap();
    assert_eq!((says.era, says.items), (1_000, 3));
    // The clock runs behind: the era must not come back all the same.
    let wanted = StoreConfig { era: Era(7), disk: 9, ..config(&new.path().join("raft")) };

    let restored = restore(&wanted, &Source::Backup(file)).unwrap();

    assert_eq!((restored.era, restored.records), (Era(1_001), 2));
    assert_eq!(reopened(wanted.clone()).await, Era(1_001));
    assert_eq!(reopened(wanted).await, Era(1_001));
}

#[tokio::test]
async fn a_survivor_starts_a_region_anew_from_everything_in_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let wanted = StoreConfig { disk: 9, ..config(dir.path()) };
    written(dir.path()).await.shutdown().await.unwrap();

    let restored = restore(&wanted, &Source::OwnDisk).unwrap();

    assert_eq!(restored.records, 2);
    assert_eq!(reopened(wanted).await, restored.era);
}

#[tokio::test]
async fn nothing_is_overwritten_and_no_half_backup_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (file, raft) = (dir.path().join("file"), dir.path().join("raft"));
    let store = written(&raft).await;
    backed_up(&store, &file).await;
    store.shutdown().await.unwrap();
    let whole = fs::read(&file).unwrap();
    let fresh = config(&dir.path().join("fresh"));

    let over = restore(&config(&raft), &Source::Backup(file.clone()));
    assert!(matches!(over, Err(StoreError::Misconfigured(_))), "{over:?}");
    assert!(restore(&fresh, &Source::OwnDisk).is_err(), "an empty disk is no survivor");
    for cut in [0, 4, whole.len() / 2, whole.len() - 1] {
        fs::write(&file, &whole[..cut]).unwrap();
        assert!(restore(&fresh, &Source::Backup(file.clone())).is_err(), "{cut} of {} bytes", whole.len());
    }
    fs::write(&file, &whole).unwrap();
    let mut other = fresh.clone();
    other.group.region = landbridge_model::Region::parse("south").unwrap();
    let strange = restore(&other, &Source::Backup(file.clone()));
    assert!(matches!(strange, Err(StoreError::Misconfigured(_))), "{strange:?}");

    restore(&fresh, &Source::Backup(file)).expect("what failed before is no hindrance");
    let (store, mut applied) = open(config(&raft)).await;
    assert_eq!(installed(&mut applied).await, 2, "what was refused changed something");
    store.shutdown().await.unwrap();
}

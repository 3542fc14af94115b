//! A group of one: starts, goes on, restarts, snapshots.

use std::{sync::Arc, time::Instant};

use landbridge_model::{Definition, Era, MemberId, Metadata, Position, ServiceKey};
use landbridge_registry_core::{Command, Reply};

use super::{DEADLINE, config, installed, next, open, opened, opening};
use crate::{Applied, GroupId, Left, NoPeers, ProposeError, Store, StoreError, StoreLimits};

#[tokio::test]
async fn a_lone_member_commits_at_once_after_its_first_start() {
    let dir = tempfile::tempdir().unwrap();
    let started = Instant::now();

    let (store, mut applied) = open(config(dir.path())).await;
    let feed = opened(&store, 7).await;

    println!("first start until the first answer: {:?}", started.elapsed());
    assert_eq!(installed(&mut applied).await, 0);
    assert_eq!(next(&mut applied).await, Applied::CaughtUp);
    let Applied::Changed { position, changes } = next(&mut applied).await else { panic!("no change came") };
    assert_eq!(position, Position { era: Era(1_000), seq: 3 });
    assert_eq!(changes.len(), 1);
    assert_eq!(feed.to_string(), "east/1000/3");
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_restart_keeps_everything_and_takes_a_new_term() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _applied) = open(config(dir.path())).await;
    let mut feeds = Vec::new();
    for nonce in 0..20 {
        feeds.push(opened(&store, nonce).await);
    }
    let (term, quorum) = store.leading(DEADLINE).expect("it leads");
    assert!(quorum);
    store.shutdown().await.unwrap();

    let started = Instant::now();
    let mut again = config(dir.path());
    again.era = Era(9_999);
    let (store, mut applied) = open(again).await;

    println!("restart until it leads: {:?}", started.elapsed());
    let Applied::Installed { position, records } = next(&mut applied).await else { panic!("not installed") };
    assert_eq!((position.era, records.len()), (Era(1_000), 20));
    assert!(store.leading(DEADLINE).is_some_and(|(newer, _)| newer > term));
    assert_eq!(opened(&store, 5).await, feeds[5]);
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn opening_with_a_listed_nonce_gives_the_same_feed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _applied) = open(config(dir.path())).await;

    let (first, again, other) = (opened(&store, 1).await, opened(&store, 1).await, opened(&store, 2).await);

    assert_eq!(first, again);
    assert_ne!(first, other);
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn proposals_that_wait_together_are_synced_together() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut applied) = open(config(dir.path())).await;
    tokio::spawn(async move { while applied.recv().await.is_some() {} });
    let before = store.commits();

    let proposals = (0..400).map(|nonce| {
        let store = store.clone();
        tokio::spawn(async move { store.propose(&opening(nonce)).await })
    });
    for proposal in proposals.collect::<Vec<_>>() {
        proposal.await.unwrap().expect("a majority answers");
    }

    let (commits, entries) = (store.commits().0 - before.0, store.commits().1 - before.1);
    println!("{entries} entries in {commits} group commits");
    assert_eq!(entries, 400);
    assert!(commits <= entries / 2, "{commits} syncs for {entries} entries");
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_snapshot_and_a_purge_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut small = config(dir.path());
    small.limits = StoreLimits { snapshot_entries: 50, kept_entries: 5, tail_bytes_max: 500, ..small.limits };
    let (store, mut applied) = open(small.clone()).await;
    tokio::spawn(async move { while applied.recv().await.is_some() {} });
    for nonce in 0..200 {
        opened(&store, nonce).await;
    }
    let metrics = store.inner.raft.wait(Some(DEADLINE));
    metrics.metrics(|metrics| metrics.purged.is_some_and(|id| id.index > 40), "purged").await.unwrap();
    let feed = opened(&store, 1).await;
    store.shutdown().await.unwrap();

    let (store, mut applied) = open(small).await;

    assert_eq!(installed(&mut applied).await, 200);
    assert_eq!(opened(&store, 1).await, feed);
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_directory_in_use_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _applied) = open(config(dir.path())).await;

    let refused = Store::open(config(dir.path()), Arc::new(NoPeers)).await;

    assert_eq!(
        refused.err(),
        Some(StoreError::Busy { dir: dir.path().to_owned(), by: Some(std::process::id()) })
    );
    store.shutdown().await.unwrap();
    let (store, _applied) = open(config(dir.path())).await;
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_directory_of_another_group_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _applied) = open(config(dir.path())).await;
    store.shutdown().await.unwrap();

    let mut other = config(dir.path());
    other.group = GroupId { deployment: "other".into(), ..other.group };
    let refused = Store::open(other, Arc::new(NoPeers)).await.err().expect("refused").to_string();

    assert!(refused.contains("belongs to") && refused.contains("deployment test"), "{refused}");
}

#[tokio::test]
async fn a_full_disk_refuses_what_grows_the_state_lets_the_rest_pass_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _applied) = open(config(dir.path())).await;
    let service = |name: &str| ServiceKey::parse("", "", name).unwrap();
    let define = |name: &str| Command::Define {
        service: service(name),
        definition: Arc::new(Definition { protect_threshold: 0.0, metadata: Metadata::default() }),
    };
    let note = |name: &str| Command::Note { name: name.into(), text: Some("x".into()) };
    let port = Command::AssignPort { service: service("known"), range: (20_000, 20_001) };
    let full = Err(ProposeError::Full(MemberId(1)));
    store.propose(&define("known")).await.unwrap();

    store.inner.room.pretend(Left::Scarce);

    for grows in [define("orders"), note("user/a"), port.clone()] {
        assert_eq!(store.propose(&grows).await, full, "{grows:?}");
    }
    let last = store.places().last;
    let absent = store.propose(&Command::Undefine { service: service("orders") }).await;
    assert_eq!(absent.expect("it is answered").1, Reply::NotFound);
    assert_eq!(store.propose(&define("known")).await.expect("it stands so").1, Reply::Done);
    assert_eq!(store.places().last, last, "what changes nothing was written");
    opened(&store, 7).await;
    let freed = store.propose(&Command::Undefine { service: service("known") }).await;
    assert_eq!(freed.expect("what frees room passes").1, Reply::Done);

    store.inner.room.pretend(Left::Nothing);
    assert_eq!(store.propose(&opening(8)).await, full);
    assert_eq!(store.propose(&Command::Undefine { service: service("known") }).await, full);

    store.inner.room.pretend(Left::Ample);
    for grows in [define("orders"), note("user/a"), port] {
        assert_eq!(store.propose(&grows).await.expect("there is room again").1, Reply::Done);
    }
    assert_eq!(*store.failed().borrow(), None);
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_stopped_store_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _applied) = open(config(dir.path())).await;
    store.shutdown().await.unwrap();

    assert_eq!(store.propose(&opening(1)).await, Err(ProposeError::Stopped));
    assert_eq!(store.read_index().await, Err(ProposeError::Stopped));
    assert_eq!(*store.failed().borrow(), None);
}

#[tokio::test]
async fn what_sets_the_era_again_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _applied) = open(config(dir.path())).await;

    let (position, _) = store.propose(&Command::Found { era: Era(5) }).await.unwrap();

    assert_eq!(position.era, Era(1_000));
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_driver_that_stopped_listening_does_not_hold_up_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut narrow = config(dir.path());
    narrow.limits.applied_queue_max = 1;
    let (store, applied) = open(narrow).await;
    let waiting = (0..5).map(|nonce| {
        let store = store.clone();
        tokio::spawn(async move { store.propose(&opening(nonce)).await })
    });
    let waiting: Vec<_> = waiting.collect();

    tokio::time::timeout(DEADLINE, store.shutdown()).await.expect("an end in time").unwrap();

    drop(applied);
    for proposal in waiting {
        assert!(tokio::time::timeout(DEADLINE, proposal).await.is_ok(), "a proposer waits for ever");
    }
    let (store, mut applied) = open(config(dir.path())).await;
    installed(&mut applied).await;
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn notes_outlast_a_restart_and_a_snapshot_and_are_no_records() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut applied) = open(config(dir.path())).await;
    let note =
        |name: &str, text: Option<&str>| Command::Note { name: name.into(), text: text.map(Into::into) };
    for (name, text) in
        [("user/a", Some("x")), ("user/b", Some("y")), ("user/a", Some("z")), ("user/b", None)]
    {
        store.propose(&note(name, text)).await.unwrap();
    }
    assert_eq!(store.notes().len(), 1);
    assert_eq!(installed(&mut applied).await, 0);
    store.snapshot().await.unwrap();
    store.shutdown().await.unwrap();

    let (store, mut applied) = open(config(dir.path())).await;

    assert_eq!(store.notes().get("user/a").map(|text| text.as_str()), Some("z"));
    assert_eq!(installed(&mut applied).await, 0, "a note must not reach a feed");
    store.shutdown().await.unwrap();
}

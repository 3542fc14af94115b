//! Snapshots while the disk has little room: put off while none fits, and what makes room again while one does.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use openraft::{RaftSnapshotBuilder, storage::RaftStateMachine};

use super::{DEADLINE, config, conformance::machine, open, opened};
use crate::{
    Left, StoreLimits,
    room::Room,
    state::disk::{Head, StateDisk},
};

#[tokio::test]
async fn a_snapshot_is_put_off_exactly_while_the_disk_does_not_hold_it() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDisk::open(&dir.path().join("state")).unwrap();
    let notes = BTreeMap::from([("user/a".into(), Some("x".repeat(10_000).into()))]);
    state.apply(&Head::default(), &BTreeMap::new(), &notes).unwrap();
    let (room, free) = (Arc::new(Room::new(dir.path().to_owned(), 0)), Arc::new(AtomicU64::new(0)));
    let said = Arc::clone(&free);
    // A quarter of the reserve is for the last writes; the rest may hold a snapshot.
    room.pretend_free(40_000, move || said.load(Ordering::Relaxed));
    let mut machine = machine(dir.path(), state, room);
    let mut made = async |bytes, force| {
        free.store(bytes, Ordering::Relaxed);
        machine.try_create_snapshot_builder(force).await
    };

    assert!(
        made(20_000, false).await.is_none(),
        "10 kB of state and a quarter besides do not fit into 10 kB"
    );
    assert!(made(20_000, true).await.is_some(), "another member waits for it");
    let mut fits = made(24_000, false).await.expect("14 kB hold it, though the disk has little room");
    let written = fits.build_snapshot().await.unwrap().snapshot.size().unwrap();
    assert!((10_000..10_200).contains(&written), "{written} bytes were written");
    assert!(made(20_000, false).await.is_none(), "nor does the next one fit");
}

#[tokio::test]
async fn a_disk_that_its_own_log_has_filled_has_room_again_without_an_operator() {
    let dir = tempfile::tempdir().unwrap();
    let mut small = config(dir.path());
    // The group itself would make its first snapshot much later.
    small.limits = StoreLimits { snapshot_entries: 5_000, kept_entries: 5, ..small.limits };
    let (store, mut applied) = open(small).await;
    tokio::spawn(async move { while applied.recv().await.is_some() {} });
    let (log, room) = (store.clone(), &store.inner.room);
    // Each entry of the log takes a kilobyte, and 100 of them leave less than the reserve.
    room.pretend_free(100_000, move || {
        let places = log.places();
        200_000
            - 1_000
                * places.last.unwrap_or_default().saturating_sub(places.purged.unwrap_or_default()).min(150)
    });
    let mut nonce = 0;
    while store.left() == Left::Ample {
        nonce += 1;
        assert!(nonce < 200, "it never had little room");
        opened(&store, nonce).await;
    }

    let log = store.inner.raft.wait(Some(DEADLINE));
    let shortened =
        log.metrics(|metrics| metrics.purged.is_some_and(|id| id.index > 50), "the log is shorter");

    shortened.await.unwrap();
    assert_eq!(store.left(), Left::Ample);
    store.shutdown().await.unwrap();
}

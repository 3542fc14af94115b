//! What must not move a group: a member that was away, and a snapshot that takes long.

use super::*;
use crate::types::Payload;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_cut_off_for_long_unseats_nobody() {
    let three = Three::start(StoreLimits::ORDINARY).await;
    let leader = three.leader(&[1, 2, 3]).await;
    let away = MemberId(others(leader)[0]);
    opened_at_last(&three.store(away), 1).await;
    let term = three.store(leader).standing().borrow().term;

    three.wire.cut.lock().unwrap().insert(away);
    // Time for three elections: without a question beforehand each would have raised its term.
    until("it was away for long", async || {
        let rows = three.store(leader).followers();
        let silent_ms = rows.iter().find(|row| row.member == away)?.silent_ms?;
        (silent_ms > 3 * three.config(away).timing.election_max_ms).then_some(())
    })
    .await;
    let raised = three.store(away).standing().borrow().term;
    three.wire.cut.lock().unwrap().clear();
    read_at_last(&three.store(away)).await;
    opened_at_last(&three.store(away), 2).await;

    assert_eq!(raised, term, "alone it began another term");
    let standing = *three.store(away).standing().borrow();
    assert_eq!(
        (standing.leader, standing.term),
        (Some(leader), term),
        "it moved the others when it came back"
    );
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_while_a_snapshot_is_written() {
    let three = Three::start(StoreLimits::ORDINARY).await;
    let leader = three.leader(&[1, 2, 3]).await;
    let store = three.store(leader);
    opened_at_last(&store, 0).await;
    let snapshots = store.inner.raft.with_state_machine(|machine| {
        let snapshots = machine.snapshots();
        Box::pin(async move { snapshots })
    });
    let snapshots = snapshots.await.unwrap();

    let held = snapshots.slow.lock().await;
    store.snapshot().await.unwrap();
    for nonce in 1..30 {
        opened_at_last(&store, nonce).await;
    }
    let (applied, none) = (store.places().applied, store.places().snapshot);
    drop(held);

    assert_eq!(none, None, "the snapshot did not wait");
    let made = until("the snapshot is whole", async || store.places().snapshot).await;
    assert!(applied.is_some_and(|applied| made + 20 < applied), "it was begun at {made}, after the writes");
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_voters_that_stopped_halfway_is_ended_by_who_leads() {
    let three = Three::start(StoreLimits::ORDINARY).await;
    let leader = three.leader(&[1, 2, 3]).await;
    let leaves = MemberId(others(leader)[0]);
    opened_at_last(&three.store(leader), 1).await;

    // The first of the two entries that make a change, as a leader that then died leaves it behind.
    let stored = |ids: &[MemberId]| ids.iter().map(|id| u64::from(id.0)).collect::<BTreeSet<_>>();
    let (old, new) = (stored(&[1, 2, 3].map(MemberId)), stored(&[leader, MemberId(others(leader)[1])]));
    let halfway = openraft::Membership::new_with_defaults(vec![old.clone(), new], old);
    three.store(leader).inner.raft.append_membership(halfway, Payload::Blank, []).await.unwrap();

    for member in others(leaves).into_iter().map(MemberId) {
        until("only the new voters are left", async || {
            let store = three.store(member);
            (!store.halfway() && !store.members().voters.contains(&leaves)).then_some(())
        })
        .await;
    }
    three.stop().await;
}

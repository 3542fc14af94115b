//! Members whose disks have little room, or none.

use landbridge_model::{Definition, Metadata, ServiceKey};
use landbridge_registry_core::Command;

use super::*;
use crate::Left;

fn define(name: &str) -> Command {
    let definition = Definition { protect_threshold: 0.0, metadata: Metadata::default() };
    Command::Define { service: ServiceKey::parse("", "", name).unwrap(), definition: Arc::new(definition) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_disk_is_full_holds_nobody_up_and_catches_up() {
    let three = Three::start(StoreLimits::ORDINARY).await;
    let leader = three.leader(&[1, 2, 3]).await;
    let full = MemberId(others(leader)[0]);
    opened_at_last(&three.store(full), 0).await;

    three.store(full).inner.room.pretend(Left::Nothing);
    for nonce in 1..10 {
        opened_at_last(&three.store(leader), nonce).await;
    }

    let (behind, ahead) = (three.store(full).places().last, three.store(leader).places().last);
    assert!(behind < ahead, "it wrote {behind:?} of {ahead:?}");
    assert_eq!(three.store(full).propose(&opening(50)).await, Err(ProposeError::Full(full)));
    assert_eq!(*three.store(full).failed().borrow(), None);
    three.store(full).inner.room.pretend(Left::Ample);
    read_at_last(&three.store(full)).await;
    assert!(three.store(full).places().applied >= ahead);
    opened_at_last(&three.store(full), 60).await;
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_little_room_has_one_lead_that_has_more() {
    let three = Three::start(StoreLimits::ORDINARY).await;
    let leader = three.leader(&[1, 2, 3]).await;
    let others = others(leader);

    // Of the two others one has no more than the leader.
    three.store(MemberId(others[0])).inner.room.pretend(Left::Scarce);
    three.store(leader).inner.room.pretend(Left::Scarce);

    assert_eq!(three.leader(&[others[1]]).await, MemberId(others[1]));
    let taken = until("it is taken", async || three.store(leader).propose(&define("orders")).await.ok());
    assert_eq!(taken.await.1, Reply::Done, "what grows is decided by a leader that has room");
    three.stop().await;
}

/// So long a leader looks at its disk several times.
const LOOKS: Duration = Duration::from_millis(3_500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_heir_that_lags_far_behind_is_handed_nothing_until_it_has_caught_up() {
    let mut three = Three::start(StoreLimits::ORDINARY).await;
    let leader = three.leader(&[1, 2, 3]).await;
    let (far, near) = (MemberId(others(leader)[0]), MemberId(others(leader)[1]));
    let store = three.store(leader);
    for (_, mut drained) in std::mem::take(&mut three.applied) {
        tokio::spawn(async move { while drained.recv().await.is_some() {} });
    }
    three.wire.starved.lock().unwrap().insert(far);
    let proposals = (0..400).map(|nonce| {
        let store = store.clone();
        tokio::spawn(async move { store.propose(&opening(nonce)).await })
    });
    for proposal in proposals.collect::<Vec<_>>() {
        proposal.await.unwrap().expect("a majority answers");
    }
    let (term, _) = store.leading(DEADLINE).expect("it leads");

    store.inner.room.pretend(Left::Scarce);
    three.store(near).inner.room.pretend(Left::Scarce);
    let (begun, mut passed) = (Instant::now(), 0);
    while begun.elapsed() < LOOKS {
        let absent = ServiceKey::parse("", "", "absent").unwrap();
        assert!(store.hears(far), "the heir is heard all the time");
        assert!(
            store.propose(&Command::Undefine { service: absent }).await.is_ok(),
            "after {passed} deletes"
        );
        opened_at_last(&store, 1_000 + passed).await;
        passed += 1;
    }

    let ordered = store.order(Change::Transfer(far)).await;
    assert!(matches!(&ordered, Err(ChangeError::Unsafe(why)) if why.contains("lags by")), "{ordered:?}");
    println!("{passed} deletes passed while the heir lagged by {:?}", store.lag(far));
    assert_eq!(*three.wire.transfers.lock().unwrap(), [], "leadership was handed to a member far behind");
    assert_eq!(store.leading(DEADLINE).map(|(now, _)| now), Some(term), "one leader, one term");
    three.wire.starved.lock().unwrap().clear();
    assert_eq!(three.leader(&[far.0]).await, far, "it has room, and has caught up");
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_failed_is_not_tried_again_at_the_next_look() {
    let three = Three::start(StoreLimits::ORDINARY).await;
    let leader = three.leader(&[1, 2, 3]).await;
    opened_at_last(&three.store(leader), 1).await;
    three.wire.keeps_leaders.store(true, Ordering::Relaxed);

    for member in 1..=3 {
        // Whoever comes to lead meanwhile has no room either, so that it is never the end of the matter.
        let room = if member == others(leader)[0] { Left::Ample } else { Left::Scarce };
        three.store(MemberId(member)).inner.room.pretend(room);
    }
    let calls = || three.wire.transfers.lock().unwrap().iter().filter(|from| **from == leader).count();
    until("leadership is to move", async || (calls() > 0).then_some(())).await;
    let first = Instant::now();
    until("several looks are over", async || (first.elapsed() > LOOKS).then_some(())).await;

    // One call to each of the others.
    assert!(calls() <= 2, "{} calls to take over within {LOOKS:?}", calls());
    three.wire.keeps_leaders.store(false, Ordering::Relaxed);
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_has_room_what_grows_is_refused_at_every_member() {
    let three = Three::start(StoreLimits::ORDINARY).await;
    three.leader(&[1, 2, 3]).await;

    for member in 1..=3 {
        three.store(MemberId(member)).inner.room.pretend(Left::Scarce);
    }

    for member in 1..=3 {
        until("it is refused for room", async || {
            let said = three.store(MemberId(member)).propose(&define("orders")).await;
            assert!(said.is_err(), "member {member} took it");
            matches!(said, Err(ProposeError::Full(_))).then_some(())
        })
        .await;
    }
    opened_at_last(&three.store(MemberId(1)), 1).await;
    three.stop().await;
}

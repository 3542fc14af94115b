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

//! Tests of a whole store on a real directory.

mod alone;
mod conformance;
mod damage;
mod failing;
mod restoring;
mod room;
mod segments;
mod together;

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use landbridge_model::{Era, FeedId, MemberId, Region};
use landbridge_registry_core::{Command, Reply};
use tokio::sync::mpsc;

use crate::{Applied, GroupId, NoPeers, Store, StoreConfig, StoreLimits, Timing, Work};

/// A condition that does not come true within this is a failure.
const DEADLINE: Duration = Duration::from_secs(20);

fn config(dir: &Path) -> StoreConfig {
    StoreConfig {
        dir: dir.to_owned(),
        member: MemberId(1),
        group: GroupId { deployment: "test".into(), region: Region::parse("east").unwrap() },
        voters: BTreeMap::from([(MemberId(1), "127.0.0.1:7848".into())]),
        era: Era(1_000),
        disk: 1,
        limits: StoreLimits::ORDINARY,
        timing: Timing::ORDINARY,
        work: Work::Threads,
    }
}

async fn open(config: StoreConfig) -> (Store, mpsc::Receiver<Applied>) {
    Store::open(config, Arc::new(NoPeers)).await.expect("the store opens")
}

fn opening(nonce: u64) -> Command {
    Command::Open { member: MemberId(1), address: format!("host:{nonce}").into(), nonce }
}

async fn opened(store: &Store, nonce: u64) -> FeedId {
    match store.propose(&opening(nonce)).await.expect("a majority answers") {
        (_, Reply::Opened(feed)) => feed,
        (_, other) => panic!("opening said {other:?}"),
    }
}

/// The next event, within the deadline.
async fn next(applied: &mut mpsc::Receiver<Applied>) -> Applied {
    let event = tokio::time::timeout(DEADLINE, applied.recv()).await;
    event.expect("an event in time").expect("the store lives")
}

/// The records it is installed with.
async fn installed(applied: &mut mpsc::Receiver<Applied>) -> usize {
    match next(applied).await {
        Applied::Installed { records, .. } => records.len(),
        other => panic!("first came {other:?}"),
    }
}

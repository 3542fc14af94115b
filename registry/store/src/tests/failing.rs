//! A disk that refuses.

use std::{io, sync::Arc};

use openraft::{
    storage::{IOFlushed, RaftLogStorage, RaftLogStorageExt},
    type_config::TypeConfigExt,
};

use super::config;
use crate::{
    StoreError,
    failed::Failed,
    log::{FoundLog, LogParts},
    mark::MarkFile,
    types::{Entry, Group, Payload, Vote, log_id},
};

fn blanks(indexes: std::ops::Range<u64>) -> Vec<Entry> {
    indexes.map(|index| Entry { log_id: log_id(1, index), payload: Payload::Blank }).collect()
}

#[tokio::test]
async fn after_a_failed_write_everything_is_refused_and_the_reason_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (failed, limits) = (Failed::new(), config(dir.path()).limits);
    let parts = LogParts {
        mark: MarkFile::create(&dir.path().join("mark")).unwrap(),
        limits,
        before_purge: Box::new(|| Err(io::Error::other("no space left"))),
        failed: failed.clone(),
        meters: Arc::default(),
        work: crate::Work::Threads,
    };
    let (mut log, closer) =
        FoundLog::open(&dir.path().join("log"), None, &limits).unwrap().start(parts).unwrap();
    log.blocking_append(blanks(0..5)).await.expect("the disk is well so far");

    log.purge(log_id(1, 3)).await.unwrap();
    failed.watch().wait_for(Option::is_some).await.unwrap();

    let said = StoreError::Disk { during: "purging the log", said: "no space left".to_owned() };
    assert_eq!(*failed.watch().borrow(), Some(said));
    assert!(log.blocking_append(blanks(5..6)).await.is_err(), "an append was taken");
    assert!(log.save_vote(&Vote::new(2, 1)).await.is_err(), "a vote was taken");
    let (done, told) = Group::oneshot();
    log.append(blanks(6..7), IOFlushed::signal(done)).await.unwrap();
    assert!(told.await.unwrap().is_err(), "a callback promised what is not so");
    drop(log);
    assert!(closer.close().await.is_err(), "it closed as if nothing had been");
}

//! A log over many segments: cut at its end, cut at its start, closed and opened again.

use std::{ops::Range, path::Path, sync::Arc};

use openraft::{
    RaftLogReader,
    entry::RaftEntry,
    storage::{RaftLogStorage, RaftLogStorageExt},
};

use super::config;
use crate::{
    StoreLimits,
    failed::Failed,
    log::{FoundLog, LogCloser, LogParts, LogStore},
    mark::MarkFile,
    types::{Entry, Payload, log_id},
};

fn open(dir: &Path) -> (LogStore, LogCloser) {
    let mark = dir.join("mark");
    let found = MarkFile::open(&mark).unwrap();
    // Little room in memory, so that most reads go to disk.
    let limits = StoreLimits { tail_bytes_max: 200, ..config(dir).limits };
    let log = FoundLog::open(&dir.join("log"), found.as_ref(), &limits).expect("a whole log");
    let parts = LogParts {
        mark: found.unwrap_or_else(|| MarkFile::create(&mark).unwrap()),
        limits,
        before_purge: Box::new(|| Ok(())),
        failed: Failed::new(),
        meters: Arc::default(),
        work: crate::Work::Threads,
    };
    log.start(parts).unwrap()
}

async fn close(log: LogStore, closer: LogCloser) {
    drop(log);
    closer.close().await.unwrap();
}

fn blanks(term: u64, indexes: Range<u64>) -> Vec<Entry> {
    indexes.map(|index| Entry { log_id: log_id(term, index), payload: Payload::Blank }).collect()
}

/// Terms and indexes of everything in the log.
async fn content(log: &mut LogStore) -> Vec<(u64, u64)> {
    let entries = log.get_log_reader().await.try_get_log_entries(..).await.unwrap();
    entries.iter().map(|entry| (entry.log_id().leader_id.term, entry.index())).collect()
}

fn run(term: u64, indexes: Range<u64>) -> Vec<(u64, u64)> {
    indexes.map(|index| (term, index)).collect()
}

#[tokio::test]
async fn a_log_is_cut_at_either_end_over_many_segments() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, closer) = open(dir.path());
    log.blocking_append(blanks(1, 0..200)).await.unwrap();

    log.truncate_after(Some(log_id(1, 50))).await.unwrap();
    assert_eq!(content(&mut log).await, run(1, 0..51));
    log.blocking_append(blanks(2, 51..130)).await.unwrap();
    close(log, closer).await;

    let (mut log, closer) = open(dir.path());
    assert_eq!(content(&mut log).await, [run(1, 0..51), run(2, 51..130)].concat());
    log.purge(log_id(2, 100)).await.unwrap();
    assert_eq!(content(&mut log).await, run(2, 101..130));
    log.blocking_append(blanks(3, 130..140)).await.unwrap();
    close(log, closer).await;

    let (mut log, closer) = open(dir.path());
    assert_eq!(content(&mut log).await, [run(2, 101..130), run(3, 130..140)].concat());
    log.purge(log_id(9, 500)).await.unwrap();
    log.blocking_append(blanks(9, 501..503)).await.unwrap();
    close(log, closer).await;

    let (mut log, closer) = open(dir.path());
    assert_eq!(content(&mut log).await, run(9, 501..503));
    close(log, closer).await;
}

#[tokio::test]
async fn a_log_that_is_emptied_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, closer) = open(dir.path());
    log.blocking_append(blanks(1, 0..100)).await.unwrap();
    log.truncate_after(None).await.unwrap();
    log.blocking_append(blanks(2, 0..3)).await.unwrap();
    close(log, closer).await;

    let (mut log, closer) = open(dir.path());

    assert_eq!(content(&mut log).await, run(2, 0..3));
    close(log, closer).await;
}

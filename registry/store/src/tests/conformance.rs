//! openraft's own conformance suite over our log and state machine.

use std::{path::Path, sync::Arc};

use landbridge_model::Region;
use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use crate::{
    StoreLimits,
    failed::Failed,
    log::{FoundLog, LogCloser, LogParts, LogStore},
    mark::MarkFile,
    room::Room,
    state::{Listeners, StateMachine, disk::StateDisk, snapshot::Snapshots},
    types::Group,
};

struct Fresh;

/// A state machine that nobody listens to.
pub(super) fn machine(dir: &Path, state: Arc<StateDisk>, room: Arc<Room>) -> StateMachine {
    let snapshots = Arc::new(Snapshots::open(dir.join("snapshots"), None).unwrap());
    let ((events, _), (_, closing)) = (mpsc::channel(1), watch::channel(false));
    let listeners = Listeners { events, failed: Failed::new(), closing, room, work: crate::Work::Threads };
    StateMachine::new(Region::parse("east").unwrap(), state.load().unwrap(), state, snapshots, listeners)
}

impl StoreBuilder<Group, LogStore, StateMachine, (TempDir, LogCloser)> for Fresh {
    async fn build(&self) -> Result<((TempDir, LogCloser), LogStore, StateMachine), StorageError<Group>> {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDisk::open(&dir.path().join("state")).unwrap();
        let machine = machine(dir.path(), state.clone(), Arc::new(Room::new(dir.path().to_owned(), 0)));
        // A tail without room, so that everything that is durable is read back from disk.
        let limits = StoreLimits { tail_bytes_max: 0, ..StoreLimits::ORDINARY };
        let parts = LogParts {
            mark: MarkFile::create(&dir.path().join("mark")).unwrap(),
            limits,
            before_purge: Box::new(move || state.sync()),
            failed: Failed::new(),
            meters: Arc::default(),
            work: crate::Work::Threads,
        };
        let log = FoundLog::open(&dir.path().join("log"), None, &limits).unwrap();
        let (log, closer) = log.start(parts).unwrap();
        Ok(((dir, closer), log, machine))
    }
}

#[tokio::test]
async fn our_log_and_state_machine_are_what_openraft_asks_for() {
    Suite::test_all(Fresh).await.expect("the suite passes");
}

//! Where what blocks is done: on threads, or, where time is simulated, at the place that asks.

use std::{io, time::Duration};

/// Where what blocks is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Work {
    /// On threads of its own: the group never waits for a disk.
    #[default]
    Threads,
    /// At the place that asks, as a simulation needs it: its clock would run on while a thread works. What stands in the
    /// log's queue is written after a time on the simulated clock, and is lost if the process dies before.
    Inline {
        /// How long a write of the log takes, in milliseconds of the simulated clock.
        write_ms: u64,
    },
}

impl Work {
    /// Does something that blocks.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        match self {
            Self::Threads => tokio::task::spawn_blocking(work).await.map_err(io::Error::other),
            Self::Inline { .. } => Ok(work()),
        }
    }

    /// How long a write of the log is held back; none where a thread writes.
    pub(crate) fn pause(self) -> Option<Duration> {
        match self {
            Self::Threads => None,
            Self::Inline { write_ms } => Some(Duration::from_millis(write_ms)),
        }
    }
}

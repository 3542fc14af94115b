//! Ends a process in order: one word reaches every task, and the process waits for them, but not for ever.
//!
//! ```text
//! running ──begin() or SIGTERM/SIGINT──▶ stopping ──all tasks ended or deadline──▶ ended
//! stopping ──second SIGTERM/SIGINT──▶ the process exits at once with status 130
//! ```

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The exit status when an operator asks a second time.
const EXIT_IMPATIENT: i32 = 130;

/// The word that a process ends, the tasks it waits for, and the wish to reload; copies share all three.
#[derive(Clone, Debug)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
    reloads: watch::Sender<u64>,
}

/// Tasks were still running when the deadline came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StillRunning {
    /// How many did not end.
    pub tasks: usize,
}

impl Shutdown {
    /// A shutdown that only `begin` starts.
    #[expect(clippy::new_without_default, reason = "a shutdown is made once, on purpose")]
    pub fn new() -> Self {
        Self { token: CancellationToken::new(), tasks: TaskTracker::new(), reloads: watch::Sender::new(0) }
    }

    /// A shutdown that SIGTERM and SIGINT start, and whose reloads SIGHUP asks for.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let heard = shutdown.clone();
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    Some(()) = terminate.recv() => "SIGTERM",
                    Some(()) = interrupt.recv() => "SIGINT",
                    Some(()) = hangup.recv() => {
                        tracing::info!(event = "reload_asked", "SIGHUP: reloading what can be reloaded");
                        heard.ask_reload();
                        continue;
                    }
                    else => return,
                };
                if heard.begun() {
                    tracing::warn!(
                        event = "shutdown_forced",
                        signal = name,
                        "asked a second time: exiting at once"
                    );
                    std::process::exit(EXIT_IMPATIENT);
                }
                tracing::info!(
                    event = "shutdown_begun",
                    signal = name,
                    "ending in order; ask again to exit at once"
                );
                heard.begin();
            }
        });
        Ok(shutdown)
    }

    /// Says that the process ends.
    pub fn begin(&self) {
        self.token.cancel();
    }

    /// Whether the process ends.
    pub fn begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Ends when the process is told to end.
    pub async fn wait(&self) {
        self.token.cancelled().await;
    }

    /// A token that is cancelled with this shutdown, and may be cancelled before it.
    pub fn child_token(&self) -> CancellationToken {
        self.token.child_token()
    }

    /// Starts a task that the process waits for at its end.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Counts the reloads asked for; a change means "read your files again".
    pub fn reloads(&self) -> watch::Receiver<u64> {
        self.reloads.subscribe()
    }

    /// Asks for a reload, as SIGHUP does.
    pub fn ask_reload(&self) {
        self.reloads.send_modify(|count| *count += 1);
    }

    /// Begins the end if nobody has, and waits for all tasks, at most `deadline_ms`.
    pub async fn finish(&self, deadline_ms: u64) -> Result<(), StillRunning> {
        self.begin();
        self.tasks.close();
        let ended = tokio::time::timeout(Duration::from_millis(deadline_ms), self.tasks.wait()).await;
        ended.map_err(|_| StillRunning { tasks: self.tasks.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_tasks_that_take_their_time() {
        let shutdown = Shutdown::new();
        let seen = shutdown.clone();
        let task = shutdown.spawn(async move {
            seen.wait().await;
            tokio::time::sleep(Duration::from_millis(400)).await;
            7
        });

        let finished = shutdown.finish(1_000).await;

        assert_eq!(finished, Ok(()));
        assert_eq!(task.await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stuck_task_does_not_hold_the_end_beyond_the_deadline() {
        let shutdown = Shutdown::new();
        let stuck = shutdown.spawn(std::future::pending::<()>());

        let finished = shutdown.finish(1_000).await;

        assert_eq!(finished, Err(StillRunning { tasks: 1 }));
        stuck.abort();
    }

    #[tokio::test]
    async fn a_wish_to_reload_reaches_every_listener() {
        let shutdown = Shutdown::new();
        let mut first = shutdown.reloads();
        let mut second = shutdown.clone().reloads();

        shutdown.ask_reload();

        first.changed().await.unwrap();
        second.changed().await.unwrap();
        assert!(!shutdown.begun());
    }

    #[tokio::test]
    async fn a_child_token_ends_with_the_process() {
        let shutdown = Shutdown::new();
        let child = shutdown.child_token();

        shutdown.begin();

        assert!(child.is_cancelled());
    }
}

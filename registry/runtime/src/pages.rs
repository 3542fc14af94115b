//! Pages for operators and their tools: `/livez`, `/readyz` and `/metrics`.
//!
//! Invariant: a page answers from memory at once; it never asks a core, a disk or a peer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::clock::Clock;
use crate::telemetry::MetricsPage;

/// Whether a process may be asked for things, check by check; copies share the checks.
#[derive(Clone, Debug)]
pub struct Health {
    clock: Clock,
    board: Arc<Mutex<Board>>,
}

#[derive(Debug, Default)]
struct Board {
    /// Why each check is not passed; `None` when it is.
    checks: BTreeMap<&'static str, Option<String>>,
    pulses: BTreeMap<&'static str, Pulse>,
}

/// A sign of life of one loop; the process counts as alive while every loop beats.
#[derive(Clone, Debug)]
pub struct Pulse {
    clock: Clock,
    last_ms: Arc<AtomicU64>,
    silence_max_ms: u64,
}

impl Health {
    /// A process without checks: alive and ready.
    pub fn new(clock: Clock) -> Self {
        Self { clock, board: Arc::default() }
    }

    /// Marks a check as passed.
    pub fn pass(&self, check: &'static str) {
        self.board().checks.insert(check, None);
    }

    /// Marks a check as not passed, with the reason an operator reads.
    pub fn fail(&self, check: &'static str, why: impl Into<String>) {
        self.board().checks.insert(check, Some(why.into()));
    }

    /// Adds a loop that must beat at least every `silence_max_ms`, or the process counts as stuck.
    pub fn pulse(&self, name: &'static str, silence_max_ms: u64) -> Pulse {
        let last_ms = Arc::new(AtomicU64::new(self.clock.now()));
        let pulse = Pulse { clock: self.clock, last_ms, silence_max_ms };
        self.board().pulses.insert(name, pulse.clone());
        pulse
    }

    /// Whether every check is passed.
    pub fn is_ready(&self) -> bool {
        self.board().checks.values().all(Option::is_none)
    }

    /// Whether every loop beats.
    pub fn is_alive(&self) -> bool {
        self.board().pulses.values().all(Pulse::beats)
    }

    fn ready_report(&self) -> (bool, String) {
        let board = self.board();
        let mut report = String::new();
        for (check, why) in &board.checks {
            match why {
                None => writeln!(report, "[+] {check}"),
                Some(why) => writeln!(report, "[-] {check}: {why}"),
            }
            .expect("writing to a string cannot fail");
        }
        (board.checks.values().all(Option::is_none), report)
    }

    fn stuck(&self) -> Vec<&'static str> {
        let board = self.board();
        board.pulses.iter().filter(|(_, pulse)| !pulse.beats()).map(|(name, _)| *name).collect()
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pulse {
    /// Says that the loop still turns.
    pub fn beat(&self) {
        self.last_ms.store(self.clock.now(), Ordering::Relaxed);
    }

    fn beats(&self) -> bool {
        self.clock.now().saturating_sub(self.last_ms.load(Ordering::Relaxed)) <= self.silence_max_ms
    }
}

/// The pages as routes, to be merged into a role's own.
pub fn routes(health: Health, metrics: MetricsPage) -> Router {
    let pages = Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).with_state(health);
    pages.merge(Router::new().route("/metrics", get(scrape)).with_state(metrics))
}

/// The scrape answer, also for roles that show it under a second path.
pub async fn scrape(State(metrics): State<MetricsPage>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render()).into_response()
}

async fn livez(State(health): State<Health>) -> Response {
    let stuck = health.stuck();
    if stuck.is_empty() {
        return text(StatusCode::OK, "alive\n".to_owned());
    }
    text(StatusCode::SERVICE_UNAVAILABLE, format!("stuck: {}\n", stuck.join(", ")))
}

async fn readyz(State(health): State<Health>, RawQuery(query): RawQuery) -> Response {
    let (ready, report) = health.ready_report();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verdict = if ready { "ready\n" } else { "not ready\n" };
    let verbose =
        query.is_some_and(|query| query.split('&').any(|part| part.split('=').next() == Some("verbose")));
    text(status, if verbose || !ready { format!("{report}{verdict}") } else { verdict.to_owned() })
}

fn text(status: StatusCode, body: String) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], body).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::telemetry::{BuildInfo, install};

    async fn ask(health: &Health, path: &str) -> (u16, String) {
        let metrics = install(BuildInfo { version: "0.0.0-test", role: "registry" }).unwrap();
        let request = http::Request::get(path).body(Body::empty()).unwrap();
        let answer = routes(health.clone(), metrics).oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_failed_check_makes_the_process_not_ready_and_says_why() {
        let health = Health::new(Clock::start());
        health.pass("disk");
        health.fail("raft", "no leader");

        let (status, body) = ask(&health, "/readyz").await;

        assert_eq!((status, body.as_str()), (503, "[+] disk\n[-] raft: no leader\nnot ready\n"));
    }

    #[tokio::test]
    async fn a_ready_process_is_brief_unless_asked() {
        let health = Health::new(Clock::start());
        health.fail("raft", "no leader");
        health.pass("raft");

        assert_eq!(ask(&health, "/readyz").await, (200, "ready\n".to_owned()));
        assert_eq!(ask(&health, "/readyz?verbose").await, (200, "[+] raft\nready\n".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_stops_beating_makes_the_process_stuck() {
        let clock = Clock::start();
        let health = Health::new(clock);
        let driver = health.pulse("driver", 10_000);

        clock.reach(Some(9_000)).await;
        driver.beat();
        clock.reach(Some(19_000)).await;
        let beating = ask(&health, "/livez").await;
        clock.reach(Some(19_001)).await;
        let silent = ask(&health, "/livez").await;

        assert_eq!(beating, (200, "alive\n".to_owned()));
        assert_eq!(silent, (503, "stuck: driver\n".to_owned()));
    }

    #[tokio::test]
    async fn metrics_are_served_as_text() {
        let (status, body) = ask(&Health::new(Clock::start()), "/metrics").await;

        assert_eq!(status, 200);
        assert!(body.contains("process_cpu_seconds_total"));
    }
}

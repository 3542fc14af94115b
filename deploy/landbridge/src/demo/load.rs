//! A bounded load of idempotent calls through each region's gateway, and what became of every call.
//!
//! The load is open: calls leave at their pace whether or not earlier ones are answered, as from many callers.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// Between two calls of one line.
const CALL_EVERY: Duration = Duration::from_millis(25);

/// A caller waits no longer.
const CALL_WITHIN: Duration = Duration::from_secs(5);

/// Calls that may be open at once on all lines; when so many are, a call is skipped and counted.
const OPEN_MAX: usize = 512;

/// Ended calls that are kept; older ones are counted and forgotten.
const CALLS_KEPT_MAX: usize = 50_000;

/// The longest answer of a sample, in bytes.
const ANSWER_BYTES_MAX: usize = 4_096;

/// Who answered a call, as the sample says.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Answerer {
    pub(super) region: String,
    pub(super) zone: String,
}

/// One call that ended.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// The region of the gateway.
    pub(super) through: &'static str,
    pub(super) service: &'static str,
    pub(super) sent: Instant,
    pub(super) took: Duration,
    /// Who answered, or how it failed.
    pub(super) outcome: Result<Answerer, String>,
}

impl Call {
    /// When it ended.
    pub(super) fn ended(&self) -> Instant {
        self.sent + self.took
    }
}

/// Every call of the whole demo.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) made: u64,
    pub(super) failed: u64,
    /// The first of them.
    pub(super) first_failure: Option<String>,
}

#[derive(Debug, Default)]
struct Book {
    totals: Totals,
    kept: VecDeque<Call>,
    open: BTreeMap<&'static str, usize>,
    paused: Vec<&'static str>,
}

impl Book {
    /// Whether a call of this service may be made; then it is open.
    fn begin(&mut self, service: &'static str) -> bool {
        let may = !self.paused.contains(&service);
        if may {
            *self.open.entry(service).or_default() += 1;
        }
        may
    }

    fn note(&mut self, call: Call) {
        if let Some(open) = self.open.get_mut(call.service) {
            *open = open.saturating_sub(1);
        }
        self.totals.made += 1;
        if let Err(why) = &call.outcome {
            self.totals.failed += 1;
            let Call { through, service, .. } = call;
            self.totals.first_failure.get_or_insert_with(|| format!("{service} through {through}: {why}"));
        }
        if self.kept.len() == CALLS_KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(call);
    }
}

/// A running load.
pub(super) struct Load {
    book: Arc<Mutex<Book>>,
    skipped: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// Calls each service through each gateway, forty times a second.
    pub(super) fn start(gateways: &[(&'static str, SocketAddr)], services: &[&'static str]) -> Self {
        let book = Arc::new(Mutex::new(Book::default()));
        let skipped = Arc::new(AtomicU64::new(0));
        let open = Arc::new(Semaphore::new(OPEN_MAX));
        let lines =
            gateways.iter().flat_map(|gateway| services.iter().map(move |service| (*gateway, *service)));
        let tasks = lines.map(|((through, gateway), service)| {
            let line = Line {
                through,
                service,
                uri: format!("http://{gateway}/svc/{service}/"),
                client: Client::builder(TokioExecutor::new()).build_http(),
                book: Arc::clone(&book),
            };
            tokio::spawn(line.run(Arc::clone(&open), Arc::clone(&skipped)))
        });
        Self { tasks: tasks.collect(), book, skipped }
    }

    /// The calls that ended since then.
    pub(super) fn ended_since(&self, since: Instant) -> Vec<Call> {
        self.book().kept.iter().filter(|call| call.ended() >= since).cloned().collect()
    }

    /// The last calls of a service through a gateway, newest first.
    pub(super) fn last(&self, through: &str, service: &str, count: usize) -> Vec<Call> {
        let book = self.book();
        let of_line =
            book.kept.iter().rev().filter(|call| call.through == through && call.service == service);
        of_line.take(count).cloned().collect()
    }

    /// Every call so far.
    pub(super) fn totals(&self) -> Totals {
        self.book().totals.clone()
    }

    /// Calls that were not made because too many were open.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// No further calls to this service until further notice: nobody will offer it.
    pub(super) fn pause(&self, service: &'static str) {
        self.book().paused.push(service);
    }

    /// Whether every call to this service has ended.
    pub(super) fn is_quiet(&self, service: &str) -> bool {
        self.book().open.get(service).is_none_or(|open| *open == 0)
    }

    /// Calls to this service again.
    pub(super) fn resume(&self, service: &'static str) {
        self.book().paused.retain(|paused| *paused != service);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Calls of one service through one gateway.
#[derive(Clone)]
struct Line {
    through: &'static str,
    service: &'static str,
    uri: String,
    client: Client<HttpConnector, Empty<Bytes>>,
    book: Arc<Mutex<Book>>,
}

impl Line {
    async fn run(self, open: Arc<Semaphore>, skipped: Arc<AtomicU64>) {
        let mut pace = tokio::time::interval(CALL_EVERY);
        // A busy machine must not be answered with a burst.
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            let Ok(permit) = Arc::clone(&open).try_acquire_owned() else {
                skipped.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            if !self.book().begin(self.service) {
                continue;
            }
            let line = self.clone();
            tokio::spawn(async move {
                line.call().await;
                drop(permit);
            });
        }
    }

    async fn call(&self) {
        let sent = Instant::now();
        let outcome = match tokio::time::timeout(CALL_WITHIN, self.ask()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer in {} s", CALL_WITHIN.as_secs())),
        };
        let (through, service) = (self.through, self.service);
        self.book().note(Call { through, service, sent, took: sent.elapsed(), outcome });
    }

    async fn ask(&self) -> Result<Answerer, String> {
        let uri = self.uri.parse().map_err(|error| format!("{}: {error}", self.uri))?;
        let answer = self.client.get(uri).await.map_err(|error| format!("no answer: {error}"))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| format!("a broken answer: {error}"))?.to_bytes();
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body);
            let text: String = text.trim().chars().take(160).collect();
            return Err(format!("{status}: {}", crate::output::escaped(&text)));
        }
        serde_json::from_slice(&body).map_err(|error| format!("not a sample's answer: {error}"))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many calls were answered where, and how many failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) made: usize,
    pub(super) failed: usize,
    /// Answers by `region/zone`.
    pub(super) by_place: BTreeMap<String, usize>,
    /// How the first one failed.
    pub(super) failure: Option<String>,
}

impl Tally {
    /// Counts the calls that match.
    pub(super) fn of(calls: &[Call], matches: impl Fn(&Call) -> bool) -> Self {
        let mut tally = Self::default();
        for call in calls.iter().filter(|call| matches(call)) {
            tally.made += 1;
            match &call.outcome {
                Ok(place) => {
                    *tally.by_place.entry(format!("{}/{}", place.region, place.zone)).or_default() += 1;
                }
                Err(why) => {
                    tally.failed += 1;
                    tally.failure.get_or_insert_with(|| why.clone());
                }
            }
        }
        tally
    }

    /// The tally in words.
    pub(super) fn words(&self) -> String {
        let places = self.by_place.iter().map(|(place, count)| format!("{count} by {place}"));
        let failed = (self.failed > 0).then(|| {
            let first = self.failure.as_deref().unwrap_or_default();
            format!("{} failed, first: {first}", self.failed)
        });
        let parts: Vec<String> = places.chain(failed).collect();
        let calls = if self.made == 1 { "call" } else { "calls" };
        let what = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
        format!("{} {calls}{what}", self.made)
    }
}

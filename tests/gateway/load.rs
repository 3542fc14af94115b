//! Open load: calls leave at their pace whether or not earlier ones are answered, half of them idempotent.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{task::JoinHandle, time::MissedTickBehavior};

/// A caller waits no longer; a call without an answer by then has failed.
pub(crate) const CALL_WITHIN: Duration = Duration::from_secs(20);

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 4_096;

/// One call that ended.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// It may be repeated (`GET`).
    pub(crate) idempotent: bool,
    pub(crate) sent: Instant,
    pub(crate) took: Duration,
    /// Who answered, or how it failed.
    pub(crate) outcome: Result<String, String>,
}

#[derive(Debug, Default)]
struct Book {
    ended: Vec<Call>,
    /// Idempotent calls that are open.
    open: u64,
    sent: u64,
    /// The latest that a call left after its time.
    latest: Duration,
}

/// A running load.
pub(crate) struct Load {
    book: Arc<Mutex<Book>>,
    pacing: JoinHandle<()>,
}

/// What every call of a load needs.
#[derive(Clone)]
struct Line {
    /// One for each caller; a caller keeps its connections.
    clients: Arc<[Client<HttpConnector, Full<Bytes>>]>,
    uri: String,
    host: &'static str,
    book: Arc<Mutex<Book>>,
}

impl Load {
    /// Calls a path of a host at a gateway so many times a second.
    pub(crate) fn start(gateway: SocketAddr, host: &'static str, path: &str, rate: u32) -> Self {
        Self::of_callers(1, gateway, host, path, rate)
    }

    /// The same by so many callers in turn, each with connections of its own.
    pub(crate) fn of_callers(
        callers: usize,
        gateway: SocketAddr,
        host: &'static str,
        path: &str,
        rate: u32,
    ) -> Self {
        let book = Arc::new(Mutex::new(Book::default()));
        let clients = (0..callers).map(|_| Client::builder(TokioExecutor::new()).build_http()).collect();
        let line = Line { clients, uri: format!("http://{gateway}{path}"), host, book: book.clone() };
        let pacing = tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
            // Callers do not wait for each other: what a busy machine delays is sent all the same.
            pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
            for number in 0_u64.. {
                let late = pace.tick().await.elapsed();
                let idempotent = number % 2 == 0;
                line.book(|book| {
                    book.sent += 1;
                    book.latest = book.latest.max(late);
                    book.open += u64::from(idempotent);
                });
                let line = line.clone();
                tokio::spawn(async move { line.call(number, idempotent).await });
            }
        });
        Self { book, pacing }
    }

    /// Calls sent so far.
    pub(crate) fn sent(&self) -> u64 {
        locked(&self.book, |book| book.sent)
    }

    /// Calls answered so far.
    pub(crate) fn answered(&self) -> usize {
        locked(&self.book, |book| book.ended.iter().filter(|call| call.outcome.is_ok()).count())
    }

    /// The latest that a call left after its time: so long the machine stood still for callers and gateway.
    pub(crate) fn latest(&self) -> Duration {
        locked(&self.book, |book| book.latest)
    }

    /// Sends no more.
    pub(crate) fn stop(&self) {
        self.pacing.abort();
    }

    /// Every call that ended, once no idempotent one is open; others may wait for an answer as long as they like.
    pub(crate) fn settled(&self) -> Option<Vec<Call>> {
        locked(&self.book, |book| (book.open == 0).then(|| book.ended.clone()))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

fn locked<T>(book: &Mutex<Book>, look: impl FnOnce(&mut Book) -> T) -> T {
    look(&mut book.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Line {
    fn book<T>(&self, look: impl FnOnce(&mut Book) -> T) -> T {
        locked(&self.book, look)
    }

    async fn call(&self, number: u64, idempotent: bool) {
        let sent = Instant::now();
        let outcome = match tokio::time::timeout(CALL_WITHIN, self.ask(number, idempotent)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer in {CALL_WITHIN:?}")),
        };
        let call = Call { idempotent, sent, took: sent.elapsed(), outcome };
        self.book(|book| {
            book.open -= u64::from(idempotent);
            book.ended.push(call);
        });
    }

    async fn ask(&self, number: u64, idempotent: bool) -> Result<String, String> {
        let client = &self.clients[number as usize % self.clients.len()];
        let (method, body) = if idempotent { (Method::GET, "") } else { (Method::POST, "once") };
        let request = Request::builder().method(method).uri(&self.uri).header("host", self.host);
        let request = request.body(Full::new(Bytes::from_static(body.as_bytes())));
        let request = request.map_err(|error| error.to_string())?;
        let answer = client.request(request).await.map_err(|error| format!("no answer: {error:?}"))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| format!("a broken answer: {error}"))?.to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() { Ok(text) } else { Err(format!("{status}: {}", text.trim())) }
    }
}

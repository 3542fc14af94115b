//! The access log: a sample of calls, one JSON object a line, written by a thread of its own.
//!
//! Invariant: a call never waits for the log. When its queue is full the line is dropped and counted.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread,
};

use http::{HeaderMap, Method, Version};
use landbridge_gateway_core::{Endpoint, Rung};
use serde_json::json;
use tokio::{sync::oneshot, time::Instant};

use crate::{
    layers::Arrived,
    metrics::{ACCESS_DROPPED, ACCESS_LINES},
    refusal::Refusal,
    view::Shared,
};

#[cfg(feature = "otel")]
pub(crate) mod spans;

/// The longest path and host that are written; what is longer is cut.
const TEXT_BYTES_MAX: usize = 1_024;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// A file to append to; `None` for standard output.
    pub file: Option<PathBuf>,
    /// Lines that wait to be written; more are dropped.
    pub queue_max: usize,
}

/// What is asked of the writing thread.
enum Word {
    Line(Box<Line>),
    /// Open the file again: it may have been moved away.
    Reopen,
    /// Tell when everything before this is written.
    Flush(oneshot::Sender<()>),
}

/// A way to the writing thread.
#[derive(Clone, Debug)]
pub(crate) struct AccessLog(SyncSender<Word>);

impl AccessLog {
    /// Opens the file and starts the thread, or says what is in the way.
    pub(crate) fn start(to: &Destination) -> Result<Self, String> {
        let out = open(to.file.as_ref())?;
        let (words, heard) = sync_channel(to.queue_max);
        let file = to.file.clone();
        let thread = thread::Builder::new().name("access-log".to_owned());
        thread.spawn(move || write(&heard, out, file.as_ref())).map_err(|error| error.to_string())?;
        Ok(Self(words))
    }

    /// Opens the file again, where it was moved away.
    pub(crate) fn reopen(&self) {
        if self.0.try_send(Word::Reopen).is_err() {
            tracing::warn!(event = "access_log_not_reopened", "its queue is full");
        }
    }

    /// Waits until what was said before is written.
    pub(crate) async fn flush(&self) {
        let (done, told) = oneshot::channel();
        if self.0.try_send(Word::Flush(done)).is_ok() {
            // The thread ends only with its last sender.
            let _ = told.await;
        }
    }

    fn say(&self, line: Box<Line>) {
        match self.0.try_send(Word::Line(line)) {
            Ok(()) => metrics::counter!(ACCESS_LINES).increment(1),
            Err(_) => metrics::counter!(ACCESS_DROPPED).increment(1),
        }
    }
}

fn open(file: Option<&PathBuf>) -> Result<Box<dyn Write + Send>, String> {
    let Some(path) = file else { return Ok(Box::new(io::stdout())) };
    let opened = OpenOptions::new().create(true).append(true).open(path);
    let boxed = |file: File| Box::new(file) as Box<dyn Write + Send>;
    opened.map(boxed).map_err(|error| format!("access_log.file: {}: {error}", path.display()))
}

/// Writes until every sender is gone; flushes whenever nothing waits.
fn write(heard: &Receiver<Word>, out: Box<dyn Write + Send>, file: Option<&PathBuf>) {
    let mut out = BufWriter::new(out);
    let mut failing = false;
    loop {
        let word = match heard.try_recv() {
            Ok(word) => word,
            Err(TryRecvError::Empty) => {
                note(out.flush(), &mut failing);
                match heard.recv() {
                    Ok(word) => word,
                    Err(_) => return,
                }
            }
            Err(TryRecvError::Disconnected) => return note(out.flush(), &mut failing),
        };
        match word {
            Word::Line(line) => note(writeln!(out, "{}", line.json()), &mut failing),
            Word::Reopen => {
                note(out.flush(), &mut failing);
                match open(file) {
                    Ok(fresh) => out = BufWriter::new(fresh),
                    Err(error) => tracing::error!(event = "access_log_not_reopened", %error),
                }
            }
            Word::Flush(done) => {
                note(out.flush(), &mut failing);
                // Who asked may have gone meanwhile.
                let _ = done.send(());
            }
        }
    }
}

/// Says once that lines cannot be written, and once that they can again.
fn note(written: io::Result<()>, failing: &mut bool) {
    match (written, *failing) {
        (Err(error), false) => {
            *failing = true;
            tracing::error!(event = "access_log_failing", %error, "lines of the access log are lost");
        }
        (Ok(()), true) => {
            *failing = false;
            tracing::info!(event = "access_log_writing", "the access log is written again");
        }
        (Ok(()), false) | (Err(_), true) => {}
    }
}

/// A call as its line tells it.
#[derive(Clone, Debug)]
struct Line {
    unix_ms: u64,
    listener: usize,
    caller: IpAddr,
    method: Method,
    host: String,
    path: String,
    version: Version,
    trace: Option<String>,
    service: Option<String>,
    rung: Option<Rung>,
    endpoint: Option<(String, String, String)>,
    refusal: Option<&'static str>,
    status: u16,
    first_byte_us: u64,
    total_us: u64,
    bytes: u64,
    whole: bool,
}

impl Line {
    fn json(&self) -> serde_json::Value {
        let (address, region, zone) = match &self.endpoint {
            Some((address, region, zone)) => (Some(address), Some(region), Some(zone)),
            None => (None, None, None),
        };
        json!({
            "event": "call",
            "unix_ms": self.unix_ms,
            "listener": self.listener,
            "caller": self.caller.to_string(),
            "method": self.method.as_str(),
            "host": self.host,
            "path": self.path,
            "version": format!("{:?}", self.version),
            "trace": self.trace,
            "service": self.service,
            "rung": self.rung.map(Rung::as_str),
            "endpoint": address,
            "region": region,
            "zone": zone,
            "refusal": self.refusal,
            "status": self.status,
            "first_byte_us": self.first_byte_us,
            "total_us": self.total_us,
            "bytes": self.bytes,
            "whole": self.whole,
        })
    }
}

/// A call that was drawn for the log, or is traced, until its answer ends.
#[derive(Debug)]
pub(crate) struct Entry {
    line: Box<Line>,
    /// It was drawn for the log.
    logged: bool,
    #[cfg(feature = "otel")]
    marks: Option<spans::Marks>,
    begun: Instant,
    shared: Arc<Shared>,
}

/// The begin of a text.
fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

impl Entry {
    /// Notes what a call asks for. Its query is not written: it may hold what is nobody's business.
    pub(crate) fn begin(shared: &Arc<Shared>, arrived: &Arrived) -> Self {
        let request = &arrived.request;
        let headers = request.headers();
        let host = request.uri().authority().map(|authority| authority.as_str());
        let line = Line {
            unix_ms: shared.clock.unix_ms(),
            listener: arrived.peer.listener,
            caller: arrived.peer.address,
            method: request.method().clone(),
            host: cut(host.or_else(|| text(headers, "host")).unwrap_or_default()),
            path: cut(request.uri().path()),
            version: request.version(),
            trace: text(headers, "traceparent").and_then(trace_of).map(str::to_owned),
            service: None,
            rung: None,
            endpoint: None,
            refusal: None,
            status: 0,
            first_byte_us: 0,
            total_us: 0,
            bytes: 0,
            whole: false,
        };
        Self {
            line: Box::new(line),
            logged: true,
            #[cfg(feature = "otel")]
            marks: None,
            begun: arrived.begun,
            shared: shared.clone(),
        }
    }

    /// The same for a call that is traced, and written only if it was `logged` besides.
    #[cfg(feature = "otel")]
    pub(crate) fn traced(self, marks: Option<spans::Marks>, logged: bool) -> Self {
        Self { marks, logged, ..self }
    }

    /// Notes how the call was answered.
    pub(crate) fn answered(
        &mut self,
        service: Option<String>,
        rung: Option<Rung>,
        refusal: Option<Refusal>,
        status: u16,
        first_byte_us: u64,
    ) {
        let line = &mut self.line;
        (line.service, line.rung, line.status) = (service, rung, status);
        (line.refusal, line.first_byte_us) = (refusal.map(Refusal::reason), first_byte_us);
    }

    /// Notes bytes of the answer's body on their way.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.line.bytes += bytes as u64;
    }

    /// Hands the line over. `whole` if the answer went to its end; `by` is who gave it.
    pub(crate) fn end(mut self, whole: bool, by: Option<&Endpoint>) {
        self.line.total_us = self.begun.elapsed().as_micros() as u64;
        self.line.whole = whole;
        self.line.endpoint = by.map(|endpoint| {
            let address = format!("{}:{}", endpoint.address, endpoint.port);
            (address, endpoint.region.to_string(), endpoint.zone.to_string())
        });
        #[cfg(feature = "otel")]
        if let (Some(tracer), Some(marks)) = (&self.shared.tracer, self.marks.take()) {
            tracer.say(marks, self.line.clone());
        }
        if self.logged {
            self.shared.access.say(self.line);
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The trace in a `traceparent` (W3C Trace Context, section 3.2).
fn trace_of(parent: &str) -> Option<&str> {
    let trace = parent.split('-').nth(1)?;
    (trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_told_only_if_it_is_one() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_of(&format!("00-{trace}-00f067aa0ba902b7-01")), Some(trace));
        assert_eq!(trace_of("00-\"-00f067aa0ba902b7-01"), None);
        assert_eq!(trace_of("nonsense"), None);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let long = "\u{e9}".repeat(TEXT_BYTES_MAX);

        assert_eq!(cut(&format!("x{long}")).len(), TEXT_BYTES_MAX - 1);
        assert_eq!(cut("short"), "short");
    }
}

//! A server that notes exactly what arrives, reads it as strictly as anybody could, and answers what it understood.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What came on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// A whole request, read without a doubt.
    Request {
        /// The request line.
        line: String,
        /// Header lines as they came.
        headers: Vec<String>,
        /// The body without its framing.
        body: Vec<u8>,
    },
    /// Bytes that two readers could read differently.
    Strange {
        /// Which rule they break.
        why: String,
        /// The bytes.
        bytes: String,
    },
    /// The connection ended inside a request; no server acts on that.
    Partial,
}

/// The server.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    notes: Arc<Mutex<Vec<Noted>>>,
    task: JoinHandle<()>,
}

impl Recorder {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let notes = Arc::<Mutex<Vec<Noted>>>::default();
        let book = notes.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let book = book.clone();
                tokio::spawn(async move {
                    let last = record(stream, &book).await;
                    lock(&book).extend(last);
                });
            }
        });
        Ok(Self { address, notes, task })
    }

    /// Takes all notes once a request with this line is among them; what broke off is left out.
    pub(crate) fn take_after(&self, line: &str) -> Option<Vec<Noted>> {
        let mut notes = lock(&self.notes);
        let is_last = |note: &Noted| matches!(note, Noted::Request { line: have, .. } if have == line);
        let at = notes.iter().position(is_last)?;
        let mut taken: Vec<_> = notes.drain(..).collect();
        taken.remove(at);
        taken.retain(|note| *note != Noted::Partial);
        Some(taken)
    }

    /// Whole requests so far.
    pub(crate) fn count(&self) -> usize {
        lock(&self.notes).iter().filter(|note| matches!(note, Noted::Request { .. })).count()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(notes: &Mutex<Vec<Noted>>) -> std::sync::MutexGuard<'_, Vec<Noted>> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves one connection; returns how it ended, if that is worth a note.
async fn record(mut stream: TcpStream, notes: &Mutex<Vec<Noted>>) -> Option<Noted> {
    let mut bytes = Vec::new();
    loop {
        match whole(&bytes) {
            Ok(Some((note, taken))) => {
                bytes.drain(..taken);
                lock(notes).push(note);
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.ok()?;
            }
            Ok(None) => {
                let read = stream.read_buf(&mut bytes).await.unwrap_or(0);
                if read == 0 {
                    return (!bytes.is_empty()).then_some(Noted::Partial);
                }
            }
            Err(why) => {
                let bytes = String::from_utf8_lossy(&bytes).into_owned();
                return Some(Noted::Strange { why: why.to_owned(), bytes });
            }
        }
    }
}

/// One whole request at the start of the bytes and how long it is, if all of it is there.
fn whole(bytes: &[u8]) -> Result<Option<(Noted, usize)>, &'static str> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let lines: Vec<&[u8]> = split(&bytes[..end]);
    for line in &lines {
        if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err("a control character in the head");
        }
    }
    let (first, headers) = lines.split_first().ok_or("no request line")?;
    if first.iter().filter(|byte| **byte == b' ').count() != 2 || !first.ends_with(b" HTTP/1.1") {
        return Err("a request line that is not three words");
    }
    let length = framing(headers)?;
    let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
    let rest = &bytes[end + 4..];
    let body = match length {
        Some(length) => rest.get(..length).map(|body| (body.to_vec(), length)),
        None => chunks(rest)?,
    };
    let Some((body, taken)) = body else { return Ok(None) };
    let headers = headers.iter().map(|line| text(line)).collect();
    Ok(Some((Noted::Request { line: text(first), headers, body }, end + 4 + taken)))
}

/// The length of the body, none for chunks.
fn framing(headers: &[&[u8]]) -> Result<Option<usize>, &'static str> {
    let (mut lengths, mut encodings, mut hosts) = (Vec::new(), Vec::new(), 0);
    for line in headers {
        let colon = line.iter().position(|byte| *byte == b':').ok_or("a header without a colon")?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        if name.is_empty() || !name.iter().all(token) {
            return Err("a header name that is no name");
        }
        match name.to_ascii_lowercase().as_slice() {
            b"content-length" => lengths.push(value),
            b"transfer-encoding" => encodings.push(value),
            b"host" => hosts += 1,
            _ => {}
        }
    }
    if hosts != 1 {
        return Err("not exactly one host");
    }
    match (lengths.as_slice(), encodings.as_slice()) {
        ([], []) => Ok(Some(0)),
        ([length], []) if length.iter().all(u8::is_ascii_digit) => {
            let length = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok());
            length.map(Some).ok_or("a length that is no number")
        }
        ([], [b"chunked"]) => Ok(None),
        _ => Err("the length of the body is not told once"),
    }
}

/// The content of chunks and how long they are, if they are all there.
fn chunks(mut bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let (whole, mut body) = (bytes.len(), Vec::new());
    loop {
        let Some(end) = find(bytes, b"\r\n") else { return Ok(None) };
        let digits = std::str::from_utf8(&bytes[..end]).map_err(|_| "a chunk's length that is no text")?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("a chunk's length that is no number");
        }
        let length = usize::from_str_radix(digits, 16).map_err(|_| "a chunk too long for anybody")?;
        bytes = &bytes[end + 2..];
        if length == 0 {
            return trailers(bytes).map(|rest| rest.map(|rest| (body, whole - rest.len())));
        }
        let Some(chunk) = bytes.get(..length + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err("a chunk that is longer than it says");
        }
        body.extend_from_slice(&chunk[..length]);
        bytes = &bytes[length + 2..];
    }
}

/// What follows the trailers, if they are all there.
fn trailers(mut bytes: &[u8]) -> Result<Option<&[u8]>, &'static str> {
    loop {
        let Some(end) = find(bytes, b"\r\n") else { return Ok(None) };
        let line = bytes[..end].to_ascii_lowercase();
        bytes = &bytes[end + 2..];
        if line.is_empty() {
            return Ok(Some(bytes));
        }
        if [&b"content-length:"[..], b"transfer-encoding:", b"host:"]
            .iter()
            .any(|name| line.starts_with(name))
        {
            return Err("a trailer that belongs in the head");
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Lines between CRLFs.
fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while let Some(end) = find(bytes, b"\r\n") {
        lines.push(&bytes[..end]);
        bytes = &bytes[end + 2..];
    }
    lines.push(bytes);
    lines
}

//! Speaks HTTP/1.1 with an endpoint in the task of the call itself, for calls without a body: no queue, no second task.
//!
//! What has a body, asks for a WebSocket or goes by TLS is spoken by hyper (`dial`); a line that waits can become one of
//! hyper's, never the other way round.
//!
//! ```text
//! quiet ──request is written──▶ a head is awaited ──1xx──▶ a head is awaited
//!                                      └──any other──▶ its body is read ──to its end, and nothing behind it──▶ quiet
//! ```
//! Invariant: a line whose endpoint broke a rule, or said more than it was asked, is not used again.

mod body;
mod chunks;
mod head;

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

pub(crate) use self::body::{Arriving, LineBody};
use self::head::{Head, Heard};
use crate::payload::Payload;

/// What is read at once of an answer whose length is not known yet; one such room serves all calls of a core.
pub(crate) const ROOM_BYTES: usize = 16 * 1024;

/// The longest head of an answer, with all interim heads before it.
const HEAD_BYTES_MAX: usize = 128 * 1024;

/// Why an exchange gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mute {
    /// Not one byte was taken.
    Unsent,
    /// The connection ended before it said anything.
    Closed,
    /// It ended, or broke a rule, within the head of an answer.
    Broken,
}

/// A connection to an endpoint between two calls.
#[derive(Debug)]
pub(crate) struct Line {
    stream: TcpStream,
}

impl Line {
    /// A connection that was just opened, or is quiet.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream }
    }

    /// Gives the connection to somebody else.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// True if the endpoint has said nothing since its last answer: not even that it closed.
    pub(crate) fn is_quiet(&self) -> bool {
        // What the runtime knows is asked first: it costs nothing, and mostly it is that nothing came.
        match self.stream.poll_read_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => true,
            Poll::Ready(Err(_)) => false,
            Poll::Ready(Ok(())) => {
                let heard = self.stream.try_read(&mut [0]);
                heard.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
        }
    }

    /// Sends a request without a body and waits for the head of its answer.
    pub(crate) async fn exchange(
        mut self,
        request: &Request<Payload>,
        room: &RefCell<Vec<u8>>,
    ) -> Result<Response<LineBody>, Mute> {
        self.send(&head::written(request)).await?;
        let to_head = *request.method() == Method::HEAD;
        let (Head { response, length, keep, .. }, rest) = self.hear(to_head, room).await?;
        Ok(response.map(|()| LineBody::new(self, length, rest, keep)))
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Mute> {
        let mut sent = 0;
        let sending = poll_fn(|cx| {
            while sent < bytes.len() {
                match ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes[sent..])) {
                    Ok(0) | Err(_) => return Poll::Ready(Err(())),
                    Ok(written) => sent += written,
                }
            }
            Poll::Ready(Ok(()))
        });
        match sending.await {
            Ok(()) => Ok(()),
            Err(()) if sent == 0 => Err(Mute::Unsent),
            // The endpoint may have answered early and closed: what it said is still to be heard.
            Err(()) => Ok(()),
        }
    }

    /// The head of the answer, and what came behind it.
    async fn hear(&mut self, to_head: bool, room: &RefCell<Vec<u8>>) -> Result<(Head, Bytes), Mute> {
        let mut before = Vec::new();
        poll_fn(|cx| {
            loop {
                let mut room = room.borrow_mut();
                let mut read = ReadBuf::new(&mut room);
                let done = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read));
                let fresh = read.filled();
                if done.is_err() || fresh.is_empty() {
                    return Poll::Ready(Err(if before.is_empty() { Mute::Closed } else { Mute::Broken }));
                }
                let all = if before.is_empty() {
                    fresh
                } else {
                    before.extend_from_slice(fresh);
                    &before
                };
                match final_head(all, to_head) {
                    Ok(Some(heard)) => return Poll::Ready(Ok(heard)),
                    Ok(None) if all.len() > HEAD_BYTES_MAX => return Poll::Ready(Err(Mute::Broken)),
                    Ok(None) if before.is_empty() => before = fresh.to_vec(),
                    Ok(None) => {}
                    Err(why) => {
                        tracing::debug!(event = "answer_refused", why);
                        return Poll::Ready(Err(Mute::Broken));
                    }
                }
            }
        })
        .await
    }
}

/// The first head that is not interim, and what came behind it.
fn final_head(mut bytes: &[u8], to_head: bool) -> Result<Option<(Head, Bytes)>, &'static str> {
    loop {
        match head::read(bytes, to_head)? {
            Heard::Part => return Ok(None),
            Heard::Interim(length) => bytes = &bytes[length..],
            Heard::Final(head) => {
                let rest = Bytes::copy_from_slice(&bytes[head.bytes..]);
                return Ok(Some((head, rest)));
            }
        }
    }
}

#[cfg(test)]
mod tests;

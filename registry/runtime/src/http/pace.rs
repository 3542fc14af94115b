//! Watches how a connection gets on, and judges when it must end.
//!
//! ```text
//! accepted ─▶ reading a head ──request──▶ answering ──last body ends──▶ idle ──first byte (HTTP/1)──▶ reading a head
//! reading too long, idle too long, or no byte taken of an answer for too long: the connection ends
//! ```

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::door::Seat;
use super::head::Head;
use super::limits::HttpLimits;
use crate::clock::Clock;

/// The value of a moment that has not come.
const NEVER: u64 = u64::MAX;

/// How a connection gets on; shared by its bytes, its requests and its judge.
#[derive(Debug)]
pub(super) struct Pace {
    clock: Clock,
    /// Requests whose answers are not complete.
    open: AtomicU32,
    /// When the last answer was complete.
    idle_since: AtomicU64,
    /// When the first byte of an incomplete HTTP/1 head came.
    head_since: AtomicU64,
    /// Since when the peer takes no byte.
    blocked_since: AtomicU64,
    /// How many requests came so far.
    requests: AtomicU64,
    /// Whether the head that came last can be read in two ways.
    is_muddled: AtomicBool,
    /// HTTP/2 sends frames without requests, so bytes say nothing about heads.
    is_http2: AtomicBool,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing to do before this moment.
    GoOnUntil(u64),
    /// No request for too long: close kindly.
    Idle,
    /// A head takes too long: close.
    SlowHead,
    /// The peer takes nothing: close.
    Stalled,
}

impl Pace {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            open: AtomicU32::new(0),
            idle_since: AtomicU64::new(NEVER),
            head_since: AtomicU64::new(clock.now()),
            blocked_since: AtomicU64::new(NEVER),
            requests: AtomicU64::new(0),
            is_muddled: AtomicBool::new(false),
            is_http2: AtomicBool::new(false),
        }
    }

    /// A request came; it counts until the guard is dropped.
    pub(super) fn open_request(self: &Arc<Self>, is_http2: bool) -> OpenRequest {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.head_since.store(NEVER, Ordering::Relaxed);
        if is_http2 {
            self.is_http2.store(true, Ordering::Relaxed);
        }
        OpenRequest(Arc::clone(self))
    }

    /// Whether the head of the request that just came can be read in two ways.
    pub(super) fn is_muddled(&self) -> bool {
        self.is_muddled.load(Ordering::Relaxed)
    }

    /// What becomes of the connection at this moment.
    pub(super) fn judge(&self, limits: &HttpLimits) -> Verdict {
        let now = self.clock.now();
        let after = |since: &AtomicU64, span: u64| since.load(Ordering::Relaxed).saturating_add(span);
        let stalled = after(&self.blocked_since, limits.write_stall_timeout_ms);
        if stalled <= now {
            return Verdict::Stalled;
        }
        if self.open.load(Ordering::Relaxed) > 0 {
            return Verdict::GoOnUntil(stalled.min(now + limits.write_stall_timeout_ms));
        }
        let slow = after(&self.head_since, limits.header_read_timeout_ms);
        if slow <= now {
            return Verdict::SlowHead;
        }
        let idle = after(&self.idle_since, limits.idle_timeout_ms);
        if idle <= now {
            return Verdict::Idle;
        }
        // A head may begin at any moment, so the next look comes no later than its shortest deadline.
        Verdict::GoOnUntil(stalled.min(slow).min(idle).min(now + limits.header_read_timeout_ms))
    }

    fn note_read(&self, bytes: &[u8], reading: &mut Reading) {
        if bytes.is_empty() || self.open.load(Ordering::Relaxed) > 0 || self.is_http2.load(Ordering::Relaxed)
        {
            return;
        }
        reading.read(bytes, self.requests.load(Ordering::Relaxed));
        self.is_muddled.store(reading.head.is_muddled(), Ordering::Relaxed);
        let now = self.clock.now();
        // Fails when a head has already begun: its time runs from its first byte.
        let _ = self.head_since.compare_exchange(NEVER, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn note_write<T>(&self, polled: &Poll<T>) {
        match polled {
            Poll::Ready(_) if self.blocked_since.load(Ordering::Relaxed) == NEVER => {}
            Poll::Ready(_) => self.blocked_since.store(NEVER, Ordering::Relaxed),
            Poll::Pending => {
                let now = self.clock.now();
                // Fails when the peer was already not taking anything.
                let _ = self.blocked_since.compare_exchange(NEVER, now, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }
}

/// The head being read, and how many requests came before it.
#[derive(Debug, Default)]
struct Reading {
    head: Head,
    requests_before: u64,
}

impl Reading {
    fn read(&mut self, bytes: &[u8], requests: u64) {
        if requests != self.requests_before {
            *self = Self { head: Head::default(), requests_before: requests };
        }
        self.head.read(bytes);
    }
}

/// A request whose answer is not complete.
#[derive(Debug)]
pub(super) struct OpenRequest(Arc<Pace>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let pace = &self.0;
        pace.idle_since.store(pace.clock.now(), Ordering::Relaxed);
        pace.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection's bytes, watched; it keeps its seat at the door also after an upgrade to another protocol.
#[derive(Debug)]
pub(super) struct Watched<Io> {
    io: Io,
    pace: Arc<Pace>,
    reading: Reading,
    _seat: Seat,
}

impl<Io> Watched<Io> {
    pub(super) fn new(io: Io, pace: Arc<Pace>, seat: Seat) -> Self {
        Self { io, pace, reading: Reading::default(), _seat: seat }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Watched<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buffer);
        this.pace.note_read(&buffer.filled()[before..], &mut this.reading);
        polled
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Watched<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.pace.note_write(&polled);
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.pace.note_write(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_flush(cx);
        this.pace.note_write(&polled);
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_shutdown(cx);
        this.pace.note_write(&polled);
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: HttpLimits = HttpLimits {
        header_read_timeout_ms: 1_000,
        idle_timeout_ms: 6_000,
        write_stall_timeout_ms: 3_000,
        ..HttpLimits::recommended()
    };

    fn pace() -> Arc<Pace> {
        Arc::new(Pace::new(Clock::start()))
    }

    async fn pass(ms: u64) {
        tokio::time::advance(Duration::from_millis(ms)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_sends_nothing_ends_after_the_head_timeout() {
        let pace = pace();

        pass(999).await;
        assert_eq!(pace.judge(&LIMITS), Verdict::GoOnUntil(1_000));
        pass(1).await;

        assert_eq!(pace.judge(&LIMITS), Verdict::SlowHead);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dripped_head_ends_at_the_deadline_of_its_first_byte() {
        let pace = pace();
        drop(pace.open_request(false));
        pass(2_000).await;

        pace.note_read(b"G", &mut Reading::default());
        pass(900).await;
        pace.note_read(b"E", &mut Reading::default());
        pass(100).await;

        assert_eq!(pace.judge(&LIMITS), Verdict::SlowHead);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_requests_is_idle_and_one_with_a_request_is_not() {
        let pace = pace();
        let open = pace.open_request(false);

        pass(60_000).await;
        assert!(matches!(pace.judge(&LIMITS), Verdict::GoOnUntil(_)));
        drop(open);
        pass(5_999).await;
        assert!(matches!(pace.judge(&LIMITS), Verdict::GoOnUntil(_)));
        pass(1).await;

        assert_eq!(pace.judge(&LIMITS), Verdict::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn frames_between_http2_requests_are_no_heads() {
        let pace = pace();
        drop(pace.open_request(true));

        pace.note_read(b"ping", &mut Reading::default());
        pass(2_000).await;

        assert_eq!(pace.judge(&LIMITS), Verdict::GoOnUntil(3_000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_of_an_answer_is_stalled() {
        let pace = pace();
        let _open = pace.open_request(false);

        pace.note_write(&Poll::<()>::Pending);
        pass(2_000).await;
        pace.note_write(&Poll::<()>::Pending);
        pass(1_000).await;

        assert_eq!(pace.judge(&LIMITS), Verdict::Stalled);
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_taken_starts_the_stall_anew() {
        let pace = pace();
        let _open = pace.open_request(false);

        pace.note_write(&Poll::<()>::Pending);
        pass(2_000).await;
        pace.note_write(&Poll::Ready(()));
        pace.note_write(&Poll::<()>::Pending);
        pass(2_000).await;

        assert_eq!(pace.judge(&LIMITS), Verdict::GoOnUntil(5_000));
    }
}

//! A client's socket whose bytes are counted and, for HTTP/1, looked at on their way to the parser.
//!
//! A rule that is broken in a head is answered by the stack. One that is broken in a body whose head has gone ahead
//! breaks the connection here: the call ends as a body that broke off, whatever the parser would have forgiven.
//!
//! Invariant: no byte of a body passes from the read on in which it broke a rule.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    head::{Open, Scanner},
    seat::{Beat, Seat},
};

/// What is read at once of a client that rested.
const MORE_BYTES: usize = 512;

/// A socket with its seat.
pub(crate) struct Watched<Io> {
    io: Io,
    seat: Rc<Seat>,
    beat: Rc<Beat>,
    /// For HTTP/1 only: HTTP/2 frames its messages without ambiguity.
    scanner: Option<Scanner>,
    /// Bytes read before it was known which protocol they are.
    prefix: Vec<u8>,
    replayed: usize,
    /// A body broke a rule after its head had passed.
    broken: bool,
}

impl<Io> Watched<Io> {
    pub(crate) fn new(
        io: Io,
        seat: Rc<Seat>,
        beat: Rc<Beat>,
        scanner: Option<Scanner>,
        prefix: Vec<u8>,
    ) -> Self {
        Self { io, seat, beat, scanner, prefix, replayed: 0, broken: false }
    }

    /// What follows is not HTTP: bytes are counted and no longer looked at.
    pub(crate) fn stop_looking(&mut self) {
        self.scanner = None;
        self.seat.set_head(false, self.beat.now.get());
        self.seat.set_body(false);
    }

    /// Takes back what was read and not used, in front of what is to be read.
    pub(crate) fn put_back(&mut self, unread: &[u8]) {
        self.prefix.drain(..self.replayed);
        self.prefix.splice(..0, unread.iter().copied());
        self.replayed = 0;
    }

    /// True if what was put back begins no request: blank lines at most.
    pub(crate) fn is_between(&self) -> bool {
        self.prefix.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
    }

    fn look(&mut self, bytes: &[u8]) {
        let now = self.beat.now.get();
        self.seat.touch(now);
        let Some(scanner) = &mut self.scanner else { return };
        let before = scanner.open();
        if let Err(fault) = scanner.scan(bytes) {
            self.seat.set_fault(fault);
            self.broken = before == Open::Body && scanner.lost_in_body();
        }
        let open = scanner.open();
        self.seat.set_head(open == Open::Head, now);
        match (before == Open::Body, open == Open::Body) {
            (false, true) => self.seat.set_body(true),
            (true, false) => self.seat.set_body(false),
            (true, true) => self.seat.add_body(bytes.len() as u64, now),
            (false, false) => {}
        }
    }
}

impl<Io: AsyncRead + Unpin> Watched<Io> {
    /// Waits for further bytes without holding room for them. False when there will be none.
    pub(crate) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut room = [0; MORE_BYTES];
        let mut read = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
        self.prefix.extend_from_slice(read.filled());
        Poll::Ready(Ok(!read.filled().is_empty()))
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Watched<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if this.replayed < this.prefix.len() {
            let rest = &this.prefix[this.replayed..];
            let taken = rest.len().min(buf.remaining());
            buf.put_slice(&rest[..taken]);
            this.replayed += taken;
            if this.replayed == this.prefix.len() {
                (this.prefix, this.replayed) = (Vec::new(), 0);
            }
        } else {
            let read = Pin::new(&mut this.io).poll_read(cx, buf);
            if read.is_pending() {
                this.seat.wait_for_bytes(this.beat.now.get());
            }
            ready!(read)?;
        }
        this.look(&buf.filled()[before..]);
        if this.broken { Poll::Ready(Err(io::ErrorKind::InvalidData.into())) } else { Poll::Ready(Ok(())) }
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Watched<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.seat.set_unsent(true);
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes));
        self.seat.touch(self.beat.now.get());
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.seat.set_unsent(true);
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices));
        self.seat.touch(self.beat.now.get());
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.seat.set_unsent(false);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

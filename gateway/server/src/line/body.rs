//! The body of an answer as it arrives: from a line of our own, or as hyper reads it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio_util::io::poll_read_buf;

use super::{
    Line,
    chunks::{Chunks, Step},
    head::Length,
};

/// What is read at once of a body of known length.
const READ_BYTES: u64 = 64 * 1024;

/// What is read at once of a body that comes as it likes, perhaps little by little.
const PIECE_BYTES: u64 = 16 * 1024;

/// A body that arrives.
pub(crate) enum Arriving {
    /// Read by hyper.
    Parsed(Incoming),
    /// Read by us.
    Line(LineBody),
}

impl Arriving {
    /// The line it came by, if the body is over and the line may be used again.
    pub(crate) fn take_line(&mut self) -> Option<Line> {
        match self {
            Self::Parsed(_) => None,
            Self::Line(body) => body.take_line(),
        }
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self {
            Self::Parsed(incoming) => Pin::new(incoming).poll_frame(cx).map_err(io::Error::other),
            Self::Line(body) => body.poll_frame(cx),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            Self::Parsed(incoming) => incoming.is_end_stream(),
            Self::Line(body) => body.is_over(),
        }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Parsed(incoming) => incoming.size_hint(),
            Self::Line(body) => match body.left {
                Left::Exact(left) => SizeHint::with_exact(left),
                Left::Chunks(_) | Left::ToTheEnd | Left::Nothing => SizeHint::default(),
            },
        }
    }
}

/// What is still to come.
#[derive(Debug)]
enum Left {
    Exact(u64),
    /// Boxed: most bodies tell their length and need none of it.
    Chunks(Box<Chunks>),
    ToTheEnd,
    /// The connection has ended, and with it the body.
    Nothing,
}

/// A body from a line.
#[derive(Debug)]
pub(crate) struct LineBody {
    line: Option<Line>,
    left: Left,
    /// What was read and not handed on.
    read: Bytes,
    keep: bool,
}

impl LineBody {
    pub(super) fn new(line: Line, length: Length, read: Bytes, keep: bool) -> Self {
        let left = match length {
            Length::Exact(length) => Left::Exact(length),
            Length::Chunks => Left::Chunks(Box::new(Chunks::new())),
            Length::ToTheEnd => Left::ToTheEnd,
        };
        Self { line: Some(line), left, read, keep }
    }

    fn is_over(&self) -> bool {
        match &self.left {
            Left::Exact(left) => *left == 0,
            Left::Chunks(chunks) => chunks.is_over(),
            Left::ToTheEnd => false,
            Left::Nothing => true,
        }
    }

    /// The line, if it is quiet again.
    fn take_line(&mut self) -> Option<Line> {
        // Bytes behind the end belong to no call.
        self.line.take().filter(|_| self.keep && self.is_over() && self.read.is_empty())
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            match &mut self.left {
                Left::Exact(0) | Left::Nothing => return Poll::Ready(None),
                Left::Exact(left) if !self.read.is_empty() => {
                    let taken = (*left).min(self.read.len() as u64);
                    *left -= taken;
                    return Poll::Ready(Some(Ok(Frame::data(self.read.split_to(taken as usize)))));
                }
                Left::Chunks(chunks) => match chunks.next(&mut self.read) {
                    Ok(Step::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Ok(Step::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                    Ok(Step::Over) => return Poll::Ready(None),
                    Ok(Step::More) => {}
                    Err(why) => return Poll::Ready(Some(Err(self.broken(why)))),
                },
                Left::ToTheEnd if !self.read.is_empty() => {
                    return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.read)))));
                }
                Left::Exact(_) | Left::ToTheEnd => {}
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) if matches!(self.left, Left::ToTheEnd) => self.left = Left::Nothing,
                Ok(0) => return Poll::Ready(Some(Err(self.broken("it ended early")))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// Reads on, when all that was read is handed on.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(line) = &mut self.line else { return Poll::Ready(Ok(0)) };
        // No room is made before there is something to put there.
        ready!(line.stream.poll_read_ready(cx))?;
        let most = match &self.left {
            // One byte more than is expected: a read that fills its room does not tell whether there is more.
            Left::Exact(left) => left.saturating_add(1).min(READ_BYTES),
            Left::Chunks(_) | Left::ToTheEnd | Left::Nothing => PIECE_BYTES,
        };
        let mut room = BytesMut::with_capacity(most as usize);
        let count = ready!(poll_read_buf(Pin::new(&mut line.stream), cx, &mut room))?;
        self.read = room.freeze();
        Poll::Ready(Ok(count))
    }

    fn broken(&mut self, why: &'static str) -> io::Error {
        self.keep = false;
        io::Error::new(io::ErrorKind::InvalidData, why)
    }
}

//! The body of a request on its way to an endpoint: passed on as it comes, or recorded so that it can be sent again.
//!
//! Invariant: no more than the configured bytes of a body are kept; a longer one flows, and cannot be repeated.

use std::{
    cell::RefCell,
    error, fmt,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// A request body.
pub(crate) enum Payload {
    /// Nothing.
    Empty,
    /// What the caller sends, once.
    Once(Incoming),
    /// What the caller sends, from the beginning each time.
    Taped(TapeReader),
}

/// Why a body ended before its end.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The caller's connection failed.
    Caller(hyper::Error),
    /// Another try reads this body by now.
    Superseded,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller(error) => write!(f, "the caller's body broke off: {error}"),
            Self::Superseded => f.write_str("another try reads this body"),
        }
    }
}

impl error::Error for Broken {}

impl Body for Payload {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Once(incoming) => Pin::new(incoming).poll_frame(cx).map_err(Broken::Caller),
            Self::Taped(reader) => reader.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Once(incoming) => incoming.is_end_stream(),
            Self::Taped(reader) => reader.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Once(incoming) => incoming.size_hint(),
            Self::Taped(reader) => reader.tape.borrow().size,
        }
    }
}

/// A caller's body with what was read of it so far.
#[derive(Debug)]
struct Recording {
    source: Incoming,
    size: SizeHint,
    frames: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    bytes: usize,
    bytes_max: usize,
    /// More came than is kept.
    overflowed: bool,
    ended: bool,
    failed: bool,
    /// Only the newest reader may go on.
    readers: u64,
}

/// A body that can be read again from its beginning.
#[derive(Clone, Debug)]
pub(crate) struct Tape(Rc<RefCell<Recording>>);

/// One reading of a tape.
#[derive(Debug)]
pub(crate) struct TapeReader {
    tape: Rc<RefCell<Recording>>,
    number: u64,
    at: usize,
    told_trailers: bool,
}

impl Tape {
    pub(crate) fn new(source: Incoming, bytes_max: usize) -> Self {
        let size = source.size_hint();
        Self(Rc::new(RefCell::new(Recording {
            source,
            size,
            frames: Vec::new(),
            trailers: None,
            bytes: 0,
            bytes_max,
            overflowed: false,
            ended: false,
            failed: false,
            readers: 0,
        })))
    }

    /// A reader from the beginning, unless too much has gone by.
    pub(crate) fn play(&self) -> Option<TapeReader> {
        let mut recording = self.0.borrow_mut();
        if recording.overflowed || recording.failed {
            return None;
        }
        recording.readers += 1;
        let number = recording.readers;
        Some(TapeReader { tape: self.0.clone(), number, at: 0, told_trailers: false })
    }
}

impl TapeReader {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut recording = self.tape.borrow_mut();
        if recording.readers != self.number {
            return Poll::Ready(Some(Err(Broken::Superseded)));
        }
        if let Some(frame) = recording.frames.get(self.at) {
            self.at += 1;
            return Poll::Ready(Some(Ok(Frame::data(frame.clone()))));
        }
        if !recording.ended {
            let read = ready!(recording.poll_source(cx));
            self.at = recording.frames.len();
            self.told_trailers = recording.trailers.is_some();
            return Poll::Ready(read);
        }
        let trailers = recording.trailers.clone().filter(|_| !self.told_trailers);
        self.told_trailers = true;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        let recording = self.tape.borrow();
        let read_all = self.at == recording.frames.len();
        let trailers_left = recording.trailers.is_some() && !self.told_trailers;
        read_all && !trailers_left && (recording.ended || recording.source.is_end_stream())
    }
}

impl Recording {
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = match ready!(Pin::new(&mut self.source).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                self.failed = true;
                return Poll::Ready(Some(Err(Broken::Caller(error))));
            }
            None => {
                self.ended = true;
                return Poll::Ready(None);
            }
        };
        if let Some(data) = frame.data_ref() {
            self.bytes += data.len();
            self.overflowed |= self.bytes > self.bytes_max;
            if self.overflowed {
                self.frames.clear();
            } else {
                self.frames.push(data.clone());
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
            self.ended = true;
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

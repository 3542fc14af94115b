//! The body of a request on its way to an endpoint: passed on as it comes, or recorded so that it can be sent again.
//!
//! Invariant: no more than the configured bytes of a body are kept; a longer one flows, and cannot be repeated.

use std::{
    cell::{Cell, RefCell},
    error, fmt,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::{crossing::Crossing, toll::Barrier};

/// A request body.
pub(crate) enum Payload {
    /// Nothing.
    Empty,
    /// What the caller sends, once.
    Once(Incoming, Rc<Upload>),
    /// What the caller sends, from the beginning each time.
    Taped(TapeReader),
    /// One of these on its way to another region.
    Leaving(Box<Payload>, Barrier),
}

impl Payload {
    /// Lets it go that way from now on, or stay in the region.
    pub(crate) fn lead(&mut self, crossing: Option<Arc<Crossing>>) {
        let plain = match std::mem::replace(self, Self::Empty) {
            Self::Leaving(payload, _) => *payload,
            payload @ (Self::Empty | Self::Once(..) | Self::Taped(_)) => payload,
        };
        *self = match crossing {
            Some(crossing) => Self::Leaving(Box::new(plain), Barrier::new(crossing)),
            None => plain,
        };
    }

    fn upload(&self) -> Option<Rc<Upload>> {
        match self {
            Self::Empty => None,
            Self::Once(_, upload) => Some(upload.clone()),
            Self::Taped(reader) => Some(reader.tape.borrow().upload.clone()),
            Self::Leaving(payload, _) => payload.upload(),
        }
    }
}

/// How far a caller's body has come, for those who wait for the answer.
#[derive(Debug)]
pub(crate) struct Upload(Cell<Stage>);

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// What came lies with the endpoint or waits for it.
    Passing(Instant),
    /// The endpoint has all that came, and the caller owes the rest.
    Owed,
    /// All of it came, then.
    Whole(Instant),
}

impl Upload {
    /// A body of which nothing came yet.
    pub(crate) fn begin(now: Instant) -> Self {
        Self(Cell::new(Stage::Passing(now)))
    }

    /// Notes that something came; it was the `end`, or not.
    pub(crate) fn come(&self, now: Instant, end: bool) {
        match self.0.get() {
            Stage::Whole(_) => {}
            Stage::Passing(_) | Stage::Owed => {
                self.0.set(if end { Stage::Whole(now) } else { Stage::Passing(now) });
            }
        }
    }

    /// Notes that the caller is awaited.
    pub(crate) fn owe(&self) {
        match self.0.get() {
            Stage::Whole(_) | Stage::Owed => {}
            Stage::Passing(_) => self.0.set(Stage::Owed),
        }
    }

    /// Since when, as seen at `now`, nobody waits for the caller; not before `begun`.
    pub(crate) fn since(&self, begun: Instant, now: Instant) -> Instant {
        match self.0.get() {
            Stage::Passing(since) | Stage::Whole(since) => since.max(begun),
            Stage::Owed => now.max(begun),
        }
    }

    /// True once all of it came.
    pub(crate) fn is_whole(&self) -> bool {
        match self.0.get() {
            Stage::Whole(_) => true,
            Stage::Passing(_) | Stage::Owed => false,
        }
    }

    /// Notes what reading the caller's body gave.
    fn note<E>(&self, read: &Poll<Option<Result<Frame<Bytes>, E>>>, source: &Incoming) {
        match read {
            Poll::Pending => self.owe(),
            Poll::Ready(Some(Ok(_))) => self.come(Instant::now(), source.is_end_stream()),
            Poll::Ready(None | Some(Err(_))) => self.come(Instant::now(), true),
        }
    }
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
            Self::Once(incoming, upload) => {
                let read = Pin::new(&mut *incoming).poll_frame(cx);
                upload.note(&read, incoming);
                read.map_err(Broken::Caller)
            }
            Self::Taped(reader) => reader.poll_frame(cx),
            Self::Leaving(payload, barrier) => {
                if barrier.poll_free(cx).is_pending() {
                    // It is not the endpoint that is awaited.
                    if let Some(upload) = payload.upload() {
                        upload.owe();
                    }
                    return Poll::Pending;
                }
                let frame = ready!(Pin::new(&mut **payload).poll_frame(cx));
                if let Some(Ok(frame)) = &frame {
                    barrier.count(frame.data_ref().map_or(0, Bytes::len));
                    if let Some(upload) = payload.upload() {
                        upload.come(Instant::now(), false);
                    }
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Once(incoming, _) => incoming.is_end_stream(),
            Self::Taped(reader) => reader.is_end_stream(),
            Self::Leaving(payload, _) => payload.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Once(incoming, _) => incoming.size_hint(),
            Self::Taped(reader) => reader.tape.borrow().size,
            Self::Leaving(payload, _) => payload.size_hint(),
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
    /// While more is to come, only the newest reader may go on; after the end, all may.
    readers: u64,
    upload: Rc<Upload>,
    /// Whoever waits for more of it: the source wakes only the last who asked.
    waiting: Vec<Waker>,
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
    pub(crate) fn new(source: Incoming, bytes_max: usize, upload: Rc<Upload>) -> Self {
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
            upload,
            waiting: Vec::new(),
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

    /// True if all of it is kept: several readers may read it at once.
    pub(crate) fn is_whole(&self) -> bool {
        let recording = self.0.borrow();
        recording.ended && !recording.overflowed && !recording.failed
    }

    /// Reads ahead of the endpoint what is sure to fit, so that another try can have it.
    pub(crate) fn read_ahead(&self, cx: &mut Context<'_>) {
        let mut recording = self.0.borrow_mut();
        let fits = recording.size.upper().is_some_and(|upper| upper <= recording.bytes_max as u64);
        while fits && !recording.ended && !recording.failed {
            if recording.poll_source(cx).is_pending() {
                return;
            }
        }
    }
}

impl Drop for TapeReader {
    fn drop(&mut self) {
        // The source may be about to wake this reader: somebody else has to ask again.
        self.tape.borrow_mut().wake();
    }
}

impl TapeReader {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut recording = self.tape.borrow_mut();
        if recording.readers != self.number && !recording.ended {
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
        let read = Pin::new(&mut self.source).poll_frame(cx);
        self.upload.note(&read, &self.source);
        let Poll::Ready(read) = read else {
            if !self.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                self.waiting.push(cx.waker().clone());
            }
            return Poll::Pending;
        };
        self.wake();
        let frame = match read {
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
        self.ended |= self.source.is_end_stream();
        Poll::Ready(Some(Ok(frame)))
    }

    /// Wakes all who wait; each asks again.
    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

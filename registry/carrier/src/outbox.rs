//! What waits to leave on one stream: a bounded queue that HTTP/2 empties at the peer's pace.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use landbridge_wire::feeds::{Frame, Packer, Said};
use prost::Message as _;
use tokio::sync::{Notify, mpsc};
use tokio_stream::Stream;
use tonic::Status;

use crate::metrics::Traffic;

/// Counts what HTTP/2 has taken from an outbox since it was last asked.
#[derive(Debug, Default)]
pub(crate) struct Drained {
    bytes: AtomicUsize,
    news: Notify,
}

impl Drained {
    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.news.notify_one();
    }

    /// Waits until something has left, and takes the count.
    pub async fn take(&self) -> usize {
        loop {
            let bytes = self.bytes.swap(0, Ordering::Relaxed);
            if bytes > 0 {
                return bytes;
            }
            self.news.notified().await;
        }
    }
}

/// The receiving end of an outbox, as the body of a request or an answer.
pub(crate) struct Outflow {
    /// The Hello, said before anything else.
    first: Option<Frame>,
    queue: mpsc::Receiver<Said>,
    drained: Arc<Drained>,
    traffic: Arc<OnceLock<Traffic>>,
    packs: Arc<OnceLock<()>>,
    /// Made with the first frame that is packed.
    packer: Option<Packer>,
    /// What to say when the queue is closed, if this side answers.
    last: Arc<OnceLock<Status>>,
    over: bool,
}

/// What the owner of an outbox keeps.
pub(crate) struct Tap {
    pub queue: mpsc::Sender<Said>,
    pub drained: Arc<Drained>,
    /// Set as soon as the peer is known.
    pub traffic: Arc<OnceLock<Traffic>>,
    /// Set before anything is queued, if frames are to be packed.
    pub packs: Arc<OnceLock<()>>,
    pub last: Arc<OnceLock<Status>>,
}

/// Makes an outbox of at most `frames_max` frames that begins with `first`.
pub(crate) fn outbox(first: &Said, frames_max: usize) -> (Tap, Outflow) {
    let (sender, queue) = mpsc::channel(frames_max);
    let tap = Tap {
        queue: sender,
        drained: Arc::default(),
        traffic: Arc::default(),
        packs: Arc::default(),
        last: Arc::default(),
    };
    let outflow = Outflow {
        first: Some(first.encode()),
        queue,
        drained: Arc::clone(&tap.drained),
        traffic: Arc::clone(&tap.traffic),
        packs: Arc::clone(&tap.packs),
        packer: None,
        last: Arc::clone(&tap.last),
        over: false,
    };
    (tap, outflow)
}

impl Stream for Outflow {
    type Item = Result<Frame, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if self.over {
            return Poll::Ready(None);
        }
        let Some(said) = ready!(self.queue.poll_recv(context)) else {
            self.over = true;
            return Poll::Ready(self.last.get().cloned().map(Err));
        };
        let plain = said.encode();
        if let Said::Message(message) = &said {
            self.drained.add(message.weight_bytes());
        }
        let plain_bytes = plain.encoded_len();
        let Ok(frame) = self.packed(plain) else {
            self.over = true;
            return Poll::Ready(Some(Err(Status::resource_exhausted(
                "there is no memory to pack a frame in",
            ))));
        };
        if let Some(traffic) = self.traffic.get() {
            traffic.count(frame.encoded_len(), plain_bytes);
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Outflow {
    fn packed(&mut self, plain: Frame) -> io::Result<Frame> {
        if self.packs.get().is_none() {
            return Ok(plain);
        }
        let mut packer = match self.packer.take() {
            Some(packer) => packer,
            None => Packer::new()?,
        };
        let frame = packer.pack(&plain);
        self.packer = Some(packer);
        frame
    }
}

#[cfg(test)]
mod tests {
    use landbridge_feed::Message;
    use tokio_stream::StreamExt;

    use super::*;

    fn beats() -> Message {
        Message::Beats { unix_ms: 5, beats: Vec::new(), hears: Vec::new() }
    }

    #[tokio::test]
    async fn credit_comes_back_only_for_what_has_left() {
        let (tap, mut outflow) = outbox(&Said::Credit { bytes: 0 }, 4);
        tap.queue.try_send(Said::Message(beats())).expect("room");
        tap.queue.try_send(Said::Message(beats())).expect("room");

        outflow.next().await.expect("the first frame").expect("no end");
        outflow.next().await.expect("a frame").expect("no end");

        assert_eq!(tap.drained.take().await, beats().weight_bytes());
    }

    #[tokio::test]
    async fn frames_are_packed_where_that_is_agreed_and_open_in_order() {
        let (tap, mut outflow) = outbox(&Said::Credit { bytes: 0 }, 4);
        assert_eq!(
            outflow.next().await.expect("the first frame").expect("no end"),
            Said::Credit { bytes: 0 }.encode()
        );
        tap.packs.set(()).expect("set once");
        let mut unpacker = landbridge_wire::feeds::Unpacker::new().expect("memory");

        for _ in 0..3 {
            tap.queue.try_send(Said::Message(beats())).expect("room");
            let frame = outflow.next().await.expect("a frame").expect("no end");
            assert_ne!(frame, Said::Message(beats()).encode(), "it is not packed");
            assert_eq!(unpacker.open(frame).expect("a good pack"), Said::Message(beats()).encode());
        }
    }

    #[tokio::test]
    async fn a_closed_outbox_ends_with_its_last_word() {
        let (tap, mut outflow) = outbox(&Said::Credit { bytes: 0 }, 4);
        outflow.next().await.expect("the first frame").expect("no end");
        tap.last.set(Status::permission_denied("go away")).expect("set once");

        drop(tap.queue);

        let last = outflow.next().await.expect("a last word");
        assert_eq!(last.map_err(|status| status.code()).err(), Some(tonic::Code::PermissionDenied));
        assert!(outflow.next().await.is_none());
    }
}

//! What waits to leave on one stream: a bounded queue that HTTP/2 empties at the peer's pace, and no faster than the
//! region's budget.

use std::{
    future::Future,
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

use crate::{budget::Toll, metrics::Traffic};

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
    toll: Arc<OnceLock<Toll>>,
    /// Packed, and not yet gone.
    ready: Option<Ready>,
    /// The frame that is ready waits for its region's budget.
    paying: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Made with the first frame that is packed.
    packer: Option<Packer>,
    /// What to say when the queue is closed, if this side answers.
    last: Arc<OnceLock<Status>>,
    over: bool,
}

/// A frame as it goes out.
struct Ready {
    frame: Frame,
    plain_bytes: usize,
    /// The weight for which the stream gets credit back.
    weight_bytes: usize,
}

/// What the owner of an outbox keeps.
pub(crate) struct Tap {
    pub queue: mpsc::Sender<Said>,
    pub drained: Arc<Drained>,
    /// Set as soon as the peer is known.
    pub traffic: Arc<OnceLock<Traffic>>,
    /// Set before anything is queued, if frames are to be packed.
    pub packs: Arc<OnceLock<()>>,
    /// Set as soon as the peer is known, if its region has a budget.
    pub toll: Arc<OnceLock<Toll>>,
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
        toll: Arc::default(),
        last: Arc::default(),
    };
    let outflow = Outflow {
        first: Some(first.encode()),
        queue,
        drained: Arc::clone(&tap.drained),
        traffic: Arc::clone(&tap.traffic),
        packs: Arc::clone(&tap.packs),
        toll: Arc::clone(&tap.toll),
        ready: None,
        paying: None,
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
        if self.ready.is_none() {
            let Some(said) = ready!(self.queue.poll_recv(context)) else {
                self.over = true;
                return Poll::Ready(self.last.get().cloned().map(Err));
            };
            let Ok(ready) = self.made_ready(&said) else {
                self.over = true;
                return Poll::Ready(Some(Err(Status::resource_exhausted(
                    "there is no memory to pack a frame in",
                ))));
            };
            self.ready = Some(ready);
        }
        ready!(self.poll_paid(context));
        Poll::Ready(self.ready.take().map(|ready| Ok(self.gone(ready))))
    }
}

impl Outflow {
    fn made_ready(&mut self, said: &Said) -> io::Result<Ready> {
        let plain = said.encode();
        let weight_bytes = match said {
            Said::Message(message) => message.weight_bytes(),
            Said::Hello(_) | Said::Credit { .. } | Said::BeatForward(_) | Said::BeatAnswer(_) => 0,
        };
        let plain_bytes = plain.encoded_len();
        Ok(Ready { frame: self.packed(plain)?, plain_bytes, weight_bytes })
    }

    /// Waits until the frame that is ready has been paid for.
    fn poll_paid(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.paying.is_none() {
            let (Some(toll), Some(ready)) = (self.toll.get(), &self.ready) else { return Poll::Ready(()) };
            let bytes = ready.frame.encoded_len();
            if toll.budget.pay(bytes) {
                return Poll::Ready(());
            }
            toll.waited.increment(1);
            self.paying = Some(Box::pin(Arc::clone(&toll.budget).paid(bytes)));
        }
        if let Some(paying) = &mut self.paying {
            ready!(paying.as_mut().poll(context));
            self.paying = None;
        }
        Poll::Ready(())
    }

    fn gone(&self, ready: Ready) -> Frame {
        if ready.weight_bytes > 0 {
            self.drained.add(ready.weight_bytes);
        }
        if let Some(traffic) = self.traffic.get() {
            traffic.count(ready.frame.encoded_len(), ready.plain_bytes);
        }
        ready.frame
    }

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
    use std::num::NonZeroU32;

    use landbridge_feed::Message;
    use metrics::Counter;
    use tokio_stream::StreamExt;

    use super::*;
    use crate::budget::Budget;

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

    #[tokio::test(start_paused = true)]
    async fn streams_of_one_region_share_its_budget_and_get_no_credit_for_what_waits() {
        let per_second = NonZeroU32::new(1000).expect("not zero");
        let budget = Arc::new(Budget::new(per_second));
        let mut streams: Vec<_> = (0..2).map(|_| outbox(&Said::Credit { bytes: 0 }, 1024)).collect();
        for (tap, outflow) in &mut streams {
            let toll = Toll { budget: Arc::clone(&budget), waited: Counter::noop() };
            assert!(tap.toll.set(toll).is_ok(), "set once");
            outflow.next().await.expect("the first frame").expect("no end");
        }
        let frame_bytes = Said::Message(beats()).encode().encoded_len();
        let each = 2 * 1000 / frame_bytes;
        for (tap, _) in &streams {
            for _ in 0..each {
                tap.queue.try_send(Said::Message(beats())).expect("room");
            }
        }
        let begun = tokio::time::Instant::now();

        let [(tap, first), (_, second)] = streams.as_mut_slice() else { panic!("two streams") };
        let all = async {
            for _ in 0..each {
                first.next().await.expect("a frame").expect("no end");
                second.next().await.expect("a frame").expect("no end");
            }
        };
        let too_soon = tokio::time::timeout(std::time::Duration::from_millis(2500), all).await;

        assert!(too_soon.is_err(), "4,000 bytes left in {:?}", begun.elapsed());
        let left = tap.drained.take().await / beats().weight_bytes();
        assert!((each / 2..each).contains(&left), "credit for {left} of {each} frames");
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

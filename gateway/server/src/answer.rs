//! Answers on their way to the caller: who gave them, and bodies that end what their call began.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use landbridge_gateway_core::{Endpoint, Outcome, Rung, Turn};
use tokio::time::Instant;

use crate::{
    access::Entry, crossing::Crossing, line::Arriving, local::Local, pool::OneCall, refusal::Refusal,
    seat::OpenCall, toll::Barrier, tunnel::Half, view::Seen,
};

/// An answer and what is to be counted of it.
pub(crate) struct Answer {
    pub(crate) response: Response<Outgoing>,
    /// The service's position in the view it was routed by.
    pub(crate) service: Option<(Rc<Seen>, u32)>,
    /// The kind of place that answered.
    pub(crate) rung: Option<Rung>,
    /// Why the gateway itself answered.
    pub(crate) refusal: Option<Refusal>,
    /// When the answer was there, if that is known.
    pub(crate) at: Option<Instant>,
}

impl Answer {
    /// The gateway's own answer.
    pub(crate) fn refuse(refusal: Refusal, grpc: bool) -> Self {
        Self { response: refusal.answer(grpc), service: None, rung: None, refusal: Some(refusal), at: None }
    }

    /// The same, about a service.
    pub(crate) fn about(self, view: &Rc<Seen>, service: u32) -> Self {
        Self { service: Some((view.clone(), service)), ..self }
    }
}

/// The body of an answer.
pub(crate) struct Outgoing {
    source: Source,
    /// Ends with the body: counts the call on its connection.
    call: Option<OpenCall>,
    /// Ends with the body too: its line of the access log, if it was drawn.
    entry: Option<Entry>,
}

enum Source {
    Text(Option<Bytes>),
    Endpoint(EndpointBody),
    /// No body: the connection becomes a tunnel.
    Tunnel(Option<Box<Half>>),
}

impl Outgoing {
    fn of(source: Source) -> Self {
        Self { source, call: None, entry: None }
    }

    /// A body of our own.
    pub(crate) fn text(text: Bytes) -> Self {
        Self::of(Source::Text((!text.is_empty()).then_some(text)))
    }

    /// A body from an endpoint.
    pub(crate) fn endpoint(body: EndpointBody) -> Self {
        Self::of(Source::Endpoint(body))
    }

    /// The end of an answer after which bytes pass unread.
    pub(crate) fn tunnel(half: Half) -> Self {
        Self::of(Source::Tunnel(Some(Box::new(half))))
    }

    /// True if bytes pass unread after this answer.
    pub(crate) fn is_tunnel(&self) -> bool {
        matches!(self.source, Source::Tunnel(_))
    }

    /// The tunnel that is to begin after this answer, if there is one, and the call that goes on with it.
    pub(crate) fn take_tunnel(&mut self) -> Option<(Box<Half>, OpenCall)> {
        match &mut self.source {
            Source::Tunnel(half) => half.take().zip(self.call.take()),
            Source::Text(_) | Source::Endpoint(_) => None,
        }
    }

    /// Lets a call end with this body, and the line that tells of it.
    pub(crate) fn ending(mut self, call: OpenCall, entry: Option<Entry>) -> Self {
        (self.call, self.entry) = (Some(call), entry);
        self
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        let Some(entry) = self.entry.take() else { return };
        match &self.source {
            Source::Text(text) => entry.end(text.is_none(), None),
            Source::Endpoint(body) => {
                entry.end(body.ended || body.incoming.is_end_stream(), Some(body.held.endpoint()));
            }
            Source::Tunnel(_) => entry.end(true, None),
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let frame = match &mut self.source {
            Source::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Source::Endpoint(body) => body.poll_frame(cx),
            Source::Tunnel(_) => Poll::Ready(None),
        };
        if let Some(entry) = &mut self.entry
            && let Poll::Ready(Some(Ok(frame))) = &frame
        {
            entry.add(frame.data_ref().map_or(0, Bytes::len));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Text(text) => text.is_none(),
            Source::Endpoint(body) => body.incoming.is_end_stream(),
            Source::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Source::Endpoint(body) => body.incoming.size_hint(),
            Source::Tunnel(_) => SizeHint::with_exact(0),
        }
    }
}

/// One try that holds its endpoint: it counts as in flight until this is dropped.
pub(crate) struct Held {
    pub(crate) local: Rc<Local>,
    pub(crate) view: Rc<Seen>,
    pub(crate) service: u32,
    pub(crate) endpoint: u32,
    begun: Instant,
    reported: bool,
    /// The way to the region it is in, if that is counted.
    pub(crate) crossing: Option<Arc<Crossing>>,
}

impl Held {
    pub(crate) fn begin(
        local: Rc<Local>,
        view: Rc<Seen>,
        service: u32,
        endpoint: u32,
        begun: Instant,
    ) -> Self {
        view.snapshot.service(service).endpoint(endpoint).state.begin(local.moment(begun));
        Self { local, view, service, endpoint, begun, reported: false, crossing: None }
    }

    /// Counts from then on, when its endpoint had all it needs.
    pub(crate) fn count_from(&mut self, since: Instant) {
        self.begun = since;
    }

    /// How long the answer has taken by then, in microseconds.
    pub(crate) fn passed_us(&self, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.begun).as_micros();
        u32::try_from(passed).unwrap_or(u32::MAX)
    }

    /// Tells the shared state that it still waits.
    pub(crate) fn waits(&mut self, now: Instant) {
        self.report(now, |latency_us| Outcome::Silent { latency_us });
        self.reported = false;
    }

    /// The core it runs on.
    pub(crate) fn local(&self) -> &Rc<Local> {
        &self.local
    }

    /// What the try holds.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.view.snapshot.service(self.service).endpoint(self.endpoint)
    }

    /// Tells the shared state that it answered.
    pub(crate) fn answered(&mut self, now: Instant) {
        self.report(now, |latency_us| Outcome::Answered { latency_us });
    }

    /// Tells the shared state that it failed.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.report(now, |latency_us| Outcome::Failed { latency_us });
    }

    /// The try says nothing about its endpoint.
    pub(crate) fn excuse(&mut self) {
        self.reported = true;
    }

    fn report(&mut self, now: Instant, outcome: impl FnOnce(u32) -> Outcome) {
        self.reported = true;
        let outcome = outcome(self.passed_us(now));
        let service = self.view.snapshot.service(self.service);
        let rules = &self.view.settings.pick.health;
        match service.report(self.endpoint, rules, self.local.moment(now), outcome) {
            Turn::Stays => {}
            Turn::Ejected { .. } => self.local.tally.borrow_mut().ejected(service),
            Turn::Returned { .. } => self.local.tally.borrow_mut().returned(service),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.reported {
            self.report(Instant::now(), |latency_us| Outcome::Abandoned { latency_us });
        }
        self.endpoint().state.end();
    }
}

/// The body of an endpoint's answer, with the connection it comes from.
pub(crate) struct EndpointBody {
    pub(crate) incoming: Arriving,
    /// An HTTP/1 connection that is free again after the last byte.
    pub(crate) connection: Option<OneCall>,
    pub(crate) held: Held,
    /// Where it waits, if it comes from another region.
    pub(crate) barrier: Option<Barrier>,
    pub(crate) ended: bool,
}

impl EndpointBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(barrier) = &mut self.barrier {
            ready!(barrier.poll_free(cx));
        }
        let frame = ready!(self.incoming.poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(barrier), Some(data)) = (&self.barrier, frame.data_ref()) {
                    barrier.count(data.len());
                }
            }
            Some(Err(_)) => self.held.failed(Instant::now()),
            None => self.ended = true,
        }
        Poll::Ready(frame)
    }
}

impl Drop for EndpointBody {
    fn drop(&mut self) {
        let (local, limits) = (&self.held.local, &self.held.view.settings.upstream);
        let (serial, now) = (self.held.endpoint().state.serial(), local.beat.now.get());
        if let Some(line) = self.incoming.take_line() {
            local.pool.put_line(serial, line, limits, now);
        }
        // An answer that was not read to its end leaves its connection unusable: dropping the sender closes it.
        if (self.ended || self.incoming.is_end_stream())
            && let Some(connection) = self.connection.take()
        {
            local.pool.put(serial, connection, limits, now);
        }
    }
}

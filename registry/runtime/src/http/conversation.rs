//! Holds one connection: reads its requests under the limits, answers them, and ends it when its time is over.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Frame, SizeHint};
use http_body_util::{Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tower::{Service, ServiceExt};

use super::PeerAddress;
use super::limits::HttpLimits;
use super::pace::{OpenRequest, Pace, Verdict, Watched};
use super::strict;
use crate::clock::Clock;
use crate::shutdown::Shutdown;
use crate::tls::PeerName;

type BoxError = Box<dyn Error + Send + Sync>;

/// One connection and its bounds.
pub(super) struct Conversation {
    pub(super) what: &'static str,
    pub(super) limits: HttpLimits,
    pub(super) clock: Clock,
    pub(super) address: SocketAddr,
    pub(super) name: Option<PeerName>,
    pub(super) pace: Arc<Pace>,
    pub(super) shutdown: Shutdown,
}

impl Conversation {
    /// Talks until the peer leaves, a limit is reached, or the process ends.
    pub(super) async fn run<Io, S, B>(self, io: Watched<Io>, service: S)
    where
        Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let this = Arc::new(self);
        let answering = Arc::clone(&this);
        let service = service_fn(move |request| {
            let (conversation, service) = (Arc::clone(&answering), service.clone());
            async move { conversation.answer(request, service).await }
        });
        let builder = this.builder();
        let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(io), service));
        let mut asked_to_end = pin!(this.shutdown.wait());
        let mut cut_at_ms = None;
        loop {
            let look_at = match this.pace.judge(&this.limits) {
                Verdict::GoOnUntil(moment) => moment,
                Verdict::Idle if cut_at_ms.is_none() => {
                    // HTTP/2 says goodbye and waits for the peer; a peer that does not answer is cut.
                    connection.as_mut().graceful_shutdown();
                    cut_at_ms = Some(this.clock.now() + this.limits.header_read_timeout_ms);
                    continue;
                }
                Verdict::Idle => u64::MAX,
                Verdict::SlowHead => return this.count_cut("slow_head"),
                Verdict::Stalled => return this.count_cut("stalled"),
            };
            let wake_at = look_at.min(cut_at_ms.unwrap_or(u64::MAX));
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(event = "connection_failed", listener = this.what, peer = %this.address, error);
                    }
                    return;
                }
                () = asked_to_end.as_mut(), if cut_at_ms.is_none() => {
                    connection.as_mut().graceful_shutdown();
                    cut_at_ms = Some(this.clock.now() + this.limits.drain_ms);
                }
                () = this.clock.reach(Some(wake_at)) => {
                    if cut_at_ms.is_some_and(|cut| cut <= this.clock.now()) {
                        return this.count_cut("drain");
                    }
                }
            }
        }
    }

    fn builder(&self) -> auto::Builder<TokioExecutor> {
        let limits = &self.limits;
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            // The head's own deadline is watched outside; hyper's clock also runs between requests.
            .header_read_timeout(Duration::from_millis(
                limits.idle_timeout_ms.max(limits.header_read_timeout_ms),
            ))
            .max_buf_size(limits.header_bytes_max)
            .max_headers(limits.headers_max);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams_max)
            .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(limits.pending_resets_max)
            .initial_stream_window_size(limits.stream_window_bytes)
            .initial_connection_window_size(limits.connection_window_bytes)
            .max_send_buf_size(limits.send_buffer_bytes_max)
            .keep_alive_interval(Duration::from_millis(limits.keepalive_interval_ms))
            .keep_alive_timeout(Duration::from_millis(limits.keepalive_timeout_ms));
        builder
    }

    async fn answer<S, B>(
        self: Arc<Self>,
        request: Request<Incoming>,
        service: S,
    ) -> Result<Response<Answer<B>>, Infallible>
    where
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    {
        let version = request.version();
        let open = self.pace.open_request(version == Version::HTTP_2);
        if let Err(ambiguity) = strict::check(&request, self.pace.is_muddled(), &self.limits) {
            self.count_refused(ambiguity.reason());
            return Ok(refusal(version, ambiguity.status(), ambiguity.sentence(), open));
        }
        let answering = service.oneshot(self.prepare(request));
        let answer = match self.limits.request_timeout_ms {
            None => answering.await,
            Some(timeout_ms) => {
                let Ok(answer) = tokio::time::timeout(Duration::from_millis(timeout_ms), answering).await
                else {
                    self.count_refused("timeout");
                    let late = "the request was not answered in time\n";
                    return Ok(refusal(version, StatusCode::SERVICE_UNAVAILABLE, late, open));
                };
                answer
            }
        };
        Ok(answer?.map(|body| Answer::Theirs { body, _open: open }))
    }

    /// Bounds the body and says who asks.
    fn prepare(&self, request: Request<Incoming>) -> Request<Body> {
        let mut request = request.map(|body| match self.limits.body_bytes_max {
            _ if http_body::Body::is_end_stream(&body) => Body::empty(),
            None => Body::new(body),
            Some(bytes_max) => Body::new(Limited::new(body, bytes_max)),
        });
        request.extensions_mut().insert(PeerAddress(self.address));
        if let Some(name) = &self.name {
            request.extensions_mut().insert(name.clone());
        }
        request
    }

    fn count_refused(&self, reason: &'static str) {
        metrics::counter!("landbridge_runtime_http_refused_total", "listener" => self.what, "reason" => reason)
            .increment(1);
    }

    fn count_cut(&self, reason: &'static str) {
        metrics::counter!("landbridge_runtime_http_cut_total", "listener" => self.what, "reason" => reason)
            .increment(1);
    }
}

fn refusal<B>(
    version: Version,
    status: StatusCode,
    sentence: &'static str,
    open: OpenRequest,
) -> Response<Answer<B>> {
    let body = Answer::Ours { body: Full::new(Bytes::from_static(sentence.as_bytes())), _open: open };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if version != Version::HTTP_2 {
        // What follows on this connection may be the rest of what was refused.
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// An answer's body; its request counts as open until it ends.
enum Answer<B> {
    /// From the service.
    Theirs { body: B, _open: OpenRequest },
    /// A refusal of ours.
    Ours { body: Full<Bytes>, _open: OpenRequest },
}

impl<B> http_body::Body for Answer<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Theirs { body, .. } => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Ours { body, .. } => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Theirs { body, .. } => body.is_end_stream(),
            Self::Ours { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Theirs { body, .. } => body.size_hint(),
            Self::Ours { body, .. } => body.size_hint(),
        }
    }
}

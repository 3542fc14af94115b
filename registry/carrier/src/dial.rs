//! Keeps a stream with one address: connects, says Hello, carries the stream, and tries again at a bounded pace.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use landbridge_feed::StreamId;
use landbridge_runtime::{clock::Clock, dice, tls::PeerName};
use landbridge_wire::feeds::{FRAME_BYTES_MAX, FeedsClient, Said};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::client::TlsStream;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::{
    carrier::{Shared, Target},
    exchange::{self, Line, first_hello, innermost, refused_by},
    gate::{Refusal, is_named},
    limits::Limits,
    metrics::{self, Side},
    outbox::outbox,
};

/// How the attempts at one address go, for those who ask.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<Option<String>>);

impl Attempts {
    pub fn failure(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, failure: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

/// Waits that grow from a floor to a cap, each shortened by chance so that peers do not return in step.
struct Pace {
    limits: Limits,
    next_ms: u64,
    seed: u64,
}

impl Pace {
    fn new(limits: Limits, seed: u64) -> Self {
        Self { limits, next_ms: limits.reconnect_floor_ms, seed: seed | 1 }
    }

    fn start_over(&mut self) {
        self.next_ms = self.limits.reconnect_floor_ms;
    }

    /// Between half the present wait and all of it, never below half the floor.
    fn wait(&mut self) -> Duration {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        let half = self.next_ms / 2;
        let wait_ms = half + self.seed % (half + 1);
        self.next_ms = (self.next_ms * 2).min(self.limits.reconnect_cap_ms);
        Duration::from_millis(wait_ms)
    }
}

/// Keeps a stream with the target until the token says otherwise.
pub(crate) async fn keep(
    shared: Arc<Shared>,
    target: Target,
    token: CancellationToken,
    attempts: Arc<Attempts>,
) {
    let mut pace = Pace::new(shared.limits, dice::seed());
    let mut complained: Option<&'static str> = None;
    loop {
        let up = tokio::select! {
            () = token.cancelled() => return,
            up = open(&shared, &target, &token) => up,
        };
        match up {
            Ok((line, _channel)) => {
                attempts.note(None);
                complained = None;
                let clock = Clock::start();
                line.run(&shared).await;
                if clock.now() >= shared.limits.reconnect_cap_ms {
                    pace.start_over();
                }
            }
            Err((refusal, peer)) => {
                report(&target, &refusal, &mut complained);
                attempts.note(Some(refusal.to_string()));
                if let (Refusal::Duplicate, Some(peer)) = (&refusal, &peer) {
                    attempts.note(None);
                    tokio::select! {
                        () = token.cancelled() => return,
                        () = gone(&shared, peer) => pace.start_over(),
                    }
                }
            }
        }
        tokio::select! {
            () = token.cancelled() => return,
            () = sleep(pace.wait()) => {}
        }
    }
}

/// Counts a failed attempt and logs it once for each reason.
fn report(target: &Target, refusal: &Refusal, complained: &mut Option<&'static str>) {
    metrics::refused(refusal, Side::Dialled);
    let (address, region) = (&target.address, &target.region);
    let reason = refusal.reason();
    if refusal.is_expected() || *complained == Some(reason) {
        tracing::debug!(event = "stream_not_opened", address, %region, reason, why = %refusal, "no stream");
    } else {
        tracing::warn!(event = "stream_not_opened", address, %region, reason, why = %refusal, "no stream");
        *complained = Some(reason);
    }
}

/// Waits until no stream is up with the peer that a certificate names.
async fn gone(shared: &Shared, name: &PeerName) {
    let mut changes = shared.changed.subscribe();
    while is_up(shared, name) {
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn is_up(shared: &Shared, name: &PeerName) -> bool {
    shared.streams().seats().any(|(_, seat): (StreamId, _)| is_named(&seat.peer, name))
}

/// Opens a stream, or says why not and, as far as it is known, who answered.
async fn open(
    shared: &Shared,
    target: &Target,
    token: &CancellationToken,
) -> Result<(Line, Channel), (Refusal, Option<PeerName>)> {
    let (io, name) = connect(shared, &target.address).await.map_err(|refusal| (refusal, None))?;
    let opened = greet(shared, target, token, io, &name).await;
    opened.map_err(|refusal| (refusal, Some(name)))
}

async fn connect(shared: &Shared, address: &str) -> Result<(TlsStream<TcpStream>, PeerName), Refusal> {
    let within_ms = shared.limits.connect_ms;
    let within = Duration::from_millis(within_ms);
    let unreachable = |why: String| Refusal::Unreachable(format!("{address}: {why}"));
    let handshake = |why: String| Refusal::Handshake(format!("{address}: {why}"));
    let io = timeout(within, TcpStream::connect(address)).await;
    let io = io.map_err(|_| unreachable(format!("no connection in {within_ms} ms")))?;
    let io = io.map_err(|error| unreachable(innermost(&error)))?;
    io.set_nodelay(true).map_err(|error| unreachable(innermost(&error)))?;
    let greeted = timeout(within, shared.identity.connect(io)).await;
    let greeted = greeted.map_err(|_| handshake(format!("no TLS handshake in {within_ms} ms")))?;
    greeted.map_err(|error| handshake(innermost(&error)))
}

async fn greet(
    shared: &Shared,
    target: &Target,
    token: &CancellationToken,
    io: TlsStream<TcpStream>,
    name: &PeerName,
) -> Result<(Line, Channel), Refusal> {
    shared.gate.admit_certificate(name, Some(&target.region))?;
    shared.exchanges_with(name)?;
    if is_up(shared, name) {
        return Err(Refusal::Duplicate);
    }
    let channel = speak_http2(io, shared.limits).await?;
    let (tap, outflow) = outbox(&Said::Hello(shared.gate.hello.clone()), shared.limits.outbox_frames_max);
    let mut client = FeedsClient::new(channel.clone())
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX);
    let hello_ms = shared.limits.hello_ms;
    let answering = client.exchange(outflow.map_while(Result::ok));
    let answer = timeout(Duration::from_millis(hello_ms), answering).await;
    let answer = answer.map_err(|_| Refusal::NoHello(format!("no answer in {hello_ms} ms")))?;
    let mut inbound = answer.map_err(|status| refused_by(&status))?.into_inner();
    let hello = first_hello(&mut inbound, hello_ms).await?;
    let peer = shared.gate.admit(name, Some(&target.region), &hello)?;
    let terms = exchange::Terms { side: Side::Dialled, packs: shared.gate.packs(&hello) };
    let line = exchange::enter(shared, &peer, terms, tap, inbound, token.child_token())?;
    Ok((line, channel))
}

/// Sets up HTTP/2 on an open connection. The channel cannot connect again by itself: a new stream needs a new Hello.
async fn speak_http2(io: TlsStream<TcpStream>, limits: Limits) -> Result<Channel, Refusal> {
    let slot = Arc::new(Mutex::new(Some(io)));
    let connector = tower::service_fn(move |_| {
        let io = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async { io.map(TokioIo::new).ok_or_else(|| io::Error::other("the connection is over")) })
            as Pin<Box<dyn Future<Output = io::Result<TokioIo<TlsStream<TcpStream>>>> + Send>>
    });
    Endpoint::from_static("http://landbridge")
        .http2_keep_alive_interval(Duration::from_millis(limits.keepalive_ms))
        .keep_alive_timeout(Duration::from_millis(limits.keepalive_answer_ms))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(limits.window_bytes)
        .initial_connection_window_size(limits.window_bytes)
        .connect_with_connector(connector)
        .await
        .map_err(|error| Refusal::Handshake(innermost(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_never_fall_below_half_the_floor() {
        let mut pace = Pace::new(Limits::STANDARD, 42);

        let waits: Vec<u64> = (0..50).map(|_| pace.wait().as_millis() as u64).collect();

        assert!(waits.iter().all(|wait| *wait >= 100 && *wait <= 5_000), "{waits:?}");
        assert!(waits[20..].iter().all(|wait| *wait >= 2_500), "{waits:?}");
        pace.start_over();
        assert!(pace.wait() <= Duration::from_millis(200));
    }
}

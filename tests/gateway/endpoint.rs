//! An endpoint of a service as a process of its own, so that it can be killed and frozen; it behaves as it is told.

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener},
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use landbridge_tests::talker::{Signal, Talker, listen_to_orders};
use tokio::time::{Instant, sleep_until};

/// How late a slow endpoint answers.
const SLOW: Duration = Duration::from_millis(300);

/// A flapping endpoint changes its mind this often.
const FLAP_MS: u128 = 400;

/// How an endpoint behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It answers at once.
    Well,
    /// It answers late.
    Slow,
    /// It takes everything and never answers.
    Silent,
    /// It answers 503 to everything.
    Storm,
    /// It answers 503 every other moment.
    Flap,
}

impl Manner {
    const ALL: [Self; 5] = [Self::Well, Self::Slow, Self::Silent, Self::Storm, Self::Flap];

    fn as_str(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Slow => "slow",
            Self::Silent => "silent",
            Self::Storm => "storm",
            Self::Flap => "flap",
        }
    }
}

/// What one endpoint's threads share.
struct Shared {
    name: String,
    /// The position of its manner.
    manner: AtomicU8,
    /// Requests it has seen.
    seen: AtomicU64,
    begun: Instant,
}

/// Serves as `serve-endpoint NAME ADDRESS` until nobody holds its standard input.
pub(crate) fn serve(arguments: &[String]) -> ExitCode {
    match try_serve(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("endpoint: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_serve(arguments: &[String]) -> Result<()> {
    let [name, address] = arguments else { anyhow::bail!("wants a name and an address") };
    let address: SocketAddr = address.parse()?;
    // A port that a killed endpoint left is taken again at once: the standard library sets SO_REUSEADDR.
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let (manner, seen) = (AtomicU8::new(0), AtomicU64::new(0));
    let shared = Arc::new(Shared { name: name.clone(), manner, seen, begun: Instant::now() });
    let of_server = shared.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || runtime.block_on(accept(listener, of_server)));
    let answer = |order: &str| match Manner::ALL.iter().position(|manner| manner.as_str() == order) {
        Some(position) => {
            shared.manner.store(position as u8, Relaxed);
            "done".to_owned()
        }
        None => shared.seen.load(Relaxed).to_string(),
    };
    Ok(listen_to_orders(address, answer)?)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let shared = shared.clone();
        let service = service_fn(move |request| answer(shared.clone(), request));
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // A caller that leaves in the middle of an exchange is nothing to an endpoint.
            let _ = connection.await;
        });
    }
}

async fn answer(
    shared: Arc<Shared>,
    _: http::Request<hyper::body::Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    shared.seen.fetch_add(1, Relaxed);
    let manner = Manner::ALL[usize::from(shared.manner.load(Relaxed))];
    let failing = match manner {
        Manner::Well => false,
        Manner::Slow => {
            sleep_until(Instant::now() + SLOW).await;
            false
        }
        Manner::Silent => std::future::pending().await,
        Manner::Storm => true,
        Manner::Flap => (shared.begun.elapsed().as_millis() / FLAP_MS).is_multiple_of(2),
    };
    let mut response = Response::new(Full::new(shared.name.clone().into()));
    if failing {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

/// The handle of one endpoint process.
pub(crate) struct Endpoint {
    /// `region/zone/number`, which it answers with.
    pub(crate) name: String,
    /// Where it listens, also after it was killed.
    pub(crate) address: SocketAddr,
    process: Talker,
}

impl Endpoint {
    /// Starts an endpoint on a free port.
    pub(crate) fn start(name: &str) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve-endpoint", name, "127.0.0.1:0"]);
        let process = Talker::start(command).with_context(|| format!("endpoint {name}"))?;
        Ok(Self { name: name.to_owned(), address: process.address(), process })
    }

    /// Tells it how to behave.
    pub(crate) fn behave(&mut self, manner: Manner) -> Result<()> {
        self.process.ask(manner.as_str()).map(drop)
    }

    /// How many requests it has seen.
    pub(crate) fn seen(&mut self) -> Result<u64> {
        Ok(self.process.ask("seen")?.parse()?)
    }

    /// Ends it as a power failure would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        Ok(self.process.kill()?)
    }

    /// Makes it stand still with all its sockets open.
    pub(crate) fn freeze(&self) -> Result<()> {
        self.process.signal(Signal::Stop)
    }
}

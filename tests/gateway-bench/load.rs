//! The callers: a closed loop over HTTP/1, one over shared HTTP/2 connections, and an open loop at a fixed rate.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::LocalSet,
    time::{Instant, sleep_until, timeout},
};

/// No round takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// What callers do.
#[derive(Clone, Copy)]
pub enum Load {
    /// Each connection sends its next call when the last one is answered.
    Closed { path: &'static str, body: usize, calls: usize, connections: usize },
    /// The same with many calls at once on each of few HTTP/2 connections.
    Shared { path: &'static str, body: usize, calls: usize, shared: (usize, usize) },
    /// Calls begin when their time has come, whatever became of those before.
    Open { path: &'static str, body: usize, per_second: u32, seconds: u32 },
}

/// What became of a load.
#[derive(Clone, Copy)]
pub struct Done {
    pub calls: usize,
    pub failed: usize,
    pub seconds: f64,
    pub p50_us: u64,
    pub p99_us: u64,
}

/// What all callers of one load write to.
#[derive(Default)]
struct Log {
    left: Cell<usize>,
    failed: Cell<usize>,
    latencies_us: RefCell<Vec<u64>>,
}

impl Log {
    fn take(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left > 0
    }

    fn note(&self, begun: Instant, good: bool) {
        self.latencies_us.borrow_mut().push(begun.elapsed().as_micros() as u64);
        self.failed.set(self.failed.get() + usize::from(!good));
    }
}

impl Load {
    /// A tenth of it, to warm up.
    pub fn brief(self) -> Self {
        match self {
            Self::Closed { path, body, calls, connections } => {
                Self::Closed { path, body, calls: calls / 10, connections }
            }
            Self::Shared { path, body, calls, shared } => {
                Self::Shared { path, body, calls: calls / 10, shared }
            }
            Self::Open { path, body, per_second, .. } => Self::Open { path, body, per_second, seconds: 1 },
        }
    }

    /// Runs it against an address.
    pub async fn run(self, address: SocketAddr) -> Result<Done> {
        let log = Rc::<Log>::default();
        let begun = Instant::now();
        let local = LocalSet::new();
        let all = local.run_until(async {
            match self {
                Self::Closed { path, body, calls, connections } => {
                    log.left.set(calls);
                    closed(address, path, body, connections, &log).await
                }
                Self::Shared { path, body, calls, shared } => {
                    log.left.set(calls);
                    shared_calls(address, path, body, shared, &log).await
                }
                Self::Open { path, body, per_second, seconds } => {
                    open(address, path, body, per_second, seconds, &log).await
                }
            }
        });
        timeout(PATIENCE, all).await.context("the load takes too long")??;
        let mut latencies = std::mem::take(&mut *log.latencies_us.borrow_mut());
        latencies.sort_unstable();
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
        ensure!(!latencies.is_empty(), "nothing was called");
        Ok(Done {
            calls: latencies.len(),
            failed: log.failed.get(),
            seconds: begun.elapsed().as_secs_f64(),
            p50_us: at(0.5),
            p99_us: at(0.99),
        })
    }
}

/// One HTTP/1 connection that reads answers of known length.
struct Caller {
    stream: TcpStream,
    request: Vec<u8>,
    body: usize,
    read: Vec<u8>,
}

impl Caller {
    async fn connect(address: SocketAddr, path: &str, body: usize) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: bench.test\r\nuser-agent: bench\r\naccept: */*\r\n\r\n");
        Ok(Self { stream, request: request.into_bytes(), body, read: Vec::with_capacity(128 * 1024) })
    }

    /// Calls once; false unless the answer is a whole 200.
    async fn call(&mut self) -> Result<bool> {
        self.stream.write_all(&self.request).await?;
        self.read.clear();
        let head = loop {
            ensure!(self.stream.read_buf(&mut self.read).await? > 0, "closed before an answer");
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let good = self.read.starts_with(b"HTTP/1.1 200");
        let body = if good { self.body } else { self.length(head)? };
        while self.read.len() < head + body {
            ensure!(self.stream.read_buf(&mut self.read).await? > 0, "closed within an answer");
        }
        Ok(good)
    }

    fn length(&self, head: usize) -> Result<usize> {
        let head = String::from_utf8_lossy(&self.read[..head]).to_ascii_lowercase();
        let line = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        line.and_then(|text| text.trim().parse().ok()).context("an answer without a length")
    }
}

async fn closed(
    address: SocketAddr,
    path: &str,
    body: usize,
    connections: usize,
    log: &Rc<Log>,
) -> Result<()> {
    let mut callers = Vec::new();
    for _ in 0..connections {
        callers.push(Caller::connect(address, path, body).await?);
    }
    let run = |mut caller: Caller| {
        let log = log.clone();
        tokio::task::spawn_local(async move {
            while log.take() {
                let begun = Instant::now();
                let good = caller.call().await?;
                log.note(begun, good);
            }
            anyhow::Ok(())
        })
    };
    let running: Vec<_> = callers.into_iter().map(run).collect();
    for one in running {
        one.await??;
    }
    Ok(())
}

async fn shared_calls(
    address: SocketAddr,
    path: &'static str,
    body: usize,
    (connections, streams): (usize, usize),
    log: &Rc<Log>,
) -> Result<()> {
    let mut running = Vec::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(
            TokioExecutor::new(),
            TokioIo::new(stream),
        )
        .await?;
        tokio::spawn(connection);
        for _ in 0..streams {
            let (mut sender, log) = (sender.clone(), log.clone());
            running.push(tokio::task::spawn_local(async move {
                while log.take() {
                    let begun = Instant::now();
                    let request = Request::get(format!("http://bench.test{path}")).body(Empty::new())?;
                    let answer = sender.send_request(request).await?;
                    let good = answer.status() == 200;
                    let read = answer.into_body().collect().await?.to_bytes();
                    log.note(begun, good && read.len() == body);
                }
                anyhow::Ok(())
            }));
        }
    }
    for one in running {
        one.await??;
    }
    Ok(())
}

async fn open(
    address: SocketAddr,
    path: &'static str,
    body: usize,
    per_second: u32,
    seconds: u32,
    log: &Rc<Log>,
) -> Result<()> {
    let idle = Rc::<RefCell<Vec<Caller>>>::default();
    let begun = Instant::now();
    let mut running = Vec::new();
    for number in 0..per_second * seconds {
        let due = begun + Duration::from_secs(1) * number / per_second;
        sleep_until(due).await;
        let (idle, log) = (idle.clone(), log.clone());
        running.push(tokio::task::spawn_local(async move {
            let waiting = idle.borrow_mut().pop();
            let mut caller = match waiting {
                Some(caller) => caller,
                None => Caller::connect(address, path, body).await?,
            };
            let good = caller.call().await?;
            log.note(due, good);
            idle.borrow_mut().push(caller);
            anyhow::Ok(())
        }));
    }
    for one in running {
        one.await??;
    }
    Ok(())
}

/// Connections that have called once and idle as long as this lives.
pub struct Held {
    _callers: Vec<Caller>,
}

/// Opens connections and calls once on each.
pub async fn hold(address: SocketAddr, connections: usize) -> Result<Held> {
    let mut callers = Vec::new();
    for _ in 0..connections {
        let mut caller = Caller::connect(address, "/100", 100).await?;
        ensure!(caller.call().await?, "a call failed");
        callers.push(caller);
    }
    Ok(Held { _callers: callers })
}

//! A gateway process that is told to end under load: what it has begun ends well, and nothing new is begun.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use landbridge_tests::wait::until_async;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{sleep_until, timeout},
};

use crate::{
    frames::{self, END_HEADERS, END_STREAM, HEADERS},
    house::{at, page},
    process::Gate,
    size::Size,
};

/// Nothing is waited for longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What calls in flight and open tunnels get: more than a slow machine needs for all that happens meanwhile.
const DRAIN: Duration = Duration::from_secs(60);

/// What a tunnel gets that nobody ends.
const DRAIN_SHORT: Duration = Duration::from_millis(500);

/// Connections of HTTP/1 on which a call is held, and streams of one connection of HTTP/2.
const HELD: usize = 12;

/// Callers that call all the time, half of them streams of one connection of HTTP/2.
const CALLING: usize = 16;

/// Calls that came through before the gateway is told.
const CALLS_MIN: usize = 10 * CALLING;

/// An ordinary call takes so long.
const WORK: Duration = Duration::from_millis(20);

const WEBSOCKET: &str = "GET / HTTP/1.1\r\nhost: ws.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";

const CONSENT: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                       sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Tells a gateway to end while calls of every kind are open.
pub(crate) fn ends_in_order(_: &Size) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        drain().await.unwrap();
        cut().await.unwrap();
    });
}

/// A gateway before an endpoint of calls and one of WebSockets.
async fn gate(folder: &Path, work: &Work, drain: Duration) -> Result<Gate> {
    let more = format!(
        "[connections]\ndrain_ms = {}\n[timeouts]\ntry_ms = 60000\noverall_ms = 60000\n[hedging]\ndelay_max_ms = 0\n\
         [[statics]]\nname = \"ws\"\nendpoints = [{}]\n",
        drain.as_millis(),
        at(websockets().await?, "east", "a")
    );
    let route = "[[listeners.routes]]\nid = \"ws\"\nhosts = [\"ws.test\"]\nstatic = \"ws\"\n";
    Gate::start(folder, &format!("{}{route}", page(&[at(work.address, "east", "a")], &more))).await
}

/// A WebSocket through the gateway.
async fn tunnel(gate: &Gate) -> Result<TcpStream> {
    let mut tunnel = TcpStream::connect(gate.address).await?;
    tunnel.write_all(WEBSOCKET.as_bytes()).await?;
    heads_end(&mut tunnel).await?;
    echoes(&mut tunnel).await?;
    Ok(tunnel)
}

/// A tunnel that nobody ends is cut when its time is over, and the process ends well.
async fn cut() -> Result<()> {
    let (work, folder) = (Work::start().await?, tempfile::tempdir()?);
    let mut gate = gate(folder.path(), &work, DRAIN_SHORT).await?;
    let mut tunnel = tunnel(&gate).await?;

    gate.terminate()?;

    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, tunnel.read_to_end(&mut rest)).await.context("the tunnel is closed")?;
    let status = gate.ended().await;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}

async fn drain() -> Result<()> {
    let (work, folder) = (Work::start().await?, tempfile::tempdir()?);
    let mut gate = gate(folder.path(), &work, DRAIN).await?;
    let mut held = JoinSet::new();
    for number in 0..HELD {
        let mut sender = dial1(gate.address).await?;
        ensure!(call1(&mut sender, &format!("/warm/{number}")).await?.0 == 200, "it serves");
        held.spawn(async move { call1(&mut sender, &format!("/held/1/{number}")).await });
    }
    let (sender, shared) = dial2(gate.address).await?;
    for number in 0..HELD {
        let mut sender = sender.clone();
        held.spawn(async move {
            call2(&mut sender, &format!("/held/2/{number}")).await.map(|status| (status, true))
        });
    }
    drop(sender);
    let mut tunnel = tunnel(&gate).await?;
    let mut raw = frames::connect(gate.address).await?;
    let fields =
        [(":method", "GET"), (":scheme", "http"), (":authority", "web.test"), (":path", "/held/raw")];
    raw.write_all(&frames::frame(HEADERS, END_STREAM | END_HEADERS, 1, &frames::block(&fields))).await?;
    let crowd = Crowd::begin(gate.address).await?;
    until_async("every held call is at the endpoint, and many others were", PATIENCE, async || {
        (work.held() == 2 * HELD + 1 && work.seen() > CALLS_MIN).then_some(())
    })
    .await;

    let told = Instant::now();
    gate.terminate()?;

    until_async("nobody new is let in", PATIENCE, async || {
        TcpStream::connect(gate.address).await.is_err().then_some(())
    })
    .await;
    timeout(PATIENCE, frames::farewell(&mut raw)).await.context("streams are told that no more are taken")?;
    echoes(&mut tunnel).await.context("a tunnel goes on while calls drain")?;
    work.release();
    while let Some(answer) = held.join_next().await {
        let (status, last) = answer?.context("a call in flight ends well")?;
        ensure!(
            status == 200 && last,
            "a call in flight got {status}, and its connection was told its end: {last}"
        );
    }
    shared.await?.context("the shared connection ends well")?;
    let (answered, refused) = crowd.end(&work).await?;
    drop(tunnel);
    let status = gate.ended().await;
    let took = told.elapsed();
    println!(
        "draining: {answered} calls answered, {refused} refused unsent, ended after {took:?} with {status}"
    );
    ensure!(status.success(), "it ended with {status}");
    ensure!(took < DRAIN, "nothing was left to wait for, and it took {took:?}");
    Ok(())
}

/// An endpoint that notes every call it sees, and answers those under `/held` only when it is told to.
struct Work {
    address: SocketAddr,
    seen: Arc<Mutex<BTreeSet<String>>>,
    open: watch::Sender<bool>,
}

impl Work {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (open, is_open) = watch::channel(false);
        let seen = Arc::<Mutex<BTreeSet<String>>>::default();
        let noted = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (noted, is_open) = (noted.clone(), is_open.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (noted, mut is_open) = (noted.clone(), is_open.clone());
                    async move {
                        let path = request.uri().path().to_owned();
                        noted.lock().unwrap().insert(path.clone());
                        if path.starts_with("/held") {
                            // The test that goes away first opens it never.
                            let _ = is_open.wait_for(|open| *open).await;
                        } else {
                            sleep_until(tokio::time::Instant::now() + WORK).await;
                        }
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"done"))))
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Ok(Self { address, seen, open })
    }

    fn has_seen(&self, path: &str) -> bool {
        self.seen.lock().unwrap().contains(path)
    }

    fn seen(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn held(&self) -> usize {
        self.seen.lock().unwrap().iter().filter(|path| path.starts_with("/held")).count()
    }

    fn release(&self) {
        self.open.send_replace(true);
    }
}

/// An endpoint that agrees to every WebSocket and sends back what it gets.
async fn websockets() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                heads_end(&mut stream).await?;
                stream.write_all(CONSENT.as_bytes()).await?;
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await?;
                anyhow::Ok(())
            });
        }
    });
    Ok(address)
}

async fn heads_end(stream: &mut TcpStream) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await??);
    }
    Ok(())
}

async fn echoes(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(b"hello").await?;
    let mut back = [0; 5];
    timeout(PATIENCE, stream.read_exact(&mut back)).await??;
    ensure!(&back == b"hello", "{back:?}");
    Ok(())
}

type One = http1::SendRequest<Full<Bytes>>;
type Many = http2::SendRequest<Full<Bytes>>;

async fn dial1(address: SocketAddr) -> Result<One> {
    let (sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn dial2(address: SocketAddr) -> Result<(Many, JoinHandle<hyper::Result<()>>)> {
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
    Ok((sender, tokio::spawn(connection)))
}

/// The status, and whether the answer says that it is the connection's last.
async fn call1(sender: &mut One, path: &str) -> Result<(u16, bool)> {
    sender.ready().await?;
    let request = Request::get(path).header("host", "web.test").body(Full::default())?;
    let answer = timeout(PATIENCE, sender.send_request(request)).await??;
    let last = answer.headers().get("connection").is_some_and(|value| value == "close");
    let status = answer.status().as_u16();
    answer.into_body().collect().await?;
    Ok((status, last))
}

async fn call2(sender: &mut Many, path: &str) -> Result<u16> {
    sender.ready().await?;
    let request = Request::get(format!("http://web.test{path}")).body(Full::default())?;
    let answer = timeout(PATIENCE, sender.send_request(request)).await??;
    let status = answer.status().as_u16();
    answer.into_body().collect().await?;
    Ok(status)
}

/// Callers that call until they are told, by an answer or by an end, that it is over.
struct Crowd {
    callers: JoinSet<(usize, Option<String>)>,
}

impl Crowd {
    async fn begin(gateway: SocketAddr) -> Result<Self> {
        let mut callers = JoinSet::new();
        let (shared, _) = dial2(gateway).await?;
        for caller in 0..CALLING {
            if caller.is_multiple_of(2) {
                let mut sender = shared.clone();
                callers.spawn(async move {
                    for call in 0.. {
                        let path = format!("/{caller}/{call}");
                        if !call2(&mut sender, &path).await.is_ok_and(|status| status == 200) {
                            return (call, Some(path));
                        }
                    }
                    unreachable!("nobody calls so often")
                });
            } else {
                let mut sender = dial1(gateway).await?;
                callers.spawn(async move {
                    for call in 0.. {
                        let path = format!("/{caller}/{call}");
                        match call1(&mut sender, &path).await {
                            Ok((200, false)) => {}
                            Ok((200, true)) => return (call + 1, None),
                            Ok(_) | Err(_) => return (call, Some(path)),
                        }
                    }
                    unreachable!("nobody calls so often")
                });
            }
        }
        Ok(Self { callers })
    }

    /// Calls that were answered and callers whose last call was not taken: none of those may have reached the endpoint.
    async fn end(mut self, work: &Work) -> Result<(usize, usize)> {
        let (mut answered, mut refused) = (0, 0);
        while let Some(ended) = self.callers.join_next().await {
            let (calls, failed) = ended?;
            answered += calls;
            if let Some(path) = failed {
                ensure!(!work.has_seen(&path), "the call {path} was taken and got no answer");
                refused += 1;
            }
        }
        Ok((answered, refused))
    }
}

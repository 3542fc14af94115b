//! A wire between two regions as a proxy in this process: what goes in comes out later, slowly or not at all, in order, and is
//! counted.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};

/// Bytes read at once.
const CHUNK_BYTES: usize = 16 << 10;

/// Chunks under way in one direction of a connection; who sends more waits, as with a full socket.
const CHUNKS_MAX: usize = 1024;

/// How a wire carries, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// As fast as both ends go.
    Open,
    /// At most so many bytes a second.
    Slow(u32),
    /// Nothing moves, and no end is told.
    Held,
    /// Connections break, and none comes about.
    Cut,
}

/// A wire to one port of this machine.
pub struct Wire {
    port: u16,
    flow: watch::Sender<Flow>,
    carried: Arc<AtomicU64>,
    /// When a connection last came about.
    joined: watch::Sender<Option<Instant>>,
    task: JoinHandle<()>,
}

/// What every connection on a wire shares.
#[derive(Clone)]
struct Line {
    delay: Duration,
    flow: watch::Receiver<Flow>,
    carried: Arc<AtomicU64>,
}

impl Wire {
    /// A wire to this port that takes so long each way; it is open at first.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn to(port: u16, delay: Duration) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let own = listener.local_addr()?.port();
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (flow, is) = watch::channel(Flow::Open);
        let joined = watch::Sender::new(None);
        let carried = Arc::<AtomicU64>::default();
        let line = Line { delay, flow: is, carried: Arc::clone(&carried) };
        let joining = joined.clone();
        let task = tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                if *line.flow.borrow() != Flow::Cut {
                    joining.send_replace(Some(Instant::now()));
                    tokio::spawn(join(caller, target, line.clone()));
                }
            }
        });
        Ok(Self { port: own, flow, carried, joined, task })
    }

    /// Where callers knock.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Carries like this from here on.
    pub fn set(&self, flow: Flow) {
        self.flow.send_replace(flow);
    }

    /// Bytes that came out so far, both directions together.
    pub fn carried_bytes(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    /// When a connection last came about.
    pub fn joined(&self) -> Option<Instant> {
        *self.joined.borrow()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn join(caller: TcpStream, target: SocketAddr, mut line: Line) {
    let Ok(called) = TcpStream::connect(target).await else { return };
    // Delay is ours to add, not the kernel's.
    let (_, _) = (caller.set_nodelay(true), called.set_nodelay(true));
    let (from_caller, to_caller) = caller.into_split();
    let (from_called, to_called) = called.into_split();
    let (there, back) =
        (carry(from_caller, to_called, line.clone()), carry(from_called, to_caller, line.clone()));
    tokio::select! {
        ((), ()) = async { tokio::join!(there, back) } => {}
        // Whoever waits for the end of the wire sees it.
        _ = line.flow.wait_for(|flow| *flow == Flow::Cut) => {}
    }
}

/// Carries one direction until its source ends.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut line: Line) {
    let (sender, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let delay = line.delay;
    let take_in = async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(length @ 1..) = from.read(&mut chunk).await {
            if sender.send((Instant::now() + delay, chunk[..length].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let give_out = async move {
        while let Some((due, chunk)) = under_way.recv().await {
            tokio::time::sleep_until(due).await;
            let Ok(flow) = line.flow.wait_for(|flow| *flow != Flow::Held).await.map(|flow| *flow) else {
                break;
            };
            if let Flow::Slow(bytes_per_s) = flow {
                let takes = Duration::from_secs_f64(chunk.len() as f64 / f64::from(bytes_per_s));
                let ready = Instant::now() + takes;
                // A wire that is slow no longer lets go of what it slowed down.
                let changed = line.flow.wait_for(|now| *now != flow);
                let _ = tokio::time::timeout_at(ready, changed).await;
            }
            line.carried.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            if to.write_all(&chunk).await.is_err() {
                break;
            }
        }
        // It may be gone already.
        let _ = to.shutdown().await;
    };
    tokio::join!(take_in, give_out);
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(25);

    async fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((mut caller, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = caller.split();
                    tokio::io::copy(&mut from, &mut to).await.ok();
                });
            }
        });
        port
    }

    async fn caller(wire: &Wire) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, wire.port())).await.expect("somebody listens")
    }

    async fn says(stream: &mut TcpStream, text: &[u8]) -> Vec<u8> {
        stream.write_all(text).await.expect("written");
        let mut heard = vec![0; text.len()];
        stream.read_exact(&mut heard).await.expect("an echo");
        heard
    }

    #[tokio::test]
    async fn what_goes_in_comes_out_in_order_after_the_delay_each_way_and_is_counted() {
        let wire = Wire::to(echo().await, DELAY).await.expect("a wire");
        let mut stream = caller(&wire).await;
        let text: Vec<u8> = (0..100_000_u32).map(|at| at as u8).collect();

        let begun = Instant::now();
        assert_eq!(says(&mut stream, &text[..10]).await, text[..10]);

        assert!(begun.elapsed() >= 2 * DELAY, "{:?}", begun.elapsed());
        assert_eq!(wire.carried_bytes(), 20);
        let (mut from, mut to) = stream.split();
        let mut heard = vec![0; text.len()];
        let (written, read) = tokio::join!(to.write_all(&text), from.read_exact(&mut heard));
        assert!(written.is_ok() && read.is_ok());
        assert_eq!(heard, text);
    }

    #[tokio::test]
    async fn a_held_wire_keeps_what_it_took_and_a_cut_one_ends() {
        let wire = Wire::to(echo().await, Duration::ZERO).await.expect("a wire");
        let mut stream = caller(&wire).await;
        wire.set(Flow::Held);
        stream.write_all(b"held").await.expect("taken in");
        let mut heard = [0; 4];
        let early = tokio::time::timeout(4 * DELAY, stream.read_exact(&mut heard)).await;
        assert!(early.is_err(), "a held wire let {heard:?} through");

        wire.set(Flow::Open);
        stream.read_exact(&mut heard).await.expect("an echo");
        assert_eq!(&heard, b"held");
        wire.set(Flow::Cut);

        let end = stream.read(&mut heard).await;
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
}

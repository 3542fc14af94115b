//! The bytes that lead to another region, of connections and of bodies: counted, and held back while too many are owed.
//!
//! Invariant: what stays open moves no more than its pair of regions may, but for a second's worth and a piece for each.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use crate::crossing::Crossing;

/// Where bytes to or from another region are counted, and wait.
pub(crate) struct Barrier {
    crossing: Arc<Crossing>,
    /// Until then nothing moves.
    held: Option<Pin<Box<Sleep>>>,
}

impl Barrier {
    pub(crate) fn new(crossing: Arc<Crossing>) -> Self {
        Self { crossing, held: None }
    }

    /// Ready when bytes may move.
    pub(crate) fn poll_free(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(held) = &mut self.held {
                ready!(held.as_mut().poll(cx));
                self.held = None;
            }
            match self.crossing.owes() {
                Some(wait) => self.held = Some(Box::pin(sleep(wait))),
                None => return Poll::Ready(()),
            }
        }
    }

    /// Counts bytes that moved.
    pub(crate) fn count(&self, bytes: usize) {
        self.crossing.carry(bytes as u64);
    }
}

/// A connection, and what its bytes count for, if they do.
pub(crate) struct Toll<Io> {
    io: Io,
    barrier: Option<Barrier>,
}

impl<Io> Toll<Io> {
    pub(crate) fn new(io: Io, crossing: Option<Arc<Crossing>>) -> Self {
        Self { io, barrier: crossing.map(Barrier::new) }
    }

    fn poll_free(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.barrier.as_mut().map_or(Poll::Ready(()), |barrier| barrier.poll_free(cx))
    }

    fn count(&self, bytes: usize) {
        if let Some(barrier) = &self.barrier {
            barrier.count(bytes);
        }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Toll<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_free(cx));
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.count(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Toll<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_free(cx));
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.count(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use landbridge_model::Region;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::config::PeerRegion;

    #[tokio::test]
    async fn bytes_of_an_open_connection_wait_while_too_many_are_owed() {
        let crossing = Crossing::new(&PeerRegion {
            region: Region::parse("west").unwrap(),
            relayed: true,
            gateways: Vec::new(),
            requests_per_second: None,
            bytes_per_second: Some(100_000),
        });
        let (near, mut far) = duplex(1 << 20);
        let mut near = Toll::new(near, Some(Arc::new(crossing)));
        let begun = Instant::now();

        near.write_all(&[1; 125_000]).await.unwrap();
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "a second's worth, and the piece above it, pass at once"
        );
        far.write_all(b"x").await.unwrap();
        near.read_u8().await.unwrap();

        assert!(
            begun.elapsed() >= Duration::from_millis(240),
            "{:?} for a quarter too much",
            begun.elapsed()
        );
    }
}

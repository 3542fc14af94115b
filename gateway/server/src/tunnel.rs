//! Connections whose bytes are passed on unread: WebSockets after their handshake, and service ports.
//!
//! ```text
//! open ──both sides have ended──▶ closed
//!   └── the seat is cut: nothing moved for too long, or the time to drain is over ──▶ closed
//! ```
//! Invariant: a tunnel holds two buffers of a fixed size, whatever its sides send.

use std::{future::poll_fn, io, pin::pin, rc::Rc, task::Poll};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes};

use crate::{
    answer::Held,
    seat::{Beat, OpenCall, Order, Seat},
};

/// What one direction of a tunnel holds of what its receiver does not take.
const BUFFER_BYTES: usize = 16 * 1024;

/// What a tunnel is for; a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// An HTTP/1.1 connection that became a WebSocket.
    Websocket,
    /// A connection to a service port.
    ServicePort,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Websocket => "websocket",
            Self::ServicePort => "service_port",
        }
    }
}

/// An endpoint's side that waits for its caller's.
pub(crate) struct Half {
    far: Upgraded,
    held: Held,
}

impl Half {
    /// The endpoint has agreed; `held` counts it as in use.
    pub(crate) fn new(far: Upgraded, held: Held) -> Self {
        Self { far, held }
    }

    /// Passes bytes on until both sides have ended or the seat is cut. `early` came from the caller before it was asked.
    pub(crate) async fn join<Near>(self, mut near: Near, early: &[u8], seat: &Seat, call: OpenCall)
    where
        Near: AsyncRead + AsyncWrite + Unpin,
    {
        let local = self.held.local().clone();
        let _counted = OpenTunnel::begin(&local.beat);
        local.tally.borrow_mut().tunnelled(Kind::Websocket);
        let mut far = TokioIo::new(self.far);
        if let Err(error) = pass(&mut near, &mut far, early, seat).await {
            tracing::debug!(event = "tunnel_broke", %error);
        }
        drop(call);
    }
}

/// Passes bytes both ways; an order to leave lets the tunnel go on, an order to cut ends it at once.
pub(crate) async fn pass<Near, Far>(
    near: &mut Near,
    far: &mut Far,
    early: &[u8],
    seat: &Seat,
) -> io::Result<()>
where
    Near: AsyncRead + AsyncWrite + Unpin,
    Far: AsyncRead + AsyncWrite + Unpin,
{
    let mut passing = pin!(async {
        far.write_all(early).await?;
        copy_bidirectional_with_sizes(near, far, BUFFER_BYTES, BUFFER_BYTES).await.map(|_| ())
    });
    poll_fn(|cx| match seat.order(cx) {
        Order::Stay | Order::Leave => passing.as_mut().poll(cx),
        Order::Cut => Poll::Ready(Ok(())),
    })
    .await
}

/// Counts a tunnel as long as it lives.
#[derive(Debug)]
pub(crate) struct OpenTunnel(Rc<Beat>);

impl OpenTunnel {
    pub(crate) fn begin(beat: &Rc<Beat>) -> Self {
        beat.tunnels.set(beat.tunnels.get() + 1);
        Self(beat.clone())
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.0.tunnels.set(self.0.tunnels.get() - 1);
    }
}

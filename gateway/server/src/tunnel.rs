//! Connections whose bytes are passed on unread: WebSockets after their handshake, service ports, and both by relay.
//!
//! ```text
//! open ──both sides have ended──▶ closed
//!   └── the seat is cut: nothing moved for too long, or the time to drain is over ──▶ closed
//! ```
//! Invariant: a tunnel holds two buffers of a fixed size, whatever its sides send.

use std::{future::poll_fn, io, pin::pin, rc::Rc, task::Poll};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes},
    net::TcpStream,
};

use crate::{
    answer::Held,
    seat::{Beat, OpenCall, Order, Seat},
    toll::Toll,
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
    /// One to a service port of another region's gateway, which asked for it.
    Relay,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Websocket => "websocket",
            Self::ServicePort => "service_port",
            Self::Relay => "relay",
        }
    }
}

/// An endpoint's side.
pub(crate) enum Far {
    /// A connection of its own.
    Plain(TcpStream),
    /// One that HTTP was spoken on before.
    Upgraded(Box<Upgraded>),
}

impl Far {
    /// Passes bytes on until both sides have ended or the seat is cut; what leaves the region is counted.
    pub(crate) async fn pass<Near>(self, near: &mut Near, held: &Held, early: &[u8], seat: &Seat)
    where
        Near: AsyncRead + AsyncWrite + Unpin,
    {
        let crossing = held.crossing.clone();
        let passed = match self {
            Self::Plain(far) => pass(near, &mut Toll::new(far, crossing), early, seat).await,
            Self::Upgraded(far) => {
                pass(near, &mut Toll::new(TokioIo::new(*far), crossing), early, seat).await
            }
        };
        if let Err(error) = passed {
            tracing::debug!(event = "tunnel_broke", %error);
        }
    }
}

/// An endpoint's side that waits for its caller's.
pub(crate) struct Half {
    far: Far,
    held: Held,
    kind: Kind,
    counted: OpenTunnel,
}

impl Half {
    /// The endpoint has agreed; `held` counts it as in use, and `counted` the tunnel as open.
    pub(crate) fn new(far: Far, held: Held, kind: Kind, counted: OpenTunnel) -> Self {
        Self { far, held, kind, counted }
    }

    /// Passes bytes on until both sides have ended or the seat is cut. `early` came from the caller before it was asked.
    pub(crate) async fn join<Near>(self, mut near: Near, early: &[u8], seat: &Seat, call: OpenCall)
    where
        Near: AsyncRead + AsyncWrite + Unpin,
    {
        let local = self.held.local().clone();
        local.tally.borrow_mut().tunnelled(self.kind);
        self.far.pass(&mut near, &self.held, early, seat).await;
        drop((call, self.counted));
    }
}

/// Passes bytes both ways; an order to leave lets the tunnel go on, an order to cut ends it at once.
async fn pass<Near, Io>(near: &mut Near, far: &mut Io, early: &[u8], seat: &Seat) -> io::Result<()>
where
    Near: AsyncRead + AsyncWrite + Unpin,
    Io: AsyncRead + AsyncWrite + Unpin,
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

//! Opens connections to endpoints: TCP, TLS where the endpoint speaks it, and the HTTP handshake.
//!
//! Invariant: an endpoint that is to speak TLS is never spoken to without it, nor under another name than its own.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use landbridge_gateway_core::{Endpoint, Protocol};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    line::Line,
    pool::{ManyCalls, OnThisCore, OneCall},
    relay,
    tls::H2,
    view::View,
};

/// How far an endpoint may send ahead on one HTTP/2 stream.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// How far an endpoint may send ahead on one HTTP/2 connection.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// An HTTP/2 connection with calls on it is asked for a sign of life this often.
const KEEPALIVE_MS: u64 = 5_000;

/// What an HTTP/1 connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Calls, one after the other.
    Calls,
    /// One call that may turn it into a tunnel.
    Tunnel,
}

/// Opens a TCP connection to an endpoint.
pub(crate) async fn tcp(endpoint: &Endpoint, view: &View) -> io::Result<TcpStream> {
    let host = endpoint.address.as_str();
    let open = async {
        match host.parse::<IpAddr>() {
            Ok(address) => TcpStream::connect((address, endpoint.port)).await,
            Err(_) => TcpStream::connect((host, endpoint.port)).await,
        }
    };
    let wait = Duration::from_millis(view.settings.upstream.connect_timeout_ms);
    let stream = timeout(wait, open).await.map_err(|_| io::ErrorKind::TimedOut)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Opens a TLS connection to an endpoint; the handshake gets as long as the connection before it.
async fn tls(endpoint: &Endpoint, view: &View, http2: bool) -> io::Result<TlsStream<TcpStream>> {
    if endpoint.speech.protocol == Protocol::Relay {
        return relay::connect(endpoint, view).await;
    }
    let trust = view.trust.as_ref().ok_or_else(|| io::Error::other("endpoint_tls is not configured"))?;
    let config = if http2 { trust.http2.clone() } else { trust.http1.clone() };
    let name = endpoint.speech.tls_name.as_deref().unwrap_or(endpoint.address.as_str());
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let stream = tcp(endpoint, view).await?;
    let wait = Duration::from_millis(view.settings.upstream.connect_timeout_ms);
    let shaken = timeout(wait, TlsConnector::from(Arc::clone(&config)).connect(name, stream)).await;
    let stream = shaken.map_err(|_| io::ErrorKind::TimedOut)??;
    if http2 && stream.get_ref().1.alpn_protocol() != Some(H2) {
        return Err(io::Error::other("the endpoint did not agree to HTTP/2"));
    }
    Ok(stream)
}

/// Notes why an endpoint could not be reached; the call that asked says what follows.
fn noted<T>(endpoint: &Endpoint, opened: io::Result<T>) -> io::Result<T> {
    if let Err(error) = &opened {
        tracing::debug!(event = "endpoint_not_reached", address = %endpoint.address, port = endpoint.port, %error);
    }
    opened
}

/// Opens a line to an endpoint that speaks HTTP/1 in clear text.
pub(crate) async fn line(endpoint: &Endpoint, view: &View) -> io::Result<Line> {
    noted(endpoint, tcp(endpoint, view).await.map(Line::new))
}

/// Lets hyper speak on a line that waits.
pub(crate) async fn taken_over(line: Line) -> io::Result<OneCall> {
    shake_one(line.into_stream(), Purpose::Calls).await
}

/// Opens a connection for HTTP/1 calls.
pub(crate) async fn one(endpoint: &Endpoint, view: &View, purpose: Purpose) -> io::Result<OneCall> {
    let opened = async {
        if endpoint.speech.protocol.is_secure() {
            shake_one(tls(endpoint, view, false).await?, purpose).await
        } else {
            shake_one(tcp(endpoint, view).await?, purpose).await
        }
    };
    noted(endpoint, opened.await)
}

async fn shake_one<Io>(io: Io, purpose: Purpose) -> io::Result<OneCall>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        let ended = match purpose {
            Purpose::Calls => connection.await,
            Purpose::Tunnel => connection.with_upgrades().await,
        };
        // The call on the connection sees the error too, and says what follows from it.
        if let Err(error) = ended {
            tracing::debug!(event = "upstream_connection_ended", %error);
        }
    });
    Ok(sender)
}

/// Opens a connection for HTTP/2 calls: negotiated within TLS, without negotiation in clear text.
pub(crate) async fn many(endpoint: &Endpoint, view: &View) -> io::Result<ManyCalls> {
    let opened = async {
        if endpoint.speech.protocol.is_secure() {
            shake_many(tls(endpoint, view, true).await?).await
        } else {
            shake_many(tcp(endpoint, view).await?).await
        }
    };
    noted(endpoint, opened.await)
}

async fn shake_many<Io>(io: Io) -> io::Result<ManyCalls>
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (sender, connection) = http2::Builder::new(OnThisCore)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(Duration::from_millis(KEEPALIVE_MS))
        .handshake(TokioIo::new(io))
        .await
        .map_err(io::Error::other)?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(event = "upstream_connection_ended", %error);
        }
    });
    Ok(sender)
}

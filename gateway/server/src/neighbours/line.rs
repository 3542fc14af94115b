//! A line to one neighbour: a connection of HTTP/2 under mutual TLS, kept between rounds.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use ecow::EcoString;
use http::{Request, Uri};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use landbridge_gateway_core::Word;
use landbridge_model::{Address, Region};
use landbridge_runtime::tls::{Identity, PeerRole};
use tokio::{net::TcpStream, time::timeout};

use super::page::{self, PATH, WORD_BYTES_MAX};

/// Where a neighbour listens for other gateways.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) address: Address,
    pub(super) port: u16,
}

/// An open connection.
pub(super) type Line = SendRequest<Body>;

/// How an exchange of words ended.
pub(super) struct Ended {
    pub(super) name: EcoString,
    /// The round that was told.
    pub(super) round: u64,
    pub(super) heard: Result<(Line, Word), String>,
}

/// Tells a neighbour a word and hears its own, on the line there is or a new one.
pub(super) async fn exchange(
    name: EcoString,
    place: Place,
    line: Option<Line>,
    identity: Identity,
    home: Region,
    word: Word,
    within: Duration,
) -> Ended {
    let round = word.round;
    let asking = async {
        let written = page::write(&word);
        let open = line.filter(|line| !line.is_closed());
        let line = match open {
            Some(line) => line,
            None => dial(&place, &identity, &home).await?,
        };
        ask(line, written).await
    };
    let heard = timeout(within, asking).await.unwrap_or_else(|_| Err("no answer in time".to_owned()));
    Ended { name, round, heard }
}

async fn dial(place: &Place, identity: &Identity, home: &Region) -> Result<Line, String> {
    let told = |error: std::io::Error| error.to_string();
    let stream = TcpStream::connect((place.address.as_str(), place.port)).await.map_err(told)?;
    stream.set_nodelay(true).map_err(told)?;
    let (stream, peer) = identity.connect(stream).await.map_err(told)?;
    if peer.role != PeerRole::Gateway || peer.region != home.as_str() {
        return Err(format!("{peer} is no gateway of {home}"));
    }
    let shaken = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (line, driving) = shaken.map_err(|error| error.to_string())?;
    // Ends when the line is dropped, or its neighbour leaves.
    tokio::spawn(driving);
    Ok(line)
}

async fn ask(mut line: Line, word: Bytes) -> Result<(Line, Word), String> {
    line.ready().await.map_err(|error| error.to_string())?;
    let request = Request::post(Uri::from_static(PATH)).body(Body::from(word));
    let answer = line.send_request(request.map_err(|error| error.to_string())?).await;
    let answer = answer.map_err(|error| error.to_string())?;
    if !answer.status().is_success() {
        return Err(format!("it answered {}", answer.status()));
    }
    let body = to_bytes(Body::new(answer.into_body()), WORD_BYTES_MAX).await;
    let word = page::read(&body.map_err(|error| error.to_string())?)?;
    Ok((line, word))
}

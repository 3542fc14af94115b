//! HTTP/2 by hand: frames that no honest library would write.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::smuggling::PATIENCE;

/// What a client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame's head is so long.
const HEAD_BYTES: usize = 9;

/// `:status 200` from HPACK's static table, as every server writes it.
const STATUS_200: u8 = 0x88;

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block of literals, never indexed and never compressed.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541, section 5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    const PREFIX_MAX: usize = 127;
    if length < PREFIX_MAX {
        return block.push(length as u8);
    }
    block.push(PREFIX_MAX as u8);
    let mut rest = length - PREFIX_MAX;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// What a gateway did with the first stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answered 200.
    Passed,
    /// It answered something else, reset the stream or left.
    Refused,
}

/// Connects and says the preface.
pub(crate) async fn connect(address: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(PREFACE).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    Ok(stream)
}

/// Sends frames of stream 1 and waits for what comes of it.
pub(crate) async fn verdict(address: SocketAddr, frames: &[u8]) -> Result<Verdict> {
    let mut stream = connect(address).await?;
    let talk = async {
        // A gateway that has heard enough may close before it has read all.
        let _ = stream.write_all(frames).await;
        loop {
            let Some((kind, on, payload)) = next(&mut stream).await else { return Verdict::Refused };
            match (kind, on) {
                (HEADERS, 1) if payload.first() == Some(&STATUS_200) => return Verdict::Passed,
                (HEADERS | RST_STREAM, 1) | (GOAWAY, _) => return Verdict::Refused,
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, talk).await.context("neither answered nor closed")
}

/// Reads to the end of the connection or a farewell.
pub(crate) async fn farewell(stream: &mut (impl AsyncReadExt + Unpin)) {
    while let Some((kind, ..)) = next(stream).await {
        if kind == GOAWAY {
            return;
        }
    }
}

/// The next frame: its kind, its stream, its payload.
async fn next(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<(u8, u32, Vec<u8>)> {
    let mut head = [0; HEAD_BYTES];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let on = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], on, payload))
}

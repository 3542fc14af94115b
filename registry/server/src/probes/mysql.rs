//! One MySQL probe: greet, log in, send the query, and see whether the server takes writes if that was the question.
//!
//! Enough of the client protocol for that, in plain text: MySQL's own passwords and MariaDB's; no TLS.

mod login;
mod packet;

use std::io;

use landbridge_registry_core::probing::Finding;
use tokio::io::{AsyncRead, AsyncWrite};

use self::packet::{Packets, Reader, broken};
use super::checker::Query;

const COM_QUIT: u8 = 0x01;
const COM_QUERY: u8 = 0x03;
const COM_PING: u8 = 0x0e;

/// First bytes of what a server says.
const OK: u8 = 0x00;
const END: u8 = 0xfe;
const ERROR: u8 = 0xff;
/// The server wants a file of ours, which it does not get.
const WANTS_FILE: u8 = 0xfb;

/// With this query the answer counts, not only that there is one (Nacos 2.5 `MysqlHealthCheckProcessor`).
const READ_ONLY: &str = "show global variables where variable_name='read_only'";

/// Columns of an answer that are passed over.
const COLUMNS_MAX: u64 = 4_096;

/// How a conversation ended before its answer.
pub(super) enum Ended {
    /// The connection broke.
    Broken(io::Error),
    /// The server refused, or said something that is no answer.
    Refused(String),
    /// The server asks for what cannot be done in plain text.
    Unable(String),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// Talks to a server on an open stream; an error means that the conversation broke.
pub(super) async fn ask<S>(stream: S, query: &Query) -> io::Result<Finding>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut packets = Packets::new(stream);
    match converse(&mut packets, query).await {
        Ok(finding) => {
            // The answer is here; who hangs up without a word is only counted by the server.
            let _ = packets.command(&[COM_QUIT]).await;
            Ok(finding)
        }
        Err(Ended::Broken(error)) => Err(error),
        Err(Ended::Refused(why)) => {
            tracing::debug!(event = "mysql_refused", why);
            Ok(Finding::Hard)
        }
        Err(Ended::Unable(why)) => {
            tracing::warn!(event = "probe_impossible", why);
            Ok(Finding::Unable)
        }
    }
}

async fn converse<S>(packets: &mut Packets<S>, query: &Query) -> Result<Finding, Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    login::log_in(packets, &query.user, &query.password).await?;
    let command = query.command.trim().trim_end_matches(';').trim_end();
    if command.is_empty() {
        packets.command(&[COM_PING]).await?;
        return Ok(if first(&packets.read().await?)? == OK { Finding::Well } else { Finding::Hard });
    }
    packets.command(&[&[COM_QUERY], command.as_bytes()].concat()).await?;
    let answer = packets.read().await?;
    match first(&answer)? {
        OK => return Ok(Finding::Well),
        WANTS_FILE => return Err(Ended::Refused("it asks for a file".to_owned())),
        _ => {}
    }
    let columns = Reader(&answer).number().filter(|columns| *columns <= COLUMNS_MAX);
    let columns = columns.ok_or_else(|| Ended::Refused("its answer has too many columns".to_owned()))?;
    // One packet for each column, and one that ends them.
    for _ in 0..=columns {
        first(&packets.read().await?)?;
    }
    let row = packets.read().await?;
    let shown = if first(&row)? == END && row.len() < 9 { None } else { second(&row) };
    let about_writes = command.eq_ignore_ascii_case(READ_ONLY);
    let replica = about_writes && shown.is_some_and(|value| value.eq_ignore_ascii_case(b"ON"));
    Ok(if replica { Finding::Hard } else { Finding::Well })
}

/// The first byte of a packet that is no error.
fn first(packet: &[u8]) -> Result<u8, Ended> {
    match packet.first() {
        Some(&ERROR) => Err(Ended::Refused(error(packet))),
        Some(first) => Ok(*first),
        None => Err(Ended::Broken(broken("an empty packet"))),
    }
}

/// What an error packet says.
fn error(packet: &[u8]) -> String {
    String::from_utf8_lossy(packet.get(3..).unwrap_or_default()).into_owned()
}

/// The second value of a row of text.
fn second(row: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader(row);
    reader.text()?;
    reader.text()
}

#[cfg(test)]
mod tests;

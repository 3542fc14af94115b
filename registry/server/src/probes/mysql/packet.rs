//! MySQL's packets: a length of three bytes, a number, and so many bytes.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The longest packet that is read, in bytes; an answer to a probe is short.
const BYTES_MAX: usize = 64 * 1024;

/// Packets over a stream.
pub(super) struct Packets<S> {
    stream: S,
    number: u8,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Packets<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, number: 0 }
    }

    /// The next packet.
    pub async fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).await?;
        let [a, b, c, number] = head;
        let length = u32::from_le_bytes([a, b, c, 0]) as usize;
        if length > BYTES_MAX {
            return Err(broken("a packet is longer than an answer to a probe"));
        }
        self.number = number.wrapping_add(1);
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok(body)
    }

    /// Says something within a conversation.
    pub async fn write(&mut self, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len()).ok().filter(|length| *length < 1 << 24);
        let [a, b, c, _] = length.ok_or_else(|| broken("a packet is too long"))?.to_le_bytes();
        let packet = [&[a, b, c, self.number], body].concat();
        self.number = self.number.wrapping_add(1);
        self.stream.write_all(&packet).await
    }

    /// Begins a new conversation.
    pub async fn command(&mut self, body: &[u8]) -> io::Result<()> {
        self.number = 0;
        self.write(body).await
    }
}

/// The other side does not speak the protocol.
pub(super) fn broken(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Reads the parts of a packet one after the other.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Bytes up to a zero, which is passed over; all that is left if there is none.
    pub fn until_zero(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        taken
    }

    /// A number whose first byte says how long it is.
    pub fn number(&mut self) -> Option<u64> {
        let long =
            |bytes: &[u8]| bytes.iter().rev().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        match *self.bytes(1)? {
            [short @ 0..=0xfa] => Some(u64::from(short)),
            [0xfc] => self.bytes(2).map(long),
            [0xfd] => self.bytes(3).map(long),
            [0xfe] => self.bytes(8).map(long),
            _ => None,
        }
    }

    /// A value with its length before it; none if it is null.
    pub fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.bytes(usize::try_from(length).ok()?)
    }
}

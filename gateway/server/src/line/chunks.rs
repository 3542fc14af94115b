//! Takes chunks apart: data, trailers, and where the body ends (RFC 9112, section 7.1).
//!
//! ```text
//! Size ──0──▶ Trailer ──blank line──▶ Over
//!   └──n──▶ Data(n) ──▶ DataEnd ──▶ Size
//! ```

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The longest line that tells the length of a chunk.
const SIZE_LINE_BYTES_MAX: usize = 1_024;

/// The longest trailers.
const TRAILER_BYTES_MAX: usize = 16 * 1_024;

/// A step through a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The next of its bytes.
    Data(Bytes),
    /// What came behind them.
    Trailers(HeaderMap),
    /// It is over.
    Over,
    /// More bytes are needed.
    More,
}

/// Where in a body we are.
#[derive(Debug)]
enum Place {
    Size,
    Data(u64),
    DataEnd,
    Trailer,
    Over,
}

/// A body in chunks.
#[derive(Debug)]
pub(super) struct Chunks {
    place: Place,
    /// The begin of a line that is not complete.
    line: Vec<u8>,
    trailers: HeaderMap,
    trailer_bytes: usize,
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self { place: Place::Size, line: Vec::new(), trailers: HeaderMap::new(), trailer_bytes: 0 }
    }

    /// True after the last of it.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.place, Place::Over)
    }

    /// Takes what it can of some bytes.
    pub(super) fn next(&mut self, bytes: &mut Bytes) -> Result<Step, &'static str> {
        loop {
            match self.place {
                Place::Over => return Ok(Step::Over),
                Place::Data(_) if bytes.is_empty() => return Ok(Step::More),
                Place::Data(left) => {
                    let taken = left.min(bytes.len() as u64);
                    self.place = if taken == left { Place::DataEnd } else { Place::Data(left - taken) };
                    return Ok(Step::Data(bytes.split_to(taken as usize)));
                }
                Place::Size | Place::DataEnd | Place::Trailer => {}
            }
            if !self.take_line(bytes)? {
                return Ok(Step::More);
            }
            let line = std::mem::take(&mut self.line);
            let line = line.strip_suffix(b"\r\n").ok_or("a line ends without a carriage return")?;
            match self.place {
                Place::Size => {
                    self.place = match length(line)? {
                        0 => Place::Trailer,
                        length => Place::Data(length),
                    };
                }
                Place::DataEnd if line.is_empty() => self.place = Place::Size,
                Place::DataEnd => return Err("a chunk is longer than it says"),
                Place::Trailer if line.is_empty() => {
                    self.place = Place::Over;
                    let trailers = std::mem::take(&mut self.trailers);
                    return Ok(if trailers.is_empty() { Step::Over } else { Step::Trailers(trailers) });
                }
                Place::Trailer => self.take_trailer(line)?,
                Place::Data(_) | Place::Over => {}
            }
        }
    }

    /// Takes bytes up to the end of the line; false while it has not come.
    fn take_line(&mut self, bytes: &mut Bytes) -> Result<bool, &'static str> {
        let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let taken = bytes.split_to(end.unwrap_or(bytes.len()));
        self.line.extend_from_slice(&taken);
        let most = if matches!(self.place, Place::Trailer) { TRAILER_BYTES_MAX } else { SIZE_LINE_BYTES_MAX };
        if self.line.len() > most {
            return Err("a line between chunks is too long");
        }
        Ok(end.is_some())
    }

    fn take_trailer(&mut self, line: &[u8]) -> Result<(), &'static str> {
        self.trailer_bytes += line.len();
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err("the trailers are too long");
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or("a trailer without a colon")?;
        let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| "a trailer has no name")?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        self.trailers.append(name, value.map_err(|_| "a trailer has no value")?);
        Ok(())
    }
}

/// The length at the start of a chunk's line; extensions are passed over.
fn length(line: &[u8]) -> Result<u64, &'static str> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err("the length of a chunk is not a number");
    }
    let text = std::str::from_utf8(digits).map_err(|_| "the length of a chunk is not a number")?;
    u64::from_str_radix(text, 16).map_err(|_| "the length of a chunk is not a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All data and trailers of a body that comes in pieces of so many bytes, and what is left over.
    fn read(text: &[u8], piece: usize) -> Result<(Vec<u8>, HeaderMap, Vec<u8>), &'static str> {
        let (mut chunks, mut data, mut trailers) = (Chunks::new(), Vec::new(), HeaderMap::new());
        let mut left = Vec::new();
        for piece in text.chunks(piece) {
            let mut bytes = Bytes::copy_from_slice(piece);
            loop {
                match chunks.next(&mut bytes)? {
                    Step::Data(more) => data.extend_from_slice(&more),
                    Step::Trailers(more) => trailers = more,
                    Step::Over | Step::More => break,
                }
            }
            left.extend_from_slice(&bytes);
        }
        if chunks.is_over() { Ok((data, trailers, left)) } else { Err("not over") }
    }

    #[test]
    fn a_body_is_the_same_however_its_bytes_come() {
        let text = b"5\r\nhello\r\n6;why=not\r\n world\r\n0\r\nx-end: 1\r\nx-end: 2\r\n\r\nHTTP";
        for piece in 1..text.len() {
            let (data, trailers, left) = read(text, piece).unwrap();

            assert_eq!(data, b"hello world", "pieces of {piece}");
            assert_eq!(trailers.get_all("x-end").iter().collect::<Vec<_>>(), ["1", "2"]);
            assert_eq!(left, b"HTTP", "what follows is not the body's");
        }
    }

    #[test]
    fn chunks_that_break_a_rule_are_refused() {
        let long = [&b"1;"[..], &[b'x'; SIZE_LINE_BYTES_MAX], b"\r\n"].concat();
        let trailers = [&b"0\r\n"[..], &b"x: y\r\n".repeat(TRAILER_BYTES_MAX)].concat();
        for text in [&b"5\r\nhello!\r\n0\r\n\r\n"[..], b"5\nhello", b"x\r\n", b"\r\n", b"+5\r\n", b"0x5\r\n"]
            .into_iter()
            .chain([&long[..], &trailers, b"1111111111111111\r\n", b"0\r\nno colon\r\n\r\n"])
        {
            assert!(
                read(text, text.len()).is_err(),
                "{:?}",
                String::from_utf8_lossy(&text[..text.len().min(40)])
            );
        }
    }
}

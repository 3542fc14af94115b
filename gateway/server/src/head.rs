//! Reads the bytes of an HTTP/1 connection beside the parser and finds what two readers could read differently.
//!
//! hyper forgives some of it in silence (a length beside chunks, bare line feeds), so that nothing of it can be seen in
//! the parsed request. The scanner follows heads and bodies on its own and never changes a byte.
//!
//! ```text
//! Line(head) ──blank line──▶ Body(n) · ChunkSize ─▶ Chunk(n) ─▶ ChunkEnd ─▶ … ─▶ Line(trailer) ──blank line──▶ Line(head)
//!      └── a broken rule ──▶ Lost: the request is refused and the connection closed
//! ```
//! Invariant: where the scanner is not sure where a message ends, it is lost, and nothing more passes.

/// The longest line of chunk framing.
const CHUNK_LINE_BYTES_MAX: usize = 1_024;

/// Where the scanner stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the request line.
    Start,
    /// In a line of the head.
    Head,
    /// In a body of known length, with so much to come.
    Body(u64),
    /// In a line that tells a chunk's length.
    ChunkSize,
    /// In a chunk, with so much to come.
    Chunk(u64),
    /// In the line end after a chunk.
    ChunkEnd,
    /// In a line after the last chunk.
    Trailer,
    /// Nothing is sure any more.
    Lost,
}

/// What is left open after some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    /// Nothing: the next byte begins a request.
    Nothing,
    /// A request head.
    Head,
    /// A request body.
    Body,
}

/// Follows the requests of one connection.
#[derive(Debug)]
pub(crate) struct Scanner {
    place: Place,
    /// The begin of a line that is not complete.
    carry: Vec<u8>,
    head_bytes: usize,
    head_bytes_max: usize,
    length: Option<u64>,
    chunked: bool,
    old_version: bool,
    lost_in_body: bool,
}

impl Scanner {
    pub(crate) fn new(head_bytes_max: usize) -> Self {
        Self {
            place: Place::Start,
            carry: Vec::new(),
            head_bytes: 0,
            head_bytes_max,
            length: None,
            chunked: false,
            old_version: false,
            lost_in_body: false,
        }
    }

    /// Takes the next bytes. A broken rule is told once; after it the scanner looks at nothing more.
    pub(crate) fn scan(&mut self, mut bytes: &[u8]) -> Result<(), &'static str> {
        while !bytes.is_empty() {
            let taken = match self.place {
                Place::Body(left) => self.skip(bytes, left, Place::Body, Place::Start),
                Place::Chunk(left) => self.skip(bytes, left, Place::Chunk, Place::ChunkEnd),
                Place::Start | Place::Head | Place::ChunkSize | Place::ChunkEnd | Place::Trailer => {
                    self.take_line(bytes)
                }
                Place::Lost => return Ok(()),
            };
            match taken {
                Ok(taken) => bytes = &bytes[taken..],
                Err(why) => {
                    self.lost_in_body = self.open() == Open::Body;
                    self.place = Place::Lost;
                    return Err(why);
                }
            }
        }
        Ok(())
    }

    /// What is not complete.
    pub(crate) fn open(&self) -> Open {
        match self.place {
            Place::Start if self.carry.is_empty() => Open::Nothing,
            Place::Start | Place::Head => Open::Head,
            Place::Body(_) | Place::ChunkSize | Place::Chunk(_) | Place::ChunkEnd | Place::Trailer => {
                Open::Body
            }
            Place::Lost => Open::Nothing,
        }
    }

    /// True once a body, not a head, broke a rule: its request is with the stack already.
    pub(crate) fn lost_in_body(&self) -> bool {
        self.lost_in_body
    }

    fn skip(
        &mut self,
        bytes: &[u8],
        left: u64,
        still: impl Fn(u64) -> Place,
        then: Place,
    ) -> Result<usize, &'static str> {
        let taken = left.min(bytes.len() as u64);
        self.place = if taken == left { then } else { still(left - taken) };
        Ok(taken as usize)
    }

    /// Takes bytes up to the end of the line, or keeps them for the rest of it.
    fn take_line(&mut self, bytes: &[u8]) -> Result<usize, &'static str> {
        let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let taken = end.unwrap_or(bytes.len());
        self.bound(taken)?;
        if end.is_none() || !self.carry.is_empty() {
            self.carry.extend_from_slice(&bytes[..taken]);
        }
        if end.is_some() {
            let carry = std::mem::take(&mut self.carry);
            let line = if carry.is_empty() { &bytes[..taken] } else { &carry };
            let line = line.strip_suffix(b"\r\n").ok_or("a line ends without a carriage return")?;
            self.read(line)?;
        }
        Ok(taken)
    }

    /// Bounds what a head, or a line of framing, may cost.
    fn bound(&mut self, taken: usize) -> Result<(), &'static str> {
        match self.place {
            Place::Start | Place::Head | Place::Trailer => {
                self.head_bytes += taken;
                if self.head_bytes > self.head_bytes_max {
                    return Err("the request head is too long");
                }
            }
            Place::ChunkSize | Place::ChunkEnd => {
                if self.carry.len() + taken > CHUNK_LINE_BYTES_MAX {
                    return Err("the length of a chunk is too long");
                }
            }
            Place::Body(_) | Place::Chunk(_) | Place::Lost => {}
        }
        Ok(())
    }

    fn read(&mut self, line: &[u8]) -> Result<(), &'static str> {
        self.place = match self.place {
            // Blank lines before a request are left from a sloppy client's last body.
            Place::Start if line.is_empty() => Place::Start,
            Place::Start => self.begin(line)?,
            Place::Head if line.is_empty() => self.end_head()?,
            Place::Head => {
                self.read_header(line)?;
                Place::Head
            }
            Place::ChunkSize => match chunk_length(line)? {
                0 => Place::Trailer,
                length => Place::Chunk(length),
            },
            Place::ChunkEnd if line.is_empty() => Place::ChunkSize,
            Place::ChunkEnd => return Err("a chunk is longer than it says"),
            Place::Trailer if line.is_empty() => self.end_message(),
            Place::Trailer => {
                let (name, _) = header(line)?;
                let framing = [&b"content-length"[..], b"transfer-encoding", b"host"];
                if framing.iter().any(|wrong| name.eq_ignore_ascii_case(wrong)) {
                    return Err("a trailer that belongs in the head");
                }
                Place::Trailer
            }
            Place::Body(_) | Place::Chunk(_) | Place::Lost => self.place,
        };
        Ok(())
    }

    fn begin(&mut self, line: &[u8]) -> Result<Place, &'static str> {
        let old = line.ends_with(b" HTTP/1.0");
        if !old && !line.ends_with(b" HTTP/1.1") {
            return Err("the request line names no version of HTTP/1");
        }
        if line.iter().filter(|byte| **byte == b' ').count() != 2 || line.contains(&b'\t') {
            return Err("the request line is not three words");
        }
        if line.contains(&b'#') {
            return Err("the target has a fragment");
        }
        (self.length, self.chunked, self.old_version) = (None, false, old);
        Ok(Place::Head)
    }

    fn read_header(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let (name, value) = header(line)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            if self.length.is_some() {
                return Err("the length is given twice");
            }
            let digits = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
            if !digits {
                return Err("the length is not a number");
            }
            self.length = Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')));
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked {
                return Err("the encoding is given twice");
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err("the encoding is not chunked alone");
            }
            self.chunked = true;
        }
        Ok(())
    }

    fn end_head(&mut self) -> Result<Place, &'static str> {
        if self.chunked && self.length.is_some() {
            return Err("a length and chunks at once");
        }
        if self.chunked && self.old_version {
            return Err("chunks in HTTP/1.0");
        }
        if self.chunked {
            self.head_bytes = 0;
            return Ok(Place::ChunkSize);
        }
        Ok(match self.length {
            None | Some(0) => self.end_message(),
            Some(length) => {
                self.head_bytes = 0;
                Place::Body(length)
            }
        })
    }

    fn end_message(&mut self) -> Place {
        self.head_bytes = 0;
        Place::Start
    }
}

/// Splits a header line, or tells which rule it breaks (RFC 9112, section 5).
fn header(line: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    if line.first().is_some_and(|first| matches!(first, b' ' | b'\t')) {
        return Err("a header continues on the next line");
    }
    let colon = line.iter().position(|byte| *byte == b':').ok_or("a header without a colon")?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if name.is_empty() || !name.iter().all(token) {
        return Err("a header name with other than name characters");
    }
    if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err("a control character in a header");
    }
    Ok((name, value.trim_ascii()))
}

/// The length at the start of a chunk's line; extensions are passed over.
fn chunk_length(line: &[u8]) -> Result<u64, &'static str> {
    if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return Err("a control character in the length of a chunk");
    }
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err("the length of a chunk is not a number");
    }
    let text = std::str::from_utf8(digits).map_err(|_| "the length of a chunk is not a number")?;
    u64::from_str_radix(text, 16).map_err(|_| "the length of a chunk is not a number")
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;

//! Reads along while an HTTP/1 head comes in, and notices what hyper forgives and others may read differently.
//!
//! Noticed are: a line that ends without a carriage return, a folded line, a second `Content-Length`, and a
//! `Content-Length` beside a `Transfer-Encoding`. A head that comes in the middle of another request's bytes
//! (pipelining) is not read along; hyper alone decides there, and what it passes on has one meaning.

/// As much of a line as must be known to tell the two names apart.
const START_BYTES_MAX: usize = b"transfer-encoding:".len();

/// One head, line by line.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// The line being read.
    line: Line,
    /// Whether the request line was seen.
    begun: bool,
    lengths: u8,
    encodings: u8,
    is_muddled: bool,
    is_complete: bool,
}

/// The line being read, as far as it matters.
#[derive(Debug, Default)]
struct Line {
    start: [u8; START_BYTES_MAX],
    length: usize,
    last: u8,
}

impl Head {
    /// Reads on; after the head's end nothing more is looked at.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !self.is_complete && !bytes.is_empty() {
            match bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.line.extend(&bytes[..end]);
                    self.end_line();
                    bytes = &bytes[end + 1..];
                }
                None => {
                    self.line.extend(bytes);
                    return;
                }
            }
        }
    }

    /// Whether something was noticed so far.
    pub(super) fn is_muddled(&self) -> bool {
        self.is_muddled
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line.last != b'\r' {
            self.is_muddled = true;
        }
        if line.length <= 1 {
            // Empty lines before the request line are allowed and mean nothing.
            self.is_complete = self.begun;
            return;
        }
        if !self.begun {
            self.begun = true;
            return;
        }
        let start = &line.start[..line.length.min(START_BYTES_MAX)];
        self.is_muddled |= matches!(start[0], b' ' | b'\t');
        self.lengths = self.lengths.saturating_add(u8::from(names(start, b"content-length:")));
        self.encodings = self.encodings.saturating_add(u8::from(names(start, b"transfer-encoding:")));
        self.is_muddled |= self.lengths > 1 || (self.lengths > 0 && self.encodings > 0);
    }
}

impl Line {
    fn extend(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else { return };
        if self.length < START_BYTES_MAX {
            let taken = bytes.len().min(START_BYTES_MAX - self.length);
            self.start[self.length..self.length + taken].copy_from_slice(&bytes[..taken]);
        }
        self.length += bytes.len();
        self.last = *last;
    }
}

fn names(start: &[u8], name: &[u8]) -> bool {
    start.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a text in pieces of every size; the pieces must not matter.
    fn is_muddled(text: &str) -> bool {
        let verdicts: Vec<bool> = (1..=text.len())
            .map(|size| {
                let mut head = Head::default();
                text.as_bytes().chunks(size).for_each(|piece| head.read(piece));
                head.is_muddled()
            })
            .collect();
        assert!(
            verdicts.iter().all(|verdict| *verdict == verdicts[0]),
            "pieces matter in {text:?}: {verdicts:?}"
        );
        verdicts[0]
    }

    #[test]
    fn a_clear_head_is_clear_and_its_body_is_not_looked_at() {
        assert!(!is_muddled("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert!(!is_muddled("\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert!(!is_muddled("POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\n\ncontent-length: 1\r\n"));
        assert!(!is_muddled("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-lengthy: 1\r\n\r\n"));
    }

    #[test]
    fn what_others_may_read_differently_is_noticed() {
        for text in [
            "GET / HTTP/1.1\r\nhost: a\n\r\n",
            "GET / HTTP/1.1\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\n folded\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nCONTENT-LENGTH: 1\r\n\r\n",
        ] {
            assert!(is_muddled(text), "{text:?}");
        }
    }
}

//! Checks whether a client has sent one whole request and nothing more.
//!
//! Only then does an idle connection wait for a request. actix-http does not report what is left in its buffer: a
//! request and one byte of the next look like a request alone.

const HEAD_END: &[u8] = b"\r\n\r\n";
/// The end of a chunked body (RFC 9112 section 7.1), without trailers.
const LAST_CHUNK: [u8; 5] = *b"0\r\n\r\n";

/// The data that a client has sent since its last request was answered.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Boundary {
    /// The number of bytes of [`HEAD_END`] seen in a row.
    matched: usize,
    after_head: u64,
    /// The last bytes after the head.
    last: [u8; LAST_CHUNK.len()],
    /// The length of the body, unless it is chunked.
    body: Option<u64>,
}

impl Boundary {
    /// Records bytes that were read.
    pub fn read(&mut self, mut bytes: &[u8]) {
        while self.matched < HEAD_END.len() {
            let Some((byte, rest)) = bytes.split_first() else { return };
            self.matched = match *byte {
                byte if byte == HEAD_END[self.matched] => self.matched + 1,
                b'\r' => 1,
                _ => 0,
            };
            bytes = rest;
        }
        self.after_head += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        for byte in &bytes[bytes.len().saturating_sub(self.last.len())..] {
            self.last.rotate_left(1);
            self.last[LAST_CHUNK.len() - 1] = *byte;
        }
    }

    /// Records the length of the request's body; `None` if it is chunked.
    pub fn begin(&mut self, body: Option<u64>) {
        self.body = body;
    }

    /// Ends the request. Returns whether the client has sent all of it and nothing more.
    pub fn end(&mut self) -> bool {
        let has_body = match self.body {
            Some(length) => length == self.after_head,
            None => self.last == LAST_CHUNK,
        };
        let is_whole = self.matched == HEAD_END.len() && has_body;
        *self = Self::default();
        is_whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns whether each of the requests, given with the length of its body, was whole and alone.
    fn answered(requests: &[(&str, Option<u64>)], piece: usize) -> Vec<bool> {
        let mut boundary = Boundary::default();
        let one = |(text, body): &(&str, Option<u64>)| {
            text.as_bytes().chunks(piece).for_each(|piece| boundary.read(piece));
            boundary.begin(*body);
            boundary.end()
        };
        requests.iter().map(one).collect()
    }

    #[test]
    fn requests_end_with_their_body() {
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let post = "POST / HTTP/1.1\r\r\n\r\n{}";
        for piece in [1, 3, 1024] {
            assert_eq!(answered(&[(get, Some(0)), (post, Some(2)), (get, Some(0))], piece), [true; 3]);
            assert_eq!(answered(&[(post, Some(3))], piece), [false], "half a body");
            let chunks = "POST / HTTP/1.1\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
            assert_eq!(answered(&[(chunks, None), (get, Some(0))], piece), [true; 2]);
            assert_eq!(answered(&[("POST / HTTP/1.1\r\n\r\n2\r\n{}\r\n", None)], piece), [false]);
            let more = format!("{get}G");
            let rest = "ET / HTTP/1.1\r\n\r\n";
            assert_eq!(answered(&[(&more, Some(0)), (rest, Some(0))], piece), [false, true]);
        }
    }
}

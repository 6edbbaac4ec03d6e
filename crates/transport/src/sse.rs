//! Server-sent events, read as the HTML standard defines them (§9.2.6), with every part bounded.

use std::fmt;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of an event id at most: it is kept and sent back in a header. Known servers take a UUID or two.
const MAX_ID_BYTES: usize = 1024;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SseEvent {
    /// Its type; `None` stands for `message`.
    pub kind: Option<String>,
    /// Its data; empty in an event that only carries an id (2025-11-25 primes its streams with one).
    pub data: Bytes,
}

/// Cuts a stream of bytes into events. Data that came in one line is not copied once more.
#[derive(Debug)]
pub struct SseReader {
    /// The newest bytes, while nothing older is unread: read where they are.
    chunk: Bytes,
    /// The beginning of an unfinished line, and all that came since.
    gathered: BytesMut,
    /// How much of the unread bytes is known to hold no line's end.
    searched: usize,
    /// The last line ended with `\r`: a `\n` now belongs to it.
    after_return: bool,
    at_start: bool,
    event: Unfinished,
    last_id: Option<String>,
    retry: Option<Duration>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Unfinished {
    kind: Option<String>,
    data: Option<Bytes>,
    /// `data` came in more than one line.
    lines: BytesMut,
    id: bool,
}

/// An event longer than the limit. The stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an event is longer than allowed")
    }
}

impl std::error::Error for TooLong {}

impl SseReader {
    /// Reads events of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            chunk: Bytes::new(),
            gathered: BytesMut::new(),
            searched: 0,
            after_return: false,
            at_start: true,
            event: Unfinished::default(),
            last_id: None,
            retry: None,
            limit,
        }
    }

    /// A reader for the stream that goes on where this one ended: the last id and the wait are kept.
    #[must_use]
    pub fn resumed(&self) -> Self {
        Self { last_id: self.last_id.clone(), retry: self.retry, ..Self::new(self.limit) }
    }

    /// Takes the next bytes of the stream. [`next`](Self::next) is then to be called until it gives `None`.
    pub fn push(&mut self, chunk: Bytes) {
        if self.gathered.is_empty() && self.chunk.is_empty() {
            self.chunk = chunk;
            return;
        }
        let unread = std::mem::take(&mut self.chunk);
        self.gathered.extend_from_slice(&unread);
        self.gathered.extend_from_slice(&chunk);
    }

    /// The next whole event, if one is there.
    ///
    /// # Errors
    /// [`TooLong`].
    #[expect(clippy::should_implement_trait, reason = "`None` is no end here: it waits for the next push")]
    pub fn next(&mut self) -> Result<Option<SseEvent>, TooLong> {
        while let Some(line) = self.take_line()? {
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if event.data.is_some() || event.id {
                    return Ok(Some(event.finish()));
                }
            } else {
                self.take_field(&line)?;
            }
        }
        Ok(None)
    }

    /// The id of the newest event that had one: where a broken stream goes on.
    #[must_use]
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// How long to wait before the stream is opened again, if the server said so.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn unread(&self) -> &[u8] {
        if self.gathered.is_empty() { &self.chunk } else { &self.gathered }
    }

    fn split(&mut self, at: usize) -> Bytes {
        if self.gathered.is_empty() { self.chunk.split_to(at) } else { self.gathered.split_to(at).freeze() }
    }

    fn skip(&mut self, count: usize) {
        if self.gathered.is_empty() {
            self.chunk.advance(count);
        } else {
            self.gathered.advance(count);
        }
    }

    /// A line without its end (`\n`, `\r\n` or `\r`), if a whole one is there.
    fn take_line(&mut self) -> Result<Option<Bytes>, TooLong> {
        if self.after_return && !self.unread().is_empty() {
            self.after_return = false;
            if self.unread().first() == Some(&b'\n') {
                self.skip(1);
            }
        }
        let fresh = self.unread().get(self.searched..).unwrap_or_default();
        let Some(at) = memchr::memchr2(b'\n', b'\r', fresh).map(|at| at + self.searched) else {
            self.searched = self.unread().len();
            return if self.searched > self.limit { Err(TooLong) } else { Ok(None) };
        };
        if at > self.limit {
            return Err(TooLong);
        }
        self.searched = 0;
        let mut line = self.split(at);
        self.after_return = self.unread().first() == Some(&b'\r');
        self.skip(1);
        if std::mem::take(&mut self.at_start) && line.starts_with(b"\xef\xbb\xbf") {
            line.advance(3);
        }
        Ok(Some(line))
    }

    fn take_field(&mut self, line: &Bytes) -> Result<(), TooLong> {
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let mut value = line.slice((colon + 1).min(line.len())..);
        if value.first() == Some(&b' ') {
            value.advance(1);
        }
        match line.get(..colon).unwrap_or_default() {
            b"data" => self.event.add_data(value, self.limit)?,
            b"event" => self.event.kind = text(&value).filter(|kind| !kind.is_empty() && kind != "message"),
            b"id" if value.len() <= MAX_ID_BYTES && !value.contains(&0) => {
                self.last_id = text(&value).filter(|id| !id.is_empty());
                self.event.id = true;
            }
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                self.retry = text(&value).and_then(|digits| digits.parse().ok()).map(Duration::from_millis);
            }
            _ => {} // a comment, or a field that nobody knows
        }
        Ok(())
    }
}

impl Unfinished {
    fn add_data(&mut self, value: Bytes, limit: usize) -> Result<(), TooLong> {
        let Some(first) = &self.data else {
            self.data = Some(value);
            return Ok(());
        };
        if self.lines.is_empty() {
            self.lines.extend_from_slice(first);
        }
        if self.lines.len() + value.len() >= limit {
            return Err(TooLong);
        }
        self.lines.extend_from_slice(b"\n");
        self.lines.extend_from_slice(&value);
        Ok(())
    }

    fn finish(self) -> SseEvent {
        let data = if self.lines.is_empty() { self.data.unwrap_or_default() } else { self.lines.freeze() };
        SseEvent { kind: self.kind, data }
    }
}

fn text(value: &[u8]) -> Option<String> {
    std::str::from_utf8(value).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use proptest::prelude::*;

    /// The events of a stream that comes in pieces of `size` bytes.
    fn read(stream: &[u8], size: usize) -> (Vec<(Option<String>, String)>, SseReader) {
        let mut reader = SseReader::new(1000);
        let mut events = Vec::new();
        for piece in stream.chunks(size) {
            reader.push(Bytes::copy_from_slice(piece));
            while let Some(event) = reader.next().unwrap() {
                events.push((event.kind, String::from_utf8(event.data.to_vec()).unwrap()));
            }
        }
        (events, reader)
    }

    const STREAM: &[u8] = b"\xef\xbb\xbf: hello\n\nevent: endpoint\r\ndata: /messages?x=1\r\n\r\nid: 7\ndata: \n\n\
        data:{\"a\":\ndata: 1}\nretry: 1500\nunknown: x\nevent: message\n\rid\n\ndata: last\r\rdata: unfinished\n";

    #[test]
    fn events_are_the_same_however_the_stream_is_cut() {
        let whole = read(STREAM, STREAM.len());
        let expected = [(Some("endpoint"), "/messages?x=1"), (None, ""), (None, "{\"a\":\n1}"), (None, ""), (None, "last")];
        let expected = expected.map(|(kind, data)| (kind.map(str::to_owned), data.to_owned()));
        assert_eq!(whole.0, expected);
        assert_eq!(whole.1.retry(), Some(Duration::from_millis(1500)));
        for size in 1..STREAM.len() {
            assert_eq!(read(STREAM, size).0, whole.0, "pieces of {size}");
        }
    }

    #[test]
    fn the_last_id_is_kept_until_it_is_taken_back() {
        assert_eq!(read(b"id: a\ndata: x\n\ndata: y\n\n", 3).1.last_id(), Some("a"));
        assert_eq!(read(b"id: a\ndata: x\n\nid\ndata: y\n\n", 3).1.last_id(), None);
        assert_eq!(read(b"id: a\0b\ndata: x\n\n", 30).1.last_id(), None);
    }

    #[test]
    fn data_of_one_line_shares_the_chunk() {
        let mut reader = SseReader::new(1000);
        let chunk = Bytes::from_static(b"data: {}\n\n");
        reader.push(chunk.clone());
        assert_eq!(reader.next().unwrap().unwrap().data.as_ptr(), chunk[6..].as_ptr());
    }

    #[test]
    fn long_events_are_refused_in_one_line_and_in_many() {
        let mut reader = SseReader::new(100);
        reader.push(Bytes::from(vec![b'x'; 101]));
        assert_eq!(reader.next(), Err(TooLong));
        let mut reader = SseReader::new(100);
        reader.push(Bytes::from(b"data: 123456789\n".repeat(20)));
        assert_eq!(reader.next(), Err(TooLong));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(stream: Vec<u8>, size in 1usize..20) {
            let mut reader = SseReader::new(64);
            for piece in stream.chunks(size) {
                reader.push(Bytes::copy_from_slice(piece));
                while let Ok(Some(_)) = reader.next() {}
            }
        }
    }
}

//! Lines over byte streams: the framing of stdio (2026-07-28, basic/transports: one message a line, UTF-8).

use std::io;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};

/// Bytes that are asked for with one read: small messages come whole, an idle pipe costs little.
const READ_BYTES: usize = 8 * 1024;

/// Bytes that wait for a reader that does not read, before the sender waits too: a few large results.
pub const QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// What a queued line costs besides its own bytes, so that empty lines are bounded as well.
const LINE_COST: usize = 128;

/// Lines that are written with one system call at most.
const BATCH_LINES: usize = 32;

/// Lines up to this length are gathered into one buffer before they are written: a copy is cheaper than a system call.
const GATHERED_BYTES: usize = 16 * 1024;

/// Why there is no next line, or no way to send one.
#[derive(Debug)]
pub enum LineError {
    /// A line longer than the limit; the rest of it is skipped, the line behind it is read as usual.
    TooLong,
    /// The stream broke.
    Io(io::Error),
    /// The writing end was closed.
    Closed,
}

impl std::fmt::Display for LineError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong => out.write_str("a line is longer than allowed"),
            Self::Io(error) => error.fmt(out),
            Self::Closed => out.write_str("the stream is closed"),
        }
    }
}

impl std::error::Error for LineError {}

/// Reads lines of bounded length. The lines share the read buffer: nothing is copied.
#[derive(Debug)]
pub struct LineReader<R> {
    read: R,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line's end.
    searched: usize,
    limit: usize,
    /// Inside a line that was too long.
    skipping: bool,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Reads lines of at most `limit` bytes, their end not counted.
    pub fn new(read: R, limit: usize) -> Self {
        Self { read, buffer: BytesMut::new(), searched: 0, limit, skipping: false }
    }

    /// The next line that is not blank, without its end (`\n` or `\r\n`); `None` at the end of the stream.
    /// A last line without an end counts. Safe to drop and call again.
    ///
    /// # Errors
    /// [`LineError::TooLong`] once for each line over the limit, of which no more than the limit is kept in memory;
    /// [`LineError::Io`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, LineError> {
        loop {
            match self.take_line()? {
                Some(line) if line.trim_ascii().is_empty() => {}
                Some(line) => return Ok(Some(line)),
                None => {
                    self.buffer.reserve(READ_BYTES);
                    if self.read.read_buf(&mut self.buffer).await.map_err(LineError::Io)? == 0 {
                        return Ok(self.take_rest());
                    }
                }
            }
        }
    }

    /// A line out of the buffer, if a whole one is there.
    fn take_line(&mut self) -> Result<Option<Bytes>, LineError> {
        loop {
            let fresh = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(at) = memchr::memchr(b'\n', fresh).map(|at| at + self.searched) else {
                self.searched = self.buffer.len();
                return self.check_unfinished();
            };
            self.searched = 0;
            let mut line = self.buffer.split_to(at);
            self.buffer.advance(1);
            if std::mem::take(&mut self.skipping) {
                continue; // the end of a line that was refused already
            }
            if line.last() == Some(&b'\r') {
                line.truncate(at - 1);
            }
            if line.len() > self.limit {
                return Err(LineError::TooLong);
            }
            return Ok(Some(line.freeze()));
        }
    }

    /// Drops what was read of a line that cannot fit any more.
    fn check_unfinished(&mut self) -> Result<Option<Bytes>, LineError> {
        if self.skipping || self.buffer.len() > self.limit + 1 {
            self.buffer = BytesMut::new();
            self.searched = 0;
            if !std::mem::replace(&mut self.skipping, true) {
                return Err(LineError::TooLong);
            }
        }
        Ok(None)
    }

    fn take_rest(&mut self) -> Option<Bytes> {
        let rest = std::mem::take(&mut self.buffer).freeze();
        self.searched = 0;
        (!self.skipping && !rest.trim_ascii().is_empty()).then_some(rest)
    }
}

/// One line to send: up to three parts that are written one behind the other, so that a large payload needs no copy.
#[derive(Clone, Debug)]
pub struct Line([Bytes; 3]);

impl Line {
    /// A line of one part.
    #[must_use]
    pub fn new(text: impl Into<Bytes>) -> Self {
        Self::of_parts([text.into(), Bytes::new(), Bytes::new()])
    }

    /// A line of parts, which together are JSON. Line breaks between tokens become spaces (inside strings JSON has none).
    #[must_use]
    pub fn of_parts(parts: [Bytes; 3]) -> Self {
        Self(parts.map(without_breaks))
    }

    fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }
}

fn without_breaks(part: Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', &part).is_none() {
        return part;
    }
    part.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect()
}

/// Sends lines through a queue of bounded size, from any number of tasks. Clones share the queue;
/// when the last one is dropped, what is queued is written and the stream closed.
#[derive(Clone, Debug)]
pub struct LineWriter {
    queue: mpsc::UnboundedSender<Queued>,
    room: Arc<Semaphore>,
    most: usize,
}

#[derive(Debug)]
enum Queued {
    Line { line: Line, cost: usize },
    End,
}

impl LineWriter {
    /// Starts to write to `write`, with at most `most` bytes waiting. The future ends when the stream is closed:
    /// `Ok` when all writers were dropped, else why writing failed. It must be polled (or spawned) for anything to be written.
    pub fn new<W: AsyncWrite + Unpin>(write: W, most: usize) -> (Self, impl Future<Output = io::Result<()>>) {
        let most = most.clamp(LINE_COST, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let (queue, queued) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(most));
        let writing = write_queued(write, queued, Arc::clone(&room));
        (Self { queue, room, most }, writing)
    }

    /// Queues a line, waiting for room.
    ///
    /// # Errors
    /// [`LineError::Closed`] once the stream is closed or broken.
    pub async fn send(&self, line: Line) -> Result<(), LineError> {
        let cost = self.cost(&line);
        let permit = self.room.acquire_many(u32::try_from(cost).unwrap_or(u32::MAX)).await.map_err(|_| LineError::Closed)?;
        permit.forget(); // given back when the line is written
        self.queue.send(Queued::Line { line, cost }).map_err(|_| LineError::Closed)
    }

    /// Queues a line if there is room for it now, and says whether there was.
    #[must_use]
    pub fn try_send(&self, line: Line) -> bool {
        let cost = self.cost(&line);
        match self.room.try_acquire_many(u32::try_from(cost).unwrap_or(u32::MAX)) {
            Ok(permit) => {
                permit.forget();
                self.queue.send(Queued::Line { line, cost }).is_ok()
            }
            Err(_) => false,
        }
    }

    /// Closes the stream once what is queued is written. Lines sent after this are refused.
    pub fn close(&self) {
        let _ = self.queue.send(Queued::End); // gone already where it fails
    }

    /// A line larger than the whole queue takes all of it, so that it goes alone.
    fn cost(&self, line: &Line) -> usize {
        (line.len() + LINE_COST).min(self.most)
    }
}

async fn write_queued<W: AsyncWrite + Unpin>(
    mut write: W,
    mut queued: mpsc::UnboundedReceiver<Queued>,
    room: Arc<Semaphore>,
) -> io::Result<()> {
    let mut lines = Vec::new();
    let mut gathered = Vec::new();
    while queued.recv_many(&mut lines, BATCH_LINES).await > 0 {
        match write_batch(&mut write, &mut lines, &mut gathered, &room).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                room.close(); // wakes those who wait for room
                return Err(error);
            }
        }
    }
    room.close();
    write.shutdown().await
}

/// Writes what was queued, and says whether to go on.
async fn write_batch<W: AsyncWrite + Unpin>(
    write: &mut W,
    lines: &mut Vec<Queued>,
    gathered: &mut Vec<u8>,
    room: &Semaphore,
) -> io::Result<bool> {
    let (mut cost, mut more) = (0, true);
    for queued in lines.drain(..) {
        let Queued::Line { line, cost: own } = queued else {
            more = false;
            break;
        };
        cost += own;
        for part in &line.0 {
            if part.len() > GATHERED_BYTES {
                write.write_all(gathered).await?;
                gathered.clear();
                write.write_all(part).await?;
            } else {
                gathered.extend_from_slice(part);
            }
        }
        gathered.push(b'\n');
    }
    write.write_all(gathered).await?;
    gathered.clear();
    gathered.shrink_to(GATHERED_BYTES * 2);
    write.flush().await?;
    room.add_permits(cost);
    Ok(more)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use tokio::io::duplex;

    async fn read_all(input: &[u8], limit: usize) -> Vec<Result<String, &'static str>> {
        let mut reader = LineReader::new(input, limit);
        let mut out = Vec::new();
        loop {
            match reader.next().await {
                Ok(Some(line)) => out.push(Ok(String::from_utf8(line.to_vec()).unwrap())),
                Ok(None) => return out,
                Err(LineError::TooLong) => out.push(Err("too long")),
                Err(other) => panic!("{other}"),
            }
        }
    }

    #[tokio::test]
    async fn lines_end_with_either_break_or_with_the_stream() {
        let read = read_all(b"{\"a\":1}\r\n\n  \r\n{\"b\":2}\nlast", 100).await;
        assert_eq!(read, [Ok("{\"a\":1}".to_owned()), Ok("{\"b\":2}".to_owned()), Ok("last".to_owned())]);
    }

    #[tokio::test]
    async fn a_line_of_exactly_the_limit_passes_and_a_longer_one_is_skipped() {
        assert_eq!(read_all(b"12345\r\n123456\nab\n", 5).await, [Ok("12345".to_owned()), Err("too long"), Ok("ab".to_owned())]);
        let mut long = vec![b'x'; 100_000];
        long.extend_from_slice(b"\nnext\n");
        assert_eq!(read_all(&long, 1000).await, [Err("too long"), Ok("next".to_owned())]);
        assert_eq!(read_all(&vec![b'x'; 100_000], 1000).await, [Err("too long")]);
    }

    #[tokio::test]
    async fn the_excess_of_a_long_line_is_not_kept() {
        let (mut far, near) = duplex(1024);
        let feeding = tokio::spawn(async move {
            for _ in 0..1000 {
                far.write_all(&[b'x'; 1024]).await.unwrap();
            }
            far.write_all(b"\nok\n").await.unwrap();
        });
        let mut reader = LineReader::new(near, 4096);
        assert!(matches!(reader.next().await, Err(LineError::TooLong)));
        assert_eq!(reader.next().await.unwrap().unwrap().as_ref(), b"ok");
        assert!(reader.buffer.capacity() <= 4 * READ_BYTES, "{}", reader.buffer.capacity());
        feeding.await.unwrap();
    }

    #[tokio::test]
    async fn parts_become_one_line_whatever_breaks_they_hold() {
        let (far, near) = duplex(1 << 20);
        let (writer, writing) = LineWriter::new(near, QUEUE_BYTES);
        let writing = tokio::spawn(writing);
        let large = Bytes::from(vec![b'7'; GATHERED_BYTES + 1]);
        writer.send(Line::of_parts([Bytes::from_static(b"{\"a\":"), large.clone(), Bytes::from_static(b"\n}\r\n")])).await.unwrap();
        writer.send(Line::new("second")).await.unwrap();
        drop(writer);
        writing.await.unwrap().unwrap();
        let mut reader = LineReader::new(far, 1 << 20);
        let first = reader.next().await.unwrap().unwrap();
        assert_eq!(first.len(), 5 + large.len() + 4);
        assert!(first.ends_with(b" }  "));
        assert_eq!(reader.next().await.unwrap().unwrap().as_ref(), b"second");
        assert!(reader.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_stops_the_sender_and_a_closed_one_fails_it() {
        let (far, near) = duplex(16);
        let (writer, writing) = LineWriter::new(near, 1000);
        let writing = tokio::spawn(writing);
        writer.send(Line::new(vec![b'x'; 800])).await.unwrap();
        assert!(!writer.try_send(Line::new(vec![b'x'; 800])));
        let waiting = tokio::spawn(async move { writer.send(Line::new(vec![b'x'; 800])).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(far);
        assert!(matches!(waiting.await.unwrap(), Err(LineError::Closed)));
        assert!(writing.await.unwrap().is_err());
    }
}

//! Lines out of a pipe, each of bounded length.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// The gateway itself takes no longer message from a client.
const LONGEST: usize = 64 * 1024 * 1024;

pub(super) struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader: BufReader::new(reader), line: Vec::new() }
    }

    /// The next line that is not empty; `None` at the end. Dropped before it is there, nothing is lost.
    pub(super) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let bytes = self.reader.fill_buf().await?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(bytes.len(), |end| end + 1);
            if self.line.len() + taken > LONGEST {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.line.extend(bytes.iter().take(taken));
            self.reader.consume(taken);
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                if !line.trim_ascii().is_empty() {
                    return Ok(Some(line));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[tokio::test]
    async fn lines_come_whole_and_what_has_no_end_is_not_one() {
        let mut lines = Lines::new(&b"first\n\n  \nsecond\nunfinished"[..]);
        assert_eq!(lines.next().await.unwrap().unwrap(), b"first\n");
        assert_eq!(lines.next().await.unwrap().unwrap(), b"second\n");
        assert_eq!(lines.next().await.unwrap(), None);
    }
}

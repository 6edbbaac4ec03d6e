//! Server-sent events out of the body of an answer.

use super::fault::Fault;
use super::http1::Exchange;
use crate::sse::{SseEvent, SseReader};

/// Events out of the body of an answer.
pub(crate) struct EventStream {
    pub(crate) exchange: Exchange,
    pub(crate) reader: SseReader,
    limit: usize,
}

impl EventStream {
    pub(crate) fn new(exchange: Exchange, limit: usize) -> Self {
        Self { exchange, reader: SseReader::new(limit), limit }
    }

    /// The stream that goes on where this one broke.
    pub(crate) fn resumed(&self, exchange: Exchange) -> Self {
        Self { exchange, reader: self.reader.resumed(), limit: self.limit }
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<SseEvent>, Fault> {
        loop {
            if let Some(event) = self.reader.next().map_err(|_| Fault::TooLarge(self.limit))? {
                return Ok(Some(event));
            }
            match self.exchange.chunk().await? {
                Some(chunk) => self.reader.push(chunk),
                None => return Ok(None),
            }
        }
    }
}

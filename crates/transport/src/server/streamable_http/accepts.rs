//! In which forms a client takes an answer.

use http::{HeaderMap, header};

/// In which forms a client takes an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepts {
    /// As one JSON message.
    pub(super) json: bool,
    /// As a stream of events.
    pub(super) events: bool,
}

impl Accepts {
    /// Reads `Accept`. A client that does not say takes anything.
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let mut accepts = Self { json: false, events: false };
        let mut said = false;
        for value in headers.get_all(header::ACCEPT) {
            for range in value.as_bytes().split(|byte| *byte == b',') {
                said = true;
                let range = range.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
                let any = range == b"*/*";
                accepts.json |= any || range.eq_ignore_ascii_case(b"application/json") || range == b"application/*";
                accepts.events |= any || range.eq_ignore_ascii_case(b"text/event-stream") || range == b"text/*";
            }
        }
        if said { accepts } else { Self { json: true, events: true } }
    }
}

//! Reading of server-sent events: no panic, nothing kept beyond the limit, and the same events however the stream is cut.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

// By its path: with the crate around it TLS and HTTP would have to be built.
#[rustfmt::skip]
#[path = "../../crates/transport/src/sse.rs"]
#[allow(dead_code, reason = "the target uses what reads")]
mod sse;

use sse::{SseEvent, SseReader, TooLong};

/// Bytes of an event at most.
const LIMIT: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let Some((size, stream)) = data.split_first() else { return };
    let whole = read(stream, stream.len().max(1));
    let pieces = read(stream, usize::from(*size).max(1));
    // An event may be found too long in different places, but not found in one way only.
    let both = whole.0.len().min(pieces.0.len());
    assert_eq!(whole.0[..both], pieces.0[..both]);
    if whole.1.is_ok() && pieces.1.is_ok() {
        assert_eq!(whole.0.len(), pieces.0.len());
    }
});

fn read(stream: &[u8], size: usize) -> (Vec<SseEvent>, Result<(), TooLong>) {
    let mut reader = SseReader::new(LIMIT);
    let mut events = Vec::new();
    for piece in stream.chunks(size) {
        reader.push(Bytes::copy_from_slice(piece));
        loop {
            match reader.next() {
                Ok(Some(event)) => {
                    assert!(event.data.len() <= LIMIT);
                    events.push(event);
                }
                Ok(None) => break,
                Err(too_long) => return (events, Err(too_long)),
            }
        }
        let _ = reader.resumed();
    }
    (events, Ok(()))
}

//! The recorded messages.

use bytes::Bytes;
use sallyport_protocol::Revision;

/// Every recorded message with the revision it was recorded in.
pub(crate) fn messages() -> Vec<(Revision, Bytes)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
    let lines = |revision: Revision| {
        let text = std::fs::read_to_string(format!("{folder}/{revision}.jsonl")).unwrap();
        text.lines().map(|line| (revision, Bytes::copy_from_slice(line.as_bytes()))).collect::<Vec<_>>()
    };
    let all: Vec<_> = Revision::ALL.into_iter().flat_map(lines).collect();
    assert!(all.len() > 300, "only {} recorded messages", all.len());
    all
}

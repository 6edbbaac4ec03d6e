//! What a target begins with: the recorded messages, in the shape that the target reads.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::repository::{Outcome, Repository};

/// Makes of a recorded message what a target reads; nothing where it has no use for it.
pub(crate) type Seed = fn(&Recorded<'_>) -> Option<Vec<u8>>;

/// One line of the corpus.
pub(crate) struct Recorded<'a> {
    text: &'a str,
    /// Counts the lines of a file, round and round: chooses what the message does not say.
    number: u8,
    /// Which revision it was recorded in, the oldest first.
    revision: u8,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow, alias = "result")]
    params: Option<&'a RawValue>,
}

/// Schemas, arguments and headers' values that belong together.
const ANNOTATED: [&str; 3] = [
    "{\"properties\":{\"a\":{\"type\":\"string\",\"x-mcp-header\":\"Region\"}}}\0{\"a\":\"é\"}\0eu-west",
    "{\"properties\":{\"a\":{\"properties\":{\"b\":{\"type\":\"integer\",\"x-mcp-header\":\"N\"}}}}}\0{\"a\":{\"b\":42.0}}\0=?base64?NDI=?=",
    "{\"properties\":{\"a\":{\"type\":\"boolean\",\"x-mcp-header\":\"B\"}},\"$defs\":{\"x\":{}}}\0{\"a\":true}\0 true ",
];

pub(crate) fn message(recorded: &Recorded<'_>) -> Option<Vec<u8>> {
    Some(recorded.text.as_bytes().to_vec())
}

pub(crate) fn sse(recorded: &Recorded<'_>) -> Option<Vec<u8>> {
    Some(format!("{}id: {}\ndata: {}\n\n", char::from(recorded.number % 128), recorded.number, recorded.text).into_bytes())
}

pub(crate) fn headers(recorded: &Recorded<'_>) -> Option<Vec<u8>> {
    ANNOTATED.get(usize::from(recorded.number)).map(|seed| seed.as_bytes().to_vec())
}

pub(crate) fn revisions(recorded: &Recorded<'_>) -> Option<Vec<u8>> {
    // From its own revision to another, as an answer to some method.
    Some([&[recorded.revision, recorded.number, recorded.number / 5][..], recorded.payload()?].concat())
}

pub(crate) fn state(recorded: &Recorded<'_>) -> Option<Vec<u8>> {
    Some([&[recorded.number, recorded.revision][..], recorded.payload()?].concat())
}

impl Recorded<'_> {
    /// Its parameters or result.
    fn payload(&self) -> Option<&[u8]> {
        let payload: Payload<'_> = serde_json::from_str(self.text).ok()?;
        payload.params.map(|params| params.get().as_bytes())
    }
}

/// Writes the seeds of a target into `folder`, one file each.
pub(crate) fn write(repository: &Repository, seed: Seed, folder: &Path) -> Outcome {
    let corpus = repository.path("crates/protocol/tests/corpus");
    let mut files: Vec<_> = fs::read_dir(&corpus)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("could not list {}: {error}", corpus.display()))?
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    for (file, revision) in files.iter().zip(0..) {
        let text = fs::read_to_string(file).map_err(|error| format!("could not read {}: {error}", file.display()))?;
        for ((line, text), number) in text.lines().enumerate().zip((0..=u8::MAX).cycle()) {
            let Some(seed) = seed(&Recorded { text, number, revision }) else { continue };
            let path = folder.join(format!("{revision}-{line}"));
            fs::write(&path, seed).map_err(|error| format!("could not write {}: {error}", path.display()))?;
        }
    }
    Ok(())
}

//! Text of a file, in pages of lines.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use cap_std::fs::File;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::root::{Root, show};
use crate::page::PAGE_BYTES;
use crate::tool::{Content, Effect, Job, Tool, ToolError};

/// Bytes looked at to tell text from the rest: what git looks at, too.
const SNIFFED_BYTES: usize = 8000;

pub(super) struct ReadFile;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The file.
    path: String,
    /// First line to read, from 1 on.
    offset: Option<u64>,
    /// How many lines at most; by default as many as fit into a page of 64 KiB.
    limit: Option<u64>,
    /// `next` of the previous page, instead of `offset`.
    cursor: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    path: String,
    /// Size of the whole file in bytes.
    size: u64,
    /// Number of the first line in `text`.
    line: u64,
    text: String,
    /// Some bytes were no UTF-8 and stand as U+FFFD.
    lossy: bool,
    /// Where it goes on, as `cursor`; missing at the end of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Tool for ReadFile {
    type State = Root;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "read_file";
    const TITLE: &'static str = "Read a text file";
    const DESCRIPTION: &'static str =
        "Reads a text file, all of it or the lines from `offset` on. A long file comes in pages: call again with `cursor` set to `next`.";
    const EFFECT: Effect = Effect::Reads;

    fn run(root: &Root, input: Input, job: &Job) -> Result<Output, ToolError> {
        let path = root.locate(&input.path)?;
        let (file, metadata) = root.open_file(&path)?;
        let fault = |error: std::io::Error| root.fault(&path, &error);
        let mut reader = BufReader::with_capacity(PAGE_BYTES, file);
        if looks_binary(&mut reader).map_err(fault)? {
            let told = ToolError::new(format!("`{}` is no text: {} bytes of binary data", show(&path), metadata.len()));
            return Err(told.with_hint("use read_media for images and audio, get_file_info for size and time"));
        }
        let start = find_start(&mut reader, &input, job).map_err(|error| error.or(fault))?;
        let limit = input.limit.unwrap_or(u64::MAX).max(1);
        let taken = take_lines(&mut reader, start, limit).map_err(fault)?;
        let (text, lossy) = match String::from_utf8(taken.bytes) {
            Ok(text) => (text, false),
            Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), true),
        };
        let next = (taken.end.byte < metadata.len()).then(|| taken.end.to_cursor());
        Ok(Output { path: show(&path), size: metadata.len(), line: start.line, text, lossy, next })
    }

    fn content(output: &Output) -> Option<Content> {
        let mut text = output.text.clone();
        if let Some(next) = &output.next {
            text.push_str(&format!("\n[more: call again with cursor \"{next}\"]"));
        }
        Some(Content::Text(text))
    }
}

/// A place in a file: the byte, and the number of the line it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    line: u64,
    byte: u64,
}

impl Place {
    fn to_cursor(self) -> String {
        format!("{}@{}", self.line, self.byte)
    }

    fn from_cursor(cursor: &str) -> Option<Self> {
        let (line, byte) = cursor.split_once('@')?;
        Some(Self { line: line.parse().ok()?, byte: byte.parse().ok()? })
    }
}

/// Why the start was not found: the file failed, or the model did.
enum NoStart {
    Io(std::io::Error),
    Told(ToolError),
}

impl NoStart {
    fn or(self, fault: impl FnOnce(std::io::Error) -> ToolError) -> ToolError {
        match self {
            Self::Io(error) => fault(error),
            Self::Told(error) => error,
        }
    }
}

fn looks_binary(reader: &mut BufReader<File>) -> std::io::Result<bool> {
    let head = reader.fill_buf()?;
    Ok(memchr::memchr(0, head.get(..SNIFFED_BYTES).unwrap_or(head)).is_some())
}

fn find_start(reader: &mut BufReader<File>, input: &Input, job: &Job) -> Result<Place, NoStart> {
    match (&input.cursor, input.offset) {
        (Some(_), Some(_)) => Err(NoStart::Told(ToolError::argument("cursor", "give either `cursor` or `offset`, not both"))),
        (Some(cursor), None) => {
            let place = Place::from_cursor(cursor)
                .ok_or_else(|| NoStart::Told(ToolError::argument("cursor", "not a `next` of an earlier read_file")))?;
            reader.seek(SeekFrom::Start(place.byte)).map_err(NoStart::Io)?;
            Ok(place)
        }
        (None, offset) => skip_lines(reader, offset.unwrap_or(1).max(1), job),
    }
}

/// Reads up to the beginning of line number `line`, a buffer at a time.
fn skip_lines(reader: &mut BufReader<File>, line: u64, job: &Job) -> Result<Place, NoStart> {
    let mut at = Place { line: 1, byte: 0 };
    while at.line < line {
        job.check().map_err(NoStart::Told)?;
        let buffer = reader.fill_buf().map_err(NoStart::Io)?;
        if buffer.is_empty() {
            return Err(NoStart::Told(ToolError::argument("offset", format!("the file ends in line {}", at.line))));
        }
        let mut used = buffer.len();
        for end in memchr::memchr_iter(b'\n', buffer) {
            at.line += 1;
            if at.line == line {
                used = end + 1;
                break;
            }
        }
        reader.consume(used);
        at.byte += used as u64;
    }
    Ok(at)
}

struct Taken {
    bytes: Vec<u8>,
    end: Place,
}

/// Takes whole lines from `start` on, a page at most; of a line longer than a page as much as fits.
fn take_lines(reader: &mut BufReader<File>, start: Place, limit: u64) -> std::io::Result<Taken> {
    let mut bytes = Vec::new();
    reader.take(PAGE_BYTES as u64).read_to_end(&mut bytes)?;
    let full = bytes.len() == PAGE_BYTES;
    let mut ends = memchr::memchr_iter(b'\n', &bytes);
    let wanted = usize::try_from(limit - 1).ok().and_then(|before| ends.nth(before));
    let cut = match wanted.or_else(|| if full { memchr::memrchr(b'\n', &bytes) } else { None }) {
        Some(end) => end + 1,
        None if full => character_boundary(&bytes),
        None => bytes.len(),
    };
    bytes.truncate(cut);
    let lines = memchr::memchr_iter(b'\n', &bytes).count() as u64;
    Ok(Taken { bytes, end: Place { line: start.line + lines, byte: start.byte + cut as u64 } })
}

/// Where to cut `bytes` so that no character of UTF-8 (four bytes at most) is torn at its end.
fn character_boundary(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    }
}

//! Files by name, and lines by content.

use std::io::Read;
use std::ops::ControlFlow;

use globset::{GlobBuilder, GlobMatcher};
use regex::bytes::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::root::{Kind, Root, open_regular};
use super::walk::{Found, MAX_DEPTH, Reach, walk};
use crate::page::{Page, cut, more};
use crate::tool::{Content, Effect, Job, Tool, ToolError};

const USUAL_MATCHES: usize = 100;
const MOST_MATCHES: usize = 1000;

/// Bytes of a pattern at most, and of the automaton it may become: patterns come from anybody.
const MAX_PATTERN_BYTES: usize = 1024;
const MAX_AUTOMATON_BYTES: usize = 1024 * 1024;

/// Bytes of a file that is searched: larger ones are data, dumps or logs, and each search holds one in memory.
const MAX_SEARCHED_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes of a line that are shown.
const SHOWN_LINE_BYTES: usize = 400;

pub(super) struct SearchFiles;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The folder to search; by default the root.
    path: Option<String>,
    /// Glob that the file's name must fit, such as `*.rs`; with a `/` in it, the path below the searched folder, such as `src/**/*.rs`.
    name: Option<String>,
    /// Text to find in the files; without it, files are found by name alone.
    content: Option<String>,
    /// `content` is a regular expression (Rust's syntax: no look-around, no back-references).
    regex: Option<bool>,
    /// Upper and lower case are the same, in `name` and `content`.
    ignore_case: Option<bool>,
    /// Search also what .gitignore leaves out, and .git itself.
    include_ignored: Option<bool>,
    /// How many matches to skip.
    offset: Option<u64>,
    /// How many matches at most (by default 100, at most 1000).
    limit: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    /// By path and line.
    matches: Vec<Match>,
    /// Files larger than 16 MiB that were not searched.
    skipped: u64,
    /// `offset` of the next page; missing where this is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct Match {
    path: String,
    /// Number of the line, where content was searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    /// The line, where content was searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl Tool for SearchFiles {
    type State = Root;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "search_files";
    const TITLE: &'static str = "Search files by name and content";
    const DESCRIPTION: &'static str = "Finds files by a glob over their names (`name`), lines by text or regular expression (`content`), or both. Leaves out binary files and what .gitignore names. Links are not followed.";
    const EFFECT: Effect = Effect::Reads;

    fn run(root: &Root, input: Input, job: &Job) -> Result<Output, ToolError> {
        if input.name.is_none() && input.content.is_none() {
            return Err(ToolError::argument("name", "give `name`, `content` or both"));
        }
        let start = root.locate(input.path.as_deref().unwrap_or("."))?;
        let reach = Reach { depth: MAX_DEPTH, ignored: input.include_ignored.unwrap_or(false) };
        let mut search = Search {
            name: input.name.as_deref().map(|glob| NameFilter::new(glob, &input, &start)).transpose()?,
            content: input.content.as_deref().map(|text| content_filter(text, &input)).transpose()?,
            page: Page::new(input.offset, input.limit, USUAL_MATCHES, MOST_MATCHES),
            skipped: 0,
            buffer: Vec::new(),
        };
        walk(root, &start, reach, job, &mut |found| search.look_at(root, found, job))?;
        let (matches, next) = search.page.finish();
        Ok(Output { matches, skipped: search.skipped, next })
    }

    fn content(output: &Output) -> Option<Content> {
        let mut text = String::new();
        for found in &output.matches {
            match (found.line, &found.text) {
                (Some(line), Some(shown)) => text.push_str(&format!("{}:{line}: {shown}\n", found.path)),
                _ => text.push_str(&format!("{}\n", found.path)),
            }
        }
        if output.matches.is_empty() {
            text.push_str("[no match]\n");
        }
        if output.skipped > 0 {
            text.push_str(&format!("[{} files larger than 16 MiB were not searched]\n", output.skipped));
        }
        more(&mut text, output.next);
        Some(Content::Text(text))
    }
}

/// A glob over names, or over paths below the searched folder.
struct NameFilter {
    glob: GlobMatcher,
    /// Bytes of a path that belong to the searched folder; `None`: names alone are looked at.
    prefix: Option<usize>,
}

impl NameFilter {
    fn new(pattern: &str, input: &Input, start: &std::path::Path) -> Result<Self, ToolError> {
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(ToolError::argument("name", format!("longer than {MAX_PATTERN_BYTES} bytes")));
        }
        let glob = GlobBuilder::new(pattern.trim_start_matches("./"))
            .literal_separator(true)
            .case_insensitive(input.ignore_case.unwrap_or(false))
            .build()
            .map_err(|error| ToolError::argument("name", error))?;
        let start = start.to_string_lossy();
        let prefix = pattern.contains('/').then_some(if start == "." { 0 } else { start.len() + 1 });
        Ok(Self { glob: glob.compile_matcher(), prefix })
    }

    fn fits(&self, found: &Found<'_>) -> bool {
        match self.prefix {
            Some(prefix) => found.path.get(prefix..).is_some_and(|below| self.glob.is_match(below)),
            None => self.glob.is_match(found.name),
        }
    }
}

fn content_filter(text: &str, input: &Input) -> Result<Regex, ToolError> {
    if text.is_empty() || text.len() > MAX_PATTERN_BYTES {
        return Err(ToolError::argument("content", format!("must have 1 to {MAX_PATTERN_BYTES} bytes")));
    }
    let pattern = if input.regex.unwrap_or(false) { text.to_owned() } else { regex::escape(text) };
    RegexBuilder::new(&pattern)
        .case_insensitive(input.ignore_case.unwrap_or(false))
        .size_limit(MAX_AUTOMATON_BYTES)
        .build()
        .map_err(|error| ToolError::argument("content", error))
}

struct Search {
    name: Option<NameFilter>,
    content: Option<Regex>,
    page: Page<Match>,
    skipped: u64,
    buffer: Vec<u8>,
}

impl Search {
    fn look_at(&mut self, root: &Root, found: &Found<'_>, job: &Job) -> Result<ControlFlow<()>, ToolError> {
        if self.name.as_ref().is_some_and(|name| !name.fits(found)) {
            return Ok(ControlFlow::Continue(()));
        }
        if self.content.is_some() {
            return if found.kind == Kind::File { self.look_into(root, found, job) } else { Ok(ControlFlow::Continue(())) };
        }
        let path = || if found.kind == Kind::Directory { format!("{}/", found.path) } else { found.path.to_owned() };
        Ok(self.page.offer(found.path.len() + 16, || Match { path: path(), line: None, text: None }))
    }

    fn look_into(&mut self, root: &Root, found: &Found<'_>, job: &Job) -> Result<ControlFlow<()>, ToolError> {
        let Some(pattern) = &self.content else { return Ok(ControlFlow::Continue(())) };
        // What cannot be read, or is no file any more, has no matches.
        let Ok((file, metadata)) = open_regular(found.folder, found.name, false) else { return Ok(ControlFlow::Continue(())) };
        if root.hides(&metadata) {
            return Ok(ControlFlow::Continue(()));
        }
        if metadata.len() > MAX_SEARCHED_BYTES {
            self.skipped += 1;
            return Ok(ControlFlow::Continue(()));
        }
        self.buffer.clear();
        let read = file.take(MAX_SEARCHED_BYTES).read_to_end(&mut self.buffer);
        let head = self.buffer.get(..8000).unwrap_or(&self.buffer);
        if read.is_err() || memchr::memchr(0, head).is_some() || !pattern_may_match(pattern, &self.buffer) {
            return Ok(ControlFlow::Continue(()));
        }
        for (at, line) in self.buffer.split(|byte| *byte == b'\n').enumerate() {
            if at % 4096 == 0 {
                job.check()?;
            }
            if !pattern.is_match(line) {
                continue;
            }
            let shown = || cut(&String::from_utf8_lossy(line), SHOWN_LINE_BYTES);
            let bytes = found.path.len() + line.len().min(SHOWN_LINE_BYTES) + 48;
            let one = || Match { path: found.path.to_owned(), line: Some(at as u64 + 1), text: Some(shown()) };
            if self.page.offer(bytes, one).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Whether going through the lines is worth it. An anchored pattern may fit a line without fitting the whole text.
fn pattern_may_match(pattern: &Regex, text: &[u8]) -> bool {
    pattern.as_str().contains(['^', '$', '\\']) || pattern.is_match(text)
}

//! Who wrote each line of a file.

use std::path::Path;

use git2::BlameOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::describe::{self, Described, short};
use super::location::Location;
use super::revision;
use crate::page::{Page, cut, more};
use crate::tool::{Content, Effect, Job, Tool, ToolError};

const USUAL_LINES: usize = 200;
const MOST_LINES: usize = 1000;
const SHOWN_LINE_BYTES: usize = 500;

pub(super) struct Blame;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The file.
    path: String,
    /// A commit, branch or tag (by default HEAD).
    revision: Option<String>,
    /// How many lines to skip.
    offset: Option<u64>,
    /// How many lines at most (by default 200, at most 1000).
    limit: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    path: String,
    /// Lines that came with one commit, from top to bottom.
    parts: Vec<Part>,
    /// `offset` of the next page; missing where this is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct Part {
    commit: Described,
    /// Number of the first line.
    line: u64,
    text: String,
}

impl Tool for Blame {
    type State = Location;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "blame";
    const TITLE: &'static str = "Show who wrote each line";
    const DESCRIPTION: &'static str =
        "Shows the lines of a committed file with the commit that each came with. On a long history it takes a while.";
    const EFFECT: Effect = Effect::Reads;

    fn run(location: &Location, input: Input, job: &Job) -> Result<Output, ToolError> {
        let repository = location.open()?;
        let path = revision::path(location, "path", &input.path)?;
        location.check_kept("path", &path)?;
        let commit = revision::commit(&repository, "revision", input.revision.as_deref().unwrap_or("HEAD"))?;
        let missing = |_| ToolError::argument("path", format!("there is no `{path}` in that commit"));
        let entry = commit.tree()?.get_path(Path::new(&path)).map_err(missing)?;
        let blob = revision::blob(&repository, entry.id(), &path)?;
        let content = String::from_utf8_lossy(blob.content());
        let (lines, next) = lines(&content, &input);
        let (Some((first, _)), Some((last, _))) = (lines.first(), lines.last()) else {
            return Ok(Output { path, parts: Vec::new(), next: None });
        };
        job.check()?;
        let mut options = BlameOptions::new();
        options.newest_commit(commit.id()).min_line(*first).max_line(*last);
        let blame = repository.blame_file(Path::new(&path), Some(&mut options))?;
        let mut parts: Vec<(git2::Oid, Part)> = Vec::new();
        for (number, text) in &lines {
            let hunk = blame.get_line(*number).ok_or_else(|| ToolError::internal(format!("line {number} has no commit")))?;
            let id = hunk.final_commit_id();
            match parts.last_mut() {
                Some((last, part)) if *last == id => part.text.push_str(&format!("\n{text}")),
                _ => {
                    let commit = Described::new(&repository.find_commit(id)?);
                    parts.push((id, Part { commit, line: *number as u64, text: text.clone() }));
                }
            }
        }
        Ok(Output { path, parts: parts.into_iter().map(|(_, part)| part).collect(), next })
    }

    fn content(output: &Output) -> Option<Content> {
        let mut text = String::new();
        for Part { commit, line, text: lines } in &output.parts {
            text.push_str(&format!("{} {} {}: {}\n", short(&commit.id), commit.date, commit.author, commit.summary));
            for (number, shown) in (*line..).zip(lines.split('\n')) {
                text.push_str(&format!("{number:>6}  {shown}\n"));
            }
        }
        if output.parts.is_empty() {
            text.push_str("[no lines]\n");
        }
        more(&mut text, output.next);
        Some(Content::Text(text))
    }
}

/// The lines of the page with their numbers, from 1 on.
fn lines(content: &str, input: &Input) -> (Vec<(usize, String)>, Option<u64>) {
    let mut page = Page::new(input.offset, input.limit, USUAL_LINES, MOST_LINES);
    for (at, line) in content.lines().enumerate() {
        // In the worst case every line came with a commit of its own.
        let bytes = describe::SHOWN_BYTES + line.len().min(SHOWN_LINE_BYTES);
        if page.offer(bytes, || (at + 1, cut(line, SHOWN_LINE_BYTES))).is_break() {
            break;
        }
    }
    page.finish()
}

//! What is in one folder.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::root::{Kind, Root, show};
use super::walk;
use crate::page::{Page, more};
use crate::tool::{Content, Effect, Job, Tool, ToolError};

const USUAL_ENTRIES: usize = 500;
const MOST_ENTRIES: usize = 2000;

pub(super) struct ListDirectory;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// The folder; by default the root.
    path: Option<String>,
    /// How many entries to skip.
    offset: Option<u64>,
    /// How many entries at most (by default 500, at most 2000).
    limit: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    path: String,
    /// By name.
    entries: Vec<Entry>,
    /// How many entries the folder has.
    total: u64,
    /// `offset` of the next page; missing where this is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct Entry {
    name: String,
    kind: Kind,
    /// Bytes of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

impl Tool for ListDirectory {
    type State = Root;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "list_directory";
    const TITLE: &'static str = "List a folder";
    const DESCRIPTION: &'static str = "Lists the files and folders directly in a folder, sorted by name, with kind and size.";
    const EFFECT: Effect = Effect::Reads;

    fn run(root: &Root, input: Input, job: &Job) -> Result<Output, ToolError> {
        let path = root.locate(input.path.as_deref().unwrap_or("."))?;
        let folder = root.open_folder(&path)?;
        let names = walk::sorted_entries(&folder, job).map_err(|error| error.or(|io| root.fault(&path, &io)))?;
        let total = names.len() as u64;
        let mut page = Page::new(input.offset, input.limit, USUAL_ENTRIES, MOST_ENTRIES);
        for (name, kind) in names {
            let entry = || {
                let size = match kind {
                    Kind::File => folder.symlink_metadata(&name).ok().map(|metadata| metadata.len()),
                    _ => None,
                };
                Entry { name: name.to_string_lossy().into_owned(), kind, size }
            };
            if page.offer(name.len() + 32, entry).is_break() {
                break;
            }
        }
        let (entries, next) = page.finish();
        Ok(Output { path: show(&path), entries, total, next })
    }

    fn content(output: &Output) -> Option<Content> {
        let mut text = String::new();
        for entry in &output.entries {
            let line = match (entry.kind, entry.size) {
                (Kind::Directory, _) => format!("{}/\n", entry.name),
                (Kind::Symlink, _) => format!("{} (link)\n", entry.name),
                (Kind::Other, _) => format!("{} (special)\n", entry.name),
                (Kind::File, Some(size)) => format!("{} ({size} bytes)\n", entry.name),
                (Kind::File, None) => format!("{}\n", entry.name),
            };
            text.push_str(&line);
        }
        if output.total == 0 {
            text.push_str("[empty]\n");
        }
        more(&mut text, output.next);
        Some(Content::Text(text))
    }
}

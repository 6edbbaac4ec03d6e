//! Changes of the work tree into the index.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cap_std::fs::Dir;
use git2::{Index, IndexEntry, IndexTime, Oid, Repository, Status, StatusOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::location::Location;
use super::revision;
use super::work_tree::{self, Entry};
use crate::tool::{Effect, Job, Tool, ToolError};

/// Paths of one call at most, and files that are named in the result.
const MOST_PATHS: usize = 500;

pub(super) struct Add;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// Files and folders (at most 500); `.` is everything. Taken as they are, not as patterns.
    paths: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    /// The files that were staged (the first 500).
    staged: Vec<String>,
    /// How many files were staged.
    total: u64,
    /// Repositories inside this one, secrets of the gateway, and what lies in its own folders, which were left alone.
    skipped: Vec<String>,
}

impl Tool for Add {
    type State = Location;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "add";
    const TITLE: &'static str = "Stage changes";
    const DESCRIPTION: &'static str =
        "Stages new, changed and deleted files for the next commit. Ignored files are left out; conflicts in the files count as resolved.";
    const EFFECT: Effect = Effect::Ensures;

    fn run(location: &Location, input: Input, job: &Job) -> Result<Output, ToolError> {
        if input.paths.is_empty() || input.paths.len() > MOST_PATHS {
            return Err(ToolError::argument("paths", format!("give 1 to {MOST_PATHS} paths")));
        }
        let tree = work_tree::open(location)?;
        let repository = location.open()?;
        let mut options = StatusOptions::new();
        options.include_untracked(true).recurse_untracked_dirs(true).exclude_submodules(true).disable_pathspec_match(true);
        for path in &input.paths {
            let path = revision::path(location, "paths", path)?;
            location.check_kept("paths", &path)?;
            if path.is_empty() {
                continue; // everything, where nothing else is named beside it
            }
            if tree.symlink_metadata(&path).is_err()
                && repository.index()?.get_path(Path::new(&path), 0).is_none()
                && !is_known(&repository, &path)?
            {
                return Err(ToolError::argument("paths", format!("there is no `{path}`")));
            }
            options.pathspec(path);
        }
        stage_all(location, &repository, &tree, &mut options, job)
    }
}

/// Whether the index has something below `path`: a folder whose files were all deleted.
fn is_known(repository: &Repository, path: &str) -> Result<bool, ToolError> {
    Ok(repository.index()?.find_prefix(format!("{path}/")).is_ok())
}

fn stage_all(
    location: &Location,
    repository: &Repository,
    tree: &Dir,
    options: &mut StatusOptions,
    job: &Job,
) -> Result<Output, ToolError> {
    let mut output = Output { staged: Vec::new(), total: 0, skipped: Vec::new() };
    let mut index = repository.index()?;
    let kept = location.kept();
    let changed = Status::WT_NEW | Status::WT_MODIFIED | Status::WT_TYPECHANGE | Status::WT_DELETED | Status::CONFLICTED;
    for entry in repository.statuses(Some(options))?.iter().filter(|entry| entry.status().intersects(changed)) {
        job.check()?;
        let bytes = entry.path_bytes();
        let shown = String::from_utf8_lossy(bytes).into_owned();
        let path = Path::new(OsStr::from_bytes(bytes));
        let staged = !bytes.ends_with(b"/")
            && kept.why(path).is_none()
            && stage(location, repository, &mut index, tree, path, job).map_err(|error| ToolError::new(format!("`{shown}`: {error}")))?;
        if !staged {
            if output.skipped.len() < MOST_PATHS {
                output.skipped.push(shown);
            }
            continue;
        }
        output.total += 1;
        if output.staged.len() < MOST_PATHS {
            output.staged.push(shown);
        }
    }
    index.write()?;
    Ok(output)
}

/// Whether it was staged: a secret under another name is not.
fn stage(location: &Location, repository: &Repository, index: &mut Index, tree: &Dir, path: &Path, job: &Job) -> Result<bool, ToolError> {
    if tree.symlink_metadata(path).is_err() {
        let _ = index.conflict_remove(path);
        index.remove_path(path)?;
        return Ok(true);
    }
    let Some(entry) = work_tree::entry(tree, location, path)? else { return Ok(false) };
    let _ = index.conflict_remove(path); // there mostly is none
    let mode = u32::from(entry.mode());
    let id = match entry {
        Entry::Link(target) => repository.blob(&target)?,
        Entry::File(file, _) => store(repository, path, file, job)?,
    };
    // Times are left open: git compares the content once and then writes them itself.
    let never = IndexTime::new(0, 0);
    index.add(&IndexEntry {
        ctime: never,
        mtime: never,
        dev: 0,
        ino: 0,
        mode,
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended: 0,
        path: path.as_os_str().as_bytes().to_vec(),
    })?;
    Ok(true)
}

/// Stores a file's content, with its line ends as the repository has them.
fn store(repository: &Repository, path: &Path, mut file: impl Read, job: &Job) -> Result<Oid, ToolError> {
    let mut writer = repository.blob_writer(Some(path))?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        job.check()?;
        match file.read(&mut buffer)? {
            0 => return Ok(writer.commit()?),
            read => writer.write_all(buffer.get(..read).unwrap_or_default())?,
        }
    }
}

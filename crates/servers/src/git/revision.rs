//! What a revision or a path in an argument stands for.

use std::path::{Component, Path};

use git2::{Commit, ErrorCode, Object, ObjectType, Repository};

use super::location::Location;
use crate::tool::ToolError;

/// Bytes of a revision at most: longer than any name of a branch that a file system holds.
const MAX_REVISION_BYTES: usize = 512;

/// Bytes of a file's content that are read out of the repository: more is no text that anybody wrote.
pub(super) const MAX_BLOB_BYTES: usize = 4 * 1024 * 1024;

/// The object that `revision` names (gitrevisions(7)), without searches through messages and without `rev:path`.
pub(super) fn object<'r>(repository: &'r Repository, argument: &str, revision: &str) -> Result<Object<'r>, ToolError> {
    let searches = revision.contains(":/") || revision.contains("^{/");
    if revision.is_empty() || revision.len() > MAX_REVISION_BYTES || searches {
        return Err(ToolError::argument(argument, "name a branch, tag, commit id, or something like HEAD~2"));
    }
    repository.revparse_single(revision).map_err(|error| match error.code() {
        ErrorCode::NotFound if revision == "HEAD" => ToolError::new("the repository has no commit yet"),
        ErrorCode::NotFound => {
            ToolError::argument(argument, format!("there is no `{revision}`")).with_hint("use branches or log to see what there is")
        }
        ErrorCode::Ambiguous => ToolError::argument(argument, format!("`{revision}` is ambiguous")).with_hint("give more of the commit id"),
        _ => ToolError::argument(argument, error.message()),
    })
}

/// The commit that `revision` names.
pub(super) fn commit<'r>(repository: &'r Repository, argument: &str, revision: &str) -> Result<Commit<'r>, ToolError> {
    object(repository, argument, revision)?
        .peel_to_commit()
        .map_err(|_| ToolError::argument(argument, format!("`{revision}` is no commit")))
}

/// The content of a file in a tree, where it is small enough to be text.
pub(super) fn blob<'r>(repository: &'r Repository, id: git2::Oid, shown: &str) -> Result<git2::Blob<'r>, ToolError> {
    // The header first: a small packed object may unpack to gigabytes.
    let (size, kind) = repository.odb()?.read_header(id)?;
    if kind != ObjectType::Blob {
        return Err(ToolError::new(format!("`{shown}` is no file")));
    }
    if size > MAX_BLOB_BYTES {
        return Err(ToolError::new(format!("`{shown}` is too large: {size} bytes, at most {MAX_BLOB_BYTES}")));
    }
    let blob = repository.find_blob(id)?;
    if blob.is_binary() {
        return Err(ToolError::new(format!("`{shown}` is no text: {size} bytes of binary data")));
    }
    Ok(blob)
}

/// A path of an argument as git keeps paths: below the work tree, with `/`, without `.` and `..`. The tree itself is `""`.
pub(super) fn path(location: &Location, argument: &str, text: &str) -> Result<String, ToolError> {
    let path = Path::new(text);
    let path = path.strip_prefix(location.folder()).unwrap_or(path);
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            _ => return Err(ToolError::argument(argument, format!("`{text}` is not below {}", location.folder().display()))),
        }
    }
    if text.contains('\0') || parts.iter().any(|part| part.eq_ignore_ascii_case(".git")) {
        return Err(ToolError::argument(argument, "names no file of the work tree"));
    }
    Ok(parts.join("/"))
}

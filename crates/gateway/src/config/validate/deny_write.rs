//! What a program must not write, though its folder is its to write.

use std::path::{Component, Path};

use sallyport_sandbox::DENY_WRITE;

use crate::config::diagnostic::{Diagnostic, Report, join};

/// Takes everything out of the list.
const ALL: &str = "*";

/// Checks the key `deny_write` at `path`: the usual list, and what `written` adds to it and takes out of it.
pub(super) fn check(path: &str, written: &[String], report: &mut Report) -> Vec<String> {
    let path = join(path, "deny_write");
    let mut list: Vec<String> = DENY_WRITE.iter().map(|entry| (*entry).to_owned()).collect();
    for (index, entry) in written.iter().enumerate() {
        let checked = match entry.strip_prefix('!') {
            Some(ALL) => {
                list.clear();
                Ok(())
            }
            Some(entry) => take_out(&mut list, entry),
            None => add(&mut list, entry),
        };
        report.take(checked.map_err(|diagnostic| Diagnostic { path: format!("{path}[{index}]"), ..diagnostic }));
    }
    list
}

fn take_out(list: &mut Vec<String>, entry: &str) -> Result<(), Diagnostic> {
    let before = list.len();
    list.retain(|known| known.trim_end_matches('?') != entry.trim_end_matches('?'));
    if list.len() < before {
        return Ok(());
    }
    let message = format!("`{}` is not in the list, so it cannot be taken out", entry.escape_debug());
    Err(Diagnostic::new("", message).hint(format!("the usual list is `{}`; `!*` takes out all of it", DENY_WRITE.join("`, `"))))
}

fn add(list: &mut Vec<String>, entry: &str) -> Result<(), Diagnostic> {
    let below = entry.strip_prefix("~/").unwrap_or(entry).trim_end_matches('?');
    let is_plain = Path::new(below).components().all(|part| matches!(part, Component::Normal(_)));
    if below.is_empty() || below == "~" || below.contains('\0') || !is_plain {
        let message = format!("`{}` is not below a folder to write", entry.escape_debug());
        return Err(Diagnostic::new("", message).hint("write `.git/hooks`, relative to each folder in `write`, or `~/.bashrc`"));
    }
    list.push(entry.to_owned());
    Ok(())
}

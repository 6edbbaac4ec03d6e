//! Named selections of tools.

use std::collections::BTreeMap;

use crate::config::diagnostic::{Diagnostic, Report, join, nearest};
use crate::config::model::ToolsetConfig;
use crate::config::validate::patterns;
use crate::plan::ToolsetPlan;

/// The longest exposed name: clients allow 64 characters and put up to 16 (`mcp__sallyport__`) before it.
const LONGEST_TOOL_NAME: usize = 48;

/// The longest description that may be written for a tool: longer ones cost every prompt they are in.
const LONGEST_DESCRIPTION: usize = 16 * 1024;

/// Checks the set `name`; `servers` are the names of all that are configured.
pub(super) fn check(name: &str, set: ToolsetConfig, servers: &[String], report: &mut Report) -> ToolsetPlan {
    let path = join("toolsets", name);
    let tools = patterns(&join(&path, "tools"), &set.tools, report);
    if set.tools.is_empty() {
        report.error(
            Diagnostic::new(join(&path, "tools"), "the set selects nothing")
                .hint("write patterns over exposed names: `tools = [\"github__get_*\"]`"),
        );
    }
    for (index, pattern) in set.tools.iter().enumerate() {
        check_server(&format!("{}[{index}]", join(&path, "tools")), pattern, servers, report);
    }
    check_new_names(&join(&path, "rename"), &set.rename, report);
    for (tool, text) in set.describe.iter().filter(|(_, text)| text.len() > LONGEST_DESCRIPTION) {
        let message = format!("the description has {} bytes; at most {LONGEST_DESCRIPTION} are passed on", text.len());
        report.error(Diagnostic::new(join(&join(&path, "describe"), tool), message));
    }
    ToolsetPlan { tools, rename: set.rename, describe: set.describe }
}

/// Warns of a pattern that names a server which is not there.
fn check_server(path: &str, pattern: &str, servers: &[String], report: &mut Report) {
    let Some((server, _)) = pattern.split_once("__") else { return };
    if server.contains(['*', '?', '[', '{']) || servers.iter().any(|name| name == server) {
        return;
    }
    let warning = Diagnostic::new(path, format!("no server is called `{server}`"));
    let near = nearest(server, servers.iter().map(String::as_str));
    report.warn(match near {
        Some(near) => warning.hint(format!("did you mean `{near}`?")),
        None => warning,
    });
}

/// New names must be such as every client accepts, and differ.
fn check_new_names(path: &str, rename: &BTreeMap<String, String>, report: &mut Report) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (tool, new) in rename {
        let fits = (1..=LONGEST_TOOL_NAME).contains(&new.len())
            && new.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !fits {
            report.error(
                Diagnostic::new(join(path, tool), format!("`{}` cannot be a tool's name", new.escape_debug()))
                    .hint(format!("letters, digits, `-` and `_`, at most {LONGEST_TOOL_NAME} of them")),
            );
        }
        if let Some(other) = seen.insert(new, tool) {
            report.error(Diagnostic::new(join(path, tool), format!("`{other}` already has the new name `{new}`")));
        }
    }
}

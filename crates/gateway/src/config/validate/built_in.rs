//! A server inside the gateway.

use std::path::{Path, PathBuf};

use sallyport_servers::BuiltInConfig;

use crate::config::diagnostic::{Diagnostic, Report, join};
use crate::config::validate::{Context, deny_write};

/// Checks the built-in server at `path`, and makes its paths absolute.
pub(super) fn check(path: &str, written: &BuiltInConfig, context: &Context<'_>, report: &mut Report) -> Option<BuiltInConfig> {
    let path = join(&join(path, "builtin"), written.name());
    if let Some(problem) = written.problem() {
        let diagnostic = Diagnostic::new(&path, problem.message);
        report.error(problem.hint.into_iter().fold(diagnostic, Diagnostic::hint));
        return None;
    }
    let place = match written.place() {
        Some((key, place)) => Some(absolute(&join(&path, key), place, context, report)?),
        None => None,
    };
    let mut built_in = written.clone();
    if let Some(secret) = built_in.secret() {
        context.look_for(&path, secret, "no call of it works", report);
    }
    if let Some(root) = place.as_deref().filter(|_| !matches!(written, BuiltInConfig::Database(_))) {
        warn_of_reach(&path, root, context, report);
    }
    match &mut built_in {
        BuiltInConfig::Filesystem(files) if files.write => files.deny_write = deny_write::check(&path, &files.deny_write, report),
        BuiltInConfig::Filesystem(files) if !files.deny_write.is_empty() => {
            let message = "`deny_write` has no effect without `write`: nothing is written";
            report.error(Diagnostic::new(join(&path, "deny_write"), message).hint("remove it"));
        }
        _ => {}
    }
    built_in.anchor(&context.origin.folder, place);
    Some(built_in)
}

/// The path that is written at the key `path`.
fn absolute(path: &str, written: &Path, context: &Context<'_>, report: &mut Report) -> Option<PathBuf> {
    let Some(text) = written.to_str() else {
        report.error(Diagnostic::new(path, "the path is not UTF-8"));
        return None;
    };
    report.take(context.path(path, text))
}

/// Warns of folders that hold more than a project.
fn warn_of_reach(path: &str, root: &Path, context: &Context<'_>, report: &mut Report) {
    if context.is_home(root) {
        report.warn(
            Diagnostic::new(join(path, "root"), format!("callers may read all of {}: keys and passwords lie there too", root.display()))
                .hint("name a project's folder, or start Sallyport in one"),
        );
    }
}

//! A server inside the gateway.

use sallyport_servers::BuiltInConfig;

use crate::config::diagnostic::{Diagnostic, Report, join};
use crate::config::validate::Context;

/// Checks the built-in server at `path`, and makes its root absolute.
pub(super) fn check(path: &str, written: &BuiltInConfig, context: &Context<'_>, report: &mut Report) -> Option<BuiltInConfig> {
    let path = join(&join(path, "builtin"), written.name());
    let root_path = join(&path, "root");
    let Some(root) = written.root().to_str() else {
        report.error(Diagnostic::new(root_path, "the path is not UTF-8"));
        return None;
    };
    let root = report.take(context.path(&root_path, root))?;
    if context.is_home(&root) {
        report.warn(
            Diagnostic::new(&root_path, format!("callers may read all of {}: keys and passwords lie there too", root.display()))
                .hint("name a project's folder, or start Sallyport in one"),
        );
    }
    if matches!(written, BuiltInConfig::Git(_))
        && written.writes()
        && context.origin.file.as_ref().is_some_and(|file| file.starts_with(&root))
    {
        report.warn(
            Diagnostic::new(join(&path, "write"), format!("callers may write {}, where this configuration lies", root.display()))
                .hint("a checkout could change the rules: keep the configuration elsewhere"),
        );
    }
    let mut built_in = written.clone();
    built_in.set_root(root);
    if let Some(file) = &context.origin.file {
        built_in.protect(file.clone());
    }
    Some(built_in)
}

//! The boundary of a program, and the least that it may be.

use sallyport_sandbox::{CallGroup, Host, Isolation, Selection, SystemCalls};

use crate::config::diagnostic::{Diagnostic, Report, join};
use crate::config::model::ServerConfig;
use crate::config::validate::Context;
use crate::config::validate::stdio::HOST_NETWORK;

/// Checks `sandbox` against `min_isolation`. Two words that contradict each other are an error; where only one of them is written, it
/// holds: so a back-end that is named stays what it is beside the default floor, and `auto` never goes below that. A command that is an
/// image of a registry is run by the back-end for images.
pub(super) fn check(path: &str, config: &ServerConfig, is_image: bool, context: &Context<'_>, report: &mut Report) -> Selection {
    let named = config.sandbox.clone().with_paths_in(&context.origin.folder);
    let sandbox = &match named.for_image(None).filter(|_| is_image) {
        Some(for_image) => for_image,
        None => named,
    };
    if is_image && sandbox.for_image(None).is_none() {
        let message = match sandbox.name() {
            "oci" | "microvm" => "the command is an image of a registry, and this names another one".to_owned(),
            other => format!("the command is an image of a registry, which sandbox {other} does not run"),
        };
        let hint = "take `sandbox` out, or write `sandbox = \"microvm\"`, or name a container runtime alone: `sandbox = { oci = { runtime = \"runc\" } }`; a digest stands behind the image: `oci:…@sha256:…`";
        report.error(Diagnostic::new(join(path, "sandbox"), message).hint(hint));
    }
    let written = config.min_isolation.or(context.min_isolation);
    if let Some(floor) = written.filter(|floor| sandbox.isolation() < *floor) {
        let is = if sandbox.is_auto() { "is at most" } else { "is" };
        report.error(
            Diagnostic::new(
                join(path, "sandbox"),
                format!("the boundary {is} `{}`, and `min_isolation` asks for `{floor}`", sandbox.boundary()),
            )
            .hint(way_out(sandbox, floor)),
        );
    }
    if let Some(floor) = written.filter(|floor| config.scripts && *floor > Isolation::Os) {
        let message =
            format!("what scripts of a package run has the boundary `os` while it is installed, and `min_isolation` asks for `{floor}`");
        let hint = "take `scripts` out; or write `min_isolation = \"os\"` on this server if that is enough for it, which then still runs in its `sandbox`";
        report.error(Diagnostic::new(join(path, "scripts"), message).hint(hint));
    }
    if sandbox.spares() > 0 && config.shared == Some(false) {
        let message = "`pool` would keep as many machines ready for every caller, each of whom has a program of their own";
        report.error(Diagnostic::new(join(path, "sandbox"), message).hint("take `pool` out, or `shared = false`"));
    }
    let names_hosts = !config.network.is_empty() && !config.network.iter().any(|text| text == HOST_NETWORK);
    if sandbox.isolation() == Isolation::Landlock && names_hosts {
        let message = "the boundary `landlock` cannot let a program to some hosts only: it knows ports, and no addresses";
        report.error(Diagnostic::new(join(path, "network"), message).hint("take `sandbox` out, or leave `network` empty"));
    }
    // `auto` has no settings, and whether it can be as much as the floor was just looked at.
    if let Err(error) = sandbox.build(&Host::this_binary()).map(drop)
        && !sandbox.is_auto()
    {
        let diagnostic = Diagnostic::new(join(path, "sandbox"), error.to_string());
        report.error(match error.hint() {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        });
    }
    refuse_what_is_not_kept(path, config, report);
    sandbox.clone().with_floor(written.unwrap_or_default())
}

/// A key that a back-end could not keep to must not be taken for one that holds.
fn refuse_what_is_not_kept(path: &str, config: &ServerConfig, report: &mut Report) {
    let boundary = config.sandbox.boundary();
    let keys: [(&str, bool, &[&str]); 2] = [
        ("seccomp", config.seccomp != SystemCalls::default(), &["gvisor", "microvm", "wasm"]),
        ("network", !config.network.is_empty(), &["gvisor", "wasm"]),
    ];
    for (key, _, _) in keys.iter().filter(|(_, is_given, without)| *is_given && without.contains(&boundary)) {
        let message = format!("the boundary `{boundary}` does not keep to it");
        let other = if boundary == "gvisor" { "the runtime runc" } else { "`sandbox = \"os\"`" };
        report.error(Diagnostic::new(join(path, key), message).hint(format!("remove it, or use {other} for this server")));
    }
    if boundary == "landlock" && config.seccomp.added().any(|group| group == CallGroup::LocalSockets) {
        let message = "the boundary `landlock` never gives local sockets: every one of the user would be in reach";
        report.error(Diagnostic::new(join(path, "seccomp"), message).hint("remove it, or use `sandbox = \"os\"` for this server"));
    }
}

/// Without mounts, and by WASI, nothing can be kept read-only inside a folder to write.
pub(super) fn check_denied(path: &str, config: &ServerConfig, deny_write: &[String], report: &mut Report) {
    let name = config.sandbox.name();
    if matches!(name, "landlock" | "wasm") && !config.write.is_empty() && !deny_write.is_empty() {
        let message = format!("the boundary `{name}` keeps nothing read-only inside a folder to write, as `deny_write` asks for by itself");
        report
            .error(Diagnostic::new(join(path, "write"), message).hint("take `sandbox` out; or give that up with `deny_write = [\"!*\"]`"));
    }
}

fn way_out(sandbox: &Selection, floor: Isolation) -> String {
    if floor == Isolation::Gvisor {
        return "name `microvm` in `sandbox`, or an image and the runtime runsc: `{ oci = { image = \"…\", runtime = \"runsc\" } }`"
            .to_owned();
    }
    if sandbox.has_image() {
        return "run the image in a machine: `sandbox = \"microvm\"`, or `{ microvm = { image = \"…\" } }` for one on disk".to_owned();
    }
    if sandbox.is_auto() {
        return format!("name a back-end in `sandbox` that is at least `{floor}`");
    }
    // Left to itself, Sallyport takes `os` at most.
    let other = if floor > Isolation::Os { "name another back-end" } else { "take `sandbox` out" };
    format!("{other}, or write `min_isolation = \"{}\"` on this server if that is enough for it", sandbox.isolation())
}

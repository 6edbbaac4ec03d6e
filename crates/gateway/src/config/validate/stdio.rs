//! A server that is a program.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sallyport_sandbox::egress::{Allowed, Destination, DestinationError};
use sallyport_sandbox::{Network, install};

use crate::config::diagnostic::{Diagnostic, Report, join};
use crate::config::model::ServerConfig;
use crate::config::validate::{Context, deny_write, isolation, limits, server, standby};
use crate::packages;
use crate::plan::{StdioPlan, Template};

/// Programs that only pass the work on to a daemon outside any boundary of ours.
const CONTAINER_CLIENTS: [&str; 4] = ["docker", "docker-compose", "podman", "nerdctl"];

/// Checks the program `command` of the server at `path`.
pub(super) fn check(
    path: &str,
    command: &[String],
    config: &ServerConfig,
    context: &Context<'_>,
    report: &mut Report,
) -> Option<StdioPlan> {
    let command_path = join(path, "command");
    let program = report.take(program(&command_path, command, context));
    let arguments = arguments(&command_path, command, context, report);
    let environment = server::values(&join(path, "env"), &config.env, check_variable, context, report);
    let folder = config.cwd.as_deref().map(|cwd| report.take(context.path(&join(path, "cwd"), cwd)));
    let read = paths(&join(path, "read"), &config.read, context, report);
    let write = paths(&join(path, "write"), &config.write, context, report);
    let read = default_roots(path, config, read, context, report);
    let network = network(&join(path, "network"), &config.network, report);
    warn_of_openings(path, config, &write, context, report);
    refuse_beyond_a_machine(path, config, report);
    limits::check(&join(path, "limits"), &config.limits, report);
    let program = program?;
    check_installation(path, &program, &arguments, config, report);
    if config.write.is_empty() && !config.deny_write.is_empty() {
        let message = "`deny_write` has no effect without `write`: the program writes nothing";
        report.error(Diagnostic::new(join(path, "deny_write"), message).hint("remove it"));
    }
    let deny_write = deny_write::check(path, &config.deny_write, report);
    isolation::check_denied(path, config, &deny_write, report);
    let shown: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let is_image = packages::package(&program, &shown, false).is_ok_and(|package| package.is_some_and(|package| package.is_image()));
    let sandbox = isolation::check(path, config, is_image, context, report);
    Some(StdioPlan {
        folder: match folder {
            Some(named) => Some(named?),
            None if sandbox.has_image() => None, // which says where
            None => Some(context.origin.folder.clone()).filter(|folder| config.sandbox.is_none() || is_below(folder, &read, &write)),
        },
        own: Arc::default(), // handed out when all of it is known
        scripts: config.scripts,
        lock: context.origin.file.as_deref().and_then(|file| packages::lock_beside(file, context.tenant)),
        read,
        network,
        write,
        deny_write,
        program,
        arguments,
        environment,
        sandbox,
        seccomp: config.seccomp.clone(),
        limits: config.limits.clone(),
        standby: standby::check(&join(path, "standby"), config, report),
    })
}

/// The program itself: a name to be looked for, or an absolute path.
fn program(path: &str, command: &[String], context: &Context<'_>) -> Result<String, Diagnostic> {
    let written = command.first().map_or("", String::as_str);
    if written.is_empty() || written.contains(['\0', '$']) {
        let message = if written.is_empty() { "the program is missing" } else { "the program must be a plain name or path" };
        return Err(Diagnostic::new(path, message).hint("write `command = [\"PROGRAM\", \"ARGUMENT\", …]`"));
    }
    if install::names_a_package(written) {
        return Ok(written.to_owned());
    }
    let name = written.rsplit('/').next().unwrap_or(written);
    // What `run` names is installed and run here; what of it cannot be met is told where packages are looked at.
    let runs_an_image = name != "docker-compose" && command.get(1).is_some_and(|word| word == "run");
    if CONTAINER_CLIENTS.contains(&name) && !runs_an_image {
        let hint = "name the image, `oci:registry.example.com/name:tag`, which is then run here; or start the container yourself and give its `url`";
        return Err(Diagnostic::new(path, format!("`{name}` would start the server outside the gateway's boundary")).hint(hint));
    }
    if !written.contains('/') {
        if written.contains(char::is_whitespace) {
            return Err(
                Diagnostic::new(path, "the program's name has a space in it").hint("give each argument as an entry of its own in the list")
            );
        }
        return Ok(written.to_owned());
    }
    let absolute = context.path(path, written)?;
    absolute.into_os_string().into_string().map_err(|_| Diagnostic::new(path, "the program's path is not UTF-8"))
}

fn arguments(path: &str, command: &[String], context: &Context<'_>, report: &mut Report) -> Vec<Template> {
    let check = |(index, argument): (usize, &String)| context.text(&format!("{path}[{index}]"), argument, report);
    command.iter().enumerate().skip(1).filter_map(check).collect()
}

fn check_variable(name: &str) -> Result<(), Diagnostic> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(Diagnostic::new("", "an environment variable cannot have this name"));
    }
    Ok(())
}

fn paths(path: &str, written: &[String], context: &Context<'_>, report: &mut Report) -> Vec<PathBuf> {
    let check = |(index, text): (usize, &String)| report.take(context.path(&format!("{path}[{index}]"), text));
    written.iter().enumerate().filter_map(check).collect()
}

/// The entry that stands for the host's whole network; as a name it would have no use.
pub(super) const HOST_NETWORK: &str = "host-network";

fn network(path: &str, written: &[String], report: &mut Report) -> Network {
    if written.is_empty() {
        return Network::None;
    }
    if written.iter().any(|text| text == HOST_NETWORK) {
        if written.len() > 1 {
            let message = format!("`{HOST_NETWORK}` is everything already, and cannot stand beside other entries");
            report.error(Diagnostic::new(path, message).hint("take it out, or take out all others"));
        }
        return Network::Host;
    }
    let check = |(index, text): (usize, &String)| {
        let destination = text.parse::<Destination>().map_err(|error| {
            Diagnostic::new(format!("{path}[{index}]"), format!("`{}` cannot be used: {error}", text.escape_debug())).hint(
                "write `api.github.com`, `api.github.com:443`, `*.example.com`, an IP address or `10.0.0.0/8:5432`, or `*` for any name",
            )
        });
        report.take(destination)
    };
    let destinations = written.iter().enumerate().filter_map(check).collect();
    let bounded = |error: DestinationError| Diagnostic::new(path, error.to_string()).hint("name fewer, or a block of addresses or names");
    report.take(Allowed::new(destinations).map_err(bounded)).map_or(Network::None, Network::Only)
}

/// What a program may read when nothing is said: the project, but never everything the user has.
fn default_roots(path: &str, config: &ServerConfig, read: Vec<PathBuf>, context: &Context<'_>, report: &mut Report) -> Vec<PathBuf> {
    if !read.is_empty() || !config.write.is_empty() {
        return read;
    }
    if context.tenant.is_some() {
        return read; // the project is not this tenant's alone
    }
    let folder = &context.origin.folder;
    if !context.is_home(folder) {
        return vec![folder.clone()];
    }
    report.warn(
        Diagnostic::new(path, format!("the server sees no folder, because {} is your home folder or above it", folder.display()))
            .hint("name what it may see: `read = [\"~/project\"]`"),
    );
    Vec::new()
}

/// Whether one of the roots shows `folder`. By name: what links make of them is looked at when the program is launched.
fn is_below(folder: &Path, read: &[PathBuf], write: &[PathBuf]) -> bool {
    read.iter().chain(write).any(|root| folder.starts_with(root))
}

/// A command that names or installs a package (`npm:…`, `npx`, …) must be one that can be carried out. With a secret among its
/// arguments it is looked at only when it is started.
fn check_installation(path: &str, program: &str, arguments: &[Template], config: &ServerConfig, report: &mut Report) {
    let (command, scripts) = (join(path, "command"), config.scripts);
    let arguments: Option<Vec<String>> = arguments.iter().map(|argument| argument.as_text().map(str::to_owned)).collect();
    match arguments.map(|arguments| packages::package(program, &arguments, scripts)) {
        Some(Err(refused)) => {
            let diagnostic = Diagnostic::new(command, refused.to_string());
            report.error(match refused.hint() {
                Some(hint) => diagnostic.hint(hint),
                None => diagnostic,
            });
        }
        Some(Ok(Some(package))) if !package.is_image() && (config.sandbox.has_image() || config.sandbox.name() == "wasm") => {
            let root =
                if config.sandbox.is_machine() { "an image in a microVM".to_owned() } else { format!("sandbox {}", config.sandbox.name()) };
            let message = format!("a package is installed for this machine, and cannot run in {root}");
            report.error(Diagnostic::new(command, message).hint("take `sandbox` out, or name what the image or the module starts"));
        }
        Some(Ok(None)) if scripts => {
            let message = "`scripts` has no effect on a program that is not a package";
            report.error(Diagnostic::new(join(path, "scripts"), message).hint("remove it"));
        }
        _ => {}
    }
}

/// A machine never has the host's network: told here, and not only when it is started.
fn refuse_beyond_a_machine(path: &str, config: &ServerConfig, report: &mut Report) {
    if !config.sandbox.is_machine() {
        return;
    }
    if config.network.iter().any(|text| text == HOST_NETWORK) {
        report.error(
            Diagnostic::new(join(path, "network"), "a program in a microVM never has the host's network")
                .hint("name the hosts that it needs; `*` is any name"),
        );
    }
}

/// Says where the configuration opens the boundary.
fn warn_of_openings(path: &str, config: &ServerConfig, write: &[PathBuf], context: &Context<'_>, report: &mut Report) {
    if config.sandbox.is_none() {
        report.warn(Diagnostic::new(join(path, "sandbox"), "the program runs without a boundary: it may do whatever you may"));
        return;
    }
    if config.network.iter().any(|text| text == HOST_NETWORK) {
        let message = "the program sees the whole network of this machine, its local services included";
        report.warn(Diagnostic::new(join(path, "network"), message).hint("name the hosts that it needs; `*` is any name"));
    }
    let holds_file = |root: &&PathBuf| context.origin.file.as_ref().is_some_and(|file| file.starts_with(root));
    if let Some(root) = write.iter().find(holds_file) {
        report.warn(
            Diagnostic::new(
                join(path, "write"),
                format!("the program may write {}, where this configuration lies, all but the gateway's own files", root.display()),
            )
            .hint("an editor that replaces one as it saves takes that exception away until the reload: name a folder below it"),
        );
    }
}

//! One server: what it is, how it is reached, what it may do.

use std::collections::BTreeMap;
use std::time::Duration;

use sallyport_identity::upstream::CredentialConfig;
use sallyport_policy::ServerRules;

use crate::config::diagnostic::{Diagnostic, Report, join};
use crate::config::duration;
use crate::config::model::{ServerConfig, TimeoutsConfig};
use crate::config::validate::{Context, built_in, patterns, remote, stdio};
use crate::plan::{ServerPlan, Source, Start, Timeouts};

/// How long starting or connecting may take: a Node server needs about a second, a busy machine several.
const CONNECT: Duration = Duration::from_secs(10);
/// The same for a machine: its kernel boots first, and where the processor is emulated a Node server starts ten times as slowly.
const CONNECT_MACHINE: Duration = Duration::from_secs(60);
/// How long one page of a list may take: past it the last good list is served.
const LIST: Duration = Duration::from_secs(10);
/// How long a call may take without progress: what the public SDKs wait by default.
const CALL: Duration = Duration::from_secs(60);
/// How long a call may take altogether: so that a server which reports progress for ever ends too.
const CALL_MAX: Duration = Duration::from_secs(600);

/// Checks the server `name`. `None` when it is disabled or when something is wrong, which `report` then has.
pub(super) fn check(name: &str, config: ServerConfig, context: &Context<'_>, report: &mut Report) -> Option<ServerPlan> {
    if config.disabled {
        return None;
    }
    let path = join("servers", name);
    warn_if_closed(&path, &config, report);
    let retry = patterns(&join(&path, "retry"), &config.retry, report);
    let connect = if config.sandbox.is_machine() { CONNECT_MACHINE } else { CONNECT };
    let timeouts = timeouts(&join(&path, "timeouts"), &config.timeouts, connect, report);
    let is_built_in = config.builtin.is_some();
    let source = source(&path, &config, context, report)?;
    // Whoever calls is the one who connects: before that there is nobody in whose name it could be done.
    let is_personal = config.shared == Some(false) || config.credential.as_ref().is_some_and(CredentialConfig::is_personal);
    let start = if is_personal { Start::Lazy } else { config.start };
    Some(ServerPlan {
        name: name.to_owned(),
        tenant: context.tenant.map(Into::into),
        source,
        start,
        shared: config.shared.unwrap_or(true),
        questions: config.questions.unwrap_or(true),
        trust_annotations: config.trust_annotations || is_built_in,
        retry,
        timeouts,
        rules: rules(&config),
    })
}

/// Exactly one key says what a server is.
fn source(path: &str, config: &ServerConfig, context: &Context<'_>, report: &mut Report) -> Option<Source> {
    match (&config.command, &config.url, &config.builtin) {
        (Some(command), None, None) => {
            refuse_keys(path, "a program", &remote_keys(config), report);
            stdio::check(path, command, config, context, report).map(Source::Stdio)
        }
        (None, Some(url), None) => {
            refuse_keys(path, "a server elsewhere", &program_keys(config), report);
            remote::check(path, url, config, context, report).map(Source::Remote)
        }
        (None, None, Some(built_in)) => {
            refuse_keys(path, "a built-in server", &program_keys(config), report);
            refuse_keys(path, "a built-in server", &remote_keys(config), report);
            refuse_keys(path, "a built-in server", &[("questions", config.questions.is_some())], report);
            built_in::check(path, built_in, context, report).map(Source::BuiltIn)
        }
        (None, None, None) => {
            report.error(
                Diagnostic::new(path, "nothing says what this server is").hint(
                    "write one of `command = [\"PROGRAM\", …]`, `url = \"https://…\"`, `builtin = { filesystem = { root = \".\" } }`",
                ),
            );
            None
        }
        _ => {
            report.error(Diagnostic::new(path, "more than one of `command`, `url` and `builtin` is given").hint("keep one of them"));
            None
        }
    }
}

/// The keys that say something about a program, and whether they are given.
fn program_keys(config: &ServerConfig) -> [(&'static str, bool); 13] {
    [
        ("env", !config.env.is_empty()),
        ("cwd", config.cwd.is_some()),
        ("sandbox", config.sandbox != <_>::default()),
        ("min_isolation", config.min_isolation.is_some()),
        ("seccomp", config.seccomp != <_>::default()),
        ("read", !config.read.is_empty()),
        ("write", !config.write.is_empty()),
        ("deny_write", !config.deny_write.is_empty()),
        ("network", !config.network.is_empty()),
        ("limits", config.limits != <_>::default()),
        ("shared", config.shared.is_some()),
        ("standby", config.standby.is_some()),
        ("scripts", config.scripts),
    ]
}

/// The keys that say something about a server elsewhere, and whether they are given.
fn remote_keys(config: &ServerConfig) -> [(&'static str, bool); 3] {
    [
        ("headers", !config.headers.is_empty()),
        ("transport", config.transport != <_>::default()),
        ("credential", config.credential.is_some()),
    ]
}

/// A key without effect is an error: whoever wrote it believes that it protects something.
fn refuse_keys(path: &str, what: &str, keys: &[(&str, bool)], report: &mut Report) {
    for (key, _) in keys.iter().filter(|(_, given)| *given) {
        report.error(Diagnostic::new(join(path, key), format!("`{key}` has no effect on {what}")).hint("remove it"));
    }
}

/// What the configuration says of the server's tools, prompts and resources.
pub(super) fn rules(config: &ServerConfig) -> ServerRules {
    ServerRules {
        read_only: config.read_only,
        allow: config.allow.clone(),
        ask: config.ask.clone(),
        deny: config.deny.clone(),
        arguments: config.arguments.clone(),
    }
}

/// Warns of a server whose tools could never be called.
fn warn_if_closed(path: &str, config: &ServerConfig, report: &mut Report) {
    let believed = config.trust_annotations || config.builtin.is_some();
    if config.read_only && !believed && config.allow.is_none() && config.ask.is_empty() {
        report.warn(
            Diagnostic::new(join(path, "read_only"), "no tool passes: what this server says of its tools is not believed")
                .hint("list the tools in `allow`, or set `trust_annotations = true` if you trust the server"),
        );
    }
}

fn timeouts(path: &str, config: &TimeoutsConfig, connect: Duration, report: &mut Report) -> Timeouts {
    let mut read = |key: &str, text: &Option<String>, default: Duration| {
        let parsed = text.as_deref().map_or(Ok(default), duration::parse).map_err(|problem| {
            Diagnostic::new(join(path, key), format!("the duration cannot be used: {problem}"))
                .hint("write `500ms`, `10s`, `5m` or `1h`; at most a day")
        });
        report.take(parsed).unwrap_or(default)
    };
    let connect = read("connect", &config.connect, connect);
    let list = read("list", &config.list, LIST);
    let call = read("call", &config.call, CALL);
    // Whoever allows a longer call than usual means it: the maximum follows unless it is given too.
    let call_max = read("call_max", &config.call_max, CALL_MAX.max(call));
    if call_max < call {
        report.error(Diagnostic::new(join(path, "call_max"), "`call_max` is shorter than `call`").hint("make it at least as long"));
    }
    Timeouts { connect, list, call, call_max }
}

/// Checks the values of `env` or `headers`, the table at `path`, with a check of the name of each.
pub(super) fn values(
    path: &str,
    values: &BTreeMap<String, crate::config::model::Value>,
    check_name: fn(&str) -> Result<(), Diagnostic>,
    context: &Context<'_>,
    report: &mut Report,
) -> BTreeMap<String, crate::plan::Template> {
    let mut templates = BTreeMap::new();
    for (name, value) in values {
        let path = join(path, name);
        report.take(check_name(name).map_err(|diagnostic| Diagnostic { path: path.clone(), ..diagnostic }));
        if let Some(template) = context.value(&path, value, report) {
            context.warn_of_plain_secret(&path, name, &template, report);
            templates.insert(name.clone(), template);
        }
    }
    templates
}

//! `sallyport key`: the keys that the gateway gives out itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use owo_colors::OwoColorize;
use sallyport_gateway::config;
use sallyport_identity::api_keys::ApiKeys;
use sallyport_policy::Scopes;
use sallyport_secrets::Secret;
use sallyport_store::Store;
use sallyport_store::api_key::ApiKey;
use sallyport_telemetry::state_folder::private_folder;
use sallyport_telemetry::{Folders, Timestamp};
use serde::Serialize;
use serde_json::json;

use crate::arguments::{AddKeyArguments, Global, KeyArguments, KeyCommand, RotateKeyArguments};
use crate::output::{self, Failure};
use crate::{start, tenant};

const DAY: u64 = 24 * 60 * 60;
/// Longest name, as of servers: it is part of the principal's.
const LONGEST_NAME: usize = 32;

/// A key, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Shown {
    id: String,
    name: String,
    /// The key itself, said once: when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    scopes: Option<String>,
    groups: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    tenant: String,
    made: String,
    expires: Option<String>,
    last_used: Option<String>,
    /// It is taken.
    good: bool,
}

pub(crate) fn run(global: &Global, arguments: &KeyArguments) -> Result<(), Failure> {
    let tenant = arguments.tenant.tenant.as_deref();
    let store = open(global, tenant)?;
    start::runtime()?.block_on(async {
        match &arguments.command {
            KeyCommand::Add(arguments) => add(global, tenant, &store, arguments).await,
            KeyCommand::List(arguments) => list(&store, arguments.json).await,
            KeyCommand::Rotate(arguments) => rotate(&store, arguments).await,
            KeyCommand::Revoke(arguments) => revoke(&store, &arguments.name, arguments.json).await,
        }
    })
}

/// The store that gateways of this user look into, or that of a tenant.
pub(crate) fn open(global: &Global, tenant: Option<&str>) -> Result<Store, Failure> {
    open_in(&tenant::folders_of(global, tenant)?)
}

pub(crate) fn open_in(folders: &Folders) -> Result<Store, Failure> {
    private_folder(&folders.state).map_err(|error| Failure::new(error.to_string()).hint(error.hint()))?;
    Store::open(&folders.store_file()).map_err(|error| kept(&error))
}

async fn add(global: &Global, tenant: Option<&str>, store: &Store, arguments: &AddKeyArguments) -> Result<(), Failure> {
    check_name(&arguments.name)?;
    let scopes = (!arguments.scopes.is_empty()).then(|| arguments.scopes.join(" "));
    if scopes.as_deref().is_some_and(|scopes| Scopes::parse(scopes).is_none()) {
        return Err(Failure::new("a scope has a character that none may have, or there are too many")
            .hint("scopes are `SERVER`, `SERVER:read`, `SERVER:TOOL`, `mcp` or `mcp:read`"));
    }
    if arguments.groups.iter().any(|group| group.is_empty() || group.contains('\n')) {
        return Err(Failure::new("a group has no name, or a line break in it").hint("give each group by a `--group NAME` of its own"));
    }
    let now = now();
    let key = ApiKey {
        id: id()?,
        name: arguments.name.clone(),
        scopes,
        groups: arguments.groups.clone(),
        tenant: tenant.unwrap_or_default().to_owned(),
        made: now,
        ends: Some(now + arguments.days * DAY),
        used: None,
    };
    let (secret, digest) = make()?;
    if !store.add_api_key(key.clone(), digest, None).await.map_err(|error| kept(&error))? {
        return Err(Failure::new(format!("there is, or was, a key `{}`", key.name))
            .hint(format!("take `sallyport key rotate {}` for a new one of the same holder, or another name", key.name)));
    }
    // The configuration may be broken, or elsewhere: the key is there all the same.
    let plan = global.invocation().ok().and_then(|invocation| config::load(&invocation).ok());
    if let Some(plan) = plan.and_then(|plan| tenant::of(plan, tenant).ok()) {
        if !plan.identity.api_keys {
            let path = tenant.map(|name| format!("tenants.{name}.")).unwrap_or_default();
            output::note(format!("the gateway takes such keys with `{path}identity.api_keys = true` in its configuration"));
        }
        for scope in arguments.scopes.iter().flat_map(|scopes| scopes.split(' ')).filter(|scope| !scope.is_empty()) {
            if let Some((why, hint)) = config::good_for_nothing(scope, plan.servers.keys().map(String::as_str)) {
                let label = "warning:".yellow().bold().to_string();
                output::note(format!("{label} the scope `{scope}` is good for nothing here: {why}\n  {} {hint}", "hint:".cyan()));
            }
        }
    }
    tell(&key, &secret, arguments.json)
}

async fn rotate(store: &Store, arguments: &RotateKeyArguments) -> Result<(), Failure> {
    let now = now();
    let keys = store.api_keys().await.map_err(|error| kept(&error))?;
    // The newest of them, also where it has ended: it is the same holder who gets the next.
    let old = keys.into_iter().find(|key| key.name == arguments.name).ok_or_else(|| none(&arguments.name))?;
    let lived = old.ends.map(|ends| ends.saturating_sub(old.made));
    let key = ApiKey { id: id()?, made: now, ends: lived.map(|lived| now + lived), used: None, ..old };
    let (secret, digest) = make()?;
    let ends = now + arguments.overlap.as_secs();
    store.add_api_key(key.clone(), digest, Some(ends)).await.map_err(|error| kept(&error))?;
    output::note(format!("the key before it is taken until {}", moment(ends)));
    tell(&key, &secret, arguments.json)
}

async fn list(store: &Store, as_json: bool) -> Result<(), Failure> {
    let now = now();
    let keys: Vec<Shown> = store.api_keys().await.map_err(|error| kept(&error))?.iter().map(|key| shown(key, None, now)).collect();
    if as_json {
        return output::json(&keys);
    }
    if keys.is_empty() {
        output::note("no keys were given out: `sallyport key add NAME` makes one");
    }
    let width = keys.iter().map(|key| key.name.len()).max().unwrap_or_default();
    keys.iter().try_for_each(|key| {
        let scopes = key.scopes.as_deref().unwrap_or("everything that policy allows");
        let until = match (&key.expires, key.good) {
            (Some(expires), true) => format!("until {expires}"),
            (Some(expires), false) => format!("ended {expires}"),
            (None, _) => "without end".into(),
        };
        let used = key.last_used.as_deref().map_or_else(|| "never used".into(), |used| format!("used {used}"));
        output::line(format!("{:width$}  {}  {scopes}  {until}  {used}", key.name.bold(), key.id.dimmed()))
    })
}

async fn revoke(store: &Store, name: &str, as_json: bool) -> Result<(), Failure> {
    match store.revoke_api_key(name, now()).await.map_err(|error| kept(&error))? {
        0 => Err(none(name)),
        keys if as_json => output::json(&json!({ "keys": keys })),
        1 => output::line(format!("revoked `{name}`: gateways that run refuse it within 5 s")),
        many => output::line(format!("revoked {many} keys `{name}`: gateways that run refuse them within 5 s")),
    }
}

fn tell(key: &ApiKey, secret: &Secret, as_json: bool) -> Result<(), Failure> {
    if as_json {
        return output::json(&shown(key, Some(secret), key.made));
    }
    output::note("this is shown once, and kept nowhere:");
    output::line(secret.expose())
}

fn shown(key: &ApiKey, secret: Option<&Secret>, now: u64) -> Shown {
    Shown {
        id: key.id.clone(),
        name: key.name.clone(),
        key: secret.map(|secret| secret.expose().to_owned()),
        scopes: key.scopes.clone(),
        groups: key.groups.clone(),
        tenant: key.tenant.clone(),
        made: moment(key.made),
        expires: key.ends.map(moment),
        last_used: key.used.map(moment),
        good: key.is_good(now),
    }
}

fn check_name(name: &str) -> Result<(), Failure> {
    let fits = (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if fits { Ok(()) } else { Err(Failure::new("this cannot be a key's name").hint("1 to 32 letters, digits, `-`, `_` or `.`")) }
}

fn make() -> Result<(Secret, [u8; 32]), Failure> {
    ApiKeys::make().ok_or_else(|| Failure::new("this system has no random numbers"))
}

/// A name for this very key: the first bytes of a random one's digest, which say nothing of any key.
fn id() -> Result<String, Failure> {
    let (_, digest) = make()?;
    Ok(digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect())
}

fn none(name: &str) -> Failure {
    Failure::new(format!("there is no good key `{name}`")).hint("`sallyport key list` shows those that there are")
}

pub(crate) fn kept(error: &sallyport_store::StoreError) -> Failure {
    let failure = Failure::new(error.to_string());
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

pub(crate) fn moment(seconds: u64) -> String {
    // Whole seconds, and so without a fraction.
    Timestamp::from(UNIX_EPOCH + Duration::from_secs(seconds)).to_string().replace(".000000Z", "Z")
}

//! `sallyport user`: the people who log in at this gateway.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use owo_colors::OwoColorize;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use sallyport_identity::authorization_server::accounts::{self, AccountError};
use sallyport_secrets::Secret;
use sallyport_store::Store;
use sallyport_store::user::{self, Standing, User};
use serde::Serialize;

use crate::arguments::{AddUserArguments, Global, NamedUser, UserArguments, UserCommand};
use crate::key::{kept, moment, now, open};
use crate::output::{self, Failure};
use crate::start;

/// A user, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    admin: bool,
    groups: Vec<String>,
    standing: &'static str,
    since: String,
}

pub(crate) fn run(global: &Global, arguments: &UserArguments) -> Result<(), Failure> {
    let store = open(global, arguments.tenant.tenant.as_deref())?;
    let change = |NamedUser { name, json }: &NamedUser, standing: Standing, told: &str| {
        let change = accounts::set_standing(&store, name, standing, seconds_now());
        let was_known = start::runtime()?.block_on(change).map_err(|error| failed(&error))?;
        if *json {
            return print(&store, name);
        }
        output::line(format!("{told} `{name}`{}", if was_known { "" } else { ", who has not logged in here so far" }))
    };
    match &arguments.command {
        UserCommand::Add(arguments) => add(&store, arguments),
        UserCommand::List(arguments) => list(&store, arguments.json),
        UserCommand::Passwd(arguments) => set_password(&store, arguments),
        UserCommand::Disable(arguments) => change(arguments, Standing::Disabled, "disabled"),
        UserCommand::Enable(arguments) => change(arguments, Standing::Active, "enabled"),
        UserCommand::Remove(arguments) => change(arguments, Standing::Removed, "removed"),
    }
}

fn add(store: &Store, arguments: &AddUserArguments) -> Result<(), Failure> {
    let AddUserArguments { name, admin, groups, json } = arguments;
    let password = password()?;
    let adding = accounts::add(store, name, password.expose(), *admin, groups, seconds_now());
    start::runtime()?.block_on(adding).map_err(|error| failed(&error))?;
    if *json {
        return print(store, name);
    }
    output::line(format!("added `{name}`{}", if *admin { ", who may steer the gateway" } else { "" }))
}

fn set_password(store: &Store, NamedUser { name, json }: &NamedUser) -> Result<(), Failure> {
    let password = password()?;
    start::runtime()?.block_on(accounts::set_password(store, name, password.expose(), seconds_now())).map_err(|error| failed(&error))?;
    if *json {
        return print(store, name);
    }
    output::line(format!("`{name}` has another password, and is logged out everywhere"))
}

fn list(store: &Store, as_json: bool) -> Result<(), Failure> {
    let users = start::runtime()?.block_on(accounts::list(store)).map_err(|error| kept(&error))?;
    let users: Vec<Shown> = users.into_iter().map(shown).collect();
    if as_json {
        return output::json(&users);
    }
    if users.is_empty() {
        output::note("there is nobody: `sallyport user add NAME --admin` adds the first");
    }
    let width = users.iter().map(|user| user.name.len()).max().unwrap_or_default();
    users.iter().try_for_each(|user| {
        let admin = if user.admin { "admin" } else { "" };
        output::line(format!("{:width$}  {}  {admin:5}  since {}  {}", user.name.bold(), user.standing, user.since, user.groups.join(" ")))
    })
}

/// Prints somebody as JSON, as the list does.
fn print(store: &Store, name: &str) -> Result<(), Failure> {
    let name = name.to_owned();
    let found = start::runtime()?.block_on(store.read(move |tables| user::find(tables, &name))).map_err(|error| kept(&error))?;
    output::json(&found.map(shown))
}

fn shown(user: User) -> Shown {
    let since = moment(u64::try_from(user.since).unwrap_or_default());
    Shown { name: user.name, admin: user.is_admin, groups: user.groups, standing: user.standing.as_str(), since }
}

/// The password: typed twice on a terminal, which does not show it, else one line of stdin.
fn password() -> Result<Secret, Failure> {
    let unread = |error: io::Error| Failure::new(format!("the password cannot be read: {error}"));
    if !io::stdin().is_terminal() {
        return Ok(Secret::new(line().map_err(unread)?));
    }
    let (first, second) = (typed("Password: ").map_err(unread)?, typed("Again: ").map_err(unread)?);
    if first.expose() == second.expose() {
        Ok(first)
    } else {
        Err(Failure::new("the two passwords differ").hint("nothing was changed: try again"))
    }
}

fn typed(prompt: &str) -> io::Result<Secret> {
    let stdin = io::stdin();
    let before = tcgetattr(&stdin)?;
    let mut silent: Termios = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    let mut stderr = io::stderr();
    write!(stderr, "{prompt}")?;
    stderr.flush()?;
    tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
    let read = line();
    tcsetattr(&stdin, OptionalActions::Flush, &before)?;
    writeln!(stderr)?;
    read.map(Secret::new)
}

fn line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

pub(crate) fn seconds_now() -> i64 {
    i64::try_from(now()).unwrap_or(i64::MAX)
}

pub(crate) fn failed(error: &AccountError) -> Failure {
    let failure = Failure::new(error.to_string());
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

//! `sallyport token`: what clients may do in people's names.

use owo_colors::OwoColorize;
use sallyport_identity::authorization_server::LONGEST_ACCESS_LIFE;
use sallyport_identity::authorization_server::accounts::{self, Ended};
use sallyport_store::Store;
use sallyport_store::token_grant::{self, TokenGrant};
use serde::Serialize;
use serde_json::json;

use crate::arguments::{Global, RevokeTokenArguments, TokenArguments, TokenCommand};
use crate::key::{kept, moment, open};
use crate::output::{self, Failure};
use crate::start;
use crate::user::{failed as account, seconds_now};

/// A grant, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Shown {
    id: String,
    user: String,
    client: String,
    client_name: String,
    resource: String,
    scopes: String,
    since: String,
    last_refreshed: String,
    ends: String,
}

pub(crate) fn run(global: &Global, arguments: &TokenArguments) -> Result<(), Failure> {
    let store = open(global, arguments.tenant.tenant.as_deref())?;
    match &arguments.command {
        TokenCommand::List(arguments) => list(&store, arguments.json),
        TokenCommand::Revoke(arguments) => revoke(&store, arguments),
    }
}

fn list(store: &Store, as_json: bool) -> Result<(), Failure> {
    let now = seconds_now();
    let grants = start::runtime()?.block_on(store.read(move |tables| token_grant::list(tables, now))).map_err(|error| kept(&error))?;
    let grants: Vec<Shown> = grants.into_iter().map(shown).collect();
    if as_json {
        return output::json(&grants);
    }
    if grants.is_empty() {
        output::note("no client may do anything in anybody's name");
    }
    grants.iter().try_for_each(|grant| {
        let Shown { id, user, client_name, resource, scopes, ends, .. } = grant;
        output::line(format!("{}  {}  {client_name:?}  {resource}  {scopes}  until {ends}", id.dimmed(), user.bold()))
    })
}

fn revoke(store: &Store, arguments: &RevokeTokenArguments) -> Result<(), Failure> {
    let told = match (&arguments.id, &arguments.user) {
        (Some(id), _) => revoke_family(store, id.clone())?,
        (None, Some(user)) => return revoke_user(store, user, arguments.json),
        (None, None) => false,
    };
    match told {
        false => Err(Failure::new("there is no such grant").hint("`sallyport token list` shows those that there are")),
        true if arguments.json => output::json(&json!({ "grants": 1 })),
        true => output::line("revoked: its access tokens are refused within a second"),
    }
}

/// Says whether there was one.
fn revoke_family(store: &Store, id: String) -> Result<bool, Failure> {
    let refused_until = seconds_now() + LONGEST_ACCESS_LIFE;
    let change = store.write(move |tables| {
        let is_there = token_grant::find(tables, &id, 0)?.is_some();
        if is_there { token_grant::revoke(tables, &id, refused_until) } else { Ok(false) }
    });
    start::runtime()?.block_on(change).map_err(|error| kept(&error))
}

fn revoke_user(store: &Store, user: &str, as_json: bool) -> Result<(), Failure> {
    let ended = start::runtime()?.block_on(accounts::end_tokens(store, user, seconds_now()));
    let Ended { families, was_known } = ended.map_err(|error| account(&error))?;
    if as_json {
        return output::json(&json!({ "grants": families, "known": was_known }));
    }
    let grants = match families {
        0 => "revoked".to_owned(),
        1 => "revoked 1 grant".to_owned(),
        many => format!("revoked {many} grants"),
    };
    let whose = if was_known { "" } else { " (nobody of that name has logged in here so far)" };
    output::line(format!("{grants}: all access tokens in that name are refused within a second{whose}"))
}

fn shown(grant: TokenGrant) -> Shown {
    let at = |seconds: i64| moment(u64::try_from(seconds).unwrap_or_default());
    Shown {
        since: at(grant.since),
        last_refreshed: at(grant.used),
        ends: at(grant.idle_until.min(grant.ends)),
        id: grant.id,
        user: grant.user,
        client: grant.client,
        client_name: grant.client_name,
        resource: grant.resource,
        scopes: grant.scopes,
    }
}

//! The grants without a browser: a client in its own name, a token exchanged for another, an identity provider's word.

use std::sync::Arc;

use sallyport_policy::{Scopes, implies};
use serde_json::{Map, Value, json};

use super::client_authentication::check_times;
use super::clients::{Authentication, Client};
use super::parameters::Parameters;
use super::problem::Problem;
use super::token::{Claims, EPOCH, Tokens, narrowed};
use super::{Server, accounts, authorize};
use crate::resource_server::jws::Compact;
use crate::resource_server::key_source::KeySource;

/// RFC 6749 §4.4.
pub(super) const CLIENT_CREDENTIALS: &str = "client_credentials";
/// RFC 8693.
pub(super) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// RFC 7523 §2.1; here for ID-JAGs alone.
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// draft-ietf-oauth-identity-assertion-authz-grant.
pub(super) const ID_JAG_PROFILE: &str = "urn:ietf:params:oauth:grant-profile:id-jag";

const ID_JAG_TYPE: &str = "oauth-id-jag+jwt";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// How many actors a token names at most: each is a hop, and a chain that is longer goes in circles.
const LONGEST_CHAIN: usize = 4;

impl Server {
    pub(super) async fn client_credentials(&self, client: &Client, form: &Parameters, now: i64) -> Result<Tokens, Problem> {
        needs_proof(client)?;
        let resource = self.resource(form.get("resource"))?;
        let scopes = authorize::asked_scopes(form.get("scope"), &resource.default_scopes, client)?.to_string();
        let claims = Claims { subject: &client.id, client: &client.id, resource: &resource.url, scopes: &scopes, ..Claims::default() };
        self.access_token(&claims, now).await
    }

    /// A token of ours for another of our endpoints, with no more scopes, in the same name, and with the name of who acts.
    pub(super) async fn exchange(&self, client: &Client, form: &Parameters, now: i64) -> Result<Tokens, Problem> {
        needs_proof(client)?;
        for (name, known) in [("subject_token_type", ACCESS_TOKEN), ("requested_token_type", ACCESS_TOKEN)] {
            if form.get(name).is_some_and(|kind| kind != known) {
                return Err(Problem::invalid_request(format!("`{name}` has to be `{known}`")));
            }
        }
        form.need("subject_token_type")?;
        if form.get("actor_token").is_some() || form.get("audience").is_some() {
            return Err(Problem::invalid_request("the actor is the client itself, and the endpoint is named by `resource`"));
        }
        let held = self.own_claims(form.need("subject_token")?, now).await?;
        let held = held.ok_or_else(|| Problem::invalid_request("the subject token is none of this server's, has ended, or was revoked"))?;
        let text = |name: &str| held.get(name).and_then(Value::as_str).unwrap_or_default();
        // Who reads a token takes it for a program's where both names are the same.
        if (text("sub") == text("client_id")) != (text("sub") == client.id) {
            return Err(Problem::invalid_request("the exchange would make a person of a program, or a program of a person"));
        }
        let resource = self.resource(Some(form.need("resource")?))?;
        let scopes = client.within(Scopes::parse(&narrowed(form.get("scope"), text("scope"))?).unwrap_or_default()).to_string();
        if scopes.is_empty() {
            return Err(Problem::new("invalid_scope", "the client may have none of these scopes"));
        }
        let act =
            actors(&client.id, held.get("act")).ok_or_else(|| Problem::invalid_request("the subject token was exchanged too often"))?;
        let groups: Vec<String> = strings(held.get("groups"));
        let claims = Claims {
            subject: text("sub"),
            client: &client.id,
            resource: &resource.url,
            scopes: &scopes,
            grant: held.get("sid").and_then(Value::as_str),
            groups: &groups,
            epoch: held.get(EPOCH).and_then(Value::as_i64),
            act: Some(act),
            no_later_than: held.get("exp").and_then(Value::as_i64),
        };
        let tokens = self.access_token(&claims, now).await?;
        Ok(Tokens { issued_token_type: Some(ACCESS_TOKEN), ..tokens })
    }

    /// A token for whom an identity provider vouches, made out to this very client.
    pub(super) async fn id_jag(&self, client: &Client, form: &Parameters, now: i64) -> Result<Tokens, Problem> {
        needs_proof(client)?;
        let refused = |what: &str| Problem::invalid_grant(format!("the assertion is not good: {what}"));
        let token = Compact::parse(form.need("assertion")?).ok_or_else(|| refused("it is no signed token"))?;
        let issuer = token.claimed_issuer().ok_or_else(|| refused("it has no `iss`"))?;
        let keys = self.settings.providers.get(&issuer).ok_or_else(|| refused("its `iss` is none that is trusted here"))?;
        let claims =
            verified(&token, keys).await.ok_or_else(|| refused("no key of its issuer fits its signature, or its `typ` is another"))?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
        check_times(&claims, &[self.issuer().to_owned()], now).map_err(refused)?;
        if text("client_id") != client.id {
            return Err(refused("its `client_id` is another client"));
        }
        let subject = Some(text("sub")).filter(|subject| !subject.is_empty()).ok_or_else(|| refused("it has no `sub`"))?;
        let resource = self.resource(Some(text("resource")))?;
        if form.get("resource").map(|asked| self.resource(Some(asked))).transpose()?.is_some_and(|asked| asked.url != resource.url) {
            return Err(Problem::new("invalid_target", "the assertion is for another endpoint"));
        }
        let granted = claims.get("scope").and_then(Value::as_str).map_or_else(|| resource.default_scopes.to_string(), str::to_owned);
        let scopes = client.within(intersection(form.get("scope"), &granted)?).to_string();
        if scopes.is_empty() {
            return Err(Problem::new("invalid_scope", "nothing of what is asked for was granted"));
        }
        if !self.is_first_use("id-jag", &issuer, false, &claims, now).await? {
            return Err(refused("it was used before, or has no `jti`"));
        }
        // Names of ours have no `|`: whom a provider calls `alice` is not our `alice`.
        let subject = format!("{subject}|{issuer}");
        // Who has logged in by that provider, too, is one of our users: who is shut out stays out, and is in the same groups.
        let person = accounts::vouched_for(&self.store, &subject).await?.ok_or_else(|| refused("its user may not come in"))?;
        let claims = Claims {
            subject: &person.name,
            client: &client.id,
            resource: &resource.url,
            scopes: &scopes,
            groups: &person.groups,
            epoch: Some(person.epoch),
            ..Claims::default()
        };
        self.access_token(&claims, now).await
    }
}

/// These grants are for clients that can prove who they are.
fn needs_proof(client: &Client) -> Result<(), Problem> {
    match client.authentication {
        Authentication::None => Err(Problem::new("unauthorized_client", "a client without a secret or key may not use this grant")),
        _ => Ok(()),
    }
}

/// Who acts, before whoever acted before (RFC 8693 §4.1).
fn actors(client: &str, before: Option<&Value>) -> Option<Value> {
    let mut length = 1;
    let mut inner = before;
    while let Some(actor) = inner {
        length += 1;
        inner = actor.get("act");
    }
    let mut act = json!({ "sub": client });
    if let Some(before) = before {
        act["act"] = before.clone();
    }
    (length <= LONGEST_CHAIN).then_some(act)
}

/// What is asked for and was granted, both.
fn intersection(asked: Option<&str>, granted: &str) -> Result<Scopes, Problem> {
    let parse = |text: &str| Scopes::parse(text).ok_or_else(|| Problem::new("invalid_scope", "`scope` has characters that none may have"));
    let granted = parse(granted)?;
    let Some(asked) = asked.map(parse).transpose()? else { return Ok(granted) };
    let kept: Vec<&str> = asked.iter().filter(|scope| granted.iter().any(|held| implies(held, scope))).collect();
    parse(&kept.join(" "))
}

async fn verified(token: &Compact<'_>, keys: &Arc<dyn KeySource>) -> Option<Map<String, Value>> {
    if token.header.typ.as_deref() != Some(ID_JAG_TYPE) {
        return None;
    }
    let algorithm = token.algorithm()?;
    let id = token.header.kid.as_deref();
    let key = match keys.find(id, algorithm) {
        Some(key) => key,
        None => {
            keys.refresh().await;
            keys.find(id, algorithm)?
        }
    };
    token.verify(&key)
}

fn strings(value: Option<&Value>) -> Vec<String> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

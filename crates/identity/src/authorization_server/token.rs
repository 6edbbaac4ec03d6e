//! The token endpoint: what is given for codes, refresh tokens and the other grants, and how it is taken back.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use ring::hmac;
use sallyport_policy::{Scopes, implies};
use sallyport_store::token_grant::{self, TokenGrant};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::accounts::{self, LONGEST_TOKEN, Person};
use super::clients::Client;
use super::clients::metadata::{CODE, DEVICE, REFRESH};
use super::grants::{CLIENT_CREDENTIALS, JWT_BEARER, TOKEN_EXCHANGE};
use super::parameters::Parameters;
use super::problem::Problem;
use super::{Asked, Server, answer, keys, unguessable};
use crate::resource_server::jws::Compact;
use crate::resource_server::key::VerifyingKey;

/// For how many seconds a refresh token that was just used gives the same answer again: a client whose connection broke asks again within
/// its deadline, and one that runs twice over one store reads the new token within seconds. A thief gains nothing by it: whoever of the
/// two refreshes later is found out.
const REPLAY_GRACE: i64 = 30;

/// The claim that says in which of its user's epochs a token was made: with everything in somebody's name these end, too, that are of no
/// family.
pub(super) const EPOCH: &str = "epoch";

/// What a client gets (RFC 6749 §5.1).
#[derive(Serialize)]
pub(super) struct Tokens {
    pub(super) access_token: String,
    pub(super) token_type: &'static str,
    pub(super) expires_in: i64,
    pub(super) scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) issued_token_type: Option<&'static str>,
}

/// What an access token says.
#[derive(Debug, Default)]
pub(super) struct Claims<'a> {
    pub(super) subject: &'a str,
    pub(super) client: &'a str,
    pub(super) resource: &'a str,
    pub(super) scopes: &'a str,
    /// The family that it is of.
    pub(super) grant: Option<&'a str>,
    pub(super) groups: &'a [String],
    /// Its user's; none where a program calls in its own name.
    pub(super) epoch: Option<i64>,
    /// Who acts for the subject (RFC 8693 §4.1).
    pub(super) act: Option<Value>,
    /// It ends no later than this.
    pub(super) no_later_than: Option<i64>,
}

/// What became of a refresh token.
enum Refreshed {
    /// Good: the grant as it is now.
    Good(Box<TokenGrant>),
    /// It was used before, too long ago.
    Reused,
    Unknown,
}

impl Server {
    pub(super) async fn token(&self, asked: &Asked) -> Result<Response<Bytes>, Problem> {
        let form = Parameters::of_form(&asked.request)?;
        let client = self.authenticated(asked, &form).await?;
        let grant = form.need("grant_type")?;
        let known = [CODE, REFRESH, DEVICE, CLIENT_CREDENTIALS, TOKEN_EXCHANGE, JWT_BEARER];
        if !known.contains(&grant) {
            return Err(Problem::new("unsupported_grant_type", format!("`grant_type` has to be one of {}", known.join(", "))));
        }
        if !client.may_use(grant) {
            return Err(Problem::new("unauthorized_client", "the client may not use this grant"));
        }
        let tokens = match grant {
            CODE => self.redeem_code(&client, &form, asked.now).await,
            REFRESH => self.refresh(&client, &form, asked.now).await,
            DEVICE => self.poll_device(&client, &form, asked.now).await,
            CLIENT_CREDENTIALS => self.client_credentials(&client, &form, asked.now).await,
            TOKEN_EXCHANGE => self.exchange(&client, &form, asked.now).await,
            _ => self.id_jag(&client, &form, asked.now).await,
        };
        Ok(answer::json(StatusCode::OK, &tokens?))
    }

    async fn refresh(&self, client: &Client, form: &Parameters, now: i64) -> Result<Tokens, Problem> {
        let (shown, generation) = self.family(form.need("refresh_token")?, client, now).await?.ok_or_else(unusable)?;
        // Whatever can be refused is refused before the token is used up: its client asks again with the one that it has.
        let renewed = self.renewed(&shown, client, form, now).await;
        let is_good = renewed.is_ok();
        let (idle_until, kept) = (now + super::seconds(self.settings.refresh_life), now + super::clients::registration::KEPT);
        let clock = Arc::clone(&self.clock);
        let refreshed = self.store.write(move |tables| {
            // Another refresh may have gone ahead since this one came: that is no clock that was set back.
            let now = clock();
            let Some(mut grant) = token_grant::find(tables, &shown.id, now)? else { return Ok(Refreshed::Unknown) };
            let is_current = generation == grant.generation;
            let is_repeated = generation + 1 == grant.generation && (0..=REPLAY_GRACE).contains(&(now - grant.used));
            if !is_current && !is_repeated {
                token_grant::revoke(tables, &grant.id, now + LONGEST_TOKEN)?;
                return Ok(Refreshed::Reused);
            }
            if is_current && is_good {
                token_grant::advance(tables, &grant, now, idle_until)?;
                grant.generation += 1;
            }
            if is_good {
                sallyport_store::client::touch(tables, &grant.client, now, kept)?;
            }
            Ok(Refreshed::Good(Box::new(grant)))
        });
        match refreshed.await? {
            Refreshed::Good(grant) => Ok(Tokens { refresh_token: Some(refresh_token(&grant)), ..renewed? }),
            Refreshed::Reused => {
                tracing::warn!(client = %client.id, "a refresh token was used twice: its family is revoked");
                Err(unusable())
            }
            Refreshed::Unknown => Err(unusable()),
        }
    }

    /// The access token that a refresh of this grant asks for.
    async fn renewed(&self, grant: &TokenGrant, client: &Client, form: &Parameters, now: i64) -> Result<Tokens, Problem> {
        // Clients leave `resource` out; where it is there it names the grant's own.
        if form.get("resource").map(|asked| self.resource(Some(asked))).transpose()?.is_some_and(|asked| asked.url != grant.resource) {
            return Err(Problem::new("invalid_target", "the grant is for another endpoint"));
        }
        let scopes = narrowed(form.get("scope"), &still_within(client, &grant.scopes)?)?;
        let person = accounts::find(&self.store, &grant.user).await?.ok_or_else(unusable)?;
        self.tokens_of(grant, &person, &scopes, now).await
    }

    /// An access token of a grant.
    pub(super) async fn tokens_of(&self, grant: &TokenGrant, person: &Person, scopes: &str, now: i64) -> Result<Tokens, Problem> {
        let claims = Claims {
            subject: &person.name,
            client: &grant.client,
            resource: &grant.resource,
            scopes,
            grant: Some(&grant.id),
            groups: &person.groups,
            epoch: Some(person.epoch),
            ..Claims::default()
        };
        if claims.subject == claims.client {
            // Readers tell a client's own token by this (RFC 9068 §5).
            return Err(Problem::invalid_grant("a user and a client have the same name, so that nobody could tell them apart"));
        }
        self.access_token(&claims, now).await
    }

    /// A signed access token (RFC 9068), for one endpoint.
    pub(super) async fn access_token(&self, claims: &Claims<'_>, now: i64) -> Result<Tokens, Problem> {
        let path = claims.resource.strip_prefix(self.issuer()).unwrap_or_default();
        let own = now + self.access_life(path);
        let ends = claims.no_later_than.map_or(own, |latest| latest.min(own));
        let mut body = json!({
            "iss": self.issuer(),
            "sub": claims.subject,
            "aud": claims.resource,
            "client_id": claims.client,
            "scope": claims.scopes,
            "iat": now,
            "exp": ends,
            "jti": unguessable::id()?,
        });
        if let Some(grant) = claims.grant {
            body["sid"] = grant.into();
        }
        if !claims.groups.is_empty() {
            body["groups"] = claims.groups.into();
        }
        if let Some(epoch) = claims.epoch {
            body[EPOCH] = epoch.into();
        }
        if let Some(act) = &claims.act {
            body["act"] = act.clone();
        }
        let access_token = keys::sign(&self.store, self.settings.algorithm, "at+jwt", &body, now).await?;
        let scope = claims.scopes.to_owned();
        Ok(Tokens { access_token, token_type: "Bearer", expires_in: ends - now, scope, refresh_token: None, issued_token_type: None })
    }

    /// Takes a token back (RFC 7009): a refresh token with all of its family, an access token alone. Of one that is none of the client's
    /// nothing is told.
    pub(super) async fn revoke(&self, asked: &Asked) -> Result<Response<Bytes>, Problem> {
        let form = Parameters::of_form(&asked.request)?;
        let client = self.authenticated(asked, &form).await?;
        let (token, now) = (form.need("token")?.to_owned(), asked.now);
        if let Some(claims) = self.own_claims(&token, now).await? {
            let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let ends = claims.get("exp").and_then(Value::as_i64).unwrap_or_default();
            if text("client_id") == client.id {
                let jti = text("jti");
                self.store.write(move |tables| token_grant::revoke_token(tables, &jti, ends)).await?;
            }
        } else if let Some((grant, _)) = self.family(&token, &client, now).await? {
            self.end_family(grant.id, now).await?;
        }
        Ok(answer::bare(StatusCode::OK))
    }

    /// The grant and the generation of a refresh token that we gave to this client, whether it was used or not.
    async fn family(&self, token: &str, client: &Client, now: i64) -> Result<Option<(TokenGrant, i64)>, Problem> {
        let Some((id, generation, proof)) = taken_apart(token) else { return Ok(None) };
        let asked = id.to_owned();
        let Some(grant) = self.store.read(move |tables| token_grant::find(tables, &asked, now)).await? else { return Ok(None) };
        let key = hmac::Key::new(hmac::HMAC_SHA256, &grant.secret);
        let is_ours = hmac::verify(&key, &proved(&grant.id, generation), &proof).is_ok() && grant.client == client.id;
        Ok(is_ours.then_some((grant, generation)))
    }

    /// What an access token of ours says, if it is good.
    pub(super) async fn own_claims(&self, token: &str, now: i64) -> Result<Option<Map<String, Value>>, Problem> {
        let Some(compact) = Compact::parse(token) else { return Ok(None) };
        let published = keys::published(&self.store, now).await?;
        let own = published["keys"].as_array().into_iter().flatten().find(|key| key["kid"].as_str() == compact.header.kid.as_deref());
        let key = own.and_then(|key| VerifyingKey::from_jwk(&serde_json::from_value(key.clone()).ok()?));
        let Some(claims) = key.and_then(|key| compact.verify(&key)) else { return Ok(None) };
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_alive = claims.get("exp").and_then(Value::as_i64).is_some_and(|ends| ends > now);
        if compact.header.typ.as_deref() != Some("at+jwt") || text("iss") != self.issuer() || !is_alive {
            return Ok(None);
        }
        Ok((!self.is_taken_back(&claims).await?).then_some(claims))
    }
}

fn unusable() -> Problem {
    Problem::invalid_grant("the refresh token is unknown, has ended, or was used")
}

/// What a client may have still of what a person granted it: its own scopes may have been narrowed since.
pub(super) fn still_within(client: &Client, granted: &str) -> Result<String, Problem> {
    let left = client.within(Scopes::parse(granted).unwrap_or_default());
    if left.is_empty() { Err(Problem::invalid_grant("the client may have nothing more of what was granted")) } else { Ok(left.to_string()) }
}

/// The scopes that are asked for, of those that there are.
pub(super) fn narrowed(asked: Option<&str>, granted: &str) -> Result<String, Problem> {
    let beyond = || Problem::new("invalid_scope", "`scope` is more than what was granted");
    let Some(asked) = asked else { return Ok(granted.to_owned()) };
    let (asked, granted) = (Scopes::parse(asked).ok_or_else(beyond)?, Scopes::parse(granted).unwrap_or_default());
    let kept: Vec<&str> = asked.iter().filter(|scope| *scope != "offline_access").collect();
    match kept.iter().all(|scope| granted.iter().any(|held| implies(held, scope))) {
        true if !kept.is_empty() => Ok(kept.join(" ")),
        true => Ok(granted.to_string()),
        false => Err(beyond()),
    }
}

/// The current refresh token of a grant.
pub(super) fn refresh_token(grant: &TokenGrant) -> String {
    let proof = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &grant.secret), &proved(&grant.id, grant.generation));
    format!("{}.{}.{}", grant.id, grant.generation, unguessable::encode(proof.as_ref()))
}

fn proved(id: &str, generation: i64) -> Vec<u8> {
    format!("refresh\0{id}\0{generation}").into_bytes()
}

/// The grant and the generation that a refresh token names. Nothing of it is proved yet.
fn taken_apart(token: &str) -> Option<(&str, i64, Vec<u8>)> {
    let mut parts = token.split('.');
    let (id, generation, proof) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some((id, generation.parse().ok()?, unguessable::decode(proof)?))
}

//! Codes: given to the browser, taken back from the client, once.

use bytes::Bytes;
use http::Response;
use sallyport_store::authorization::{self, Code};
use sallyport_store::token_grant::{self, TokenGrant};
use sallyport_store::user;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::accounts::{self, LONGEST_TOKEN, Person};
use super::authorize::AuthorizationRequest;
use super::clients::Client;
use super::clients::metadata::REFRESH;
use super::parameters::Parameters;
use super::problem::Problem;
use super::token::Tokens;
use super::{Server, answer, redirect, unguessable};

/// For how many seconds a code is good (OAuth 2.1 §4.1.2 advises ten minutes at most): clients use it at once.
const LIFE: i64 = 60;
/// For how many seconds it is known that a code was used: a thief's turn comes later than the client's.
const REMEMBERED: i64 = 24 * 60 * 60;
/// For how many seconds a family of tokens lives, however often it is refreshed: people agree anew each season.
const FAMILY: i64 = 90 * 24 * 60 * 60;

/// What a person agreed to.
#[derive(Debug, Serialize, Deserialize)]
struct Agreed {
    request: AuthorizationRequest,
    user: String,
    /// The user's epoch when they agreed: what was taken back in their name since takes back this, too.
    epoch: i64,
}

impl Server {
    /// Sends the browser to the client with a code, and with `iss` (RFC 9207 §2).
    pub(super) async fn hand_out_code(
        &self,
        person: &Person,
        request: &AuthorizationRequest,
        now: i64,
    ) -> Result<Response<Bytes>, Problem> {
        let (code, grant) = (unguessable::text()?, unguessable::id()?);
        let agreed = Agreed { request: request.clone(), user: person.name.clone(), epoch: person.epoch };
        let agreed = serde_json::to_string(&agreed).map_err(|error| Problem::internal(&error.to_string()))?;
        let key = unguessable::digest(&code);
        self.store.write(move |tables| authorization::add_code(tables, &key, &agreed, &grant, (now + LIFE, now + REMEMBERED))).await?;
        let mut parameters = vec![("code", code.as_str())];
        parameters.extend(request.state.as_deref().map(|state| ("state", state)));
        parameters.push(("iss", self.issuer()));
        Ok(answer::see_other(&redirect::with(&request.redirect, &parameters)))
    }

    /// Takes a code for tokens. Whatever is wrong with the request, the code is used up by it.
    pub(super) async fn redeem_code(&self, client: &Client, form: &Parameters, now: i64) -> Result<Tokens, Problem> {
        let key = unguessable::digest(form.need("code")?);
        let (agreed, grant) = match self.store.write(move |tables| authorization::take_code(tables, &key, now)).await? {
            Code::Good { authorization, grant } => (authorization, grant),
            Code::Used(grant) => {
                tracing::warn!(client = %client.id, "a code was shown twice: what came of it is revoked");
                self.end_family(grant, now).await?;
                return Err(unusable());
            }
            Code::Unknown => return Err(unusable()),
        };
        let Agreed { request, user, epoch } = serde_json::from_str(&agreed).map_err(|error| Problem::internal(&error.to_string()))?;
        check(client, form, &request)?;
        let person = accounts::find(&self.store, &user).await?.filter(|person| person.epoch == epoch).ok_or_else(unusable)?;
        self.begin_family(client, &person, &request, grant, now).await
    }

    /// The first tokens of what a person agreed to.
    pub(super) async fn begin_family(
        &self,
        client: &Client,
        person: &Person,
        request: &AuthorizationRequest,
        id: String,
        now: i64,
    ) -> Result<Tokens, Problem> {
        let refreshes = client.may_use(REFRESH);
        let idle = if refreshes { super::seconds(self.settings.refresh_life) } else { self.access_life(&request.path) };
        let grant = TokenGrant {
            id,
            user: person.name.clone(),
            client: client.id.clone(),
            client_name: client.name.clone(),
            resource: request.resource.clone(),
            scopes: super::token::still_within(client, &request.scopes)?,
            secret: unguessable::bytes()?,
            generation: 0,
            since: now,
            used: now,
            idle_until: now + idle,
            ends: now + FAMILY,
        };
        let (kept, epoch) = (grant.clone(), person.epoch);
        let keep = self.store.write(move |tables| {
            // The same code may have been shown again between our taking it and this, or the user been disabled.
            let stands = accounts::stands(user::find(tables, &kept.user)?.as_ref(), &kept.user, epoch);
            if !stands || token_grant::is_revoked(tables, &kept.id, &kept.id)? {
                return Ok(false);
            }
            sallyport_store::client::touch(tables, &kept.client, now, now + super::clients::registration::KEPT)?;
            token_grant::add(tables, &kept).map(|()| true)
        });
        if !keep.await? {
            return Err(unusable());
        }
        let mut tokens = self.tokens_of(&grant, person, &grant.scopes, now).await?;
        tokens.refresh_token = refreshes.then(|| super::token::refresh_token(&grant));
        Ok(tokens)
    }

    pub(super) async fn end_family(&self, grant: String, now: i64) -> Result<(), Problem> {
        self.store.write(move |tables| token_grant::revoke(tables, &grant, now + LONGEST_TOKEN)).await?;
        Ok(())
    }
}

fn unusable() -> Problem {
    Problem::invalid_grant("the code is unknown, has ended, or was used")
}

/// Whether the one who shows a code is the one who asked for it (OAuth 2.1 §4.1.3).
fn check(client: &Client, form: &Parameters, request: &AuthorizationRequest) -> Result<(), Problem> {
    if client.id != request.client {
        return Err(unusable());
    }
    if form.get("redirect_uri").is_some_and(|shown| shown != request.redirect) {
        return Err(Problem::invalid_grant("`redirect_uri` is another than in the authorization request"));
    }
    let verifier = form.need("code_verifier")?;
    let has_form =
        (43..=128).contains(&verifier.len()) && verifier.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    let challenge = unguessable::encode(&Sha256::digest(verifier));
    if !has_form || !unguessable::equal(challenge.as_bytes(), request.code_challenge.as_bytes()) {
        return Err(Problem::invalid_grant("`code_verifier` does not fit the code challenge"));
    }
    Ok(())
}

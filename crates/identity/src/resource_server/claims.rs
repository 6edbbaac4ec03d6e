//! What an issuer's tokens have to claim, and whom they make of it (RFC 7519 §4, RFC 9068 §2.2).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sallyport_policy::{Principal, Scopes};
use sallyport_protocol::Endpoint;
use serde_json::{Map, Value};

use super::TokenFault;
use super::key::Algorithm;
use super::resource::{PublicUrl, Resources};

/// How far the clocks of issuer and gateway may be apart, in seconds. Machines that keep time by NTP are within one; those that slept
/// take some seconds to notice. More would only lengthen the life of tokens that were let go.
const LEEWAY: u64 = 30;
/// For how long a token without an end is good: introspection may leave it out (a signed token must not), and is asked again then.
const WITHOUT_END: Duration = Duration::from_secs(60);
/// Most groups of a token: Entra puts 200 into one at most. With more it is refused, since a group left out may be one that is denied.
const MOST_GROUPS: usize = 256;
/// What may be left out of the names of types (RFC 7515 §4.1.9).
const MEDIA_TYPE: &str = "application/";
/// The claims that name the client, the first that is there: of RFC 9068, of OpenID Connect and Entra's version 2, of Entra's version 1.
const CLIENT: [&str; 3] = ["client_id", "azp", "appid"];
/// Longest name in bytes of a subject, a client, a group or a tenant.
const LONGEST_NAME: usize = 256;

/// Who an issuer is, and how its tokens are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Its name (`iss`), compared byte for byte.
    pub issuer: String,
    /// The endpoints that it calls by other names (`aud`) than their addresses.
    pub audiences: BTreeMap<String, Endpoint>,
    /// How it may sign.
    pub algorithms: Vec<Algorithm>,
    /// What its access tokens call themselves (`typ`); `JWT` stands for nothing at all too.
    pub types: Vec<String>,
    /// Whether its tokens are bounded by scopes: else policy alone says what they are good for.
    pub scoped: bool,
    /// The claim that holds the scopes.
    pub scopes_claim: String,
    /// The claim that holds the groups.
    pub groups_claim: String,
    /// Which of its groups are which here; the others are left out. `None` where its groups are those of the gateway itself.
    pub groups: Option<BTreeMap<String, String>>,
    /// The claim that holds the tenant, where there are tenants.
    pub tenant_claim: Option<String>,
    /// Whose tokens alone are taken: a tenant's, or with an empty name those of nobody's. `None` where it does not matter whose they are,
    /// since there are no tenants.
    pub tenant: Option<Arc<str>>,
}

/// What a token that was accepted says.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) principal: Principal,
    pub(super) resources: Resources,
    /// For how long it is good.
    pub(super) left: Duration,
}

impl Terms {
    /// The usual terms of `issuer`.
    #[must_use]
    pub fn new(issuer: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audiences: BTreeMap::new(),
            algorithms: Algorithm::ALL.to_vec(),
            types: vec!["at+jwt".into()],
            scoped: true,
            scopes_claim: "scope".into(),
            groups_claim: "groups".into(),
            groups: Some(BTreeMap::new()),
            tenant_claim: None,
            tenant: None,
        }
    }

    /// Whether a token with this `typ` can be an access token (RFC 9068 §2.1).
    pub(super) fn takes_type(&self, typ: Option<&str>) -> bool {
        let typ = typ.unwrap_or("JWT");
        let typ = match typ.split_at_checked(MEDIA_TYPE.len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case(MEDIA_TYPE) => rest,
            _ => typ,
        };
        self.types.iter().any(|taken| taken.eq_ignore_ascii_case(typ))
    }

    /// Reads claims that are known to be the issuer's own. `now` is the time since 1970.
    pub(super) fn accept(&self, claims: &Map<String, Value>, public: &PublicUrl, now: Duration) -> Result<Accepted, TokenFault> {
        if text(claims, "iss")? != Some(self.issuer.as_str()) {
            return Err(TokenFault::UnknownIssuer);
        }
        // An ID token names its client as its audience, which an operator may have listed; these tell it from an access token.
        if claims.contains_key("nonce") || claims.contains_key("at_hash") {
            return Err(TokenFault::Type);
        }
        // It is bound to a key (RFC 7800): who stole it cannot show that, and nobody is asked to here.
        if claims.get("cnf").is_some_and(|key| !key.is_null()) {
            return Err(TokenFault::Type);
        }
        let left = time_left(claims, now)?;
        let resources = self.resources(claims, public)?;
        let mut principal = self.principal(claims)?.in_groups(self.groups(claims)?).of_tenant(self.tenant(claims)?);
        if self.scoped {
            principal = principal.limited_to(self.scopes(claims)?);
        }
        Ok(Accepted { principal, resources, left })
    }

    /// A person, or a program in its own name: then subject and client are the same (RFC 9068 §2.2), there is no subject, or the token says so.
    fn principal(&self, claims: &Map<String, Value>) -> Result<Principal, TokenFault> {
        // Entra's way, whose subject is then an object of its directory.
        let is_programs = claims.get("idtyp").is_some_and(|kind| kind == "app");
        match (text(claims, "sub")?, self.client(claims)?) {
            (Some(subject), client) if client.is_none() || client != Some(subject) && !is_programs => {
                Ok(Principal::user(&self.issuer, subject))
            }
            (_, Some(client)) => Ok(Principal::client(&self.issuer, client)),
            _ => Err(TokenFault::Claims),
        }
    }

    /// Whose token it is: as it claims, else whoever trusts the issuer.
    fn tenant<'a>(&'a self, claims: &'a Map<String, Value>) -> Result<&'a str, TokenFault> {
        let tenant = match &self.tenant_claim {
            Some(claim) => text(claims, claim)?.ok_or(TokenFault::Claims)?,
            None => self.tenant.as_deref().unwrap_or_default(),
        };
        if self.tenant.as_deref().is_some_and(|taken| taken != tenant) { Err(TokenFault::OtherResource) } else { Ok(tenant) }
    }

    /// The names in a token's audience, where none of them is an endpoint here.
    pub(super) fn strange_audiences<'a>(&self, claims: &'a Map<String, Value>, public: &PublicUrl) -> Option<Vec<&'a str>> {
        let is_strange = matches!(self.resources(claims, public), Err(TokenFault::OtherResource));
        words(claims.get("aud"), false).filter(|_| is_strange)
    }

    /// The client that a token was issued to.
    pub(super) fn client<'a>(&self, claims: &'a Map<String, Value>) -> Result<Option<&'a str>, TokenFault> {
        let named = CLIENT.into_iter().find(|claim| claims.contains_key(*claim));
        named.map_or(Ok(None), |claim| text(claims, claim))
    }

    fn resources(&self, claims: &Map<String, Value>, public: &PublicUrl) -> Result<Resources, TokenFault> {
        let audiences = words(claims.get("aud"), false).ok_or(TokenFault::Claims)?;
        let known = |audience: &&str| self.audiences.get(*audience).cloned().or_else(|| public.endpoint(audience));
        let endpoints: Vec<Endpoint> = audiences.iter().filter_map(known).collect();
        if endpoints.is_empty() { Err(TokenFault::OtherResource) } else { Ok(Resources::These(endpoints)) }
    }

    fn scopes(&self, claims: &Map<String, Value>) -> Result<Scopes, TokenFault> {
        let Some(claim) = claims.get(&self.scopes_claim) else { return Ok(Scopes::default()) };
        let words = words(Some(claim), true).ok_or(TokenFault::Claims)?;
        Scopes::parse(&words.join(" ")).ok_or(TokenFault::Claims)
    }

    fn groups(&self, claims: &Map<String, Value>) -> Result<Vec<Arc<str>>, TokenFault> {
        // Entra writes down that it has left the groups out, since there were too many.
        if claims.get("_claim_names").is_some_and(|names| names.get(&self.groups_claim).is_some()) {
            return Err(TokenFault::Claims);
        }
        let Some(claim) = claims.get(&self.groups_claim) else { return Ok(Vec::new()) };
        let groups = words(Some(claim), false).ok_or(TokenFault::Claims)?;
        if groups.len() > MOST_GROUPS || groups.iter().any(|group| group.len() > LONGEST_NAME) {
            return Err(TokenFault::Claims);
        }
        Ok(match &self.groups {
            // What one issuer calls `oncall` is not what another does, nor what is called so here.
            Some(ours) => groups.into_iter().filter_map(|theirs| ours.get(theirs)).map(|ours| ours.as_str().into()).collect(),
            None => groups.into_iter().map(Into::into).collect(),
        })
    }
}

/// For how long the token is good from now on.
fn time_left(claims: &Map<String, Value>, now: Duration) -> Result<Duration, TokenFault> {
    if seconds(claims, "nbf")?.is_some_and(|begins| begins > now.as_secs() + LEEWAY) {
        return Err(TokenFault::NotYet);
    }
    match seconds(claims, "exp")? {
        None => Ok(WITHOUT_END),
        Some(ends) => {
            let ends = Duration::from_secs(ends.saturating_add(LEEWAY));
            ends.checked_sub(now).filter(|left| !left.is_zero()).ok_or(TokenFault::Expired)
        }
    }
}

/// A number of seconds since 1970; some issuers write fractions.
fn seconds(claims: &Map<String, Value>, claim: &str) -> Result<Option<u64>, TokenFault> {
    let Some(value) = claims.get(claim) else { return Ok(None) };
    #[expect(clippy::cast_possible_truncation, reason = "bounded just before")]
    let whole = value.as_f64().filter(|seconds| (0.0..1e12).contains(seconds)).map(|seconds| seconds as u64);
    whole.map(Some).ok_or(TokenFault::Claims)
}

/// A claim that is one name.
fn text<'a>(claims: &'a Map<String, Value>, claim: &str) -> Result<Option<&'a str>, TokenFault> {
    match claims.get(claim) {
        None => Ok(None),
        Some(Value::String(text)) if (1..=LONGEST_NAME).contains(&text.len()) && !text.chars().any(char::is_control) => Ok(Some(text)),
        Some(_) => Err(TokenFault::Claims),
    }
}

/// A claim that is one text or a list of them; `spaced` where one text may hold several.
fn words(claim: Option<&Value>, spaced: bool) -> Option<Vec<&str>> {
    match claim? {
        Value::String(text) if spaced => Some(text.split(' ').filter(|word| !word.is_empty()).collect()),
        Value::String(text) => Some(vec![text]),
        Value::Array(entries) => entries.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

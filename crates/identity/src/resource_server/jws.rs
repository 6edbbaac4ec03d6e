//! Signed tokens in their compact form (RFC 7515 §3.1, RFC 9068): taken apart, and verified before anybody reads what they claim.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::key::{Algorithm, VerifyingKey};

/// A signed token that was taken apart. Nothing in it is true yet.
pub(crate) struct Compact<'a> {
    signed: &'a str,
    signature: &'a str,
    payload: &'a str,
    pub(crate) header: Header,
}

/// The members of a header that matter here. `jwk`, `jku` and `x5u` are not read: a token does not say which key verifies it.
#[derive(Debug, Deserialize)]
pub(crate) struct Header {
    alg: String,
    pub(crate) kid: Option<String>,
    pub(crate) typ: Option<String>,
    crit: Option<Value>,
}

impl fmt::Debug for Compact<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Compact").field("header", &self.header).finish_non_exhaustive() // the rest is good for a call
    }
}

impl<'a> Compact<'a> {
    /// Takes a token apart; `None` where it has no such form, as an opaque one.
    pub(crate) fn parse(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.').filter(|(_, payload)| !payload.contains('.'))?;
        let header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        Some(Self { signed, signature, payload, header })
    }

    /// The algorithm that the header names; `None` where it is none of ours (`none` and `HS256` among them), or where the header has
    /// extensions that have to be understood (`crit`), of which we know none.
    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        Algorithm::from_name(&self.header.alg).filter(|_| self.header.crit.is_none())
    }

    /// Whom the token names as its issuer. Only good for choosing the keys that must then verify it.
    pub(crate) fn claimed_issuer(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Issuer {
            iss: String,
        }
        serde_json::from_slice::<Issuer>(&URL_SAFE_NO_PAD.decode(self.payload).ok()?).ok().map(|claims| claims.iss)
    }

    /// What the token claims, once `key` has verified it.
    pub(crate) fn verify(&self, key: &VerifyingKey) -> Option<Map<String, Value>> {
        let signature = URL_SAFE_NO_PAD.decode(self.signature).ok()?;
        let is_genuine = self.algorithm() == Some(key.algorithm()) && key.verifies(self.signed.as_bytes(), &signature);
        is_genuine.then(|| URL_SAFE_NO_PAD.decode(self.payload).ok()).flatten().and_then(|claims| serde_json::from_slice(&claims).ok())
    }
}

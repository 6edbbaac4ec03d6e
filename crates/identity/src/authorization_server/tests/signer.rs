//! Whoever signs assertions in the tests.

use ::ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use super::*;

pub(super) struct Signer {
    name: &'static str,
    pair: Ed25519KeyPair,
}

impl Signer {
    /// A key called `name` (`kid`). Each seed is another.
    pub(super) fn new(name: &'static str, seed: u8) -> Self {
        Self { name, pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap() }
    }

    /// The public half, in a set.
    pub(super) fn published(&self) -> Value {
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": self.name, "x": unguessable::encode(self.pair.public_key().as_ref()) }] })
    }

    pub(super) fn sign(&self, kind: &str, claims: &Value) -> String {
        let header = json!({ "alg": "EdDSA", "kid": self.name, "typ": kind });
        let text = [header, claims.clone()].map(|part| unguessable::encode(part.to_string().as_bytes())).join(".");
        let signature = unguessable::encode(self.pair.sign(text.as_bytes()).as_ref());
        format!("{text}.{signature}")
    }
}

/// Claims with some in another form, or taken out where they are null.
pub(super) fn with(claims: &Value, changed: &[(&str, Value)]) -> Value {
    let mut claims = claims.as_object().unwrap().clone();
    for (name, value) in changed {
        claims.insert((*name).to_owned(), value.clone());
    }
    claims.retain(|_, value| !value.is_null());
    claims.into()
}

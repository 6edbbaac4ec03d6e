//! ID tokens: a provider's word, to us alone and for one login, on who somebody is (OpenID Connect Core §3.1.3.7).

use serde_json::{Map, Value};

use super::super::client_authentication::SKEW;
use super::super::unguessable;
use crate::resource_server::jws::Compact;
use crate::resource_server::key_source::KeySource;

/// Longest token in bytes: with 200 groups they have 12 KiB.
const LONGEST: usize = 16 * 1024;
/// For how many seconds after it was made one is taken. It comes straight from the provider, and clocks differ.
const FRESH: i64 = 10 * 60;

/// What a token has to be about.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client: &'a str,
    pub(super) nonce: &'a str,
    pub(super) now: i64,
}

/// What a token says.
///
/// # Errors
/// Why it is not believed.
pub(super) async fn verified(text: &str, keys: &dyn KeySource, expected: &Expected<'_>) -> Result<Map<String, Value>, &'static str> {
    let token = Compact::parse(text).filter(|_| text.len() <= LONGEST).ok_or("it is no signed token")?;
    if token.header.typ.as_deref().is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
        return Err("its `typ` is that of another kind of token");
    }
    let algorithm = token.algorithm().ok_or("it is not signed in a way that is known here")?;
    let id = token.header.kid.as_deref();
    let key = match keys.find(id, algorithm) {
        Some(key) => key,
        None => {
            keys.refresh().await;
            keys.find(id, algorithm).ok_or("the provider has no such key")?
        }
    };
    let claims = token.verify(&key).ok_or("its signature is false")?;
    check(&claims, expected)?;
    Ok(claims)
}

fn check(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), &'static str> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let moment = |name: &str| claims.get(name).and_then(Value::as_f64);
    if text("iss") != Some(expected.issuer) {
        return Err("its `iss` is another provider");
    }
    // One for others as well could be shown here by any of them.
    let is_ours = match claims.get("aud") {
        Some(Value::Array(all)) => all.len() == 1 && all.iter().all(|one| one.as_str() == Some(expected.client)),
        one => one.and_then(Value::as_str) == Some(expected.client),
    };
    if !is_ours || text("azp").is_some_and(|client| client != expected.client) {
        return Err("it is for another client");
    }
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
    let (now, skew, fresh) = (expected.now as f64, SKEW as f64, FRESH as f64);
    if moment("exp").is_none_or(|ends| ends + skew <= now) {
        return Err("it has ended");
    }
    if moment("iat").is_none_or(|made| made > now + skew || made + fresh <= now) {
        return Err("it was not made for this login");
    }
    let is_this_login = text("nonce").is_some_and(|nonce| unguessable::equal(nonce.as_bytes(), expected.nonce.as_bytes()));
    if is_this_login { Ok(()) } else { Err("its `nonce` is that of another login") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use serde_json::json;

    use super::*;

    fn said(change: Value) -> Result<(), &'static str> {
        let mut claims = json!({ "iss": "https://idp.example", "aud": "us", "exp": 2_000, "iat": 1_000, "nonce": "n", "sub": "alice" });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let expected = Expected { issuer: "https://idp.example", client: "us", nonce: "n", now: 1_010 };
        check(claims.as_object().unwrap(), &expected)
    }

    #[test]
    fn a_token_for_this_client_and_login_alone_is_believed() {
        said(json!({})).unwrap();
        said(json!({ "aud": ["us"], "azp": "us" })).unwrap();
        said(json!({ "iat": 1_060 })).unwrap();
        for wrong in [
            json!({ "iss": "https://idp.example/" }),
            json!({ "iss": null }),
            json!({ "aud": "them" }),
            json!({ "aud": ["us", "them"] }),
            json!({ "aud": [] }),
            json!({ "aud": null }),
            json!({ "azp": "them" }),
            json!({ "exp": 900 }),
            json!({ "exp": null }),
            json!({ "exp": "soon" }),
            json!({ "iat": 400 }),
            json!({ "iat": 1_100 }),
            json!({ "iat": null }),
            json!({ "nonce": "m" }),
            json!({ "nonce": null }),
        ] {
            assert!(said(wrong.clone()).is_err(), "{wrong}");
        }
    }
}

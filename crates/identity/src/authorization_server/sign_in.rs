//! People log in with an identity provider elsewhere (OpenID Connect Core §3.1): code, PKCE, `state`, `nonce`, `iss`.
//!
//! What goes out is tied to the browser: `state` is kept under the digest of its cookie, and the verifier of PKCE and the `nonce` are made
//! from that cookie and `state`, so that nothing of them is kept at all. Who comes back with another cookie has begun nothing; who comes
//! back gets a new cookie, so that whoever knew the old one knows nothing.

mod config;
mod id_token;
mod provider;

use bytes::Bytes;
use http::Response;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use sallyport_store::authorization;

pub use self::config::Config;
pub(super) use self::provider::Provider;
use self::provider::Return;
use super::authorize::PATIENCE;
use super::browser::Browser;
use super::log_in::no_cookie;
use super::parameters::Parameters;
use super::problem::Problem;
use super::purpose::Purpose;
use super::{Asked, Server, accounts, answer, unguessable};
use crate::fetch::is_safe_page;

/// Longest code of a provider, in bytes.
const LONGEST_CODE: usize = 4 * 1024;

/// A login that is at a provider.
#[derive(Serialize, Deserialize)]
struct Begun {
    provider: String,
    purpose: String,
    /// The provider says `iss` with its answer (RFC 9207), so one without is not its.
    says_iss: bool,
}

impl Server {
    /// The providers, by name and title.
    pub(super) fn sign_ins(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sign_ins.iter().map(|(name, provider)| (name.as_str(), provider.config.title.as_deref().unwrap_or(name)))
    }

    /// Where a provider sends people back to.
    fn sign_in_callback(&self, provider: &str) -> String {
        self.url(&format!("callback/{provider}"))
    }

    /// Sends a browser to a provider.
    pub(super) async fn sign_in(&self, asked: &Asked) -> Result<Response<Bytes>, Problem> {
        let parameters = Parameters::of_query(&asked.request)?;
        let purpose = Purpose::of(parameters.need("request")?)?;
        let name = parameters.need("provider")?;
        let provider = self.sign_ins.get(name).ok_or_else(|| Problem::invalid_request("there is no such provider here"))?;
        let browser = Browser::known(self, asked).ok_or_else(no_cookie)?;
        let request = match purpose.request() {
            Some(id) => Some(self.pending(id, Some(&browser), asked.now).await?),
            None => None,
        };
        let metadata = provider.metadata(asked.now).await?;
        let endpoint = metadata.authorization_endpoint.as_ref().filter(|url| is_safe_page(url));
        let mut to = endpoint.cloned().ok_or_else(|| Problem::internal("the provider has no page for people over https"))?;
        let says_iss = metadata.authorization_response_iss_parameter_supported;
        let begun = Begun { provider: name.to_owned(), purpose: purpose.text(), says_iss };
        let begun = serde_json::to_string(&begun).map_err(|error| Problem::internal(&error.to_string()))?;
        let state = unguessable::text()?;
        let (key, cookie, times) = (key(&state), browser.digest(), (asked.now, asked.now + PATIENCE));
        self.store.write(move |tables| authorization::add_request(tables, &key, &cookie, &begun, times)).await?;
        to.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &provider.config.client.id)
            .append_pair("redirect_uri", &self.sign_in_callback(name))
            .append_pair("scope", &provider.config.scopes.join(" "))
            .append_pair("state", &state)
            .append_pair("nonce", &nonce(&browser, &state))
            .append_pair("code_challenge", &unguessable::encode(&Sha256::digest(verifier(&browser, &state))))
            .append_pair("code_challenge_method", "S256");
        if request.is_some_and(|request| request.wants_login()) {
            to.query_pairs_mut().append_pair("prompt", "login");
        }
        Ok(answer::see_other(to.as_str()))
    }

    /// Takes what a provider sent back, and lets the person in.
    pub(super) async fn signed_in(&self, asked: &Asked) -> Result<Response<Bytes>, Problem> {
        let parameters = Parameters::of_query(&asked.request)?;
        let browser = Browser::known(self, asked).ok_or_else(no_cookie)?;
        let state = parameters.need("state")?;
        let (key, cookie, now) = (key(state), browser.digest(), asked.now);
        let begun = self.store.write(move |tables| authorization::take_request(tables, &key, &cookie, now)).await?;
        let begun = begun.and_then(|text| serde_json::from_str::<Begun>(&text).ok()).ok_or_else(super::authorize::gone)?;
        let provider = self.sign_ins.get(&begun.provider).ok_or_else(super::authorize::gone)?;
        // Each has an address of its own and, if it knows how, says who it is: an answer of one is never taken for another's.
        let is_at_its_own = asked.request.uri().path().ends_with(&format!("/oauth/callback/{}", begun.provider));
        let is_its = parameters.get("iss").map_or(!begun.says_iss, |issuer| issuer == provider.config.issuer);
        if !is_at_its_own || !is_its {
            return Err(Problem::invalid_request("the answer is not from the provider that was asked"));
        }
        if let Some(error) = parameters.get("error") {
            let error: String = error.chars().filter(char::is_ascii_graphic).take(64).collect();
            return Err(Problem::new("access_denied", format!("the provider did not let you in ({error})")));
        }
        let code = parameters.need("code")?;
        if code.len() > LONGEST_CODE {
            return Err(Problem::invalid_request("`code` is too long"));
        }
        let (verifier, nonce) = (verifier(&browser, state), nonce(&browser, state));
        let back = Return { code, redirect: self.sign_in_callback(&begun.provider), verifier, nonce };
        let vouched = provider.redeem(back, asked.now).await?;
        let kept = accounts::keep_vouched(&self.store, vouched.name, vouched.groups, asked.now).await;
        let person = kept?.ok_or_else(|| Problem::new("access_denied", "whoever runs this gateway does not let you in"))?;
        self.let_in(&person, &browser, Purpose::of(&begun.purpose)?, asked.now).await
    }
}

/// Under what a login lies in the store, among what clients asked for and never to be taken for that.
fn key(state: &str) -> [u8; 32] {
    unguessable::digest(&format!("sign-in\0{state}"))
}

fn verifier(browser: &Browser, state: &str) -> String {
    browser.derived("verifier", state)
}

fn nonce(browser: &Browser, state: &str) -> String {
    browser.derived("nonce", state)
}

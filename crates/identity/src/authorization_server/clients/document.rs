//! Clients that are described by a document at their own address: draft-ietf-oauth-client-id-metadata-document-00.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, StatusCode, header};
use tokio::sync::Semaphore;
use url::Url;

use super::super::problem::Problem;
use super::metadata::Metadata;
use super::{Client, Kind};
use crate::fetch::{self, Fetcher, Reach};

/// Longest id in bytes.
const LONGEST: usize = 512;
/// Bytes of a document: the draft proposes 5 KiB; some list many addresses.
const LARGEST: usize = 16 * 1024;
/// Documents that are remembered: each is some 2 KiB, and anybody may name one.
const REMEMBERED: usize = 256;
/// For how many seconds a document is believed at least, whatever its headers say: one login asks for it at each of its steps.
const SHORTEST_BELIEVED: i64 = 5 * 60;
/// For how many seconds a document is believed at most: a client that changes its addresses waits no longer.
const LONGEST_BELIEVED: i64 = 24 * 60 * 60;

/// Documents fetched at once: anybody may have us ask anybody, and is not to make a flood of it.
const AT_ONCE: usize = 8;

/// Clients' documents, fetched from public addresses alone.
pub(in super::super) struct Documents {
    fetcher: Fetcher,
    remembered: Mutex<HashMap<String, (Client, i64)>>,
    turns: Semaphore,
}

impl std::fmt::Debug for Documents {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Documents").finish_non_exhaustive()
    }
}

impl Documents {
    pub(in super::super) fn new(fetcher: Fetcher) -> Self {
        Self { fetcher, remembered: Mutex::default(), turns: Semaphore::new(AT_ONCE) }
    }

    /// The client that the document at `id` describes.
    pub(super) async fn client(&self, id: &str, now: i64) -> Result<Client, Problem> {
        let url = address(id).map_err(|what| Problem::invalid_client(format!("the client's address cannot be used: {what}")))?;
        if let Some(client) = self.known(id, now) {
            return Ok(client);
        }
        let busy = |_| Problem::new("temporarily_unavailable", "too many clients' documents are being fetched: try again in a moment");
        let _turn = self.turns.try_acquire().map_err(busy)?;
        let fetched = self.fetcher.get(&url, Reach::Public).await;
        let answer = fetched.map_err(|error| Problem::invalid_client(format!("the client's document cannot be had: {error}")))?;
        if answer.status != StatusCode::OK {
            return Err(Problem::invalid_client(format!(
                "the client's document cannot be had: its server answers {}",
                answer.status.as_u16()
            )));
        }
        let client =
            read(id, &answer.body).map_err(|what| Problem::invalid_client(format!("the client's document cannot be used: {what}")))?;
        self.remember(id, &client, now + believed(&answer.headers), now);
        Ok(client)
    }

    fn known(&self, id: &str, now: i64) -> Option<Client> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(id).filter(|(_, ends)| *ends > now).map(|(client, _)| client.clone())
    }

    fn remember(&self, id: &str, client: &Client, ends: i64, now: i64) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.retain(|_, (_, ends)| *ends > now);
        if remembered.len() >= REMEMBERED {
            let first = remembered.iter().min_by_key(|(_, (_, ends))| *ends).map(|(id, _)| id.clone());
            first.map(|first| remembered.remove(&first));
        }
        remembered.insert(id.to_owned(), (client.clone(), ends));
    }
}

/// The address that is a client's id (§3 of the draft): https, with a path, without anything that two readers could read differently.
fn address(id: &str) -> Result<Url, &'static str> {
    if id.len() > LONGEST {
        return Err("it is too long");
    }
    let url = Url::parse(id).map_err(|_| "it is no address")?;
    if id.contains('#') {
        return Err("it has a fragment");
    }
    // The parser has lower-cased, resolved `..` (also `%2e%2e`) and repaired; what it changed is not what it will be compared with.
    if url.as_str() != id {
        return Err("it is not in its plain form: lower-case host, no `.` or `..` segments, no default port");
    }
    let lower = url.path().to_ascii_lowercase();
    if url.path() == "/" || lower.contains("%2e") || lower.contains("%2f") || lower.contains("%5c") {
        return Err("it has no path, or one with encoded dots or slashes");
    }
    fetch::check(&url, Reach::Public).map(|()| url).map_err(|error| match error {
        fetch::FetchError::NotAllowed(why) => why,
        _ => "it is not to be asked",
    })
}

fn read(id: &str, body: &[u8]) -> Result<Client, String> {
    if body.len() > LARGEST {
        return Err(format!("it has more than {LARGEST} bytes"));
    }
    let metadata: Metadata = serde_json::from_slice(body).map_err(|error| format!("it is no client's metadata: {error}"))?;
    if metadata.client_id.as_deref() != Some(id) {
        return Err("its `client_id` is not its address".to_owned());
    }
    if metadata.client_secret.is_some() || metadata.wants_secret() {
        return Err("a client that everybody may read about has no secret".to_owned());
    }
    if metadata.redirect_uris.is_empty() {
        return Err("it has no `redirect_uris`".to_owned());
    }
    metadata.client(id.to_owned(), Kind::Document)
}

/// For how many seconds an answer may be believed (RFC 9111 §5.2.2).
fn believed(headers: &HeaderMap) -> i64 {
    let said = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut directives = said.split(',').map(|directive| directive.trim().to_ascii_lowercase());
    let age = directives.find_map(|directive| directive.strip_prefix("max-age=")?.trim_matches('"').parse::<i64>().ok());
    let is_refused = said.to_ascii_lowercase().contains("no-");
    if is_refused { SHORTEST_BELIEVED } else { age.unwrap_or_default().clamp(SHORTEST_BELIEVED, LONGEST_BELIEVED) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn an_address_is_public_plain_and_has_a_path() {
        assert!(address("https://app.example.com/oauth/client.json").is_ok());
        for id in [
            "http://app.example.com/c",
            "https://app.example.com/",
            "https://app.example.com",
            "https://app.example.com/a/../c",
            "https://app.example.com/a/..%2ec",
            "https://app.example.com/%2e%2e/c",
            "https://app.example.com/c#f",
            "https://u@app.example.com/c",
            "https://u:p@app.example.com/c",
            "https://127.0.0.1/c",
            "https://[::1]/c",
            "https://169.254.169.254/latest",
            "https://10.1.2.3/c",
            "https://2130706433/c",
            "https://0x7f.1/c",
            "https://APP.example.com/c",
            "https://app.example.com:443/c",
            "https://app.example.com/.",
            "https://[::ffff:127.0.0.1]/c",
            "https://app.example.com\\@127.0.0.1/c",
            "https://app.example.com/a%2fb",
        ] {
            assert!(address(id).is_err(), "{id}");
        }
    }

    #[test]
    fn a_document_is_about_its_own_address() {
        let id = "https://app.example.com/client";
        let document = |more: &str| format!("{{\"client_id\":\"{id}\",\"redirect_uris\":[\"http://localhost/cb\"]{more}}}");
        let client = read(id, document(",\"client_name\":\"App\",\"logo_uri\":\"x\"").as_bytes()).unwrap();
        assert_eq!((client.name.as_str(), client.host().as_deref()), ("App", Some("app.example.com")));
        assert!(client.may_redirect_to("http://localhost:5123/cb"));
        assert!(read("https://app.example.com/other", document("").as_bytes()).is_err());
        for more in [
            ",\"client_secret\":\"x\"",
            ",\"token_endpoint_auth_method\":\"client_secret_post\"",
            ",\"grant_types\":[\"client_credentials\"]",
        ] {
            assert!(read(id, document(more).as_bytes()).is_err(), "{more}");
        }
        assert!(read(id, &vec![b' '; LARGEST + 1]).is_err() && read(id, b"<html>").is_err());
    }

    #[test]
    fn headers_say_for_how_long_it_is_believed() {
        let believed = |value: &str| believed(&[(header::CACHE_CONTROL, value.parse().unwrap())].into_iter().collect());
        assert_eq!(believed("public, max-age=3600"), 3600);
        assert_eq!((believed("no-store, max-age=3600"), believed("max-age=1"), believed("")), (300, 300, 300));
        assert_eq!(believed("max-age=99999999999"), LONGEST_BELIEVED);
    }
}

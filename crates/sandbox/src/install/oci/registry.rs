//! Asks a registry (OCI distribution specification 1.1): one repository of it, only to read.

use std::sync::{Mutex, PoisonError};

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::Error;
use super::challenge::Challenge;
use super::credentials::{Credentials, Places};
use super::reach::{Reach, UNREACHABLE};
use crate::install::reference::Reference;

/// What is understood in the place of a manifest.
pub(super) const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// Blobs are whatever they are.
pub(super) const ANYTHING: &str = "*/*";

/// A blob lies with a storage service, which may lead to a mirror of its own.
const MOST_REDIRECTS: usize = 5;

/// A token has some kilobytes.
const TOKEN_BYTES: usize = 64 * 1024;

/// One repository of a registry.
pub(super) struct Registry {
    reach: Reach,
    client: Client,
    reference: Reference,
    credentials: Credentials,
    /// What was last found to be wanted.
    authorization: Mutex<Option<HeaderValue>>,
}

/// The answer of a token's server; both names are in use.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Registry {
    /// Finds it, and the user's credentials for it.
    ///
    /// # Errors
    /// When its name cannot be resolved, or the user's settings cannot be read.
    pub(super) async fn of(reference: &Reference) -> Result<Self, Error> {
        let places = Places::of_the_user();
        let credentials = places.credentials(reference)?;
        let reach = Reach::of(reference, &places).await?;
        let client = reach.client()?;
        Ok(Self { reach, client, reference: reference.clone(), credentials, authorization: Mutex::default() })
    }

    /// Gets what lies at `path` of the repository (`manifests/TAG`, `blobs/DIGEST`).
    ///
    /// # Errors
    /// When nobody answers, or the answer is not it.
    pub(super) async fn get(&self, path: &str, accept: &'static str) -> Result<Response, Error> {
        let path = format!("v2/{}/{path}", self.reference.repository);
        let url = self.reach.base().join(&path).map_err(|error| Error::new(format!("{path} is no address: {error}")))?;
        let mut response = self.follow(url.clone(), accept).await?;
        // Also in the middle of an image: tokens last for minutes. Where it leads to another host, that one says nothing about credentials.
        if response.status() == StatusCode::UNAUTHORIZED && self.reach.is_registry(response.url()) {
            let authorization = self.authorize(&response).await?;
            *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = authorization;
            response = self.follow(url, accept).await?;
        }
        match response.status() {
            StatusCode::OK => Ok(response),
            other => Err(self.refused(other)),
        }
    }

    /// Asks, and goes where that leads; nobody but the registry sees credentials.
    async fn follow(&self, mut url: Url, accept: &'static str) -> Result<Response, Error> {
        for _ in 0..=MOST_REDIRECTS {
            let mut request = self.client.get(url.clone()).header(ACCEPT, accept);
            if self.reach.is_registry(&url)
                && let Some(authorization) = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone()
            {
                request = request.header(AUTHORIZATION, authorization);
            }
            let response = request.send().await.map_err(|error| failed(&url, error))?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            let next = location.and_then(|location| url.join(location).ok());
            url = next.ok_or_else(|| Error::new("the registry leads elsewhere, and does not say where"))?;
            self.reach.check(&url)?;
        }
        Err(Error::new("the registry leads from one place to another without end"))
    }

    /// What to show from now on.
    async fn authorize(&self, response: &Response) -> Result<Option<HeaderValue>, Error> {
        match Challenge::of(response.headers()) {
            Some(Challenge::Bearer { realm, service }) => self.token(&realm, service.as_deref()).await.map(Some),
            Some(Challenge::Basic) => Ok(self.credentials.basic.clone()),
            None => Err(self.refused(StatusCode::UNAUTHORIZED)),
        }
    }

    /// A token for reading this one repository, whatever the registry says that it is to be for.
    async fn token(&self, realm: &str, service: Option<&str>) -> Result<HeaderValue, Error> {
        let mut url = Url::parse(realm).map_err(|_| Error::new("the registry names no address for its tokens"))?;
        self.reach.check(&url)?;
        let scope = format!("repository:{}:pull", self.reference.repository);
        url.query_pairs_mut().extend_pairs(service.map(|service| ("service", service))).append_pair("scope", &scope);
        let mut request = self.client.get(url.clone());
        if let Some(basic) = &self.credentials.basic {
            request = request.header(AUTHORIZATION, basic.clone());
        }
        let response = request.send().await.map_err(|error| failed(&url, error))?;
        if response.status() != StatusCode::OK {
            return Err(self.refused(response.status()));
        }
        let text = Zeroizing::new(body(response, TOKEN_BYTES).await?);
        let answer: Option<Token> = serde_json::from_slice(&text).ok();
        let token = answer.and_then(|answer| answer.token.or(answer.access_token)).map(Zeroizing::new);
        let value = token.and_then(|token| HeaderValue::from_str(&Zeroizing::new(format!("Bearer {}", *token))).ok());
        let mut value = value.ok_or_else(|| Error::new("the registry's tokens are not understood"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn refused(&self, status: StatusCode) -> Error {
        let (registry, name) = (&self.reference.registry, self.reference.name());
        let error = Error::new(format!("registry {registry} answers {status}"));
        match (status, self.credentials.not_used, &self.credentials.basic) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(not_used), None) => {
                error.with_hint(format!("it wants credentials, and your settings have {not_used}: {}", log_in(registry)))
            }
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _, None) => {
                error.with_hint(format!("it wants credentials, or has no {name}: {}", log_in(registry)))
            }
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, ..) => {
                error.with_hint(format!("your credentials do not let you read {name}: {}", log_in(registry)))
            }
            (StatusCode::NOT_FOUND, ..) => error.with_hint("look at the name and the tag"),
            (StatusCode::TOO_MANY_REQUESTS, ..) => error.with_hint(format!("try later, or with credentials: {}", log_in(registry))),
            _ => error,
        }
    }
}

fn log_in(registry: &str) -> String {
    format!("`docker login {registry}`, `podman login` or `skopeo login`, without a helper, writes some that are used")
}

/// A whole answer, of `most` bytes at most.
///
/// # Errors
/// When it has more, or breaks off.
pub(super) async fn body(mut response: Response, most: usize) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    let url = response.url().clone();
    while let Some(piece) = response.chunk().await.map_err(|error| failed(&url, error))? {
        if text.len() + piece.len() > most {
            return Err(Error::new(format!("the registry's answer has more than {most} bytes")));
        }
        text.extend_from_slice(&piece);
    }
    Ok(text)
}

/// What kept a request from being answered, without its address, which may hold a signature.
pub(super) fn failed(url: &Url, error: reqwest::Error) -> Error {
    let host = url.host_str().unwrap_or_default().to_owned();
    let error = error.without_url();
    let mut why = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(deeper) = source {
        why = format!("{why}: {deeper}");
        source = deeper.source();
    }
    let hint = match why.contains("certificate") {
        true => {
            "its certificate is not trusted: name the authority by SSL_CERT_FILE; a registry without one must be `insecure` in your registries.conf"
        }
        false => UNREACHABLE,
    };
    Error::new(format!("{host} cannot be asked: {why}")).with_hint(hint)
}

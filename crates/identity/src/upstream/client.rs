//! Who the gateway is at an authorization server, and how it shows that (RFC 6749 section 2.3, RFC 7523).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, header};
use sallyport_secrets::{Secret, SecretReference, resolve};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::assertion::SigningKey;
use super::metadata::ServerMetadata;
use super::token::TokenError;

/// A client that the operator registered at an authorization server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisteredConfig {
    /// The client's id there.
    pub id: String,
    /// Its secret, a reference. Default: none, for a public client or one with a key.
    pub secret: Option<SecretReference>,
    /// Its private key in PEM (P-256, Ed25519 or RSA), a reference; shown by `private_key_jwt`. Default: none.
    pub key: Option<SecretReference>,
}

impl RegisteredConfig {
    /// The same, its relative paths understood from `folder`.
    #[must_use]
    pub fn within(self, folder: &std::path::Path) -> Self {
        let anchored = |reference: Option<SecretReference>| reference.map(|reference| reference.within(folder));
        Self { id: self.id, secret: anchored(self.secret), key: anchored(self.key) }
    }

    /// The client with its secrets, read now.
    pub(crate) fn resolve(&self) -> Result<Client, TokenError> {
        let read = |reference: &SecretReference| resolve(reference).map_err(|error| TokenError::Own(format!("{error}; {}", error.hint())));
        let proof = match (&self.key, &self.secret) {
            (Some(reference), _) => {
                let pem = read(reference)?;
                let unfit = || TokenError::Own(format!("what {reference} names is no private key of a kind that is signed with here"));
                Proof::Key(SigningKey::of_pem(pem.expose()).ok_or_else(unfit)?)
            }
            (None, Some(reference)) => Proof::Secret { secret: read(reference)?, method: None },
            (None, None) => Proof::Nothing,
        };
        Ok(Client { id: self.id.clone(), proof })
    }
}

/// A client as it came out of a registration, fit to be kept (sealed).
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct KeptClient {
    pub(crate) id: String,
    pub(crate) secret: Option<String>,
    /// The `token_endpoint_auth_method` that it was registered with.
    pub(crate) method: Option<String>,
}

impl KeptClient {
    pub(crate) fn client(&self) -> Client {
        let proof = match &self.secret {
            Some(secret) if self.method.as_deref() != Some("none") => {
                Proof::Secret { secret: Secret::new(secret.clone()), method: self.method.clone() }
            }
            _ => Proof::Nothing,
        };
        Client { id: self.id.clone(), proof }
    }
}

/// A client that can show who it is.
pub(crate) struct Client {
    pub(crate) id: String,
    proof: Proof,
}

enum Proof {
    Nothing,
    Secret { secret: Secret, method: Option<String> },
    Key(SigningKey),
}

impl Client {
    /// Adds to a request what shows who asks, in a way that the authorization server takes.
    pub(crate) fn sign(
        &self,
        server: &ServerMetadata,
        form: &mut Vec<(&'static str, String)>,
        headers: &mut HeaderMap,
        now: u64,
    ) -> Result<(), TokenError> {
        match &self.proof {
            Proof::Nothing => form.push(("client_id", self.id.clone())),
            Proof::Secret { secret, method } if by_post(server, method.as_deref()) => {
                form.push(("client_id", self.id.clone()));
                form.push(("client_secret", secret.expose().to_owned()));
            }
            Proof::Secret { secret, .. } => {
                headers.insert(header::AUTHORIZATION, basic(&self.id, secret)?);
            }
            Proof::Key(key) => {
                // The issuer is the audience that every server has to take (RFC 7523bis); its name is not the attacker's to choose.
                let made = key.assertion(&self.id, &server.issuer, now);
                let made = made.ok_or_else(|| TokenError::Own("the client's key could not sign".to_owned()))?;
                form.push(("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned()));
                form.push(("client_assertion", made));
            }
        }
        Ok(())
    }
}

fn by_post(server: &ServerMetadata, method: Option<&str>) -> bool {
    match method {
        Some("client_secret_post") => true,
        Some("client_secret_basic") => false,
        _ => !server.takes("client_secret_basic") && server.takes("client_secret_post"),
    }
}

/// Id and secret, each encoded as in a form (RFC 6749 section 2.3.1).
fn basic(id: &str, secret: &Secret) -> Result<HeaderValue, TokenError> {
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = zeroize::Zeroizing::new(format!("{}:{}", encoded(id), encoded(secret.expose())));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair.as_bytes())))
        .map_err(|_| TokenError::Own("the client's secret cannot be sent".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

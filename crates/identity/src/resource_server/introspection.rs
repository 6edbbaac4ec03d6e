//! Asks an issuer about tokens that only it can read (RFC 7662).

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sallyport_secrets::Secret;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::remote_issuer::RemoteIssuer;
use crate::fetch::Reach;

/// Questions to one issuer at once: a flood of made-up tokens here is not to become one there.
const AT_ONCE: usize = 16;
/// What issuers call an access token, in whichever of the members below.
const ACCESS: [&str; 5] = ["bearer", "access", "access_token", "at+jwt", "jwt"];
/// The members in which they say what kind of token it is: that of RFC 7662, that of JSON Web Tokens (Keycloak), and one of their own (Hydra,
/// Cognito).
const KINDS: [&str; 3] = ["token_type", "typ", "token_use"];
/// How long a question may wait for others to be answered: whoever calls waits so long before anything else of the call begins.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The right to ask an issuer about tokens.
pub struct Introspection {
    issuer: RemoteIssuer,
    /// `Authorization` of the gateway itself.
    credentials: HeaderValue,
    asking: Semaphore,
}

/// The issuer did not answer, or not as it has to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswered;

impl Introspection {
    /// Asks `issuer` as its client `id` with the password `secret` (RFC 6749 §2.3.1). `None` where they fit into no header.
    #[must_use]
    pub fn new(issuer: RemoteIssuer, id: &str, secret: &Secret) -> Option<Self> {
        let form = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = Zeroizing::new(format!("{}:{}", form(id), form(secret.expose())));
        let mut credentials = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair.as_bytes()))).ok()?;
        credentials.set_sensitive(true);
        Some(Self { issuer, credentials, asking: Semaphore::new(AT_ONCE) })
    }

    /// What the issuer says of a token; `None` where it says that it is not valid.
    pub(super) async fn ask(&self, token: &str) -> Result<Option<Map<String, Value>>, Unanswered> {
        let endpoint = self.issuer.introspection_endpoint().await.ok_or(Unanswered)?;
        let _asking = tokio::time::timeout(LONGEST_WAIT, self.asking.acquire()).await.map_err(|_| Unanswered)?.map_err(|_| Unanswered)?;
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, self.credentials.clone())]);
        let form = [("token", token), ("token_type_hint", "access_token")];
        let answer = self.issuer.fetcher().post_form(&endpoint, Reach::Configured, headers, &form).await;
        let told = match answer {
            Err(error) => Err(error.to_string()),
            // It is no token that it would be asked about (`unsupported_token_type`).
            Ok(answer) if answer.status == StatusCode::BAD_REQUEST => return Ok(None),
            Ok(answer) if answer.status != StatusCode::OK => Err(format!("{endpoint} answers {}", answer.status)),
            Ok(answer) => serde_json::from_slice::<Map<String, Value>>(&answer.body).map_err(|error| format!("{endpoint}: {error}")),
        };
        let mut claims = told.map_err(|why| {
            tracing::warn!(issuer = self.issuer.name(), "the issuer does not answer what it is asked about tokens: {why}");
            Unanswered
        })?;
        if claims.get("active") != Some(&Value::Bool(true)) {
            return Ok(None);
        }
        // It may leave out who it is: it was asked itself.
        claims.entry("iss").or_insert_with(|| self.issuer.name().into());
        Ok(Some(claims))
    }
}

/// Whether an answer is about an access token, as far as it says: refresh tokens are active, too.
pub(super) fn is_about_access(claims: &Map<String, Value>) -> bool {
    let said = KINDS.iter().filter_map(|member| claims.get(*member)).filter(|kind| !kind.is_null());
    said.into_iter().all(|kind| kind.as_str().is_some_and(|kind| ACCESS.iter().any(|known| kind.eq_ignore_ascii_case(known))))
}

impl fmt::Debug for Introspection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Introspection").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

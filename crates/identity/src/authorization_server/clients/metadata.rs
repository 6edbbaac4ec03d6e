//! What a client says of itself (RFC 7591 §2), in a registration or in its document.

use sallyport_policy::Scopes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::redirect;
use super::{Authentication, Client, Keys, Kind};

/// Longest name of a client, in characters: one line of the consent page.
const LONGEST_NAME: usize = 80;
/// Most addresses of one client.
const MOST_REDIRECTS: usize = 20;
/// Most bytes of the keys in it.
const LARGEST_KEYS: usize = 8 * 1024;

pub(in super::super) const CODE: &str = "authorization_code";
pub(in super::super) const REFRESH: &str = "refresh_token";
pub(in super::super) const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// The members that mean something here. Others are left out, as §2 says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(in super::super) struct Metadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_name: Option<String>,
    pub(super) redirect_uris: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) grant_types: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_types: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_endpoint_auth_method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) application_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) jwks: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) jwks_uri: Option<String>,
    /// Only to refuse it: a document that everybody reads holds no secret.
    #[serde(skip_serializing)]
    pub(super) client_secret: Option<String>,
}

impl Metadata {
    /// The client that it describes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn client(self, id: String, kind: Kind) -> Result<Client, String> {
        self.check_redirects()?;
        let grants = self.grants(kind)?;
        if grants.iter().any(|grant| grant == CODE) && self.redirect_uris.is_empty() {
            return Err("`redirect_uris` is missing".to_owned());
        }
        if self.response_types.iter().flatten().any(|kind| kind != "code") {
            return Err("the only `response_types` here is `code`".to_owned());
        }
        let name = self.client_name.as_deref().map_or_else(|| id.clone(), shown);
        let authentication = self.authentication()?;
        let scopes =
            self.scope.as_deref().map(|scope| Scopes::parse(scope).ok_or("`scope` has characters that none may have")).transpose()?;
        // What a client that nobody vouches for says of its scopes binds nobody: the consent page does.
        let scopes = scopes.filter(|_| kind == Kind::Configured);
        Ok(Client { id, name, kind, redirects: self.redirect_uris, authentication, grants, scopes })
    }

    fn check_redirects(&self) -> Result<(), String> {
        if self.redirect_uris.len() > MOST_REDIRECTS {
            return Err(format!("there are more than {MOST_REDIRECTS} `redirect_uris`"));
        }
        let is_web = match self.application_type.as_deref() {
            None | Some("native") => false,
            Some("web") => true,
            Some(other) => return Err(format!("`application_type` is neither `native` nor `web`: {}", other.escape_debug())),
        };
        for uri in &self.redirect_uris {
            redirect::check(uri).map_err(|what| format!("the redirect URI {} cannot be used: {what}", uri.escape_debug()))?;
            if is_web && redirect::is_local(uri) {
                return Err(format!(
                    "the redirect URI {} is none of a web application: `application_type` has to be `native`",
                    uri.escape_debug()
                ));
            }
        }
        Ok(())
    }

    /// Those that were asked for. A client that says nothing gets what every client needs; one that leaves out refreshing still gets it,
    /// since many forget to ask, unless it says what it wants and that is not in it.
    fn grants(&self, kind: Kind) -> Result<Vec<String>, String> {
        let Some(asked) = &self.grant_types else { return Ok([CODE, REFRESH].map(str::to_owned).into()) };
        // Whom nobody vouches for acts for people who agreed, and never in its own name.
        let open = [CODE, REFRESH, DEVICE];
        let granted: Vec<String> =
            asked.iter().filter(|grant| kind == Kind::Configured || open.contains(&grant.as_str())).cloned().collect();
        if granted.is_empty() { Err(format!("none of its `grant_types` is offered here: {}", open.join(", "))) } else { Ok(granted) }
    }

    fn authentication(&self) -> Result<Authentication, String> {
        match self.token_endpoint_auth_method.as_deref() {
            None | Some("none" | "client_secret_basic" | "client_secret_post") => Ok(Authentication::None), // a secret is put in by who made it
            Some("private_key_jwt") => match (&self.jwks, &self.jwks_uri) {
                (Some(set), None) => {
                    let set = set.to_string();
                    if set.len() > LARGEST_KEYS { Err("`jwks` is too large".to_owned()) } else { Ok(Authentication::Keys(Keys::Set(set))) }
                }
                (None, Some(uri)) if uri.starts_with("https://") && uri.len() <= 2_048 => Ok(Authentication::Keys(Keys::At(uri.clone()))),
                _ => Err("`private_key_jwt` needs either `jwks` or an https `jwks_uri`".to_owned()),
            },
            Some(other) => Err(format!("`token_endpoint_auth_method` {} is not offered here", other.escape_debug())),
        }
    }

    /// Whether it wants a secret.
    pub(super) fn wants_secret(&self) -> bool {
        matches!(self.token_endpoint_auth_method.as_deref(), Some("client_secret_basic" | "client_secret_post"))
    }
}

/// A name as it can be shown: on one line, without characters that make it look like another.
fn shown(name: &str) -> String {
    let is_plain = |letter: &char| {
        !letter.is_control() && !matches!(*letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let name: String = name.chars().filter(is_plain).take(LONGEST_NAME).collect();
    let name = name.trim();
    if name.is_empty() { "a program without a name".to_owned() } else { name.to_owned() }
}

//! What a client asks for when it sends a person's browser (OAuth 2.1 §4.1.1).

use bytes::Bytes;
use http::{Method, Response};
use sallyport_policy::Scopes;
use sallyport_store::authorization;
use serde::{Deserialize, Serialize};

use super::browser::Browser;
use super::clients::metadata::CODE;
use super::clients::{Client, Kind};
use super::parameters::Parameters;
use super::problem::Problem;
use super::{Asked, Server, answer, redirect, unguessable};

/// For how many seconds a person may take over a login.
pub(super) const PATIENCE: i64 = 10 * 60;
/// Longest `state` in bytes: clients put what they like into it, and get it back in an address.
const LONGEST_STATE: usize = 2_048;

/// A checked request for a code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AuthorizationRequest {
    pub(super) client: String,
    pub(super) client_name: String,
    /// Who vouches for the name.
    pub(super) client_host: Option<String>,
    pub(super) redirect: String,
    pub(super) state: Option<String>,
    pub(super) code_challenge: String,
    pub(super) resource: String,
    pub(super) path: String,
    pub(super) scopes: String,
    /// The client wants the person to log in, or to agree, anew.
    pub(super) prompt: Option<String>,
    pub(super) since: i64,
}

impl AuthorizationRequest {
    /// Whether the client wants this of the person (`prompt`, OpenID Connect Core §3.1.2.1).
    pub(super) fn prompts(&self, word: &str) -> bool {
        self.prompt.as_deref().is_some_and(|prompt| prompt.split(' ').any(|asked| asked == word))
    }

    /// Whether the person has to log in for this, even if they are logged in.
    pub(super) fn wants_login(&self) -> bool {
        self.prompts("login")
    }
}

impl Server {
    pub(super) async fn authorize(&self, asked: &Asked) -> Result<Response<Bytes>, Problem> {
        let is_form = asked.request.method() == Method::POST;
        let parameters = if is_form { Parameters::of_form(&asked.request) } else { Parameters::of_query(&asked.request) }?;
        // Until both are known to belong together the browser is sent nowhere.
        let client = self.clients.find(&self.store, parameters.need("client_id")?, asked.now).await?;
        let redirect = redirect_of(&client, &parameters)?;
        match self.checked(&client, &redirect, &parameters, asked.now) {
            Ok(request) => self.begin(request, asked).await,
            // Anybody can register an address and send people to it by way of this host's good name. Only who runs the gateway says
            // where a browser goes that nobody sits at who has agreed to anything (RFC 9700 §4.11.2).
            Err(problem) if client.kind == Kind::Configured => Ok(self.redirect_problem(&redirect, parameters.get("state"), &problem)),
            Err(problem) => Err(problem),
        }
    }

    fn checked(&self, client: &Client, redirect: &str, parameters: &Parameters, now: i64) -> Result<AuthorizationRequest, Problem> {
        for unread in ["request", "request_uri"] {
            if parameters.get(unread).is_some() {
                let error = if unread == "request" { "request_not_supported" } else { "request_uri_not_supported" };
                return Err(Problem::new(error, "requests are taken as plain parameters"));
            }
        }
        if !client.may_use(CODE) {
            return Err(Problem::new("unauthorized_client", "the client may not log people in"));
        }
        if parameters.need("response_type")? != "code" {
            return Err(Problem::new("unsupported_response_type", "`response_type` has to be `code`"));
        }
        if parameters.get("response_mode").is_some_and(|mode| mode != "query") {
            return Err(Problem::invalid_request("`response_mode` has to be `query`"));
        }
        let code_challenge = code_challenge(parameters)?;
        let resource = self.resource(parameters.get("resource"))?;
        let scopes = asked_scopes(parameters.get("scope"), &resource.default_scopes, client)?;
        if parameters.get("prompt") == Some("none") {
            return Err(Problem::new("interaction_required", "people are always shown what is asked of them"));
        }
        Ok(AuthorizationRequest {
            client: client.id.clone(),
            client_name: client.name.clone(),
            client_host: client.host(),
            redirect: redirect.to_owned(),
            state: parameters.get("state").map(str::to_owned),
            code_challenge,
            resource: resource.url,
            path: resource.path,
            scopes: scopes.to_string(),
            prompt: parameters.get("prompt").map(str::to_owned),
            since: now,
        })
    }

    /// Ties the request to the browser and shows it the next page.
    async fn begin(&self, request: AuthorizationRequest, asked: &Asked) -> Result<Response<Bytes>, Problem> {
        let browser = Browser::known_or_new(self, asked)?;
        let id = unguessable::text()?;
        let text = serde_json::to_string(&request).map_err(|error| Problem::internal(&error.to_string()))?;
        let (key, cookie, now) = (unguessable::digest(&id), browser.digest(), asked.now);
        self.store.write(move |tables| authorization::add_request(tables, &key, &cookie, &text, (now, now + PATIENCE))).await?;
        let mut response = answer::see_other(&format!("{}?request={id}", self.url("login")));
        browser.introduce(self, &mut response);
        Ok(response)
    }

    /// What was asked for under an id at this browser.
    pub(super) async fn pending(&self, id: &str, browser: Option<&Browser>, now: i64) -> Result<AuthorizationRequest, Problem> {
        let Some(browser) = browser else { return Err(gone()) };
        let (key, cookie) = (unguessable::digest(id), browser.digest());
        let found = self.store.read(move |tables| authorization::find_request(tables, &key, &cookie, now)).await?;
        parse(&found.ok_or_else(gone)?)
    }

    /// The same, for the one who decides.
    pub(super) async fn take_pending(&self, id: &str, browser: &Browser, now: i64) -> Result<AuthorizationRequest, Problem> {
        let (key, cookie) = (unguessable::digest(id), browser.digest());
        let taken = self.store.write(move |tables| authorization::take_request(tables, &key, &cookie, now)).await?;
        parse(&taken.ok_or_else(gone)?)
    }

    /// Sends a problem to the client, with `iss` (RFC 9207 §2).
    pub(super) fn redirect_problem(&self, redirect: &str, state: Option<&str>, problem: &Problem) -> Response<Bytes> {
        let mut parameters = vec![("error", problem.error), ("error_description", problem.description.as_str())];
        parameters.extend(state.filter(|state| state.len() <= LONGEST_STATE).map(|state| ("state", state)));
        parameters.push(("iss", self.issuer()));
        answer::see_other(&redirect::with(redirect, &parameters))
    }
}

pub(super) fn gone() -> Problem {
    Problem::invalid_request(
        "this login has ended, was begun in another browser, or was answered already: begin it again where you came from",
    )
}

fn parse(text: &str) -> Result<AuthorizationRequest, Problem> {
    serde_json::from_str(text).map_err(|error| Problem::internal(&error.to_string()))
}

/// Where the answer goes. A client with one address that is not on loopback need not name it.
fn redirect_of(client: &Client, parameters: &Parameters) -> Result<String, Problem> {
    let unknown = || Problem::invalid_request("the client asks for an answer at an address that is none of its own");
    match (parameters.get("redirect_uri"), client.redirects.as_slice()) {
        (Some(asked), _) if client.may_redirect_to(asked) => Ok(asked.to_owned()),
        (None, [only]) if only.starts_with("https:") => Ok(only.clone()),
        (None, _) => Err(Problem::invalid_request("`redirect_uri` is missing")),
        _ => Err(unknown()),
    }
}

/// The challenge of PKCE (RFC 7636 §4.3): always there, and never the verifier itself (`plain`, which is meant where no method is named).
fn code_challenge(parameters: &Parameters) -> Result<String, Problem> {
    if parameters.get("state").is_some_and(|state| state.len() > LONGEST_STATE) {
        return Err(Problem::invalid_request("`state` is too long"));
    }
    let challenge = parameters.need("code_challenge")?;
    if parameters.get("code_challenge_method") != Some("S256") {
        return Err(Problem::invalid_request("`code_challenge_method` has to be `S256`"));
    }
    match unguessable::decode(challenge) {
        Some(bytes) if bytes.len() == 32 => Ok(challenge.to_owned()),
        _ => Err(Problem::invalid_request("`code_challenge` is no SHA-256 digest in base64url")),
    }
}

/// What a token is to be good for: what was asked, else the endpoint's default, of that what the client may have.
pub(super) fn asked_scopes(asked: Option<&str>, default: &Scopes, client: &Client) -> Result<Scopes, Problem> {
    let invalid = |what: &str| Problem::new("invalid_scope", what);
    let asked =
        asked.map(|text| Scopes::parse(text).ok_or_else(|| invalid("`scope` has characters that none may have, or too many scopes")));
    // Refreshing is part of every grant, and nothing that a token is good for.
    let asked = asked
        .transpose()?
        .map(|scopes| without(&scopes, &["offline_access", "openid", "profile", "email"]))
        .filter(|scopes| !scopes.is_empty());
    if let Some(idle) = asked.as_ref().and_then(Scopes::idle) {
        return Err(invalid(&format!("the scope {idle:?} is good for nothing: `mcp` is everything, and `mcp:read` what only reads")));
    }
    let granted = match asked {
        Some(asked) => client.within(asked),
        // Who asks for nothing gets what it was configured for, where the endpoint's default is none of that.
        None => {
            Some(client.within(default.clone())).filter(|granted| !granted.is_empty()).or_else(|| client.scopes.clone()).unwrap_or_default()
        }
    };
    if granted.is_empty() { Err(invalid("the client may have none of these scopes")) } else { Ok(granted) }
}

fn without(scopes: &Scopes, left_out: &[&str]) -> Scopes {
    let kept: Vec<&str> = scopes.iter().filter(|scope| !left_out.contains(scope)).collect();
    Scopes::parse(&kept.join(" ")).unwrap_or_default()
}

//! The validated configuration: what a gateway is built from.
//!
//! A [`Plan`] is made by [`crate::config::load`] or [`crate::config::validate`]; whoever holds one need not check anything again:
//! names fit, patterns compile, paths are absolute, exactly one source is named for every server, and an endpoint beyond loopback
//! has keys and TLS. Values that may be secret stay references ([`Template`]) until the moment they are used.
//!
//! Every part is comparable, so that a reload can tell which servers changed and restart only those.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use globset::Glob;
use sallyport_identity::authorization_server::sign_in::Config as SignInConfig;
use sallyport_identity::authorization_server::{ConfiguredClient, SigningAlgorithm};
use sallyport_identity::certificates::CertificateHolder;
use sallyport_identity::resource_server::Terms;
use sallyport_identity::resource_server::resource::PublicUrl;
use sallyport_identity::upstream::CredentialConfig;
use sallyport_sandbox::{Limits, Network, Selection, SystemCalls};
use sallyport_secrets::SecretReference;
use sallyport_servers::BuiltInConfig;
use sallyport_transport::server::Proxies;
use sallyport_transport::server::tls::{ClientAuthorities, ClientAuthority};
use url::Url;

use crate::approvals::settings::ApprovalsPlan;
use crate::config::Diagnostic;
use crate::config::diagnostic::join;
use crate::own_files::OwnFiles;

/// The validated configuration of one gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Where the configuration came from.
    pub origin: Origin,
    /// Whose plan this is; `None` for the gateway's own.
    pub tenant: Option<Arc<str>>,
    /// The plans of the tenants, each of which serves endpoints of its own below `/t/NAME`. They have the front door in common: what is said
    /// of it is the same in all.
    pub tenants: BTreeMap<Arc<str>, Plan>,
    /// The address of the HTTP endpoint.
    pub listen: SocketAddr,
    /// The bearer keys, any of which opens the endpoint. Empty only on loopback: then nobody is asked for a key.
    pub keys: Vec<SecretReference>,
    /// Certificate and key, where the gateway itself speaks TLS.
    pub tls: Option<TlsPlan>,
    /// The proxies in front of the gateway, one of which speaks TLS, where there are any.
    pub proxies: Option<Proxies>,
    /// Origins a browser may call from, besides those on loopback; each as a browser writes it (`https://app.example.com`).
    pub allowed_origins: Vec<String>,
    /// `Host` values that are accepted, besides the listen address and the names of loopback; lower case, with or without port.
    pub allowed_hosts: Vec<String>,
    /// Under which address callers know the gateway, or the tenant; there where `identity` has issuers.
    pub public_url: Option<PublicUrl>,
    /// Whose word is taken for who calls, besides `keys`.
    pub identity: IdentityPlan,
    /// What holds for every server. `Policy::build` of it and the servers' `rules` succeeds.
    pub policy: sallyport_policy::Config,
    /// The keys of the vault, where they are not the gateway's own to keep.
    pub vault_key: Option<SecretReference>,
    /// What calls may come to. `Limits::build` of it succeeds.
    pub limits: Vec<sallyport_policy::LimitRule>,
    /// Who approves calls that rules ask a person about.
    pub approvals: ApprovalsPlan,
    /// The named selections, served at `/toolsets/NAME/mcp`.
    pub toolsets: BTreeMap<String, ToolsetPlan>,
    /// The servers that are not disabled, by name.
    pub servers: BTreeMap<String, ServerPlan>,
    /// The names of the servers that are disabled.
    pub disabled: Vec<String>,
    /// What the user should know and what does not stop the gateway.
    pub warnings: Vec<Diagnostic>,
    /// The files in which its secrets lie, those of the tenants too; none in the plan of a tenant.
    pub secret_files: Vec<SecretFile>,
}

/// A secret that lies in a file, and where it is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// The key that names it (`servers.github.env.TOKEN`).
    pub path: String,
    /// The file, absolute.
    pub reference: SecretReference,
    /// What does not work without it.
    pub consequence: &'static str,
}

impl Plan {
    /// Whether nobody gets in but the one person at this machine.
    #[must_use]
    pub fn has_one_caller(&self) -> bool {
        let IdentityPlan { api_keys, certificates, issuers, server } = &self.identity;
        let takes_none = self.keys.is_empty() && !api_keys && certificates.is_empty() && issuers.is_empty() && server.is_none();
        takes_none && self.tenant.is_none()
    }

    /// The files that policies stand in, absolute: a change of one of them is a change of the configuration.
    #[must_use]
    pub fn policy_files(&self) -> Vec<PathBuf> {
        let engines = self.policy.engines.iter().chain(&self.policy.shadow);
        let files = engines.filter_map(|engine| engine.sources()).flat_map(|sources| &sources.files);
        let own = files.map(|file| self.origin.absolute(Path::new(file)));
        own.chain(self.tenants.values().flat_map(Self::policy_files)).collect()
    }

    /// The files of the endpoint's TLS, those of its tenants too, each with its key in the configuration.
    #[must_use]
    pub fn tls_files(&self) -> Vec<(String, &Path)> {
        let Some(TlsPlan { certificate, key, .. }) = &self.tls else { return Vec::new() };
        let of_clients = self.client_authorities().flat_map(|authority| {
            let revoked = authority.revoked.as_deref().map(|file| (tls_key(authority, "client_revoked"), file));
            std::iter::once((tls_key(authority, "client_ca"), &*authority.ca)).chain(revoked)
        });
        let own = [("tls.certificate".to_owned(), &**certificate), ("tls.key".to_owned(), &**key)];
        own.into_iter().chain(of_clients).collect()
    }

    /// Who signs certificates of clients: for the gateway itself, and for its tenants.
    pub fn client_authorities(&self) -> impl Iterator<Item = &ClientAuthority> {
        self.tls.iter().flat_map(|tls| &tls.clients).flat_map(|clients| &clients.authorities)
    }

    /// What of the warnings is about a file of the endpoint's TLS.
    pub fn tls_warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        let keys: Vec<String> = self.tls_files().into_iter().map(|(key, _)| key).collect();
        self.warnings.iter().filter(move |warning| keys.contains(&warning.path))
    }

    /// The same for a process with one caller, whose programs nobody else could share.
    #[must_use]
    pub fn for_one_caller(mut self) -> Self {
        self.servers.values_mut().for_each(|server| server.shared = true);
        self
    }

    /// The tenant's name, or nothing: what principals of this plan have.
    #[must_use]
    pub fn tenant_name(&self) -> &str {
        self.tenant.as_deref().unwrap_or_default()
    }

    /// Whether only programs on this machine can reach the endpoint.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.listen.ip().is_loopback()
    }
}

/// Where a configuration came from, and what its relative paths are relative to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file, absolute; `None` when none was found and the built-in default holds.
    pub file: Option<PathBuf>,
    /// The project's folder, absolute: relative paths start here, and servers that name no root may read it.
    ///
    /// The file's own folder; the folder above when the file lies in one of a client (`.vscode`, `.cursor`); the working directory
    /// for the user's own configuration and for the built-in default.
    pub folder: PathBuf,
}

impl Origin {
    /// `path`, if relative, below the project's folder. Lexical: nothing is looked up.
    #[must_use]
    pub fn absolute(&self, path: &Path) -> PathBuf {
        self.folder.join(path).components().collect()
    }
}

impl IssuerPlan {
    /// The same, with the tokens alone that are of this tenant's callers.
    #[must_use]
    pub fn of_tenant(mut self, name: &str) -> Self {
        self.terms.tenant = Some(name.into());
        self
    }
}

/// Certificate chain and private key of the endpoint, both PEM, both absolute paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPlan {
    /// The certificate chain, the leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// Whose certificates clients may show, those of tenants too.
    pub clients: Option<ClientAuthorities>,
}

/// Where a key of `tls` stands that is about this authority.
pub(crate) fn tls_key(authority: &ClientAuthority, key: &str) -> String {
    if authority.tenant.is_empty() { format!("tls.{key}") } else { format!("{}.tls.{key}", join("tenants", &authority.tenant)) }
}

/// Whose word is taken for who calls.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IdentityPlan {
    /// The keys in the store are taken.
    pub api_keys: bool,
    /// Who comes by a certificate. No two by the same.
    pub certificates: Vec<CertificateHolder>,
    /// The authorization servers whose tokens are taken. No two are the same, and one at most is asked about tokens.
    pub issuers: Vec<IssuerPlan>,
    /// The authorization server inside the gateway; there is a public URL then.
    pub server: Option<AuthorizationServerPlan>,
}

/// The authorization server inside the gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthorizationServerPlan {
    /// How tokens are signed.
    pub algorithm: SigningAlgorithm,
    /// For how long an access token is good.
    pub access_life: Duration,
    /// The same for single endpoints, by path.
    pub access_lives: BTreeMap<String, Duration>,
    /// For how long a refresh token is good that nobody uses.
    pub refresh_life: Duration,
    /// Clients may register themselves.
    pub registration: bool,
    /// The clients that are named.
    pub clients: Vec<ClientPlan>,
    /// The identity providers whose word for a person is taken.
    pub providers: Vec<String>,
    /// The identity providers that people may log in with, by name.
    pub sign_ins: BTreeMap<String, SignInConfig>,
}

/// A client of the authorization server.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientPlan {
    /// All of it but its secret.
    pub client: ConfiguredClient,
    /// Where its secret is.
    pub secret: Option<SecretReference>,
}

/// An authorization server whose tokens are taken.
#[derive(Debug, Clone, PartialEq)]
pub struct IssuerPlan {
    /// Who it is, and how its tokens are read.
    pub terms: Terms,
    /// As whom it is asked about tokens: name and password.
    pub introspection: Option<(String, SecretReference)>,
}

/// A named selection of tools, renamed and re-described where it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolsetPlan {
    /// Patterns over exposed names (`server__tool`); a tool is in the set when one matches.
    pub tools: Vec<Glob>,
    /// Exposed name → the name in this set.
    pub rename: BTreeMap<String, String>,
    /// Exposed name → the description in this set.
    pub describe: BTreeMap<String, String>,
}

/// One server behind the gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerPlan {
    /// Its name: a letter or digit, then at most 31 letters, digits, `_` or `-`; never with `__` in it, which separates server and tool.
    pub name: String,
    /// Whose it is; `None` for the gateway's own.
    pub tenant: Option<Arc<str>>,
    /// How it is reached.
    pub source: Source,
    /// When it is started or connected to.
    pub start: Start,
    /// One program serves all principals; otherwise each principal has one of its own. Says something of programs alone.
    pub shared: bool,
    /// It may ask clients something while it works on their requests: elicitation, sampling, roots.
    pub questions: bool,
    /// What the server says of its own tools (`readOnlyHint` and the other annotations) is believed. Always true of a built-in.
    pub trust_annotations: bool,
    /// The tools (own names) that may be called again after a failure that leaves open whether the call was done.
    pub retry: Vec<Glob>,
    /// How long each step may take.
    pub timeouts: Timeouts,
    /// Which of its tools may be called.
    pub rules: sallyport_policy::ServerRules,
}

impl ServerPlan {
    /// Its name as commands take it: with the tenant whose it is.
    #[must_use]
    pub fn in_commands(&self) -> String {
        self.tenant.as_ref().map_or_else(|| self.name.clone(), |tenant| format!("{} --tenant {tenant}", self.name))
    }

    /// Whether each principal has a connection of its own: to a program of its own, or since it goes there in its own name.
    #[must_use]
    pub fn is_personal(&self) -> bool {
        match &self.source {
            Source::Stdio(_) => !self.shared,
            Source::Remote(remote) => remote.credential.as_ref().is_some_and(CredentialConfig::is_personal),
            Source::BuiltIn(_) => false,
        }
    }

    /// Whether it depends on the token that a caller showed what a request goes there with.
    pub(crate) fn goes_by_callers_token(&self) -> bool {
        matches!(&self.source, Source::Remote(RemotePlan { credential: Some(credential), .. }) if credential.begins_with_callers_token())
    }

    /// Whether it is a program that is started here.
    pub(crate) fn is_program(&self) -> bool {
        matches!(self.source, Source::Stdio(_))
    }

    /// Whether each principal is asked to grant access to it.
    #[must_use]
    pub fn is_granted_by_users(&self) -> bool {
        matches!(&self.source, Source::Remote(RemotePlan { credential: Some(CredentialConfig::PerUser(_)), .. }))
    }
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A program that is started and spoken to over stdin and stdout.
    Stdio(StdioPlan),
    /// A server elsewhere, over HTTP.
    Remote(RemotePlan),
    /// A server inside the gateway.
    BuiltIn(BuiltInConfig),
}

/// When a server is started or connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// When the gateway starts, so that its tools are there for the first list.
    #[default]
    Eager,
    /// When something is first asked of it.
    Lazy,
}

/// How long the steps of an exchange with a server may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Start or connect, handshake included.
    pub connect: Duration,
    /// One page of a list.
    pub list: Duration,
    /// A call without progress; each progress notification starts it anew.
    pub call: Duration,
    /// A call altogether; progress never extends it. At least `call`.
    pub call_max: Duration,
}

/// A program that is started inside a boundary.
#[derive(Debug, Clone, PartialEq)]
pub struct StdioPlan {
    /// The program: a bare name to be looked for in the gateway's `PATH`, or an absolute path.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<Template>,
    /// Scripts may run, and programs be built, while a package is installed for it.
    pub scripts: bool,
    /// The file that says what its package came to; `None` where there is no place for one, and the private cache says it.
    pub lock: Option<PathBuf>,
    /// Its environment, all of it: nothing is inherited but what the sandbox itself sets (`PATH`, `HOME`, `LANG`).
    pub environment: BTreeMap<String, Template>,
    /// Its working directory, absolute: the one that is named, else the project's folder. `None` where that is not shown to the
    /// program: the sandbox then takes the first root.
    pub folder: Option<PathBuf>,
    /// The gateway's own files. Where the program may write the folder of one, the file itself stays read-only to it: a server must
    /// not change its own rules.
    pub own: Arc<OwnFiles>,
    /// The boundary it runs in.
    pub sandbox: Selection,
    /// How its system calls differ from the usual.
    pub seccomp: SystemCalls,
    /// Absolute paths it may read, besides what the sandbox gives every program.
    pub read: Vec<PathBuf>,
    /// Absolute paths it may read and write.
    pub write: Vec<PathBuf>,
    /// What it must not write in those, as the sandbox takes it.
    pub deny_write: Vec<String>,
    /// What it sees of the network.
    pub network: Network,
    /// How much of the machine it may use.
    pub limits: Limits,
    /// What becomes of it while nobody calls it.
    pub standby: Standby,
}

/// What becomes of a program that nobody calls: after how long it goes down the next step. `None`: never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standby {
    /// Stopped where it is, until the next request.
    pub freeze_after: Option<Duration>,
    /// Its memory given back while it is frozen. Not before it is frozen.
    pub reclaim_after: Option<Duration>,
    /// Ended, and started anew by the next request.
    pub stop_after: Option<Duration>,
}

/// A server elsewhere.
#[derive(Clone, PartialEq)]
pub struct RemotePlan {
    /// Its endpoint: `http` or `https`. May hold a key in its query: show [`RemotePlan::public_url`] instead.
    pub url: Url,
    /// How MCP is carried.
    pub transport: RemoteTransport,
    /// Headers sent with every request.
    pub headers: BTreeMap<String, Template>,
    /// How the token is had that it wants.
    pub credential: Option<CredentialConfig>,
}

impl RemotePlan {
    /// The endpoint without user, password and the values of its query: fit for a log or a terminal.
    #[must_use]
    pub fn public_url(&self) -> String {
        let mut shown = format!("{}{}", self.url.origin().ascii_serialization(), self.url.path());
        if self.url.query().is_some() {
            let names: Vec<_> = self.url.query_pairs().map(|(name, _)| format!("{name}=…")).collect();
            shown.push('?');
            shown.push_str(&names.join("&"));
        }
        shown
    }
}

impl fmt::Debug for RemotePlan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RemotePlan")
            .field("url", &self.public_url())
            .field("transport", &self.transport)
            .field("headers", &self.headers)
            .finish()
    }
}

/// How MCP is carried to a server elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RemoteTransport {
    /// Found out by asking: Streamable HTTP first, HTTP+SSE if the server knows only that.
    #[default]
    Auto,
    /// Streamable HTTP.
    StreamableHttp,
    /// HTTP+SSE, of before 2025-03-26.
    Sse,
}

/// A text that may have secrets in it, each still a reference: `Bearer ${env:TOKEN}`.
///
/// Its `Display` and `Debug` show the references, never what they stand for.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Template {
    parts: Vec<Part>,
}

/// A piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text that stands for itself.
    Text(String),
    /// What the reference points to when the text is used.
    Secret(SecretReference),
}

impl Template {
    /// A text without secrets.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self { parts: vec![Part::Text(text.into())] }
    }

    /// A text that is one secret and nothing else.
    #[must_use]
    pub fn secret(reference: SecretReference) -> Self {
        Self { parts: vec![Part::Secret(reference)] }
    }

    /// A text of several parts, in order.
    #[must_use]
    pub fn new(parts: Vec<Part>) -> Self {
        Self { parts }
    }

    /// The parts, in order.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The whole text, if no secret is in it.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => formatter.write_str(text),
            Part::Secret(reference) => write!(formatter, "${{{reference}}}"),
        })
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_may_be_secret_in_it() {
        let remote = RemotePlan {
            url: Url::parse("https://user:pass@mcp.example.com/mcp?key=hunter2&x=1").unwrap(),
            transport: RemoteTransport::Auto,
            headers: BTreeMap::new(),
            credential: None,
        };
        assert_eq!(remote.public_url(), "https://mcp.example.com/mcp?key=…&x=…");
        assert!(!format!("{remote:?}").contains("hunter2"));
    }

    #[test]
    fn a_template_shows_its_references() {
        let template = Template::new(vec![Part::Text("Bearer ".into()), Part::Secret("env:TOKEN".parse().unwrap())]);
        assert_eq!(template.to_string(), "Bearer ${env:TOKEN}");
        assert_eq!(template.as_text(), None);
        assert_eq!(Template::text("plain").as_text(), Some("plain"));
    }

    #[test]
    fn a_relative_path_is_below_the_folder() {
        let origin = Origin { file: None, folder: "/project".into() };
        assert_eq!(origin.absolute(Path::new("./a")), Path::new("/project/a"));
        assert_eq!(origin.absolute(Path::new("/b")), Path::new("/b"));
    }
}

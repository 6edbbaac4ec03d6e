//! What a configuration file may say, key by key. The reference page and the JSON Schema are generated from these comments.

use std::collections::BTreeMap;

use sallyport_identity::authorization_server::SigningAlgorithm;
use sallyport_identity::authorization_server::sign_in::Config as SignInConfig;
use sallyport_identity::resource_server::key::Algorithm;
use sallyport_identity::upstream::CredentialConfig;
use sallyport_policy::ArgumentRule;
use sallyport_sandbox::{Isolation, Limits, Selection, SystemCalls};
use sallyport_secrets::SecretReference;
use sallyport_servers::BuiltInConfig;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::approvals::settings::ApprovalsConfig;
use crate::plan::{RemoteTransport, Start};

/// The configuration of one gateway: a file `sallyport.toml`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The address of the HTTP endpoint, `IP:PORT` or `localhost:PORT`. Default: `127.0.0.1:7420`, because nobody but this
    /// machine should reach a gateway that nobody has secured. Beyond loopback, `keys` or `identity`, and `tls` (or `behind_proxy`), are required.
    pub listen: Option<String>,

    /// The bearer keys that open the endpoint, each a reference (`env:NAME` or `file:PATH`), never the key itself. Default: none,
    /// because on loopback the person at this machine is the only caller.
    pub keys: Vec<SecretReference>,

    /// Certificate and key for TLS. Default: none, because loopback traffic does not leave this machine.
    pub tls: Option<TlsConfig>,

    /// Says that a proxy in front of the gateway speaks TLS, so that the gateway may listen beyond loopback without. The address that
    /// policies see is the one that the proxy tells in `X-Forwarded-For`. Default: `false`, because keys must not cross a network
    /// in the clear by accident, and without a proxy that header is anybody's word.
    pub behind_proxy: bool,

    /// Where the proxies connect from, with `behind_proxy`: addresses and blocks of them (`10.0.0.5`, `10.1.0.0/24`). Nobody else is
    /// believed, and of several proxies in a row each has to be named. Default: proxies on this machine, and none where the gateway listens
    /// beyond loopback: there they have to be named, because whoever reaches the port could say whom they speak for.
    pub trusted_proxies: Vec<String>,

    /// Web origins (`https://app.example.com`) whose pages may call the endpoint, besides those on loopback. Default: none,
    /// because any page a browser shows could otherwise use the gateway.
    pub allowed_origins: Vec<String>,

    /// `Host` names under which the endpoint may be called, besides the listen address and the names of loopback. Default: none,
    /// because a name that an attacker points at this machine (DNS rebinding) must not open the gateway.
    pub allowed_hosts: Vec<String>,

    /// Under which address callers know the gateway: `https://HOST` with its port if it is not the usual one, or `http://` on loopback.
    /// Tokens have to be for an endpoint below it, and their issuers are told it. Needed with `identity.issuers`; never taken from a
    /// request, because whoever sends one chooses its `Host`.
    pub public_url: Option<String>,

    /// Whose word is taken for who calls, besides `keys`.
    pub identity: IdentityConfig,

    /// The least boundary of every program: `none`, `landlock`, `os`, `gvisor` or `microvm`, in this order; containers and WebAssembly
    /// count as `os`. A server may say otherwise. Default: `os`, because what namespaces keep out of sight cannot be attacked.
    pub min_isolation: Option<Isolation>,

    /// What holds for every server.
    pub policy: sallyport_policy::Config,

    /// What calls may come to: how often, how many at once, how much in a time, for each caller.
    pub limits: Vec<sallyport_policy::LimitRule>,

    /// Who may approve calls that rules ask a person about (`ask`), and for how long they wait.
    pub approvals: ApprovalsConfig,

    /// How what users grant the gateway elsewhere (`per_user`) is sealed.
    pub vault: VaultConfig,

    /// Named selections of tools, each served at `/toolsets/NAME/mcp`.
    pub toolsets: BTreeMap<String, ToolsetConfig>,

    /// The servers behind the gateway, by name: a letter or digit, then at most 31 letters, digits, `-` or `_`, without `__`,
    /// which separates server and tool in a tool's exposed name.
    pub servers: BTreeMap<String, ServerConfig>,

    /// Tenants, by name as of servers. Each has everything of its own and is served below `/t/NAME` (`/t/NAME/mcp`,
    /// `/t/NAME/servers/SERVER/mcp`), to callers of its own alone; what stands outside of this table is nobody's of them.
    pub tenants: BTreeMap<String, TenantConfig>,
}

/// A tenant: what the file itself says of the gateway, said of the tenant alone. The front door (`listen`, `tls`, `public_url` and what goes
/// with them) is common to all.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TenantConfig {
    /// The bearer keys of its callers, as `keys` of the file itself. A tenant has to have these, or something in `identity`.
    pub keys: Vec<SecretReference>,

    /// Who signs certificates for its callers, where the gateway itself speaks TLS. Default: nobody; what the authority of the file itself or of
    /// another tenant has signed is good there alone.
    pub tls: Option<TenantTlsConfig>,

    /// Whose word is taken for who its callers are. Issuers of the file itself that have a `tenant_claim` are trusted here too, for tokens
    /// that claim this tenant. With `identity.server`, people of its own log in at `/t/TENANT/oauth`.
    pub identity: IdentityConfig,

    /// The least boundary of its programs. Default: that of the file itself.
    pub min_isolation: Option<Isolation>,

    /// What holds for every server of it.
    pub policy: sallyport_policy::Config,

    /// What its calls may come to.
    pub limits: Vec<sallyport_policy::LimitRule>,

    /// Who may approve its calls, at `/t/TENANT/approvals`.
    pub approvals: ApprovalsConfig,

    /// How what its users grant is sealed. That of the file itself is the gateway's own, and no tenant's.
    pub vault: VaultConfig,

    /// Its selections of tools, each served at `/t/TENANT/toolsets/NAME/mcp`.
    pub toolsets: BTreeMap<String, ToolsetConfig>,

    /// Its servers. A program that names no folders gets none, not even the configuration's.
    pub servers: BTreeMap<String, ServerConfig>,
}

/// How what users grant the gateway elsewhere is sealed. A reload does not change where the key is; the key itself is read at each use.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VaultConfig {
    /// The key, a reference (`env:NAME` or `file:PATH`): 32 random bytes in base64, as `openssl rand -base64 32` makes them, or the file
    /// `vault.key` that was moved from the state folder. The key before it may stand on a second line until `sallyport vault rotate` has
    /// sealed everything with the first. Default: none, because the gateway makes a key by itself, in `vault.key` beside the store.
    pub key: Option<SecretReference>,
}

/// Whose word is taken for who calls. With anything in it, every request over HTTP has to show a key or a token, also on loopback.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityConfig {
    /// Takes the keys that `sallyport key add` gives out. Default: `false`, because a gateway that nobody has told of keys serves its own
    /// machine alone.
    pub api_keys: bool,

    /// Callers who come by a certificate that `tls.client_ca` has signed (for a tenant its own), each by a name of yours: policy and audit records call them
    /// `client:NAME@certificate`.
    pub certificates: BTreeMap<String, CertificateConfig>,

    /// Authorization servers whose access tokens are taken, each by a name of yours.
    pub issuers: BTreeMap<String, IssuerConfig>,

    /// An authorization server inside the gateway, for people whom `sallyport user add` has added. Needs `public_url`. Default: none; who
    /// has one already names it in `issuers`.
    pub server: Option<AuthorizationServerConfig>,
}

/// An authorization server inside the gateway. With nothing in it, `[identity.server]` is enough.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuthorizationServerConfig {
    /// How tokens are signed: `EdDSA` or `ES256`. Default: `EdDSA`, which is the quickest; `ES256` for readers that know nothing newer.
    pub algorithm: SigningAlgorithm,

    /// For how long an access token is good. Default: `15m`: clients refresh it by themselves, and a stolen one is soon worth nothing.
    pub access_token_life: Option<String>,

    /// The same for single endpoints, by path: `{ "/servers/payments/mcp" = "2m" }`. Default: none.
    pub access_token_lives: BTreeMap<String, String>,

    /// For how many days a refresh token is good that nobody uses, 1 to 90. Default: `30`, a holiday with room to spare.
    pub refresh_token_days: Option<u8>,

    /// Lets clients register themselves (RFC 7591). Default: `true`, because many know no other way; people are told that nobody has
    /// checked such a client's name.
    pub registration: Option<bool>,

    /// Clients that you name yourself, by their `client_id`.
    pub clients: BTreeMap<String, ClientConfig>,

    /// Identity providers elsewhere that people may log in with (OpenID Connect), each by a name of yours. Default: none; people log in with
    /// a name and a password of this gateway's.
    pub login: BTreeMap<String, SignInConfig>,

    /// Identity providers whose word for a person is taken (ID-JAG, `urn:ietf:params:oauth:grant-profile:id-jag`): their `issuer`, to the
    /// last slash. Default: none.
    pub providers: Vec<String>,
}

/// A client of the authorization server.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientConfig {
    /// What people read when they are asked. Default: its id.
    pub name: Option<String>,

    /// Its secret, a reference (`env:NAME` or `file:PATH`). Default: none, for programs on people's own machines, which can keep none.
    pub secret: Option<SecretReference>,

    /// In place of a secret: its public keys, as a JSON Web Key Set, or the address of one. It then signs its requests
    /// (`private_key_jwt`).
    pub keys: Option<String>,

    /// Where answers may be sent to: exactly these, but for the port of addresses on loopback.
    pub redirect_uris: Vec<String>,

    /// What it may do: `authorization_code`, `refresh_token`, `client_credentials`, `device_code`, `token_exchange`, `jwt_bearer`. Default:
    /// the first two where it has `redirect_uris`, else `client_credentials`.
    pub grants: Option<Vec<ClientGrant>>,

    /// Beyond these scopes it gets none. Default: no bound of its own.
    pub scopes: Option<Vec<String>>,
}

/// A way to a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientGrant {
    /// A person logs in and agrees.
    AuthorizationCode,
    /// A token is renewed.
    RefreshToken,
    /// The client acts in its own name.
    ClientCredentials,
    /// A person types a code that a program without a browser shows.
    DeviceCode,
    /// A token of ours becomes one for another endpoint.
    TokenExchange,
    /// An identity provider's word becomes a token.
    JwtBearer,
}

impl ClientGrant {
    /// Its name in OAuth.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::DeviceCode => "urn:ietf:params:oauth:grant-type:device_code",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
            Self::JwtBearer => "urn:ietf:params:oauth:grant-type:jwt-bearer",
        }
    }
}

/// An authorization server whose access tokens are taken. It is found by its metadata (RFC 8414, OpenID Connect Discovery).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// Its name, a URL: exactly what its tokens (`iss`) and its metadata (`issuer`) say, to the last slash.
    pub issuer: String,

    /// What it calls an endpoint (`aud`) that it does not call by its address, and the endpoint's path:
    /// `{ "api://sallyport" = "/mcp" }`. Default: none; an audience has to be the address of the endpoint itself, so that a token for
    /// one is refused at its neighbour.
    #[serde(default)]
    pub audiences: BTreeMap<String, String>,

    /// How it signs: `RS256`, `ES256`, `EdDSA`. Default: any of the three, each with a key that is made for it.
    #[serde(default)]
    pub algorithms: Option<Vec<Algorithm>>,

    /// What its access tokens call themselves (`typ`); `JWT` stands for no name too. Default: `["at+jwt"]` (RFC 9068), because an ID token
    /// is for somebody else. Keycloak and Entra need `["JWT"]`.
    #[serde(default)]
    pub types: Option<Vec<String>>,

    /// Whether its tokens are good only for the scopes in them (`SERVER`, `SERVER:read`, `SERVER:TOOL`, `mcp`, `mcp:read`). Default:
    /// `true`; `false` for one that cannot be taught them, whose callers policy alone then bounds.
    #[serde(default)]
    pub scoped: Option<bool>,

    /// The claim with the scopes, a text or a list. Default: `scope` (RFC 9068); Entra and Okta say `scp`.
    #[serde(default)]
    pub scopes_claim: Option<String>,

    /// The claim with the groups, a list. Default: `groups`.
    #[serde(default)]
    pub groups_claim: Option<String>,

    /// Which of its groups are which here: `{ "Platform Team" = "staff" }`. Default: none; the others are left out, because another issuer may
    /// mean others by the same name, and `admin` means something here.
    #[serde(default)]
    pub groups: BTreeMap<String, String>,

    /// The claim with the tenant; a token without it is then refused. Where there are `tenants`, the claim has to name the one that the
    /// token is shown to, and no such token is good outside of them. Default: none; the tokens are those of whoever trusts the issuer.
    #[serde(default)]
    pub tenant_claim: Option<String>,

    /// Asks it about tokens that only it can read (RFC 7662). One issuer at most can have this, because such a token does not say whose
    /// it is. Default: they are refused.
    #[serde(default)]
    pub introspection: Option<IntrospectionConfig>,
}

/// As whom an issuer is asked about tokens.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntrospectionConfig {
    /// The gateway's name there.
    pub client_id: String,

    /// Its password there, a reference (`env:NAME`, `file:PATH`).
    pub client_secret: SecretReference,
}

/// Certificate and key of the endpoint. All files are read again when they change, and with every reload.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The PEM file with the certificate chain, the leaf first.
    pub certificate: String,

    /// The PEM file with the private key.
    pub key: String,

    /// The PEM file with the certificates of those who sign clients' certificates: clients may then show one, and `identity.certificates`
    /// says whose it is. Default: none, clients are asked for no certificate.
    #[serde(default)]
    pub client_ca: Option<String>,

    /// Whether a client may come without a certificate: `optional` or `required`. Default: `optional`, because the pages of a login are for
    /// browsers, which have none; who shows neither certificate nor key does not come in all the same.
    #[serde(default)]
    pub client_auth: Option<ClientAuth>,

    /// The PEM file with lists of clients' certificates that are good no more (CRL), one of each who signs. Where a list is past its date,
    /// no certificate of who made it is taken. Default: none; certificates that live for hours need none.
    #[serde(default)]
    pub client_revoked: Option<String>,
}

/// Who signs certificates for a tenant's callers. Both files are read again when they change, and with every reload.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantTlsConfig {
    /// As `tls.client_ca`: the PEM file with the certificates of those who sign for this tenant. Whoever is in it signs for nobody else: a
    /// key that signs for another tenant too, or for the gateway itself, is refused when the file is read.
    pub client_ca: String,

    /// As `tls.client_revoked`: the PEM file with lists of this tenant's certificates that are good no more. Default: none.
    #[serde(default)]
    pub client_revoked: Option<String>,
}

/// Whether clients need a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// They may have one.
    Optional,
    /// No connection is made without one, not even for a page.
    Required,
}

/// Who comes by a certificate.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateConfig {
    /// What the certificate was made out to: `dns:ci.example.com`, `uri:spiffe://example.com/ci`, `email:ci@example.com`, or `subject:CN=ci,O=Example` as
    /// RFC 4514 writes it. It has to be the same text.
    pub certificate: String,

    /// Their groups. Default: none.
    #[serde(default)]
    pub groups: Vec<String>,

    /// Beyond these scopes they may do nothing. Default: no such bound, policy alone says what they may do.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
}

/// A named selection of tools. Their servers' resources and prompts are not in it and cannot be had there, but for the pages of MCP Apps that
/// the tools name.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ToolsetConfig {
    /// Patterns over exposed names (`github__get_*`); `*` matches anything, `?` one character, `{a,b}` either. At least one.
    pub tools: Vec<String>,

    /// New names in this set: exposed name → new name. Default: none, because a tool known by one name is easier to trace.
    pub rename: BTreeMap<String, String>,

    /// New descriptions in this set: exposed name → text. Default: none, the server's own text is passed on.
    pub describe: BTreeMap<String, String>,
}

/// One server: exactly one of `command`, `url` and `builtin` says what it is.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// The program and its arguments, for a server that speaks over stdin and stdout. A package is named by `npm:NAME@VERSION`,
    /// `pypi:NAME==VERSION`, `cargo:NAME@VERSION` or `oci:REGISTRY/NAME:TAG` (a container image, which needs root or `sandbox =
    /// "microvm"`), with `#PROGRAM` behind it where it has several, and by the usual commands (`npx`, `uvx`, `docker run`, …): it is installed
    /// once, locked in `sallyport.lock`, and then started from the disk. `${env:NAME}` and `${file:PATH}` stand for a secret; `$${` for the characters `${` themselves.
    pub command: Option<Vec<String>>,

    /// The endpoint of a server elsewhere, `http://` or `https://`. `${env:NAME}` is replaced when the file is read.
    pub url: Option<String>,

    /// A server inside the gateway, with its settings: `{ filesystem = { root = "." } }`, `{ git = { root = "." } }` or
    /// `{ database = { sqlite = "data.db" } }`.
    pub builtin: Option<BuiltInConfig>,

    /// Lets scripts of packages run, and programs be built, while what `command` names is installed: in a sandbox without your
    /// credentials, and without a network but for the index of Python packages. Default: `false`, because that runs code which nobody has looked at; `cargo:` needs it.
    pub scripts: bool,

    /// Leaves the server out, as if it were not in the file. Default: `false`.
    pub disabled: bool,

    /// Environment variables of the program: it gets these and no others, because what happens to lie in the gateway's own
    /// environment is not the server's business. A value is a text, a reference (`env:NAME`, `file:PATH`), or a text with
    /// references in it (`${env:NAME}`); `{ text = "…" }` is taken word by word.
    pub env: BTreeMap<String, Value>,

    /// The working directory of the program. Default: the folder of the configuration, because that is the project; where the
    /// program does not see that, the first folder that it may write or read.
    pub cwd: Option<String>,

    /// The boundary around the program: `auto`, `os`, `landlock`, `microvm`, `oci`, `wasm`, `none`, or one of them with its settings.
    /// Default: `auto`, which is `os`, or `landlock` where the machine refuses namespaces and `min_isolation` says that this is enough;
    /// where none works the server does not start. `none` gives the program everything the gateway may do, and is shown wherever the
    /// server is.
    pub sandbox: Selection,

    /// The least boundary of this program, in place of the one for all. Default: that one. How far down `auto` may go; and a `sandbox`
    /// that is below what is written here, or there, is an error.
    pub min_isolation: Option<Isolation>,

    /// System calls that the program may make beyond the usual (`+GROUP`), or may not (`-GROUP`): `+debugging`, `-ipc`, `+io-uring`,
    /// `+local-sockets`, `-memory-files`, `+memory-policy`, `+performance`, `-sockets`, `-watching`. Default: none, because the usual list is
    /// enough for servers in Node, Python, Go and Rust. `+local-sockets` is for programs whose parts talk by sockets with a name (browsers,
    /// `tsx`); services of this machine whose sockets lie in a folder that the program sees are in reach with it, whatever `network` says.
    pub seccomp: SystemCalls,

    /// Files and folders the program may read, besides the system's programs and libraries and its own package. Default: the
    /// folder of the configuration (unless that is the home folder), when neither `read` nor `write` is given.
    pub read: Vec<String>,

    /// Files and folders the program may read and write; nothing in them can be executed. What `read` names inside of one stays
    /// read-only, and so does the configuration itself. Default: none, because few servers need it.
    pub write: Vec<String>,

    /// What stays read-only inside every folder of `write`, because the host runs it later: a path relative to that folder, or `~/…` where
    /// the folder holds your home. What is not there cannot be made either: as long as the program runs an empty folder covers it (with `?`
    /// behind the path only what is there is kept). Entries are added to the usual list; `!` in front takes one out, `!*` all.
    /// Default: `.git/hooks`, `.git/config` and where else git finds either, `.hg/hgrc`, `.envrc`, `.mise.toml`, `mise.toml`, `.mcp.json`,
    /// `sallyport.toml`, the folders of agents and editors (`.claude`, `.cursor`, `.codex`, `.gemini`, `.vscode`, `.idea`, `.zed`,
    /// `.devcontainer`), and of the home what shells, the session, git, ssh, editors and developers' tools start with, `~/.local/bin` and
    /// `~/.cargo/bin`. Sallyport's own folders are kept in any case. Repositories further down are not covered: name their paths.
    pub deny_write: Vec<String>,

    /// Where the program may connect to, over TCP: a name (`api.github.com`), every name below one (`*.example.com`), every name (`*`),
    /// an IP address or a block of them (`10.0.0.0/8`), each with `:PORT` or `:PORT,PORT` behind it, else ports 80 and 443; an IPv6
    /// address with ports in brackets. Names are resolved by the gateway; what they resolve to must be public, or be named as an address
    /// too. TLS must ask for the name that was resolved. A program that likes a proxy finds HTTP `CONNECT` and SOCKS5 at
    /// `198.18.0.1:3128`. `host-network`, alone, shows it the whole network of this machine instead, its local services included. Default:
    /// nowhere, because a server that cannot reach the network cannot send anything away.
    pub network: Vec<String>,

    /// How much of the machine the program may use, where its boundary can hold it to that.
    pub limits: Limits,

    /// What becomes of the program while nobody calls it: `false` keeps it running, `true` lets it go on standby, a table says when.
    /// Default: `true` for a program without `network`; `false` for one with it, since those that it is connected to may hang up on it
    /// while it sleeps, and without a sandbox.
    pub standby: Option<StandbyConfig>,

    /// How MCP is carried to `url`. Default: `auto`, found out by asking.
    pub transport: RemoteTransport,

    /// HTTP headers sent to `url` with every request. Values as in `env`.
    pub headers: BTreeMap<String, Value>,

    /// How the gateway gets the token that `url` wants, where it is no fixed one in `headers`: `{ client_credentials = { … } }`,
    /// `{ per_user = {} }`, `{ exchange = { … } }` or `{ id_jag = { … } }`. Default: none, because most servers want none or a fixed key.
    pub credential: Option<CredentialConfig>,

    /// When the server is started. Default: `eager`, so that its tools are in the first list.
    pub start: Start,

    /// One program serves all callers, of one tenant: no two tenants share one. `false`: each caller has a program of its own, in a sandbox
    /// of its own, which its first request starts; a reload that changes the server ends it. Default: `true`, because most servers keep nothing
    /// of who called, and each program takes its memory. `false` for servers that remember, log in, or open a browser for whoever calls.
    pub shared: Option<bool>,

    /// Lets the server ask something of the client, and so of the person or the model behind it, while it works on a request: forms
    /// and addresses to open (elicitation), completions (sampling), folders (roots). A client is asked only what it declared it can be
    /// asked. Default: `true`; where a gateway serves more people than its owner, `false` for servers that are not trusted to ask.
    pub questions: Option<bool>,

    /// Believe what the server says about its tools (`readOnlyHint`, `destructiveHint`, `idempotentHint`, `openWorldHint`). Default: `false`, because a hostile
    /// server would say it only reads. Built-in servers are always believed.
    pub trust_annotations: bool,

    /// Lets pass what changes nothing: prompts, resources, and tools that say they only read (which is believed of built-in
    /// servers and of those with `trust_annotations`). Default: `false`.
    pub read_only: bool,

    /// Patterns over the server's own names of tools and prompts and its resources' URIs, which may be used. Default: not given;
    /// with `allow` or `read_only`, whatever they do not let pass is refused, so an empty list lets nothing pass. A method of an
    /// extension that Sallyport does not know (`vendor/method`) may do anything: on a server with any rule it must be named here.
    pub allow: Option<Vec<String>>,

    /// Patterns, as in `allow`, over what may be used once a person has approved the very call (`[approvals]`), whether `allow` names it
    /// or not. Default: none.
    pub ask: Vec<String>,

    /// Patterns, as in `allow`, over what may never be used, whatever else is said. Default: none.
    pub deny: Vec<String>,

    /// What arguments of tools have to be, looked at by what they mean: queries in SQL by what they read, paths, addresses, numbers,
    /// values. A call whose argument is not so is denied, whatever else allows its tool. Default: none.
    pub arguments: Vec<ArgumentRule>,

    /// Patterns over the server's own tool names that may be called again when a failure leaves open whether the call was done.
    /// Default: none, because a payment made twice is worse than an error.
    pub retry: Vec<String>,

    /// How long each step may take.
    pub timeouts: TimeoutsConfig,
}

/// What becomes of a program that nobody calls.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected `true`, `false` or `{ freeze_after = \"60s\" }`")]
pub enum StandbyConfig {
    /// Whether it goes on standby at all.
    Switch(bool),
    /// When.
    Times(StandbyTimesConfig),
}

/// After how long without a request a program goes down the next step: a number and `ms`, `s`, `m` or `h`, or `never`. None comes
/// while a request or a task is under way, or while a client has subscribed to one of the server's resources. A server that sleeps
/// says nothing: what it would have said unasked (changed lists, log messages) comes after the next request, and so do its timers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StandbyTimesConfig {
    /// It is stopped where it is and uses no CPU; the next request wakes it within a few milliseconds. Default: `60s`: waking costs so
    /// little that it need not be later, and the calls of one piece of work follow each other sooner.
    pub freeze_after: Option<String>,

    /// The memory of a frozen program is given back, sooner where the machine is short of memory: with swap nearly all of it, without
    /// only the pages of files that no other process uses. It is then woken for a few `tools/list` and frozen again, so that what a
    /// request needs is there, or, where that is more than half of it, is known and fetched all at once: the next one waits two to ten
    /// milliseconds longer. Needs a gateway that runs as root, or has a delegated control group (version 2, Linux 5.19);
    /// `CAP_SYS_NICE` alone is enough where there is swap. Default: `10m`, or with `freeze_after` where that is longer; a server in use
    /// every few minutes keeps what it has.
    pub reclaim_after: Option<String>,

    /// It is ended, and the next request starts it anew. Default: `never`, because a server may keep in its memory what its callers
    /// count on.
    pub stop_after: Option<String>,
}

/// How long the steps of an exchange may take: a number and `ms`, `s`, `m` or `h`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsConfig {
    /// Start or connect, handshake included. Default: `10s`; a slow Node server needs about one. `60s` in a microVM, which boots first.
    pub connect: Option<String>,

    /// One page of a list. Default: `10s`; past it the last good list is served, marked stale.
    pub list: Option<String>,

    /// A call that shows no progress; each progress notification starts it anew. Default: `60s`, the SDKs' own.
    pub call: Option<String>,

    /// A call altogether; progress never extends it. Default: `10m`, so that a server which reports progress for ever ends too.
    pub call_max: Option<String>,
}

/// A value for an environment variable or a header.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a string or `{ text = \"…\" }`")]
pub enum Value {
    /// A text, a reference (`env:NAME`, `file:PATH`), or a text with references in it (`Bearer ${env:TOKEN}`).
    Written(String),
    /// A text that is taken word by word, whatever it looks like.
    Verbatim(Verbatim),
}

/// A text that is taken word by word.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verbatim {
    /// The text.
    pub text: String,
}

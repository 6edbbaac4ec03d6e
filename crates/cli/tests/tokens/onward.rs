//! From one gateway onward to another, in each caller's name and in the gateway's own: what the far one is shown is made out to it, and never
//! what the caller showed.
//!
//! `oidc-provider` is who exchanges (RFC 8693) and who vouches (ID-JAG); the far gateway's own authorization server takes assertions and
//! signed clients.

use std::fs;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use sallyport_store::Store;
use sallyport_store::user::{self, Standing, User};
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::fixture::Fixture;
use crate::harness::gateway::{Gateway, Project};
use crate::harness::processes::eventually;
use crate::provider::{Provider, SECRET};
use crate::relay::{Relay, Sent};
use crate::visitor::{Stream, Visitor};
use crate::{KEY, PUBLIC, resource, write_private};

/// A gateway with a file server, that takes tokens for itself alone; everything that is sent to it is seen.
struct Far {
    project: Project,
    gateway: Gateway,
    sent: Sent,
}

impl Far {
    /// Behind `relay`, with this in its configuration.
    fn behind(relay: Relay, identity: &str) -> Self {
        let project = Project::new(&format!(
            "public_url = \"http://127.0.0.1:{}\"\n{identity}\n[policy]\ndefault = \"allow\"\n\
             [servers.files]\nbuiltin = {{ filesystem = {{ write = true }} }}\n",
            relay.port
        ));
        write_private(&project, "secret", SECRET);
        let gateway = project.up();
        let sent = relay.lead_to(gateway.port);
        Self { project, gateway, sent }
    }

    /// What it has recorded.
    fn records(&self) -> String {
        fs::read_to_string(self.project.state().join("sallyport/audit/audit.jsonl")).unwrap_or_default()
    }

    /// Makes somebody one of its users, as a login by a provider does.
    fn knows(&self, name: &str) {
        let user = User {
            name: name.to_owned(),
            password: "none".to_owned(),
            is_admin: false,
            groups: Vec::new(),
            standing: Standing::Active,
            since: 0,
            epoch: 0,
        };
        let store = Store::open(&self.project.state().join("sallyport/store.db")).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(store.write(move |tables| user::add(tables, &user))).unwrap();
    }

    /// Waits until it has recorded a call of that principal.
    fn was_called_by(&self, principal: &str) {
        let said = format!("\"principal\":\"{principal}\"");
        let is_it = |line: &str| line.contains(&said) && line.contains("\"tools/call\"");
        eventually(&format!("a call by {principal}"), Duration::from_secs(10), || self.records().lines().any(is_it));
    }
}

/// The address of the far gateway's file server.
fn files_at(port: u16) -> String {
    format!("http://127.0.0.1:{port}/servers/files/mcp")
}

/// A gateway that callers of `issuer` come to, in front of the far one.
fn near(issuer: &str, far: u16, credential: &str) -> (Project, Gateway) {
    let project = Project::new(&format!(
        "public_url = \"{PUBLIC}\"\nkeys = [\"file:key\"]\n[identity.issuers.op]\nissuer = \"{issuer}\"\n[policy]\ndefault = \"allow\"\n\
         [servers.far]\nurl = \"{}\"\ncredential = {credential}\n",
        files_at(far)
    ));
    write_private(&project, "secret", SECRET);
    write_private(&project, "key", KEY);
    let gateway = project.up();
    (project, gateway)
}

/// What came of a call through the near gateway.
fn called(gateway: &Gateway, token: &str) -> Value {
    called_for(gateway, token, "list_directory", &json!({ "path": "." }))
}

/// The same, of this tool.
fn called_for(gateway: &Gateway, token: &str, tool: &str, arguments: &Value) -> Value {
    let caller = Caller::new(gateway.port, token);
    let answer = caller.ask("/mcp", "tools/call", json!({ "name": format!("far__{tool}"), "arguments": arguments }));
    answer.message().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| panic!("{answer:?}\n{}", gateway.log()))
}

fn is_done(answer: &Value) -> bool {
    answer["result"]["content"].is_array() && answer["result"]["isError"] != json!(true)
}

#[test]
fn a_callers_token_is_exchanged_at_a_real_issuer_and_goes_no_further() {
    let relay = Relay::new();
    let port = relay.port;
    let provider = Provider::start(&[(resource("/mcp"), "jwt:RS256"), (files_at(port), "jwt:EdDSA")]);
    let issuer = provider.issuer();
    let far = Far::behind(relay, &format!("[identity.issuers.op]\nissuer = \"{issuer}\""));
    let client = "client = { id = \"gateway\", secret = \"file:secret\" }";
    let (_project, gateway) = near(&issuer, port, &format!("{{ exchange = {{ issuer = \"{issuer}\", {client} }} }}"));
    let token = provider.token(&resource("/mcp"), "mcp");
    let answer = called(&gateway, &token);
    assert!(is_done(&answer), "{answer}\n{}", gateway.log());
    // The subject stays who called; the client is the gateway, which makes a person of it there.
    far.was_called_by(&format!("user:agent@{issuer}"));
    assert_eq!(Caller::new(far.gateway.port, &token).knock("/servers/files/mcp"), 401, "what the caller showed is worth nothing there");

    let without = called(&gateway, KEY);
    assert!(!is_done(&without) && without.to_string().contains("showed no token"), "a key is no token to exchange: {without}");
    assert!(far.sent.text().contains("list_directory") && !far.sent.text().contains(&token), "it never left the gateway");
    assert!(!gateway.log().contains(&token), "no log has the token");
}

#[test]
fn a_callers_narrow_token_gets_nothing_out_of_what_was_got_for_a_broad_one() {
    let relay = Relay::new();
    let port = relay.port;
    let provider = Provider::start(&[(resource("/mcp"), "jwt:RS256"), (files_at(port), "jwt:EdDSA")]);
    let issuer = provider.issuer();
    let far = Far::behind(relay, &format!("[identity.issuers.op]\nissuer = \"{issuer}\""));
    let client = "client = { id = \"gateway\", secret = \"file:secret\" }, scopes = [\"mcp\", \"mcp:read\"]";
    // The near one leaves it to the far one what scopes are good for.
    let near_issuer = format!("{issuer}\"\nscoped = false #");
    let (_project, gateway) = near(&near_issuer, port, &format!("{{ exchange = {{ issuer = \"{issuer}\", {client} }} }}"));
    let (broad, narrow) = (provider.token(&resource("/mcp"), "mcp"), provider.token(&resource("/mcp"), "mcp:read"));
    let writes = |token: &str| called_for(&gateway, token, "write_file", &json!({ "path": "note", "content": "a" }));
    for turn in 0..2 {
        let (written, refused) = (writes(&broad), writes(&narrow));
        assert!(is_done(&written), "{turn}: {written}\n{}", gateway.log());
        assert!(!is_done(&refused), "{turn}: {refused}");
        assert!(is_done(&called(&gateway, &narrow)), "{turn}: it is good for reading\n{}", gateway.log());
    }
    // At the same time, too: each request goes with what was got for the token that it came with.
    std::thread::scope(|scope| {
        let both =
            [(&broad, true), (&narrow, false)].map(|(token, may)| scope.spawn(move || (0..20).all(|_| is_done(&writes(token)) == may)));
        assert!(both.into_iter().all(|each| each.join().unwrap()));
    });
    assert!(!far.sent.text().contains(&narrow));
}

#[test]
fn a_callers_narrow_token_hears_nothing_of_what_a_broad_one_listens_to() {
    let (relay, fixture) = (Relay::new(), Fixture::start());
    let port = relay.port;
    let provider = Provider::start(&[(resource("/mcp"), "jwt:RS256"), (files_at(port), "jwt:EdDSA")]);
    let issuer = provider.issuer();
    let far = Project::new(&format!(
        "public_url = \"http://127.0.0.1:{port}\"\n[identity.issuers.op]\nissuer = \"{issuer}\"\n[policy]\ndefault = \"allow\"\n\
         [servers.files]\nurl = \"http://127.0.0.1:{}/mcp\"\n",
        fixture.port
    ));
    let far_gateway = far.up();
    let _sent = relay.lead_to(far_gateway.port);
    let client = "client = { id = \"gateway\", secret = \"file:secret\" }, scopes = [\"mcp\", \"files:read\", \"files:list_directory\"]";
    // The near one leaves it to the far one what scopes are good for.
    let near_issuer = format!("{issuer}\"\nscoped = false #");
    let (_project, gateway) = near(&near_issuer, port, &format!("{{ exchange = {{ issuer = \"{issuer}\", {client} }} }}"));
    let [broad, reading, narrow] = ["mcp", "files:read", "files:list_directory"].map(|scope| provider.token(&resource("/mcp"), scope));
    let listen = |token: &str| {
        let watched = json!({ "notifications": { "resourceSubscriptions": ["far.mcp:test://watched-resource"] } });
        let (stream, told) = Visitor::at_port("a listener", gateway.port, Some(token)).listen("/mcp", watched);
        (stream, told.message["params"]["notifications"]["resourceSubscriptions"].is_array())
    };
    for turn in 0..2 {
        let (mut broads, is_heard) = listen(&broad);
        assert!(is_heard, "{turn}\n{}\n{}", gateway.log(), far_gateway.log());
        assert!(!listen(&narrow).1, "{turn}: it is good for one tool alone");
        let (mut others, is_heard) = listen(&reading);
        assert!(is_heard, "{turn}: it is good for reading\n{}", gateway.log());
        let changed = || called_for(&gateway, &broad, "test_trigger_resource_update", &json!({}));
        assert!(is_done(&changed()), "{turn}");
        assert!(hears(&mut *broads) && hears(&mut *others), "{turn}");
        drop(broads);
        assert!(is_done(&changed()) && hears(&mut *others), "{turn}: the end of one is not that of another");
    }
}

/// Reads a stream until it tells of a resource.
fn hears(stream: &mut dyn Stream) -> bool {
    let (mut heard, mut some) = (String::new(), [0; 4096]);
    while let Ok(length @ 1..) = stream.read(&mut some) {
        heard.push_str(&String::from_utf8_lossy(&some[..length]));
        if heard.contains("notifications/resources/updated") {
            return true;
        }
    }
    false
}

#[test]
fn a_callers_token_is_shown_to_no_issuer_but_its_own() {
    let relay = Relay::new();
    let port = relay.port;
    let own = Provider::start(&[(resource("/mcp"), "jwt:RS256")]);
    let another = Provider::start(&[(resource("/mcp"), "jwt:RS256"), (files_at(port), "jwt:EdDSA")]);
    let far = Far::behind(relay, &format!("[identity.issuers.op]\nissuer = \"{}\"", another.issuer()));
    let client = "client = { id = \"gateway\", secret = \"file:secret\" }";
    let elsewhere = format!("{{ exchange = {{ issuer = \"{}\", {client} }} }}", another.issuer());
    let (_project, gateway) = near(&own.issuer(), port, &elsewhere);
    let answer = called(&gateway, &own.token(&resource("/mcp"), "mcp"));
    assert!(!is_done(&answer) && answer.to_string().contains("is not shown to"), "{answer}");
    assert!(!far.records().contains("tools/call"));
}

#[test]
fn an_exchange_that_is_refused_is_a_failed_call_and_not_the_callers_own_token() {
    let relay = Relay::new();
    let port = relay.port;
    // The issuer has no such resource as the far gateway.
    let provider = Provider::start(&[(resource("/mcp"), "jwt:RS256")]);
    let issuer = provider.issuer();
    let far = Far::behind(relay, &format!("[identity.issuers.op]\nissuer = \"{issuer}\""));
    let client = "client = { id = \"gateway\", secret = \"file:secret\" }";
    let (_project, gateway) = near(&issuer, port, &format!("{{ exchange = {{ issuer = \"{issuer}\", {client} }} }}"));
    let token = provider.token(&resource("/mcp"), "mcp");
    let answer = called(&gateway, &token);
    assert!(!is_done(&answer), "{answer}");
    assert!(!far.sent.text().is_empty() && !far.sent.text().contains(&token), "it was asked what it wants, and shown nothing");
    assert!(!far.records().contains("tools/call"));
}

#[test]
fn an_identity_assertion_becomes_a_token_of_the_far_gateways_own_server() {
    let relay = Relay::new();
    let port = relay.port;
    let provider = Provider::start(&[(resource("/mcp"), "jwt:RS256")]);
    let issuer = provider.issuer();
    let far = Far::behind(
        relay,
        &format!(
            "[identity.server]\nproviders = [\"{issuer}\"]\n[identity.server.clients.near]\nsecret = \"file:secret\"\ngrants = [\"jwt_bearer\"]"
        ),
    );
    let at_provider = format!(
        "provider = {{ issuer = \"{issuer}\", client = {{ id = \"gateway\", secret = \"file:secret\" }}, subject_type = \"access_token\" }}"
    );
    let credential = |id: &str| format!("{{ id_jag = {{ {at_provider}, client = {{ id = \"{id}\", secret = \"file:secret\" }} }} }}");
    let (_project, gateway) = near(&issuer, port, &credential("near"));
    let token = provider.token(&resource("/mcp"), "mcp");
    let answer = called(&gateway, &token);
    assert!(is_done(&answer), "{answer}\n{}\n{}", gateway.log(), far.gateway.log());
    // Whom a provider calls `agent` is not the far gateway's own `agent`.
    far.was_called_by(&format!("user:agent|{issuer}@http://127.0.0.1:{port}"));
    assert!(!far.sent.text().contains(&token), "it never left the gateway but for its own issuer");

    let (_project, other) = near(&issuer, port, &credential("somebody-else"));
    let refused = called(&other, &token);
    assert!(!is_done(&refused), "an assertion is good for the client that it names: {refused}");

    // Who has logged in by that provider as well, and is shut out, comes in by no other way.
    let name = format!("agent|{issuer}");
    far.knows(&name);
    let (_project, again) = near(&issuer, port, &credential("near"));
    assert!(is_done(&called(&again, &token)));
    let disabled = far.project.sallyport().args(["user", "disable", &name]).output().unwrap();
    assert!(disabled.status.success(), "{disabled:?}");
    let (_project, after) = near(&issuer, port, &credential("near"));
    assert!(!is_done(&called(&after, &token)));
    // The token that was made before has a quarter of an hour to go, and is worth nothing within a second.
    eventually("a token that was made before is refused", Duration::from_secs(10), || !is_done(&called(&again, &token)));
}

#[test]
fn a_signed_client_gets_a_token_of_the_far_gateways_own_server() {
    let relay = Relay::new();
    let port = relay.port;
    let key = || Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let (own, others) = (key(), key());
    let public = URL_SAFE_NO_PAD.encode(Ed25519KeyPair::from_pkcs8(own.as_ref()).unwrap().public_key());
    let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": public }] });
    let far = Far::behind(relay, &format!("[identity.server]\n[identity.server.clients.near]\nkeys = '{keys}'"));
    let called_with = |key: &[u8]| {
        let project = Project::new(&format!(
            "keys = [\"file:key\"]\n[policy]\ndefault = \"allow\"\n[servers.far]\nurl = \"{}\"\n\
             credential = {{ client_credentials = {{ client = {{ id = \"near\", key = \"file:near.pem\" }} }} }}\n",
            files_at(port)
        ));
        write_private(&project, "key", KEY);
        write_private(&project, "near.pem", &format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(key)));
        let gateway = project.up();
        called(&gateway, KEY)
    };
    let answer = called_with(own.as_ref());
    assert!(is_done(&answer), "{answer}\n{}", far.gateway.log());
    far.was_called_by(&format!("client:near@http://127.0.0.1:{port}"));
    assert!(!far.sent.text().contains(KEY));
    let refused = called_with(others.as_ref());
    assert!(!is_done(&refused), "a signature of another key shows nothing: {refused}");
}

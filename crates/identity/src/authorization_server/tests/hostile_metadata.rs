//! A server elsewhere whose metadata lead into the network that the gateway stands in: nobody there is connected to.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::elsewhere::Elsewhere;
use super::*;
use crate::upstream::{Around, Challenge, CredentialConfig, Logins, Minted, Owner, Subject, TokenSource, Unavailable, Vault, Wanted};

/// The server as the operator named it. It has said where its metadata lie, so that nobody asks it for more.
const SERVER: &str = "https://mcp.example.net/mcp";
/// The ways from one document to the next, in their order.
const METADATA: &str = "/resource";
const ISSUER_METADATA: &str = "/.well-known/oauth-authorization-server";
const TOKEN: &str = "/token";
const REGISTRATION: &str = "/register";

/// Somebody on the gateway's own machine.
struct Inside(TcpListener);

impl Inside {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn was_visited(&self) -> bool {
        self.0.accept().is_ok()
    }

    /// What a hostile document may name, and be understood to mean this one, or a machine of a cloud that tells secrets.
    fn addresses(&self) -> Vec<String> {
        let port = self.0.local_addr().unwrap().port();
        let own = ["127.0.0.1", "localhost", "2130706433", "0.0.0.0", "[::ffff:127.0.0.1]", "[::1]"];
        let own = own.iter().flat_map(|host| ["https", "http"].map(|scheme| format!("{scheme}://{host}:{port}")));
        let others = ["https://169.254.169.254", "http://169.254.169.254", "https://10.0.0.1", "https://[fd00::1]"].map(str::to_owned);
        own.chain(others).collect()
    }
}

/// A gateway, and the host that its server's metadata lie on.
struct Scene {
    host: Elsewhere,
    folder: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "a secret").unwrap();
        std::fs::set_permissions(folder.path().join("secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
        Self { host: Elsewhere::new().await, folder }
    }

    /// Everything is as it should be, but for the way to `led`, which leads to `there`.
    fn lay_out(&self, led: &str, there: &str) -> Challenge {
        let way = |path: &str| if path == led { there.to_owned() } else { self.host.address(path) };
        let issuer = if led == ISSUER_METADATA { there.to_owned() } else { self.host.address("") };
        self.host.put(METADATA, &json!({ "resource": SERVER, "authorization_servers": [issuer] }));
        let metadata = json!({
            "issuer": issuer, "token_endpoint": way(TOKEN), "registration_endpoint": way(REGISTRATION),
            "authorization_endpoint": self.host.address("/authorize"), "code_challenge_methods_supported": ["S256"],
        });
        self.host.put(ISSUER_METADATA, &metadata);
        self.host.put(TOKEN, &json!({ "access_token": "a-token", "token_type": "Bearer" }));
        self.host.put(REGISTRATION, &json!({ "client_id": "us" }));
        Challenge::read([format!("Bearer resource_metadata=\"{}\"", way(METADATA)).as_str()])
    }

    fn around(&self) -> Around {
        Around { fetcher: self.host.fetcher(Duration::from_secs(10)), clock: crate::upstream::now }
    }

    /// Gets a token in the gateway's own name, as after a refusal with this challenge.
    async fn token(&self, challenge: Challenge) -> Result<(), String> {
        let client = json!({ "id": "gateway", "secret": format!("file:{}", self.folder.path().join("secret").display()) });
        let config: CredentialConfig = serde_json::from_value(json!({ "client_credentials": { "client": client } })).unwrap();
        let tokens = Minted::new(&config, &Url::parse(SERVER).unwrap(), self.around(), Subject::default()).unwrap();
        match tokens.refused(challenge, None, None).await {
            Ok(()) => {
                assert!(tokens.token(None).await.unwrap().is_some());
                Ok(())
            }
            Err(Unavailable::Failed(why)) => Err(why.to_string()),
            Err(Unavailable::Consent(_)) => panic!("nobody is asked"),
        }
    }

    /// Begins a user's grant, for which the gateway registers.
    async fn grant(&self, challenge: Challenge) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap(); // where nothing was registered before
        let store = Store::open(&folder.path().join("store.db")).unwrap();
        let logins = Logins::new(Vault::new(store, folder.path().join("vault.key")), self.around());
        let owner = Owner { tenant: String::new(), principal: "alice".to_owned() };
        let wanted = Wanted { server: "mcp".to_owned(), owner, challenge, before: Vec::new() };
        let id = logins.want(&wanted).await.unwrap();
        let back = Url::parse("https://gate.example.com/connect/callback").unwrap();
        let begun = logins.begin(&id, &Default::default(), &Url::parse(SERVER).unwrap(), &back, None).await;
        begun.map(drop).map_err(|why| why.to_string())
    }

    async fn follow(&self, led: &str, challenge: Challenge) -> Result<(), String> {
        if led == REGISTRATION { self.grant(challenge).await } else { self.token(challenge).await }
    }
}

#[tokio::test]
async fn metadata_that_lead_inside_are_not_followed() {
    let (scene, inside) = (Scene::new().await, Inside::new());
    for led in [METADATA, ISSUER_METADATA, TOKEN, REGISTRATION] {
        scene.follow(led, scene.lay_out("", "")).await.unwrap_or_else(|why| panic!("{led}: what is as it should be is taken: {why}"));
        for there in inside.addresses() {
            let why = scene.follow(led, scene.lay_out(led, &there)).await.unwrap_err();
            assert!(!inside.was_visited(), "{led} at {there}: {why}");
            // Of an address it is told that it is not asked; a name is only known when it is resolved.
            assert!(why.contains("is not asked") || why.contains("not a public address"), "{led} at {there}: {why}");
        }
    }
}

#[tokio::test]
async fn plain_http_is_not_spoken_with_who_a_document_names() {
    let (scene, inside) = (Scene::new().await, Inside::new());
    let there = format!("http://client.example.com:{}", inside.0.local_addr().unwrap().port());
    for led in [METADATA, ISSUER_METADATA, TOKEN, REGISTRATION] {
        let why = scene.follow(led, scene.lay_out(led, &there)).await.unwrap_err();
        assert!(!inside.was_visited() && why.contains("it has to be https"), "{led}: {why}");
    }
}

#[tokio::test]
async fn a_document_that_is_said_to_lie_inside_is_not_looked_for_there() {
    let (scene, inside) = (Scene::new().await, Inside::new());
    for led in [METADATA, ISSUER_METADATA, TOKEN, REGISTRATION] {
        for there in inside.addresses().iter().take(2) {
            for status in [302, 307, 308] {
                let challenge = scene.lay_out("", "");
                scene.host.put_with(led, status, &format!("location: {there}\r\n"), Vec::new());
                let outcome = scene.follow(led, challenge).await;
                assert!(outcome.is_err() && !inside.was_visited(), "{led}, {status} to {there}: {outcome:?}");
            }
        }
    }
}

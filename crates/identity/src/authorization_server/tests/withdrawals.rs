//! What is taken back is refused by the gateway's own resource server, however it came to be.

use sallyport_protocol::{CallerToken, Endpoint};
use sallyport_store::user::Standing;

use super::accounts::Ended;
use super::*;
use crate::resource_server::resource::PublicUrl;
use crate::resource_server::{ResourceServer, Terms, TokenFault, TrustedIssuer};

/// Somebody who never logged in here: an identity provider vouches for them.
const VOUCHED: &str = "carol|https://idp.example.com";

/// The resource server of the same gateway.
struct Door(ResourceServer);

impl Door {
    fn of(server: &AuthorizationServer) -> Self {
        let issuer = TrustedIssuer { terms: Terms::new(ISSUER), keys: Arc::new(server.clone()), introspection: None };
        Self(ResourceServer::new(PublicUrl::parse(ISSUER).ok(), vec![issuer], None))
    }

    async fn takes(&self, token: &Value) -> Result<(), TokenFault> {
        let token = CallerToken::new(token.as_str().unwrap().to_owned());
        let digest = token.digest();
        if self.0.known(&digest).is_some() {
            return Ok(());
        }
        self.0.verify(&token, digest, &Endpoint::Server("git".into())).await.map(drop)
    }

    /// Waits until a token that was taken a moment ago is not.
    async fn refuses(&self, token: &Value) {
        while self.takes(token).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(self.takes(token).await, Err(TokenFault::Inactive));
    }
}

impl Bench {
    /// A token that is of no family, as ID-JAG makes them.
    async fn vouched(&self) -> Value {
        let person = accounts::vouched_for(&self.store, VOUCHED).await.unwrap().unwrap();
        let claims = token::Claims {
            subject: &person.name,
            client: "robot",
            resource: "https://gate.example.com/servers/git/mcp",
            scopes: "git",
            epoch: Some(person.epoch),
            ..token::Claims::default()
        };
        self.server.0.access_token(&claims, 2_100_000_000).await.unwrap().access_token.into()
    }

    async fn set(&self, name: &str, standing: Standing) -> bool {
        accounts::set_standing(&self.store, name, standing, 2_100_000_000).await.unwrap()
    }
}

#[tokio::test]
async fn who_is_disabled_has_no_token_of_any_grant() {
    let bench = Bench::new().await;
    let (door, twin) = (Door::of(&bench.server), Door::of(&bench.twin()));
    let (_, code) = bench.code(&[]).await;
    let alices = bench.redeem(&code).await.1["access_token"].clone();
    let carols = bench.vouched().await;
    for token in [&alices, &carols] {
        assert_eq!((door.takes(token).await, twin.takes(token).await), (Ok(()), Ok(())));
    }
    assert!(bench.set("alice", Standing::Disabled).await);
    assert!(!bench.set(VOUCHED, Standing::Disabled).await, "nobody has come in by that name, and nobody will");
    for token in [&alices, &carols] {
        door.refuses(token).await;
        twin.refuses(token).await;
    }
    assert!(accounts::vouched_for(&bench.store, VOUCHED).await.unwrap().is_none());
    assert!(accounts::set_standing(&bench.store, "bob", Standing::Disabled, 1).await.is_err(), "a slip of the operator's is told");

    // Let in again, they have what is made from now on.
    bench.set("alice", Standing::Active).await;
    bench.set(VOUCHED, Standing::Active).await;
    door.refuses(&carols).await;
    door.refuses(&alices).await;
    assert_eq!(door.takes(&bench.vouched().await).await, Ok(()));
    let (_, code) = bench.code(&[("prompt", "consent")]).await;
    assert_eq!(door.takes(&bench.redeem(&code).await.1["access_token"]).await, Ok(()));
}

#[tokio::test]
async fn what_is_revoked_is_refused_and_the_rest_is_not() {
    let bench = Bench::new().await;
    let door = Door::of(&bench.server);
    let (_, code) = bench.code(&[]).await;
    let first = bench.redeem(&code).await.1;
    let (_, code) = bench.code(&[("prompt", "consent")]).await;
    let second = bench.redeem(&code).await.1;
    let carols = bench.vouched().await;
    for token in [&first["access_token"], &second["access_token"], &carols] {
        assert_eq!(door.takes(token).await, Ok(()));
    }
    let revocation = [("client_id", "app"), ("token", first["refresh_token"].as_str().unwrap())];
    post_at(&bench.server, "/oauth/revoke", &revocation).await;
    door.refuses(&first["access_token"]).await;
    assert_eq!((door.takes(&second["access_token"]).await, door.takes(&carols).await), (Ok(()), Ok(())));

    let ended = accounts::end_tokens(&bench.store, "alice", 2_100_000_000).await.unwrap();
    assert_eq!(ended, Ended { families: 1, was_known: true });
    door.refuses(&second["access_token"]).await;
    assert_eq!(door.takes(&carols).await, Ok(()), "hers have nothing to do with it");
}

#[tokio::test]
async fn all_tokens_of_somebody_who_never_logged_in_here_can_be_ended() {
    let bench = Bench::new().await;
    let (door, twin) = (Door::of(&bench.server), Door::of(&bench.twin()));
    let before = bench.vouched().await;
    assert_eq!((door.takes(&before).await, twin.takes(&before).await), (Ok(()), Ok(())));
    for was_known in [false, true] {
        let ended = accounts::end_tokens(&bench.store, VOUCHED, 2_100_000_000).await.unwrap();
        assert_eq!(ended, Ended { families: 0, was_known });
        door.refuses(&before).await;
        twin.refuses(&before).await;
    }
    // They may come in as ever, with what is made from now on.
    assert_eq!(door.takes(&bench.vouched().await).await, Ok(()));
    let back = accounts::keep_vouched(&bench.store, VOUCHED.to_owned(), vec!["staff".to_owned()], 2_100_000_000).await.unwrap();
    assert_eq!(back.unwrap().groups, ["staff"]);
    let slip = accounts::end_tokens(&bench.store, "bob", 2_100_000_000).await;
    assert!(matches!(slip, Err(accounts::AccountError::Unknown)), "a slip of the operator's is told");
}

#[tokio::test]
async fn a_token_of_somebody_disabled_is_exchanged_for_none() {
    let bench = Bench::new().await;
    let carols = bench.vouched().await;
    let exchange = [
        ("client_id", "robot"),
        ("client_secret", "robot's secret"),
        ("grant_type", grants::TOKEN_EXCHANGE),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("subject_token", carols.as_str().unwrap()),
        ("resource", "https://gate.example.com/mcp"),
    ];
    // The client of an assertion is the one that exchanges here: a person's token stays a person's.
    let (status, exchanged) = bench.token(&exchange).await;
    assert_eq!(status, StatusCode::OK, "{exchanged}");
    assert_eq!(claims(&exchanged["access_token"])["epoch"], 0);
    bench.set(VOUCHED, Standing::Disabled).await;
    assert_eq!(bench.token(&exchange).await.0, StatusCode::BAD_REQUEST);
    bench.set(VOUCHED, Standing::Active).await;
    assert_eq!(bench.token(&exchange).await.0, StatusCode::BAD_REQUEST, "it stays ended");
    assert!(!is_taken(&bench.server, &exchanged["access_token"]).await, "and so does what came of it");
}

#[tokio::test]
async fn who_makes_up_names_of_keys_has_the_store_looked_through_once_a_second() {
    use crate::resource_server::key::Algorithm;

    let bench = Bench::new().await;
    let began = std::time::Instant::now();
    bench.server.refresh().await;
    keys::tend(&bench.store, SigningAlgorithm::Es256, 900, 2_100_000_000).await.unwrap(); // another gateway's, over the same store
    let published = keys::published(&bench.store, 2_100_000_000).await.unwrap();
    let new = published["keys"].as_array().unwrap().iter().find(|key| key["alg"] == "ES256").unwrap()["kid"].as_str().unwrap();
    let known = || bench.server.find(Some(new), Algorithm::Es256).is_some();
    bench.server.refresh().await;
    assert!(!known() || began.elapsed() >= Duration::from_secs(1));
    while !known() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        bench.server.refresh().await;
    }
}

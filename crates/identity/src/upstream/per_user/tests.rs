#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use sallyport_store::{GrantId, KeptGrant, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::fetch::Fetcher;
use crate::upstream::vault::Vault;

/// In place of a number of refreshes: the issuer has forgotten its clients.
const FORGOTTEN: usize = usize::MAX;
/// The same, as other issuers say it.
const UNAUTHORIZED: usize = usize::MAX - 3;
/// The same: it is not able to answer. From here on upwards, so that each such answer is counted.
const AWAY: usize = usize::MAX / 2;
/// The same: its metadata says that its codes are protected by `plain` alone, or says nothing of it.
const PLAIN: usize = usize::MAX - 1;
const UNSAID: usize = usize::MAX - 2;

/// An issuer whose refresh tokens are good once: `refresh-N` gives `access-N+1` and `refresh-N+1`, and any other is refused.
async fn issuer() -> (String, Arc<AtomicUsize>) {
    issuer_that_takes(Duration::ZERO).await
}

/// The same, which takes so long to send what it has given.
async fn issuer_that_takes(time: Duration) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = format!("http://{}", listener.local_addr().unwrap());
    let (issuer, refreshed) = (name.clone(), Arc::new(AtomicUsize::new(0)));
    let count = refreshed.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (issuer, count) = (issuer.clone(), count.clone());
            tokio::spawn(async move {
                let mut asked = Vec::new();
                while !is_whole(&asked) {
                    if stream.read_buf(&mut asked).await.unwrap() == 0 {
                        return;
                    }
                }
                let asked = String::from_utf8_lossy(&asked).into_owned();
                let (status, body) = answer(&asked, &issuer, &count);
                if asked.starts_with("POST ") {
                    tokio::time::sleep(time).await;
                }
                let text = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
                stream.write_all(text.as_bytes()).await.unwrap();
            });
        }
    });
    (name, refreshed)
}

fn is_whole(asked: &[u8]) -> bool {
    let text = String::from_utf8_lossy(asked).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    body.len() >= length
}

fn answer(asked: &str, issuer: &str, count: &AtomicUsize) -> (u16, String) {
    if asked.starts_with("GET ") {
        let prm = format!(r#"{{"resource":"{issuer}/mcp","authorization_servers":["{issuer}"]}}"#);
        let methods = match count.load(Ordering::SeqCst) {
            UNSAID => "",
            PLAIN => r#","code_challenge_methods_supported":["plain"]"#,
            _ => r#","code_challenge_methods_supported":["plain","S256"]"#,
        };
        let server = format!(r#"{{"issuer":"{issuer}","authorization_endpoint":"{issuer}/a","token_endpoint":"{issuer}/t"{methods}}}"#);
        return (200, if asked.contains("protected-resource") { prm } else { server });
    }
    let now = count.load(Ordering::SeqCst);
    if now == FORGOTTEN {
        return (401, r#"{"error":"invalid_client"}"#.to_owned());
    }
    if (AWAY..UNAUTHORIZED).contains(&now) {
        count.fetch_add(1, Ordering::SeqCst);
        return (503, String::new());
    }
    if now == UNAUTHORIZED {
        return (400, r#"{"error":"unauthorized_client"}"#.to_owned());
    }
    if !asked.contains(&format!("refresh_token=refresh-{now}&")) {
        return (400, r#"{"error":"invalid_grant"}"#.to_owned());
    }
    let next = count.fetch_add(1, Ordering::SeqCst) + 1;
    (200, format!(r#"{{"access_token":"access-{next}","token_type":"Bearer","expires_in":3600,"refresh_token":"refresh-{next}"}}"#))
}

/// One process of a gateway: a store of its own over the same file.
fn process(folder: &Path, issuer: &str, principal: &str) -> PerUser {
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().unwrap();
    let fetcher = Fetcher::new(&tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth()).unwrap();
    let around = Around { fetcher, clock: crate::upstream::now };
    let vault = Vault::new(Store::open(&folder.join("store.db")).unwrap(), folder.join("vault.key"));
    let url = Url::parse(&format!("{issuer}/mcp")).unwrap();
    let owner = Owner { tenant: String::new(), principal: principal.to_owned() };
    PerUser::new(Config::default(), "tracker", &url, owner, around.clone(), Logins::new(vault, around))
}

/// The configuration, before anybody else has a hold of it.
fn config(of: &mut PerUser) -> &mut Config {
    &mut Arc::get_mut(&mut of.grant).unwrap().config
}

/// Keeps alice's grant, its access token `access-0` good for so many seconds.
async fn granted(of: &PerUser, issuer: &str, lasts: u64) {
    granted_to(of, issuer, lasts, Some(KeptClient { id: "us".to_owned(), secret: None, method: Some("none".to_owned()) })).await;
}

/// The same, by the client that was registered, or by that of the configuration.
async fn granted_to(of: &PerUser, issuer: &str, lasts: u64, client: Option<KeptClient>) {
    let id = GrantId {
        tenant: String::new(),
        principal: "alice".to_owned(),
        resource: of.grant.resource().to_owned(),
        issuer: issuer.to_owned(),
    };
    let sealed = Sealed {
        access: "access-0".to_owned(),
        refresh: Some("refresh-0".to_owned()),
        requested: vec!["read".to_owned()],
        granted: None,
        audience: of.grant.resource().to_owned(),
        client,
    };
    let now = crate::upstream::now();
    let since = (now + lasts).saturating_sub(3600); // as long as its issuer's tokens live
    keep(of.grant.vault(), id, 1, &sealed, now + lasts, since).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_renew_one_rotating_token_once() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, refreshed) = issuer().await;
    let (one, other) = (process(folder.path(), &issuer, "alice"), process(folder.path(), &issuer, "alice"));
    granted(&one, &issuer, 5).await;
    let (first, second) = tokio::join!(one.token(None), other.token(None));
    assert!(first.unwrap().unwrap().is("access-1") && second.unwrap().unwrap().is("access-1"));
    assert_eq!(refreshed.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_renewal_goes_on_after_the_call_that_began_it_was_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, refreshed) = issuer_that_takes(Duration::from_millis(300)).await;
    let alice = process(folder.path(), &issuer, "alice");
    granted(&alice, &issuer, 5).await;
    let given = async {
        while refreshed.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = given => {}
        early = alice.token(None) => panic!("{:?}", early.is_ok()),
    }
    assert!(alice.token(None).await.unwrap().unwrap().is("access-1"));
    assert_eq!(refreshed.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_is_forgotten_while_it_is_renewed_stays_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, refreshed) = issuer().await;
    let (alice, other) = (process(folder.path(), &issuer, "alice"), process(folder.path(), &issuer, "alice"));
    granted(&alice, &issuer, 5).await;
    let (row, sealed) = alice.grant.kept().await.unwrap().unwrap();
    assert!(alice.grant.vault().store.lease_upstream_grant(row.id.clone(), "alice".to_owned(), 0, i64::MAX).await.unwrap());
    let tokens = alice.grant.refreshed(&row, &sealed).await.unwrap().unwrap(); // on their way, and now comes `vault forget`
    assert_eq!(refreshed.load(Ordering::SeqCst), 1);
    other.grant.forget().await.unwrap();
    alice.grant.keep_renewed(row, "alice", sealed, tokens).await.unwrap();
    assert!(!other.is_granted().await.unwrap());
    assert!(alice.token(None).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_before_its_time_is_renewed_once_and_then_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, refreshed) = issuer().await;
    let alice = process(folder.path(), &issuer, "alice");
    granted(&alice, &issuer, 3600).await;
    let sent = alice.token(None).await.unwrap();
    assert!(sent.as_ref().unwrap().is("access-0"));
    alice.refused(Challenge::default(), sent, None).await.unwrap();
    let sent = alice.token(None).await.unwrap();
    assert!(sent.as_ref().unwrap().is("access-1"));
    refreshed.store(7, Ordering::SeqCst); // what there is to renew with is good no more
    assert!(matches!(alice.refused(Challenge::default(), sent, None).await, Err(Unavailable::Consent(_))));
    assert!(!alice.is_granted().await.unwrap(), "what is refused and cannot be renewed is not kept");
}

#[tokio::test]
async fn a_client_that_its_issuer_has_forgotten_is_given_up_and_the_user_asked_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, refreshed) = issuer().await;
    let alice = process(folder.path(), &issuer, "alice");
    let store = &alice.grant.vault().store;
    store.keep_upstream_client(issuer.clone(), "redirect".to_owned(), vec![1]).await.unwrap();
    granted(&alice, &issuer, 5).await;
    refreshed.store(FORGOTTEN, Ordering::SeqCst);
    assert!(alice.token(None).await.unwrap().is_none(), "the issuer's complaint is not the user's to hear");
    assert!(!alice.is_granted().await.unwrap());
    assert_eq!(store.upstream_client(&issuer, "redirect").await.unwrap(), Some((1, None)), "the next login registers");
    assert!(matches!(alice.ask().await, Unavailable::Consent(_)));
}

#[tokio::test]
async fn a_configured_client_that_its_issuer_refuses_costs_nobody_their_grant() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, refreshed) = issuer().await;
    let mut alice = process(folder.path(), &issuer, "alice");
    config(&mut alice).client = Some(RegisteredConfig { id: "us".to_owned(), secret: None, key: None });
    granted_to(&alice, &issuer, 0, None).await;
    for refused in [FORGOTTEN, UNAUTHORIZED] {
        refreshed.store(refused, Ordering::SeqCst); // its secret is another one there
        assert!(matches!(alice.token(None).await, Err(Unavailable::Failed(TokenError::UnknownClient))));
        assert!(alice.is_granted().await.unwrap());
    }
    refreshed.store(0, Ordering::SeqCst); // and now here
    assert!(alice.token(None).await.unwrap().unwrap().is("access-1"));
}

#[tokio::test]
async fn while_the_issuer_is_away_a_good_token_serves_and_one_asks_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, refreshed) = issuer().await;
    let alice = process(folder.path(), &issuer, "alice");
    granted(&alice, &issuer, 30).await;
    refreshed.store(AWAY, Ordering::SeqCst);
    let asked = crate::upstream::now();
    let sent = alice.token(None).await.unwrap();
    for _ in 0..10 {
        assert!(alice.token(None).await.unwrap().unwrap().is("access-0"));
    }
    let tries = refreshed.load(Ordering::SeqCst) - AWAY;
    assert!(tries == 1 || crate::upstream::now() >= asked + TRY_AGAIN, "{tries}");
    let refused = alice.refused(Challenge::default(), sent, None).await;
    assert!(matches!(refused, Err(Unavailable::Failed(TokenError::Busy(503)))), "the server does not take it any more: {refused:?}");
    assert!(alice.is_granted().await.unwrap());
    refreshed.store(0, Ordering::SeqCst);
    *alice.held.lock().await = None; // some seconds later
    assert!(alice.token(None).await.unwrap().unwrap().is("access-1"));
}

#[tokio::test]
async fn what_users_granted_lies_sealed_in_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, _) = issuer().await;
    let alice = process(folder.path(), &issuer, "alice");
    granted(&alice, &issuer, 5).await; // `access-0` and `refresh-0`
    assert!(alice.token(None).await.unwrap().unwrap().is("access-1"), "and renewed, `access-1` and `refresh-1`");
    let mut looked = 0;
    for file in std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()) {
        let bytes = std::fs::read(&file).unwrap();
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        for secret in ["access-0", "refresh-0", "access-1", "refresh-1"] {
            assert!(!holds(secret), "{secret} in {}", file.display());
        }
        looked += usize::from(holds("alice")); // the row is there, by the name of its owner
    }
    assert!(looked > 0);
}

#[tokio::test]
async fn nobody_gets_the_token_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, _) = issuer().await;
    let (alice, bob) = (process(folder.path(), &issuer, "alice"), process(folder.path(), &issuer, "bob"));
    granted(&alice, &issuer, 3600).await;
    assert!(alice.token(None).await.unwrap().is_some());
    assert!(bob.token(None).await.unwrap().is_none());
    // Not even a row that was moved under bob's name opens.
    let row = alice.grant.vault().store.upstream_grant("", "alice", alice.grant.resource()).await.unwrap().unwrap();
    let moved = KeptGrant { id: GrantId { principal: "bob".to_owned(), ..row.id.clone() }, ..row };
    alice.grant.vault().store.keep_upstream_grant(moved).await.unwrap();
    assert!(bob.token(None).await.unwrap().is_none());
}

#[tokio::test]
async fn more_scopes_are_asked_for_once() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, _) = issuer().await;
    let alice = process(folder.path(), &issuer, "alice");
    granted(&alice, &issuer, 3600).await;
    let wants = |scopes: &str| Challenge::read([format!("Bearer error=\"insufficient_scope\", scope=\"{scopes}\"").as_str()]);
    let sent = alice.token(None).await.unwrap();
    let Err(Unavailable::Consent(id)) = alice.refused(wants("write"), sent.clone(), None).await else { panic!() };
    assert_eq!(alice.grant.logins.look(&id).await.unwrap().before, ["read", "write"]);
    assert!(
        matches!(alice.refused(wants("read"), sent, None).await, Err(Unavailable::Failed(TokenError::Unusable(_)))),
        "it has them already"
    );
}

#[tokio::test]
async fn no_more_scopes_are_asked_for_than_the_configuration_names() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, _) = issuer().await;
    let mut alice = process(folder.path(), &issuer, "alice");
    config(&mut alice).scopes = Some(vec!["read".to_owned(), "write".to_owned()]);
    granted(&alice, &issuer, 3600).await;
    let wants = |scopes: &str| Challenge::read([format!("Bearer error=\"insufficient_scope\", scope=\"{scopes}\"").as_str()]);
    let sent = alice.token(None).await.unwrap();
    let Err(Unavailable::Failed(TokenError::Unusable(why))) = alice.refused(wants("write admin"), sent.clone(), None).await else {
        panic!()
    };
    assert!(why.contains("\"admin\""), "{why}");
    assert!(matches!(alice.refused(wants("write offline_access"), sent.clone(), None).await, Err(Unavailable::Consent(_))));
    // What was wanted before the configuration named less is not asked for again.
    config(&mut alice).scopes = None;
    let Err(Unavailable::Consent(id)) = alice.refused(wants("admin"), sent, None).await else { panic!() };
    let client = RegisteredConfig { id: "us".to_owned(), secret: None, key: None };
    let config = Config { client: Some(client), scopes: Some(vec!["read".to_owned()]), ..Config::default() };
    let callback = Url::parse("http://127.0.0.1:1/connect/callback").unwrap();
    let begun = alice.grant.logins.begin(&id, &config, alice.grant.place.url(), &callback, None).await.unwrap();
    assert_eq!(begun.to.query_pairs().find(|(name, _)| name == "scope").unwrap().1, "read");
}

#[tokio::test]
async fn a_grant_of_more_than_the_configuration_names_by_now_is_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, _) = issuer().await;
    let mut alice = process(folder.path(), &issuer, "alice");
    granted(&alice, &issuer, 3600).await;
    for (scopes, is_granted) in [(Some(vec!["read", "write"]), true), (Some(vec!["write"]), false), (None, true)] {
        config(&mut alice).scopes = scopes.map(|scopes| scopes.into_iter().map(str::to_owned).collect());
        assert_eq!(alice.is_granted().await.unwrap(), is_granted, "{:?}", alice.grant.config.scopes);
    }
}

#[tokio::test]
async fn a_clients_secret_is_shown_to_no_issuer_of_before() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, refreshed) = issuer().await;
    let mut alice = process(folder.path(), &issuer, "alice");
    granted(&alice, &issuer, 5).await;
    let (row, mut sealed) = alice.grant.kept().await.unwrap().unwrap();
    sealed.client = None; // it was the configuration's
    config(&mut alice).client = Some(RegisteredConfig { id: "us".to_owned(), secret: None, key: None });
    config(&mut alice).issuer = Some(Url::parse("https://another.example").unwrap());
    assert!(alice.grant.refreshed(&row, &sealed).await.unwrap().is_none());
    assert_eq!(refreshed.load(Ordering::SeqCst), 0);
    config(&mut alice).issuer = Some(Url::parse(&issuer).unwrap());
    assert!(alice.grant.refreshed(&row, &sealed).await.unwrap().is_some());
}

#[tokio::test]
async fn the_way_back_is_for_the_browser_that_began_and_for_the_issuer_that_was_asked() {
    use crate::upstream::LoginError;
    let folder = tempfile::tempdir().unwrap();
    let (issuer, _) = issuer().await;
    let alice = process(folder.path(), &issuer, "alice");
    let document = Url::parse("https://us.example/client.json").unwrap();
    let client = RegisteredConfig { id: "us".to_owned(), secret: None, key: None };
    let config = Config { client: Some(client), client_metadata_url: Some(document), ..Config::default() };
    let callback = Url::parse("http://127.0.0.1:1/connect/callback").unwrap();
    let begin = async || {
        let Unavailable::Consent(id) = alice.ask().await else { panic!() };
        let begun = alice.grant.logins.begin(&id, &config, alice.grant.place.url(), &callback, Some("alice is logged in")).await.unwrap();
        let again = alice.grant.logins.begin(&id, &config, alice.grant.place.url(), &callback, None).await;
        assert!(matches!(again, Err(LoginError::Unknown)), "used up");
        let state = begun.to.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
        (begun.cookie, state)
    };
    let finish_in = async |session: Option<&str>, cookie: Option<&str>, pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        alice.grant.logins.finish(&pairs, cookie, session, |_| None).await.unwrap_err()
    };
    let finish = async |cookie: Option<&str>, pairs: &[(&str, &str)]| finish_in(Some("alice is logged in"), cookie, pairs).await;
    for session in [None, Some("mallory is logged in")] {
        let (cookie, state) = begin().await;
        assert!(matches!(finish_in(session, Some(&cookie), &[("state", &state), ("code", "c")]).await, LoginError::OtherPerson));
    }
    let (cookie, state) = begin().await;
    assert!(matches!(finish(Some("another"), &[("state", &state), ("code", "c")]).await, LoginError::OtherBrowser));
    assert!(matches!(finish(Some(&cookie), &[("state", &state), ("code", "c")]).await, LoginError::Unknown), "a state is good once");
    let (cookie, state) = begin().await;
    let mixed_up = [("state", state.as_str()), ("code", "c"), ("iss", "https://evil.example"), ("error", "x")];
    assert!(matches!(finish(Some(&cookie), &mixed_up).await, LoginError::OtherIssuer));
    let (cookie, state) = begin().await;
    assert!(matches!(finish(Some(&cookie), &[("state", &state), ("state", "s"), ("code", "c")]).await, LoginError::Unknown));
    assert!(matches!(finish(Some(&cookie), &[("state", &format!("{state}x")), ("code", "c")]).await, LoginError::Unknown));
}

#[tokio::test]
async fn nobody_is_sent_to_an_issuer_that_does_not_protect_its_codes() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, offers) = issuer().await;
    let alice = process(folder.path(), &issuer, "alice");
    let redirect = Url::parse("http://127.0.0.1:1/connect/callback").unwrap();
    let client = crate::upstream::RegisteredConfig { id: "us".to_owned(), secret: None, key: None };
    let config = Config { client: Some(client), ..Config::default() };
    let begun = async |offered: usize| {
        offers.store(offered, Ordering::SeqCst);
        let id = alice.grant.logins.offer("tracker", alice.grant.owner.clone()).await.unwrap();
        alice.grant.logins.begin(&id, &config, alice.grant.place.url(), &redirect, None).await
    };
    for offered in [PLAIN, UNSAID] {
        let refused = begun(offered).await.unwrap_err().to_string();
        assert!(refused.contains("does not protect its codes (PKCE S256)"), "{refused}");
    }
    let to = begun(0).await.unwrap().to;
    assert!(to.as_str().starts_with(&format!("{issuer}/a?")) && to.as_str().contains("code_challenge_method=S256"), "{to}");
}

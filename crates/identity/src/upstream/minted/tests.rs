#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use super::*;

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(1_000_000) };
}

/// For how long the issuer's tokens are good.
const LIFE: u64 = 600;

/// An issuer that gives `token-1`, `token-2` and so on, never one for the scope `admin`, and none at all while it is away.
#[derive(Default)]
struct Issuer {
    asked: AtomicUsize,
    is_away: AtomicBool,
}

impl Mint for Arc<Issuer> {
    fn discover<'a>(&'a self, _: &'a Around, place: &'a Place, challenge: &'a Challenge) -> BoxFuture<'a, Result<Discovered, TokenError>> {
        let server = serde_json::json!({ "issuer": "https://issuer.example", "token_endpoint": "https://issuer.example/token" });
        let server = serde_json::from_value(server).unwrap();
        let scopes = challenge.scopes.clone();
        Box::pin(async move { Ok(Discovered { resource: place.url().to_string(), server, scopes }) })
    }

    fn scopes(&self) -> Option<&[String]> {
        None
    }

    fn mint<'a>(&'a self, order: Order<'a>) -> BoxFuture<'a, Result<Tokens, TokenError>> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let had = if self.is_away.load(Ordering::SeqCst) {
            Err(TokenError::Busy(503))
        } else if order.scopes.iter().any(|scope| scope == "admin") {
            Err(TokenError::Refused("invalid_scope".to_owned()))
        } else {
            let expires = NOW.get() + LIFE;
            Ok(Tokens { access: format!("token-{number}"), refresh: None, scopes: None, expires })
        };
        Box::pin(async move { had })
    }
}

/// The tokens that such an issuer gives, from the moment on when the server has refused the first request.
async fn minted() -> (Minted, Arc<Issuer>) {
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().unwrap();
    let fetcher = Fetcher::new(&tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth()).unwrap();
    let issuer = Arc::new(Issuer::default());
    let place = Place::new(Url::parse("https://server.example/mcp").unwrap(), None);
    let around = Around { fetcher, clock: || NOW.get() };
    let minted = Minted { mint: Box::new(Arc::clone(&issuer)), around, place, state: Mutex::default() };
    assert!(minted.token(None).await.unwrap().is_none(), "nobody knows yet what the server wants");
    minted.refused(wants("invalid_token", "read"), None, None).await.unwrap();
    (minted, issuer)
}

fn wants(error: &str, scopes: &str) -> Challenge {
    Challenge::read([format!("Bearer error=\"{error}\", scope=\"{scopes}\"").as_str()])
}

/// The number of the token for the next request.
async fn number(minted: &Minted) -> usize {
    let token = minted.token(None).await.unwrap().unwrap();
    (0..100).find(|number| token.is(&format!("token-{number}"))).unwrap()
}

#[tokio::test]
async fn scopes_that_the_issuer_refuses_take_nothing_from_the_others() {
    let (minted, issuer) = minted().await;
    let sent = minted.token(None).await.unwrap();
    let refused = minted.refused(wants("insufficient_scope", "admin"), sent.clone(), None).await;
    assert!(matches!(refused, Err(Unavailable::Failed(TokenError::Refused(_)))), "{refused:?}");
    assert_eq!(number(&minted).await, 1, "the token is as good as it was");
    NOW.set(NOW.get() + LIFE);
    assert_eq!(number(&minted).await, 3, "and the next one is asked for with the scopes that were had");
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn scopes_that_the_issuer_gives_are_kept() {
    let (minted, _) = minted().await;
    let sent = minted.token(None).await.unwrap();
    minted.refused(wants("insufficient_scope", "write"), sent.clone(), None).await.unwrap();
    assert_eq!(number(&minted).await, 2);
    minted.refused(wants("insufficient_scope", "write"), sent, None).await.unwrap();
    assert_eq!(number(&minted).await, 2, "another request has got it meanwhile");
    let sent = minted.token(None).await.unwrap();
    let again = minted.refused(wants("insufficient_scope", "write"), sent, None).await;
    assert!(matches!(again, Err(Unavailable::Failed(TokenError::Unusable(_)))), "{again:?}");
}

#[tokio::test]
async fn a_token_is_got_anew_before_its_end_and_when_it_is_refused() {
    let (minted, _) = minted().await;
    assert_eq!(number(&minted).await, 1);
    NOW.set(NOW.get() + LIFE - AHEAD - 1);
    assert_eq!(number(&minted).await, 1);
    NOW.set(NOW.get() + 1);
    assert_eq!(number(&minted).await, 2, "a minute before its end");
    let sent = minted.token(None).await.unwrap();
    minted.refused(wants("invalid_token", "read"), sent.clone(), None).await.unwrap();
    assert_eq!(number(&minted).await, 3);
    minted.refused(wants("invalid_token", "read"), sent, None).await.unwrap();
    assert_eq!(number(&minted).await, 3, "once for all who were refused with the same");
}

#[tokio::test]
async fn while_the_issuer_is_away_the_token_serves_to_its_end_and_few_ask_for_another() {
    let (minted, issuer) = minted().await;
    issuer.is_away.store(true, Ordering::SeqCst);
    NOW.set(NOW.get() + LIFE - AHEAD);
    for _ in 0..10 {
        assert_eq!(number(&minted).await, 1);
    }
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 2, "one try for all of them");
    NOW.set(NOW.get() + TRY_AGAIN);
    assert_eq!(number(&minted).await, 1);
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 3);
    NOW.set(NOW.get() + AHEAD);
    for _ in 0..10 {
        assert!(matches!(minted.token(None).await, Err(Unavailable::Failed(TokenError::Busy(503)))));
    }
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 4, "nor does everybody wait for the same failure");
    issuer.is_away.store(false, Ordering::SeqCst);
    NOW.set(NOW.get() + SAME_FAILURE);
    assert_eq!(number(&minted).await, 5);
}

#[tokio::test]
async fn who_is_refused_while_the_issuer_is_away_asks_it_once() {
    let (minted, issuer) = minted().await;
    issuer.is_away.store(true, Ordering::SeqCst);
    let sent = minted.token(None).await.unwrap();
    for _ in 0..10 {
        assert!(minted.refused(wants("invalid_token", "read"), sent.clone(), None).await.is_err());
        assert!(minted.token(None).await.is_err(), "what was refused is of no use");
    }
    assert_eq!(issuer.asked.load(Ordering::SeqCst), 2);
    issuer.is_away.store(false, Ordering::SeqCst);
    NOW.set(NOW.get() + SAME_FAILURE);
    assert_eq!(number(&minted).await, 3);
}

#[test]
fn what_is_kept_for_one_callers_tokens_is_bounded() {
    let mut kept = Kept::default();
    let token = |number: usize| CallerToken::new(format!("token-{number}"));
    for number in 0..1_000 {
        assert_eq!(kept.of(Some(&token(number)), &[]).renew_at, 0, "each is another's");
        kept.of(Some(&token(number)), &[]).renew_at = 1;
        assert_eq!(kept.of(Some(&token(0)), &[]).renew_at, 1, "what is used stays");
    }
    assert_eq!(kept.0.len(), MOST);
    assert_eq!(kept.of(Some(&token(999)), &[]).renew_at, 1);
    assert_eq!(kept.of(Some(&token(990)), &[]).renew_at, 0, "it has given way");
    assert_eq!(kept.of(None, &[]).renew_at, 0, "nobody's is nobody else's");
}

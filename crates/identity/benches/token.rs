//! What a token costs that was verified a moment ago, beside one that is seen for the first time: `cargo xtask bench policy`.
//!
//! Each figure is the least of many rounds: what others do on the machine can only add to it.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench is a program for developers")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use sallyport_identity::resource_server::key::{Algorithm, Jwk, VerifyingKey};
use sallyport_identity::resource_server::key_source::{KeySet, KeySource};
use sallyport_identity::resource_server::resource::PublicUrl;
use sallyport_identity::resource_server::{ResourceServer, Terms, TrustedIssuer};
use sallyport_identity::{Authentication, Identity};
use sallyport_protocol::{BoxFuture, CallerToken, Endpoint, Incoming, Peer};
use sallyport_secrets::Secret;
use serde_json::json;

const ISSUER: &str = "https://issuer.example";
const KEY: &str = "k-0123456789abcdef0123456789abcdef";
const ROUNDS: usize = 200;
const CALLS: u32 = 500;
/// So many tokens are known beside the one that is shown.
const OTHERS: u32 = 5000;

/// What a token may cost that is known.
const TARGET: Duration = Duration::from_micros(5);

#[derive(Debug)]
struct Fixed(KeySet);

impl KeySource for Fixed {
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Arc<VerifyingKey>> {
        self.0.find(id, algorithm)
    }

    fn refresh(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

struct Signer {
    ed25519: Ed25519KeyPair,
    p256: EcdsaKeyPair,
}

impl Signer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let ed25519 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let p256 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self {
            ed25519: Ed25519KeyPair::from_pkcs8(ed25519.as_ref()).unwrap(),
            p256: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, p256.as_ref(), &random).unwrap(),
        }
    }

    fn keys(&self) -> KeySet {
        let (x, y) = self.p256.public_key().as_ref()[1..].split_at(32);
        let p256 = json!({ "kty": "EC", "crv": "P-256", "kid": "p", "x": BASE64.encode(x), "y": BASE64.encode(y) });
        let p256: Jwk = serde_json::from_value(p256).unwrap();
        let ed25519 = self.ed25519.public_key().as_ref().try_into().unwrap();
        KeySet::new(vec![VerifyingKey::ed25519("e", ed25519), VerifyingKey::from_jwk(&p256).unwrap()])
    }

    /// The `number`th token of that algorithm: some 600 bytes, as issuers make them.
    fn token(&self, algorithm: &str, number: u32) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = json!({ "alg": algorithm, "typ": "at+jwt", "kid": if algorithm == "ES256" { "p" } else { "e" } });
        let claims = json!({
            "iss": ISSUER, "sub": "2f5d9c1e-8f0b-4a55-9d8e-1c2b3a4d5e6f", "client_id": "https://client.example/metadata.json",
            "aud": "https://mcp.example.com/mcp", "iat": now, "exp": now + 900, "jti": format!("{number:032x}"),
            "scope": "mcp:read files:read files:write_file notes", "groups": ["dev", "staff", "everyone"],
        });
        let text = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let signature = match algorithm {
            "ES256" => self.p256.sign(&SystemRandom::new(), text.as_bytes()).unwrap().as_ref().to_vec(),
            _ => self.ed25519.sign(text.as_bytes()).as_ref().to_vec(),
        };
        format!("{text}.{}", BASE64.encode(signature))
    }
}

fn identity(signer: &Signer) -> Identity {
    let issuer = TrustedIssuer { terms: Terms::new(ISSUER), keys: Arc::new(Fixed(signer.keys())), introspection: None };
    let server = ResourceServer::new(PublicUrl::parse("https://mcp.example.com").ok(), vec![issuer], None);
    Identity::new("", vec![("ci".to_owned(), Secret::new(KEY.to_owned()))], Some(Arc::new(server))).unwrap()
}

/// As a door makes it of a request's head.
fn incoming(token: &str) -> Incoming {
    Incoming {
        tenant: None,
        endpoint: Endpoint::All,
        credential: Some(Arc::new(CallerToken::new(token))),
        certificate: None,
        peer: Peer::Loopback,
        recognised: None,
    }
}

async fn let_in(identity: &Identity, token: &str) {
    let known = match identity.authenticate(&incoming(token)) {
        Authentication::Known(known) => known,
        Authentication::Asks(asks) => asks.await,
    };
    assert!(black_box(known).is_ok());
}

/// The least time that one of `calls` takes.
fn least(rounds: usize, calls: u32, mut run: impl FnMut(u32)) -> Duration {
    let round = |round: usize| {
        let first = u32::try_from(round).unwrap() * calls;
        let begun = Instant::now();
        (first..first + calls).for_each(&mut run);
        begun.elapsed() / calls
    };
    (0..rounds).map(round).min().unwrap()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let signer = Signer::new();
    let identity = identity(&signer);
    (0..OTHERS).for_each(|number| runtime.block_on(let_in(&identity, &signer.token("EdDSA", number))));
    let show = |what: &str, took: Duration, target: Option<Duration>| {
        let met = target.map_or("", |target| if took <= target { "met" } else { "missed" });
        println!("{what:<66} {:>9.2} {met:>10}", took.as_secs_f64() * 1e6);
    };
    println!("{:<66} {:>9} {:>10}", "microseconds, least of many rounds", "a caller", "at most 5");
    show("a configured key", least(ROUNDS, CALLS, |_| runtime.block_on(let_in(&identity, KEY))), None);
    let known = signer.token("EdDSA", 0);
    let took = least(ROUNDS, CALLS, |_| runtime.block_on(let_in(&identity, &known)));
    show(&format!("a token that is known, among {OTHERS}"), took, Some(TARGET));
    // Each algorithm's tokens are made before the clock runs, and shown once.
    let (rounds, calls) = (20, 20);
    let firsts: BTreeMap<&str, Vec<String>> =
        ["EdDSA", "ES256"].map(|algorithm| (algorithm, (0..400).map(|number| signer.token(algorithm, OTHERS + number)).collect())).into();
    for (algorithm, tokens) in &firsts {
        let took = least(rounds, calls, |number| runtime.block_on(let_in(&identity, &tokens[number as usize])));
        show(&format!("a token that is new, {algorithm}"), took, None);
    }
}

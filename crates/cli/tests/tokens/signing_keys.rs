//! The gateway's own signing key gives way to the next while gateways serve: whoever has a token notices nothing.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use sallyport_store::Store;
use sallyport_store::signing_key::{self, SigningKey};
use serde_json::Value;

use crate::browser::Browser;
use crate::caller::Caller;
use crate::harness::gateway::{Gateway, Project};
use crate::harness::loopback::free_port;
use crate::provider::SECRET;
use crate::write_private;

/// The key of which the token says that it signed it.
fn key_of(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
}

/// A token of the client `agent`.
fn token(gateway: &Gateway, resource: &str) -> String {
    let form = [("grant_type", "client_credentials"), ("client_id", "agent"), ("client_secret", SECRET), ("resource", resource)];
    let answer = Browser::default().post(&gateway.url("/oauth/token"), &form).html;
    let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}"));
    answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer} {}", gateway.log())).to_owned()
}

/// The keys that a gateway publishes.
fn published(gateway: &Gateway) -> BTreeSet<String> {
    let set: Value = serde_json::from_str(&Browser::default().get(&gateway.url("/oauth/jwks")).html).unwrap();
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// Puts the next key into the store, whose time has come, as whichever gateway makes it does.
fn next_key(project: &Project) {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let signs_until = now + 60 * 24 * 60 * 60;
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap().as_ref().to_vec();
    let key = SigningKey { id: "next".into(), algorithm: "EdDSA".into(), pkcs8, signs_from: now, signs_until, ends: signs_until + 3600 };
    let store = Store::open(&project.state().join("sallyport/store.db")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(store.write(move |tables| signing_key::add(tables, &key))).unwrap();
}

#[test]
fn a_new_signing_key_takes_over_behind_running_gateways_and_nobody_is_refused() {
    let port = free_port();
    let project = Project::new(&format!(
        "public_url = \"http://127.0.0.1:{port}\"\n[policy]\ndefault = \"allow\"\n[identity.server.clients.agent]\n\
         secret = \"file:secret\"\nscopes = [\"mcp\"]\n[servers.files]\nbuiltin = {{ filesystem = {{}} }}\n"
    ));
    write_private(&project, "secret", SECRET);
    let (one, other) = (project.up_at(port), project.up());
    let resource = format!("http://127.0.0.1:{port}/mcp");
    let knock = |gateway: &Gateway, token: &str| Caller::new(gateway.port, token).knock("/mcp");
    let old = token(&one, &resource);
    assert_eq!((knock(&one, &old), knock(&other, &old)), (200, 200));

    let is_over = AtomicBool::new(false);
    let new = std::thread::scope(|scope| {
        let (is_over, knock, old) = (&is_over, &knock, &old);
        let callers = [&one, &other].map(|gateway| {
            scope.spawn(move || {
                let mut refused = 0;
                while !is_over.load(Ordering::Relaxed) {
                    refused += usize::from(knock(gateway, old) != 200);
                }
                refused
            })
        });
        next_key(&project);
        let new = token(&one, &resource);
        // Who has not signed with it meets it here.
        let met = (knock(&other, &new), knock(&one, &new));
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(met, (200, 200));
        assert!(callers.into_iter().all(|caller| caller.join().unwrap() == 0), "some were refused meanwhile");
        new
    });
    assert_ne!(key_of(&old), key_of(&new));
    let both = BTreeSet::from([key_of(&old), key_of(&new)]);
    for gateway in [&one, &other] {
        assert!(published(gateway).is_superset(&both), "{:?}", published(gateway));
        assert_eq!((knock(gateway, &old), knock(gateway, &new)), (200, 200));
        assert_eq!(key_of(&token(gateway, &resource)), "next");
    }
}

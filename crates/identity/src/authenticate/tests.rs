#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::certificates::CertificateHolder;

const ALICE: &str = "alice-alice-alice-alice";
const BOB: &str = "bob-bob-bob-bob-bob-bob";
const REMOTE: Peer = Peer::Remote(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));

fn identity(keys: &[(&str, &str)]) -> Result<Identity, Vec<InvalidKey>> {
    Identity::new("", keys.iter().map(|(name, key)| ((*name).to_owned(), Secret::new((*key).to_owned()))).collect(), None)
}

fn who(identity: &Identity, key: Option<&str>, peer: Peer) -> Result<String, Unauthenticated> {
    let credential = key.map(|key| Arc::new(CallerToken::new(key)));
    match identity.authenticate(&Incoming { tenant: None, endpoint: Endpoint::All, credential, certificate: None, peer, recognised: None })
    {
        Authentication::Known(known) => known.map(|known| known.principal.id().to_owned()),
        Authentication::Asks(_) => panic!("nobody has to be asked about a key"),
    }
}

#[test]
fn without_keys_this_machine_is_the_local_user_and_nobody_else_gets_in() {
    let open = identity(&[]).unwrap();
    assert!(!open.needs_credential());
    for key in [None, Some(ALICE)] {
        assert_eq!(who(&open, key, Peer::Stdio).unwrap(), "local");
        assert_eq!(who(&open, key, Peer::Loopback).unwrap(), "local");
        let proxied = [None, Some(Ipv4Addr::LOCALHOST.into()), Some(Ipv4Addr::new(192, 0, 2, 1).into())].map(Peer::Proxied);
        for peer in [REMOTE].into_iter().chain(proxied) {
            assert_eq!(who(&open, key, peer), Err(Unauthenticated::NotLocal), "{peer:?}");
        }
    }
}

#[test]
fn with_keys_every_connection_needs_one() {
    let closed = identity(&[("alice", ALICE), ("bob", BOB)]).unwrap();
    assert!(closed.needs_credential());
    for peer in [Peer::Loopback, REMOTE, Peer::Proxied(Some(Ipv4Addr::LOCALHOST.into()))] {
        assert_eq!(who(&closed, Some(ALICE), peer).unwrap(), "key:alice");
        assert_eq!(who(&closed, Some(BOB), peer).unwrap(), "key:bob");
        assert_eq!(who(&closed, None, peer), Err(Unauthenticated::NoKey));
    }
    assert_eq!(who(&closed, None, Peer::Stdio).unwrap(), "local");
}

#[test]
fn only_the_whole_key_is_the_key() {
    let closed = identity(&[("alice", ALICE)]).unwrap();
    let (first, last) = (ALICE.strip_prefix('a').unwrap(), ALICE.strip_suffix('e').unwrap());
    let (longer, upper) = (format!("{ALICE}a"), ALICE.to_uppercase());
    for key in ["", " ", first, last, &longer, &upper, "alice", "\0"] {
        assert_eq!(who(&closed, Some(key), Peer::Loopback), Err(Unauthenticated::UnknownKey), "{key:?}");
    }
}

#[test]
fn unfit_keys_are_refused_all_at_once_and_never_repeated() {
    let long = "x".repeat(4097);
    let errors = identity(&[
        ("short", "hunter2"),
        ("long", &long),
        ("spaced", "hunter2 hunter2 hunter2"),
        ("alice", ALICE),
        ("alice", BOB),
        ("again", ALICE),
    ])
    .unwrap_err();
    let told: Vec<String> = errors.iter().map(|error| format!("{error} ({})", error.hint())).collect();
    assert_eq!(
        told,
        [
            "key `short` is shorter than 16 bytes (make one with `openssl rand -hex 32`)",
            "key `long` is longer than 4096 bytes (make one with `openssl rand -hex 32`)",
            "key `spaced` has space or characters outside ASCII, so no request could carry it (make one with `openssl rand -hex 32`)",
            "key `alice` is configured twice (name each key once)",
            "key `again` equals another key (give every caller a key of its own, so that it can be taken back alone)",
        ]
    );
    assert!(!format!("{errors:?}").contains("hunter2"));
}

#[test]
fn who_takes_certificates_alone_asks_nobody_for_a_key() {
    let holder = || {
        let (name, certificate) = ("ci".to_owned(), "dns:ci.example".to_owned());
        CertificateHolder { name, certificate, groups: Vec::new(), scopes: None }
    };
    let taking = |keys: &[(&str, &str)]| identity(keys).unwrap().with_certificates(Certificates::new("", vec![holder()]));
    let told = |identity: &Identity, key: Option<&str>| identity.told(who(identity, key, REMOTE).unwrap_err());
    for key in [None, Some(ALICE)] {
        let refusal = told(&taking(&[]), key);
        assert_eq!(refusal, Unauthenticated::OnlyCertificates);
        assert!(refusal.hint().contains("it takes none"), "{}", refusal.hint());
    }
    assert_eq!(told(&taking(&[("bob", BOB)]), Some(ALICE)), Unauthenticated::UnknownKey);
    assert_eq!(told(&taking(&[("bob", BOB)]), None), Unauthenticated::NoKey);
}

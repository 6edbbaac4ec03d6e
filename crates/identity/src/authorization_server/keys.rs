//! What tokens are signed with: made, published before it is used, known until its last token has ended.

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use sallyport_store::signing_key::{self, SigningKey};
use sallyport_store::{Store, StoreError};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::problem::Problem;
use super::unguessable::encode;

const DAY: i64 = 24 * 60 * 60;
/// For how long a key signs: a stolen one is worth that long, and nobody has to think of it.
const SIGNS: i64 = 30 * DAY;
/// How long before its time a key is published: whoever keeps our keys for [`CACHED`] has met it by then, after a day offline too.
const AHEAD: i64 = DAY;
/// For how many seconds our keys may be kept.
pub(super) const CACHED: i64 = 60 * 60;

/// How tokens are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
pub enum SigningAlgorithm {
    /// Ed25519: the quickest to sign and verify, and the same signature each time.
    #[default]
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// ECDSA on P-256, for resource servers that know nothing newer.
    #[serde(rename = "ES256")]
    Es256,
}

impl SigningAlgorithm {
    /// Its name in JOSE.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
        }
    }
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

impl Pair {
    fn make(algorithm: SigningAlgorithm) -> Result<Vec<u8>, Problem> {
        let random = SystemRandom::new();
        let made = match algorithm {
            SigningAlgorithm::EdDsa => Ed25519KeyPair::generate_pkcs8(&random),
            SigningAlgorithm::Es256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random),
        };
        made.map(|pkcs8| pkcs8.as_ref().to_vec()).map_err(|_| Problem::internal("no signing key can be made"))
    }

    fn read(algorithm: &str, pkcs8: &[u8]) -> Result<Self, Problem> {
        let pair = match algorithm {
            "EdDSA" => Ed25519KeyPair::from_pkcs8(pkcs8).ok().map(Self::Ed25519),
            "ES256" => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &SystemRandom::new()).ok().map(Self::P256),
            _ => None,
        };
        pair.ok_or_else(|| Problem::internal("a signing key in the store cannot be read"))
    }

    fn public(&self) -> &[u8] {
        match self {
            Self::Ed25519(pair) => pair.public_key().as_ref(),
            Self::P256(pair) => pair.public_key().as_ref(),
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Problem> {
        match self {
            Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Self::P256(pair) => {
                let signed = pair.sign(&SystemRandom::new(), message);
                signed.map(|signature| signature.as_ref().to_vec()).map_err(|_| Problem::internal("a token cannot be signed"))
            }
        }
    }
}

/// Makes the keys that are needed now, and forgets those that are not needed any more. `overlap` is the life of the longest token.
pub(super) async fn tend(store: &Store, algorithm: SigningAlgorithm, overlap: i64, now: i64) -> Result<(), Problem> {
    let pkcs8 = Pair::make(algorithm)?; // made at the ready: two processes that come at once keep one of theirs
    let id = encode(Sha256::digest(Pair::read(algorithm.as_str(), &pkcs8)?.public()).first_chunk::<12>().unwrap_or(&[0; 12]));
    let change = store.write(move |tables| {
        signing_key::sweep(tables, now)?;
        let last = signing_key::list(tables, now)?.into_iter().find(|key| key.algorithm == algorithm.as_str());
        let signs_from = last.map_or(now, |last| last.signs_until.max(now));
        if signs_from > now + AHEAD {
            return Ok(());
        }
        let signs_until = signs_from + SIGNS;
        let ends = signs_until + overlap + CACHED;
        signing_key::add(tables, &SigningKey { id, algorithm: algorithm.as_str().to_owned(), pkcs8, signs_from, signs_until, ends })
    });
    Ok(change.await?)
}

/// The public halves of all keys, those of the future too (RFC 7517 §5).
pub(super) async fn published(store: &Store, now: i64) -> Result<Value, Problem> {
    let keys = store.read(move |tables| signing_key::list(tables, now)).await?;
    let keys: Vec<Value> = keys.iter().map(public_key).collect::<Result<_, _>>()?;
    Ok(json!({ "keys": keys }))
}

fn public_key(key: &SigningKey) -> Result<Value, Problem> {
    let pair = Pair::read(&key.algorithm, &key.pkcs8)?;
    let common = json!({ "kid": key.id, "alg": key.algorithm, "use": "sig" });
    let own = match (&pair, pair.public()) {
        (Pair::Ed25519(_), public) => json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(public) }),
        // An uncompressed point (SEC 1 §2.3.3): 0x04, x, y.
        (Pair::P256(_), [4, point @ ..]) if point.len() == 64 => {
            let (x, y) = point.split_at(32);
            json!({ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) })
        }
        _ => return Err(Problem::internal("a signing key in the store cannot be read")),
    };
    let members = [common, own].into_iter().filter_map(|part| if let Value::Object(map) = part { Some(map) } else { None }).flatten();
    Ok(Value::Object(members.collect()))
}

/// Signs `claims` as a token of this type (`typ`).
pub(super) async fn sign(store: &Store, algorithm: SigningAlgorithm, kind: &str, claims: &Value, now: i64) -> Result<String, Problem> {
    let keys: Result<Vec<SigningKey>, StoreError> = store.read(move |tables| signing_key::list(tables, now)).await;
    let is_fit = |key: &&SigningKey| key.algorithm == algorithm.as_str() && now < key.signs_until;
    let keys = keys?;
    // Where the clock was set back each of them may be one of the future: the nearest is published as well, and there is no other.
    let nearest = || keys.iter().filter(is_fit).min_by_key(|key| key.signs_from);
    let key = keys.iter().filter(is_fit).find(|key| key.signs_from <= now).or_else(nearest);
    let key = key.ok_or_else(|| Problem::internal("there is no key to sign with"))?;
    let header = json!({ "alg": key.algorithm, "typ": kind, "kid": key.id });
    let message = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    let signature = Pair::read(&key.algorithm, &key.pkcs8)?.sign(message.as_bytes())?;
    Ok(format!("{message}.{}", encode(&signature)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};

    use super::super::unguessable::decode;
    use super::*;

    fn kids(published: &Value) -> Vec<String> {
        published["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    fn kid_of(token: &str) -> String {
        let header: Value = serde_json::from_slice(&decode(token.split('.').next().unwrap()).unwrap()).unwrap();
        header["kid"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_key_is_known_before_it_signs_and_after() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.db")).unwrap();
        let (overlap, start) = (900, 1_000_000);
        let mut seen = Vec::new(); // what verifiers know that look once an hour, with the moment
        let mut signers = std::collections::BTreeSet::new();
        for hour in 0..(70 * 24) {
            let now = start + hour * CACHED;
            tend(&store, SigningAlgorithm::EdDsa, overlap, now).await.unwrap();
            let before = kids(&published(&store, now).await.unwrap());
            let token = sign(&store, SigningAlgorithm::EdDsa, "at+jwt", &json!({}), now).await.unwrap();
            signers.insert(kid_of(&token));
            if let Some(earlier) = seen.last() {
                let earlier: &Vec<String> = earlier;
                assert!(earlier.contains(&kid_of(&token)), "signed by a key that who asked an hour ago does not know");
            }
            assert!(kids(&published(&store, now + overlap).await.unwrap()).contains(&kid_of(&token)));
            seen.push(before);
        }
        assert_eq!(signers.len(), 3, "one a month");
        assert!(seen.iter().all(|keys| keys.len() <= 2));
    }

    #[tokio::test]
    async fn both_algorithms_sign_what_the_published_key_verifies() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.db")).unwrap();
        for algorithm in [SigningAlgorithm::EdDsa, SigningAlgorithm::Es256] {
            tend(&store, algorithm, 900, 1).await.unwrap();
            let token = sign(&store, algorithm, "at+jwt", &json!({ "a": 1 }), 1).await.unwrap();
            let (message, signature) = token.rsplit_once('.').unwrap();
            let published = published(&store, 1).await.unwrap();
            let key = published["keys"].as_array().unwrap().iter().find(|key| key["alg"] == algorithm.as_str()).unwrap();
            let part = |name: &str| decode(key[name].as_str().unwrap()).unwrap();
            let verified = match algorithm {
                SigningAlgorithm::EdDsa => {
                    UnparsedPublicKey::new(&ED25519, part("x")).verify(message.as_bytes(), &decode(signature).unwrap())
                }
                SigningAlgorithm::Es256 => {
                    let point = [vec![4], part("x"), part("y")].concat();
                    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message.as_bytes(), &decode(signature).unwrap())
                }
            };
            assert!(verified.is_ok() && key.get("d").is_none());
        }
    }

    #[tokio::test]
    async fn a_clock_that_was_ahead_leaves_a_key_to_sign_with() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.db")).unwrap();
        let (ahead, now) = (1_000_000 + 7_200, 1_000_000);
        tend(&store, SigningAlgorithm::EdDsa, 900, ahead).await.unwrap();
        tend(&store, SigningAlgorithm::EdDsa, 900, now).await.unwrap();
        let token = sign(&store, SigningAlgorithm::EdDsa, "at+jwt", &json!({}), now).await.unwrap();
        assert_eq!(kids(&published(&store, now).await.unwrap()), [kid_of(&token)]);
        assert_eq!(kid_of(&sign(&store, SigningAlgorithm::EdDsa, "at+jwt", &json!({}), ahead).await.unwrap()), kid_of(&token));
    }

    #[tokio::test]
    async fn two_processes_make_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let (one, other) = (Store::open(&path).unwrap(), Store::open(&path).unwrap());
        let (first, second) = tokio::join!(tend(&one, SigningAlgorithm::EdDsa, 900, 1), tend(&other, SigningAlgorithm::EdDsa, 900, 1));
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(kids(&published(&one, 1).await.unwrap()).len(), 1);
    }
}

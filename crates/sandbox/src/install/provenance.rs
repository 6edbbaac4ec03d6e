//! What a registry shows of where packages come from, and what of it was verified.
//!
//! npm's registry signs `NAME@VERSION:INTEGRITY` with ECDSA over P-256. The keys are built in: keys that came from the same registry
//! as the signatures would prove nothing against it. Of other registries, and of keys that are newer than this program, only that there
//! is a signature is known. Of attestations see [`attestation`].

mod attestation;
#[cfg(target_os = "linux")]
mod cosign;
mod cryptography;
#[cfg(target_os = "linux")]
pub(super) mod image;
mod pypi;
mod sigstore;

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Error;
use super::locked::Artefact;
pub(super) use attestation::{address, check};
pub(super) use pypi::check as check_file;

/// npm's keys, by name. The first one signed until January 2025; what it signed then still counts.
const NPM_KEYS: &[(&str, &str)] = &[
    (
        "SHA256:jl3bwswu80PjjokCgh0o2w5c2U4LhQAE57gj9cz1kzA",
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE1Olb3zMAFFxXKHiIkQO5cJ3Yhl5i6UPp+IhuteBJbuHcA5UogKo0EWtlWwW6KSaKoTNEYL7JlCQiVnkhBktUgg==",
    ),
    (
        "SHA256:DhQ8wR5APBvFHLF/+Tc+AYvPOdTpcIDqOhxsBHRwC7U",
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEY6Ya7W++7aUPzvMTrezH6Ycx3c+HOKYCcNGybJZSCJq/fd7Qa8uuAKtdIkUQtQiEKERhAmE5lMMJhP8OkDOa2g==",
    ),
];

/// Bytes before the point of a P-256 key in its DER form (RFC 5480), which is always the same.
const DER_HEAD: usize = 26;

/// Attestations that are noted though nobody looked at them; npm announces one of a package.
const MOST_ANNOUNCED: usize = 8;

/// What is known of where the packages of one installation come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Packages whose signature of the registry was verified.
    #[serde(default)]
    pub signed: u32,
    /// Packages with a signature by a key that is not known here.
    #[serde(default)]
    pub unknown_key: u32,
    /// `NAME@VERSION KIND`, of images `NAME KIND`, of attestations that the registry announces and that were not looked at.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub announced: BTreeSet<String>,
    /// Kinds of attestations that are of the package itself with this digest, by signers whom this program does not know.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub matching: BTreeSet<String>,
    /// Kinds of attestations that are, and whose signature by npm, or by a build that sigstore vouches for, was verified.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub verified: BTreeSet<String>,
    /// Whose builds those are: a workflow of a repository, as sigstore's certificate names it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub builders: BTreeSet<String>,
}

impl Provenance {
    /// Whether the registry showed nothing.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        *self == Self::default()
    }
}

/// What an older version showed of where it comes from, and a newer one does not: so it looks where somebody else publishes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// Kinds of attestations whose signature was verified.
    pub verified: BTreeSet<String>,
    /// Whose builds it came from.
    pub builders: BTreeSet<String>,
}

impl Lost {
    /// Whether nothing was lost.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Provenance {
    /// Notes an attestation that nobody looked at.
    pub(super) fn announce(&mut self, name: &str, kind: &str) {
        if self.announced.len() < MOST_ANNOUNCED && kind.len() < 200 && !kind.contains(char::is_control) {
            self.announced.insert(format!("{name} {kind}"));
        }
    }

    /// What `old` has and this lacks, whatever versions of a kind and of a repository they are of.
    #[must_use]
    pub fn lost_since(&self, old: &Self) -> Lost {
        let lacks = |had: &BTreeSet<String>, have: &BTreeSet<String>, version: &str| {
            let without_version = |text: &String| text.rsplit_once(version).map_or_else(|| text.clone(), |(start, _)| start.to_owned());
            let have: BTreeSet<String> = have.iter().map(without_version).collect();
            had.iter().filter(|text| !have.contains(&without_version(text))).cloned().collect()
        };
        // `…/provenance/v1`, `…/release.yml@refs/tags/v1.0`; who signs as `me@example.com` is nobody else at another place
        Lost { verified: lacks(&old.verified, &self.verified, "/"), builders: lacks(&old.builders, &self.builders, "@refs/") }
    }
}

#[derive(Deserialize)]
struct Signature {
    keyid: String,
    sig: String,
}

/// Adds what the registry says of one package (`dist` of its version).
///
/// # Errors
/// When a signature is there by a known key, and is not one of this package with this digest.
pub(super) fn count(found: &mut Provenance, artefact: &Artefact, dist: &Value) -> Result<(), Error> {
    let Artefact { name, version, digests } = artefact;
    // Packages of before 2017 may have none, and no signature then.
    let Some(integrity) = dist.get("integrity").and_then(Value::as_str) else { return Ok(()) };
    if !digests.contains(integrity) {
        return Err(Error::new(format!("the registry tells two digests of {name}@{version}")));
    }
    let signatures: Vec<Signature> =
        dist.get("signatures").and_then(|signatures| serde_json::from_value(signatures.clone()).ok()).unwrap_or_default();
    let known: Vec<_> = signatures.iter().filter_map(|signature| Some((signature, key(&signature.keyid)?))).collect();
    if let Some((signature, _)) =
        known.iter().find(|(signature, key)| !signs(key, &signature.sig, format!("{name}@{version}:{integrity}").as_bytes()))
    {
        return Err(Error::new(format!("the registry's signature of {name}@{version} is not valid (key {})", signature.keyid))
            .with_hint("somebody may have changed the package on its way: look at the registry and the proxy in your settings"));
    }
    match (known.is_empty(), signatures.is_empty()) {
        (false, _) => found.signed += 1,
        (true, false) => found.unknown_key += 1,
        (true, true) => {}
    }
    let kind = dist.pointer("/attestations/provenance/predicateType").and_then(Value::as_str);
    if let Some(kind) = kind {
        found.announce(&format!("{name}@{version}"), kind);
    }
    Ok(())
}

fn key(id: &str) -> Option<Vec<u8>> {
    let (_, key) = NPM_KEYS.iter().find(|(known, _)| *known == id)?;
    STANDARD.decode(key).ok()?.get(DER_HEAD..).map(<[u8]>::to_vec)
}

fn signs(key: &[u8], signature: &str, text: &[u8]) -> bool {
    let Ok(signature) = STANDARD.decode(signature) else { return false };
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(text, &signature).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use serde_json::json;

    use super::*;

    /// As registry.npmjs.org served it.
    const INTEGRITY: &str = "sha512-QqZ7VJ/8xPkS9s2IWB7Shj3qTJdcRyeXKbPQnsZjsPEwvutGv0EGeVchPcauoiDFJlGbZMFq5GDCurAGNSghJQ==";
    const KEY: &str = "SHA256:jl3bwswu80PjjokCgh0o2w5c2U4LhQAE57gj9cz1kzA";
    const SIGNATURE: &str = "MEUCIDrLNspFeU5NZ6d55ycVBZIMXnPJi/XnI1Y2dlJvK8P1AiEAnXjn1IOMUd+U7YfPH+FNjwfLq+jCwfH8uaxocq+mpPk=";

    fn counted(version: &str, keyid: &str, sig: &str) -> Result<Provenance, Error> {
        let artefact = Artefact { name: "kms-demo".into(), version: version.into(), digests: BTreeSet::from([INTEGRITY.into()]) };
        let mut found = Provenance::default();
        let dist = json!({"integrity": INTEGRITY, "signatures": [{"keyid": keyid, "sig": sig}]});
        count(&mut found, &artefact, &dist).map(|()| found)
    }

    #[test]
    fn whose_address_is_at_another_place_is_somebody_else() {
        let by = |builder: &str| Provenance { builders: BTreeSet::from([builder.into()]), ..Provenance::default() };
        let lost = |old: &str, new: &str| !by(new).lost_since(&by(old)).is_nothing();
        assert!(lost("alice@good.example", "alice@evil.example"));
        let of = |version: &str| format!("https://github.com/made/here/.github/workflows/release.yml@refs/tags/{version}");
        assert!(!lost(&of("v1"), &of("v2@3")) && lost(&of("v1"), &of("v1").replace("made", "mad")));
    }

    #[test]
    fn a_recorded_signature_of_npm_is_verified() {
        assert_eq!(counted("1.0.0", KEY, SIGNATURE).unwrap(), Provenance { signed: 1, ..Provenance::default() });
    }

    #[test]
    fn a_signature_of_something_else_is_refused() {
        for (version, key, signature) in
            [("1.0.1", KEY, SIGNATURE), ("1.0.0", KEY, "bogus"), ("1.0.0", KEY, "MEUCIQ=="), ("1.0.0", NPM_KEYS[1].0, SIGNATURE)]
        {
            let error = counted(version, key, signature).unwrap_err();
            assert!(error.to_string().contains("is not valid"), "{error}");
        }
    }

    #[test]
    fn of_unknown_keys_and_attestations_only_is_noted_that_they_are_there() {
        assert_eq!(counted("1.0.0", "SHA256:new", "any").unwrap(), Provenance { unknown_key: 1, ..Provenance::default() });
        let artefact = Artefact { name: "a".into(), version: "1".into(), digests: BTreeSet::from(["sha512-x".into()]) };
        let mut found = Provenance::default();
        let kind = "https://slsa.dev/provenance/v1";
        let dist = json!({"integrity": "sha512-x", "attestations": {"provenance": {"predicateType": kind}}});
        count(&mut found, &artefact, &dist).unwrap();
        assert_eq!(found.announced, BTreeSet::from([format!("a@1 {kind}")]));
        let error = count(&mut found, &artefact, &json!({"integrity": "sha512-y"})).unwrap_err();
        assert!(error.to_string().contains("two digests"), "{error}");
    }

    #[test]
    fn what_a_newer_version_lacks_is_found_whatever_its_version() {
        let of = |verified: &[&str], builders: &[&str]| {
            let set = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
            Provenance { verified: set(verified), builders: set(builders), ..Provenance::default() }
        };
        let old = of(&["https://slsa.dev/provenance/v0.2"], &["https://g.example/a/b/release.yml@refs/tags/v1"]);
        let newer =
            of(&["https://slsa.dev/provenance/v1", "https://p.example/publish/v1"], &["https://g.example/a/b/release.yml@refs/tags/v2"]);
        assert!(newer.lost_since(&old).is_nothing() && old.lost_since(&Provenance::default()).is_nothing());
        let forked = of(&["https://slsa.dev/provenance/v1"], &["https://g.example/evil/b/release.yml@refs/tags/v1"]);
        assert_eq!(forked.lost_since(&old), Lost { builders: old.builders.clone(), ..Lost::default() });
        assert_eq!(Provenance::default().lost_since(&old), Lost { verified: old.verified.clone(), builders: old.builders.clone() });
    }
}

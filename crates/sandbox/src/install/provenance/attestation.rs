//! Attestations of npm's registry: statements about a package (provenance of SLSA, npm's own record of publishing), each in an envelope
//! with a signature (DSSE).
//!
//! Of each it is verified that it speaks of this package with this digest. npm's own record is signed by npm's key, provenance by a
//! certificate that sigstore made for one build (see [`sigstore`]).

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::Error;
use super::super::locked::{Artefact, hex};
use super::sigstore::{self, Verdict};
use super::{Provenance, key, signs};

/// Attestations of one version; npm has two.
const MOST: usize = 16;

/// Where the registry says that the attestations of a version are.
pub(in super::super) fn address(dist: &Value) -> Option<&str> {
    dist.pointer("/attestations/url").and_then(Value::as_str).filter(|url| url.starts_with("https://") || url.starts_with("http://"))
}

#[derive(Deserialize)]
struct Attestations {
    attestations: Vec<Attestation>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attestation {
    predicate_type: String,
    bundle: Box<RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    dsse_envelope: Envelope,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Envelope {
    pub(super) payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
    #[serde(default)]
    keyid: String,
}

/// What an attestation says (in-toto).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Statement {
    pub(super) subject: Vec<Subject>,
    pub(super) predicate_type: String,
}

#[derive(Deserialize)]
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) digest: std::collections::BTreeMap<String, String>,
}

/// Looks at what the registry has of attestations for a package.
///
/// # Errors
/// When one of them is of something else, or has a signature by a known key that is not valid.
pub(in super::super) fn check(found: &mut Provenance, artefact: &Artefact, text: &str) -> Result<(), Error> {
    let about = format!("{}@{}", artefact.name, artefact.version);
    let refused = |what: &str| {
        Error::new(format!("an attestation of {about} {what}"))
            .with_hint("somebody may have changed the package on its way: look at the registry and the proxy in your settings")
    };
    let all: Attestations = serde_json::from_str(text).map_err(|_| refused("cannot be read"))?;
    for Attestation { predicate_type, bundle } in all.attestations.into_iter().take(MOST) {
        let Bundle { dsse_envelope } = serde_json::from_str(bundle.get()).map_err(|_| refused("cannot be read"))?;
        let Envelope { payload, payload_type, signatures } = dsse_envelope;
        let payload = STANDARD.decode(payload).map_err(|_| refused("cannot be read"))?;
        let statement: Statement = serde_json::from_slice(&payload).map_err(|_| refused("cannot be read"))?;
        if !statement.subject.iter().any(|subject| subject.is(artefact)) {
            return Err(refused("is of something else"));
        }
        // What is beside the envelope nobody has signed.
        if statement.predicate_type != predicate_type {
            return Err(refused("is called by another kind than it is of"));
        }
        let signed = encoded(&payload_type, &payload);
        let known: Vec<_> = signatures.iter().filter_map(|signature| Some((signature, key(&signature.keyid)?))).collect();
        if known.iter().any(|(signature, key)| !signs(key, &signature.sig, &signed)) {
            return Err(refused("has a signature that is not valid"));
        }
        let verdict =
            if known.is_empty() { sigstore::verify(sigstore::sha512(&artefact.digests), bundle.get()) } else { Verdict::Signed(None) };
        note(found, statement.predicate_type, verdict).map_err(|why| refused(&why))?;
    }
    found.announced.retain(|announced| !announced.starts_with(&format!("{about} ")));
    Ok(())
}

/// Adds an attestation of that kind by what became of its signature.
pub(super) fn note(found: &mut Provenance, kind: String, verdict: Verdict) -> Result<(), String> {
    let kinds: &mut BTreeSet<String> = match verdict {
        Verdict::Signed(builder) => {
            found.builders.extend(builder.filter(|builder| is_shown(builder)));
            &mut found.verified
        }
        Verdict::UnknownSigner => &mut found.matching,
        Verdict::Invalid(why) => return Err(format!("is not signed by who it says: {why}")),
    };
    if is_shown(&kind) {
        kinds.insert(kind);
    }
    Ok(())
}

/// Whether a text of the registry's may be shown to a person, and kept.
fn is_shown(text: &str) -> bool {
    !text.contains(char::is_control) && text.len() < 500
}

impl Subject {
    /// Whether it is this package with this digest; as a package URL, `@` of a scope is `%40`.
    fn is(&self, artefact: &Artefact) -> bool {
        let name = format!("pkg:npm/{}@{}", artefact.name.replacen('@', "%40", 1), artefact.version);
        let digests = artefact.digests.iter().filter_map(|digest| STANDARD.decode(digest.strip_prefix("sha512-")?).ok());
        let mut digests = digests.map(|digest| hex(digest.iter()));
        self.name == name && digests.any(|digest| self.digest.get("sha512") == Some(&digest))
    }
}

/// What an envelope's signature is of (DSSE's PAE).
fn encoded(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut text = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    text.extend_from_slice(payload);
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    /// As registry.npmjs.org served it in January 2023, without certificates and log entries, which are not looked at.
    const RECORDED: &str = include_str!("sigstore-0.4.0.json");
    const INTEGRITY: &str = "sha512-KCwMX6k20mQyFkNYG2XT3lwK9u1P36wS9YURFd85zCXPrwrSLZCEh7/vMBFNYcJXRiBtGDS+T4/RZZF493zABA==";

    /// The same of another version, whole.
    const WHOLE: &str = include_str!("sigstore-2.0.0.json");
    const WHOLE_INTEGRITY: &str = "sha512-RtTi90xIdzFmQAAKb9+Ki1nx4IR2Z5c+mFn3dN0xuPHgk3gTt3f7ZqKsZ9UFQP40ZAlm7un8LMyjhwgrTIXNPA==";

    fn checked(name: &str, integrity: &str, text: &str) -> Result<Provenance, Error> {
        checked_version(name, "0.4.0", integrity, text)
    }

    fn checked_version(name: &str, version: &str, integrity: &str, text: &str) -> Result<Provenance, Error> {
        let artefact = Artefact { name: name.into(), version: version.into(), digests: BTreeSet::from([integrity.into()]) };
        let announced = BTreeSet::from([format!("{name}@{version} kind"), "other@1 kind".into()]);
        let mut found = Provenance { announced, ..Provenance::default() };
        check(&mut found, &artefact, text).map(|()| found)
    }

    #[test]
    fn recorded_attestations_are_of_their_package_and_npms_is_signed_by_npm() {
        let found = checked("sigstore", INTEGRITY, RECORDED).unwrap();
        assert_eq!(found.matching, BTreeSet::from(["https://slsa.dev/provenance/v0.2".into()]));
        assert_eq!(found.verified, BTreeSet::from(["https://github.com/npm/attestation/tree/main/specs/publish/v0.1".into()]));
        assert_eq!(found.announced, BTreeSet::from(["other@1 kind".into()]));
    }

    #[test]
    fn recorded_provenance_is_of_the_build_that_sigstore_vouches_for() {
        let found = checked_version("sigstore", "2.0.0", WHOLE_INTEGRITY, WHOLE).unwrap();
        assert_eq!(found.verified, BTreeSet::from(["https://slsa.dev/provenance/v1".into()]));
        let builder = "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main";
        assert_eq!(found.builders, BTreeSet::from([builder.into()]));
        assert!(found.matching.is_empty());
    }

    /// Changes a text somewhere inside the first member of that name.
    fn spoiled(text: &str, member: &str) -> String {
        let start = text.find(&format!("\"{member}\": \"")).unwrap() + member.len() + 5 + 40;
        let mut bytes = text.as_bytes().to_vec();
        bytes[start] = if bytes[start] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn provenance_whose_signature_certificate_or_log_entry_was_changed_is_refused() {
        for member in ["sig", "rawBytes", "canonicalizedBody", "signedEntryTimestamp"] {
            let refused = checked_version("sigstore", "2.0.0", WHOLE_INTEGRITY, &spoiled(WHOLE, member)).unwrap_err().to_string();
            assert!(refused.contains("is not signed by who it says"), "{member}: {refused}");
        }
    }

    #[test]
    fn provenance_by_a_log_that_nobody_knows_is_not_taken_for_verified() {
        let start = WHOLE.find("\"keyId\": \"").unwrap() + 10;
        let mut bytes = WHOLE.as_bytes().to_vec();
        bytes[start] = if bytes[start] == b'A' { b'B' } else { b'A' };
        let text = String::from_utf8(bytes).unwrap();
        let found = checked_version("sigstore", "2.0.0", WHOLE_INTEGRITY, &text).unwrap();
        assert!(found.verified.is_empty() && found.builders.is_empty());
        assert_eq!(found.matching, BTreeSet::from(["https://slsa.dev/provenance/v1".into()]));
    }

    #[test]
    fn attestations_of_something_else_and_changed_ones_are_refused() {
        let other = format!("sha512-{}", STANDARD.encode([0; 64]));
        let signature = "MEUCIQC/3eKn";
        let npms_own = "https://github.com/npm/attestation/tree/main/specs/publish/v0.1";
        let relabelled = RECORDED.replace(npms_own, "https://slsa.dev/provenance/v1");
        for (name, integrity, text, expected) in [
            ("other", INTEGRITY, RECORDED.to_owned(), "of something else"),
            ("sigstore", &other, RECORDED.to_owned(), "of something else"),
            ("sigstore", INTEGRITY, RECORDED.replace(signature, "MEUCIQC/3eKm"), "is not valid"),
            ("sigstore", INTEGRITY, relabelled, "another kind"),
            ("sigstore", INTEGRITY, "{}".to_owned(), "cannot be read"),
        ] {
            let error = checked(name, integrity, &text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}

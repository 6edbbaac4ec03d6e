//! Attestations of PyPI (PEP 740): of each file who published it, signed by the workflow that did.
//!
//! They hold the same as a bundle of sigstore's, under other names.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::super::Error;
use super::super::locked::Artefact;
use super::attestation::{Statement, note};
use super::{Provenance, sigstore};

/// Attestations of one file; PyPI has two at most.
const MOST: usize = 16;
/// What a bundle of sigstore's calls itself that is put together as below.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// What PyPI's statements are.
const STATEMENT: &str = "application/vnd.in-toto+json";

/// What the index has of one file.
#[derive(Deserialize)]
struct FileProvenance {
    attestation_bundles: Vec<Publisher>,
}

#[derive(Deserialize)]
struct Publisher {
    attestations: Vec<Attestation>,
}

#[derive(Deserialize)]
struct Attestation {
    verification_material: Material,
    envelope: Envelope,
}

#[derive(Deserialize)]
struct Material {
    certificate: String,
    transparency_entries: Box<RawValue>,
}

#[derive(Deserialize)]
struct Envelope {
    statement: String,
    signature: String,
}

/// Looks at what the index has of attestations for one file of a package.
///
/// # Errors
/// When one of them is of something else, or its signature is not valid.
pub(in super::super) fn check(found: &mut Provenance, artefact: &Artefact, text: &str) -> Result<(), Error> {
    let refused = |what: &str| {
        Error::new(format!("an attestation of {} {} {what}", artefact.name, artefact.version))
            .with_hint("somebody may have changed the package on its way: look at the index and the proxy in your settings")
    };
    let all: FileProvenance = serde_json::from_str(text).map_err(|_| refused("cannot be read"))?;
    for Attestation { verification_material, envelope } in all.attestation_bundles.into_iter().flat_map(|by| by.attestations).take(MOST) {
        let payload = STANDARD.decode(&envelope.statement).map_err(|_| refused("cannot be read"))?;
        let statement: Statement = serde_json::from_slice(&payload).map_err(|_| refused("cannot be read"))?;
        let digest = statement.subject.iter().find_map(|subject| {
            let digest = subject.digest.get("sha256")?;
            artefact.digests.contains(&format!("sha256:{digest}")).then_some(digest)
        });
        let digest = digest.ok_or_else(|| refused("is of something else"))?;
        let bundle = json!({
            "mediaType": BUNDLE,
            "verificationMaterial": {
                "certificate": {"rawBytes": verification_material.certificate},
                "tlogEntries": verification_material.transparency_entries,
            },
            "dsseEnvelope": {
                "payload": envelope.statement,
                "payloadType": STATEMENT,
                "signatures": [{"sig": envelope.signature}],
            },
        });
        let verdict = sigstore::verify(sigstore::sha256(digest), &bundle.to_string());
        note(found, statement.predicate_type, verdict).map_err(|why| refused(&why))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::collections::BTreeSet;

    use super::*;

    /// As pypi.org serves it for the source distribution of that version.
    const RECORDED: &str = include_str!("pypi_attestations-0.0.19.json");
    const DIGEST: &str = "sha256:9bb1add04b1b4e182be6b0b80931593f7a291eb49d69b4fd728a5d4cbcdc4bd3";

    fn checked(digest: &str, text: &str) -> Result<Provenance, Error> {
        let digests = BTreeSet::from([digest.to_owned(), "sha256:00".to_owned()]);
        let artefact = Artefact { name: "pypi-attestations".into(), version: "0.0.19".into(), digests };
        let mut found = Provenance::default();
        check(&mut found, &artefact, text).map(|()| found)
    }

    #[test]
    fn a_recorded_attestation_is_of_the_workflow_that_published_the_file() {
        let found = checked(DIGEST, RECORDED).unwrap();
        assert_eq!(found.verified, BTreeSet::from(["https://docs.pypi.org/attestations/publish/v1".into()]));
        let builder = "https://github.com/trailofbits/pypi-attestations/.github/workflows/release.yml@refs/tags/v0.0.19";
        assert_eq!(found.builders, BTreeSet::from([builder.into()]));
    }

    #[test]
    fn one_of_another_file_and_one_that_was_changed_are_refused() {
        let changed = RECORDED.replace("MEYCIQC+Yjc", "MEYCIQC+Yjd");
        for (digest, text, expected) in [
            ("sha256:11", RECORDED, "of something else"),
            (DIGEST, &changed, "is not signed by who it says"),
            (DIGEST, "[]", "cannot be read"),
        ] {
            let error = checked(digest, text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}

//! Attestations and signatures of images: bundles of sigstore's that lie beside an image in its registry.
//!
//! An attestation is a statement of the image's digest in an envelope, as npm's are; a signature may also be of the image's manifest
//! itself. Whoever may write to the registry may put any there: what is of another image, or not signed by who it says, refuses the image,
//! and of what a key signed that nobody named only is told that it is there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::super::Error;
use super::attestation::{Envelope, Statement, note};
pub(in super::super) use super::cosign::{Form, Layer};
use super::{Provenance, cosign, sigstore};

/// Bytes of an attestation that is looked at; lists of all that is in an image are longer, and nobody's proof of where it comes from.
pub(in super::super) const LARGEST: usize = sigstore::LARGEST;

/// What a signature is called that is of no statement: as cosign calls its own since they are statements.
const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";

/// The image that is asked about.
pub(in super::super) struct Image<'a> {
    /// Its name in the registry.
    pub(in super::super) name: &'a str,
    /// What is locked of it.
    pub(in super::super) digest: &'a str,
    /// What has this digest.
    pub(in super::super) manifest: &'a [u8],
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    dsse_envelope: Option<Envelope>,
    message_signature: Option<MessageSignature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageSignature {
    message_digest: MessageDigest,
}

#[derive(Deserialize)]
struct MessageDigest {
    algorithm: String,
    digest: String,
}

/// Looks at a bundle.
///
/// # Errors
/// When it is of something else, or its signature is not valid.
pub(in super::super) fn check(found: &mut Provenance, image: &Image<'_>, bundle: &[u8]) -> Result<(), Error> {
    let text = std::str::from_utf8(bundle).map_err(|_| refused(image, "cannot be read"))?;
    check_over(found, image, image.manifest, text)
}

/// Looks at what cosign has put there in a form of its own, before version 3.
///
/// # Errors
/// As [`check`].
pub(in super::super) fn check_layer(found: &mut Provenance, image: &Image<'_>, layer: &Layer<'_>) -> Result<(), Error> {
    let bundle = cosign::bundle(layer).ok_or_else(|| refused(image, "cannot be read"))?;
    let signed = match layer.form {
        Form::Attestation => image.manifest,
        Form::Signature if cosign::names(layer.text, image.digest) => layer.text,
        Form::Signature => return Err(refused(image, "is of something else")),
    };
    check_over(found, image, signed, &bundle)
}

/// Looks at a bundle whose signature, if it is of no statement, is of `signed`.
fn check_over(found: &mut Provenance, image: &Image<'_>, signed: &[u8], text: &str) -> Result<(), Error> {
    let unreadable = || refused(image, "cannot be read");
    let kind = match serde_json::from_str(text).map_err(|_| unreadable())? {
        Bundle { dsse_envelope: Some(Envelope { payload, .. }), message_signature: None } => {
            let payload = STANDARD.decode(payload).map_err(|_| unreadable())?;
            let statement: Statement = serde_json::from_slice(&payload).map_err(|_| unreadable())?;
            let mut digests = statement.subject.iter().filter_map(|subject| subject.digest.get("sha256"));
            digests.any(|digest| image.digest.strip_prefix("sha256:") == Some(digest)).then_some(statement.predicate_type)
        }
        Bundle { dsse_envelope: None, message_signature: Some(MessageSignature { message_digest }) } => {
            message_digest.is_of(signed).then(|| SIGNATURE.to_owned())
        }
        _ => return Err(unreadable()),
    };
    let kind = kind.ok_or_else(|| refused(image, "is of something else"))?;
    note(found, kind, sigstore::verify(Some(signed), text)).map_err(|why| refused(image, &why))
}

impl MessageDigest {
    fn is_of(&self, signed: &[u8]) -> bool {
        self.algorithm == "SHA2_256" && self.digest == STANDARD.encode(Sha256::digest(signed))
    }
}

fn refused(image: &Image<'_>, what: &str) -> Error {
    Error::new(format!("an attestation of {} {what}", image.name))
        .with_hint("somebody may have changed the image, or what lies beside it: do not trust it before you know why")
}

#[cfg(test)]
pub(in super::super) mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::{Value, json};

    use super::*;

    /// What cosign put beside an image, and what is in front of it: as slsa-verifier's tests keep it of slsa-framework/example-package (Apache-2.0).
    const ATTESTATION: &str = include_str!("example-package-2.1.0.json");
    /// The same of a signature, as the documentation of salrashid123/go-bazel-github-workflow has it (Apache-2.0).
    const SIGNED: &str = include_str!("server_image-0.0.26.json");
    const SIGNED_DIGEST: &str = "sha256:120ef883bd7612aee0a100297def41014bf3e1aa321a0eaf4d0ebd9855d39a11";

    /// Attested by a workflow that builds for others.
    pub(in super::super::super) const BUILDER: &str = "https://github.com/slsa-framework/example-package through \
        https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/v2.1.0";
    const SIGNER: &str = "https://github.com/salrashid123/go-bazel-github-workflow/.github/workflows/release.yaml@refs/tags/v0.0.26";
    const SLSA: &str = "https://slsa.dev/provenance/v0.2";

    /// One layer, as it was recorded.
    #[derive(Clone, Deserialize)]
    pub(in super::super::super) struct Recorded {
        #[serde(default)]
        pub(in super::super::super) manifest: String,
        pub(in super::super::super) text: String,
        pub(in super::super::super) annotations: BTreeMap<String, String>,
    }

    pub(in super::super::super) fn attestation() -> Recorded {
        serde_json::from_str(ATTESTATION).unwrap()
    }

    fn signed() -> Recorded {
        serde_json::from_str(SIGNED).unwrap()
    }

    pub(in super::super::super) fn digest_of(manifest: &str) -> String {
        let hex: String = Sha256::digest(manifest).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }

    impl Recorded {
        /// The same as a bundle, as it is put beside images now.
        pub(in super::super::super) fn bundle(&self) -> String {
            cosign::bundle(&self.layer(Form::Attestation)).unwrap()
        }

        fn layer(&self, form: Form) -> Layer<'_> {
            Layer { form, text: self.text.as_bytes(), annotations: &self.annotations }
        }

        fn without(mut self, annotation: &str) -> Self {
            self.annotations.remove(annotation).unwrap();
            self
        }

        fn checked(&self, form: Form, digest: &str) -> Result<Provenance, String> {
            let mut found = Provenance::default();
            let image = Image { name: "r.example/x", digest, manifest: self.manifest.as_bytes() };
            check_layer(&mut found, &image, &self.layer(form)).map(|()| found).map_err(|error| error.to_string())
        }
    }

    fn checked(bundle: &str, manifest: &str) -> Result<Provenance, String> {
        let mut found = Provenance::default();
        let digest = digest_of(manifest);
        let image = Image { name: "r.example/x", digest: &digest, manifest: manifest.as_bytes() };
        check(&mut found, &image, bundle.as_bytes()).map(|()| found).map_err(|error| error.to_string())
    }

    fn set(text: &str) -> BTreeSet<String> {
        BTreeSet::from([text.to_owned()])
    }

    fn verified(kind: &str, builder: &str) -> Provenance {
        Provenance { verified: set(kind), builders: set(builder), ..Provenance::default() }
    }

    #[test]
    fn a_recorded_attestation_is_of_the_repository_and_the_workflow_that_built_the_image() {
        let recorded = attestation();
        let digest = digest_of(&recorded.manifest);
        assert_eq!(recorded.checked(Form::Attestation, &digest).unwrap(), verified(SLSA, BUILDER));
        assert_eq!(checked(&recorded.bundle(), &recorded.manifest).unwrap(), verified(SLSA, BUILDER));
    }

    #[test]
    fn a_recorded_signature_is_of_who_signed_the_image() {
        assert_eq!(signed().checked(Form::Signature, SIGNED_DIGEST).unwrap(), verified(SIGNATURE, SIGNER));
    }

    #[test]
    fn what_is_of_another_image_changed_or_cut_is_refused() {
        let (recorded, digest) = (attestation(), digest_of(&attestation().manifest));
        let other = digest_of("other");
        for (form, recorded) in [(Form::Attestation, recorded.clone()), (Form::Signature, signed())] {
            assert!(recorded.checked(form, &other).unwrap_err().contains("is of something else"));
        }
        let bundle = recorded.bundle();
        assert!(checked(&bundle, "{}").unwrap_err().contains("is of something else"));
        for cut in ["", "{}", bundle.split_at(bundle.len() / 2).0] {
            assert!(checked(cut, &recorded.manifest).unwrap_err().contains("cannot be read"), "{cut}");
        }
        let mut changed: Value = serde_json::from_str(&bundle).unwrap();
        changed["dsseEnvelope"]["signatures"][0]["sig"] = json!(STANDARD.encode("bogus"));
        assert!(checked(&changed.to_string(), &recorded.manifest).unwrap_err().contains("is not signed by who it says"));
        // The certificate of one signer with what another signed.
        let mut mixed = recorded;
        mixed.annotations.insert("dev.sigstore.cosign/certificate".into(), signed().annotations["dev.sigstore.cosign/certificate"].clone());
        assert!(mixed.checked(Form::Attestation, &digest).unwrap_err().contains("is not signed by who it says"));
        let mut renamed = signed();
        renamed.text = renamed.text.replace("cosign container image signature", "atomic container signature");
        assert!(renamed.checked(Form::Signature, SIGNED_DIGEST).unwrap_err().contains("is of something else"));
        renamed.text = signed().text + " ";
        assert!(renamed.checked(Form::Signature, SIGNED_DIGEST).unwrap_err().contains("is not signed by who it says"));
    }

    #[test]
    fn what_a_key_signed_that_nobody_named_is_told_and_not_trusted() {
        let matching = |kind: &str| Provenance { matching: set(kind), ..Provenance::default() };
        let certificate = "dev.sigstore.cosign/certificate";
        let digest = digest_of(&attestation().manifest);
        for missing in [certificate, "dev.sigstore.cosign/bundle"] {
            assert_eq!(attestation().without(missing).checked(Form::Attestation, &digest).unwrap(), matching(SLSA), "{missing}");
        }
        let by_key = signed().without(certificate);
        assert_eq!(by_key.checked(Form::Signature, SIGNED_DIGEST).unwrap(), matching(SIGNATURE));
        assert_eq!(by_key.without("dev.sigstore.cosign/bundle").checked(Form::Signature, SIGNED_DIGEST).unwrap(), matching(SIGNATURE));
        // A bundle of a signature of the manifest itself.
        let of = |manifest: &str| {
            json!({
                "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
                "verificationMaterial": { "publicKey": { "hint": "x" }, "tlogEntries": [] },
                "messageSignature": {
                    "messageDigest": { "algorithm": "SHA2_256", "digest": STANDARD.encode(Sha256::digest(manifest)) },
                    "signature": "AAAA",
                },
            })
        };
        assert_eq!(checked(&of("{}").to_string(), "{}").unwrap(), matching(SIGNATURE));
        assert!(checked(&of("other").to_string(), "{}").unwrap_err().contains("is of something else"));
    }
}

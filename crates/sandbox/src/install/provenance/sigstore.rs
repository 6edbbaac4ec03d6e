//! Provenance that a build signed: whose build it was, sigstore says.
//!
//! A build gets a key for minutes, and a certificate of sigstore's that names the workflow it runs; the signature is entered into a public
//! log. Verified are the certificate's chain, that it stands in the log of certificates, that the signature was entered while it was
//! valid, and the signature itself, of these very files. Sigstore's roots and keys are built in, as of this program's making; what is
//! signed by newer ones is not known, which is not the same as false.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sigstore_verify::trust_root::{SigstoreInstance, TrustedRoot};
use sigstore_verify::types::{Artifact, ArtifactDigest, Bundle, HashAlgorithm, Sha256Hash};
use sigstore_verify::{CertificateError, Error, VerificationPolicy, VerificationResult, Verifier};

use super::cryptography;

/// Bytes of a bundle; recorded ones have 20,000.
pub(super) const LARGEST: usize = 1024 * 1024;

/// What became of a signature.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is valid; by whose build, where that is known.
    Signed(Option<String>),
    /// It is by somebody of whom this program knows nothing.
    UnknownSigner,
    /// It is not what it claims to be: why.
    Invalid(String),
}

/// Verifies the signature of a bundle over files of which one is this.
pub(super) fn verify<'a>(artifact: Option<impl Into<Artifact<'a>>>, bundle: &str) -> Verdict {
    let Some(artifact) = artifact else { return Verdict::UnknownSigner };
    let Some(known) = known().filter(|_| bundle.len() <= LARGEST) else { return Verdict::UnknownSigner };
    let Ok(bundle) = Bundle::from_json(bundle) else { return Verdict::UnknownSigner };
    let entries = &bundle.verification_material.tlog_entries;
    // A key of somebody's own, or a log that is nobody's: so do those sign who do not use sigstore's public service.
    if entries.is_empty() || bundle.signing_certificate().is_none() {
        return Verdict::UnknownSigner;
    }
    let logs = entries.iter().map(|entry| &entry.log_id.key_id);
    if logs.into_iter().any(|log| known.root.rekor_key_for_log(log).is_err()) {
        return Verdict::UnknownSigner;
    }
    let artifact = artifact.into();
    let text = artifact.blob().unwrap_or_default().to_vec();
    match cryptography::verifying(text, || known.verifier.verify(artifact, &bundle, &VerificationPolicy::any_identity())) {
        Ok(verified) => Verdict::Signed(builder(&verified)),
        Err(error) if is_unknown(&error) => Verdict::UnknownSigner,
        Err(error) => Verdict::Invalid(error.to_string()),
    }
}

/// Who signed. Of a workflow that builds for other repositories than its own also for which: without, all of those were one builder.
fn builder(verified: &VerificationResult) -> Option<String> {
    let signer = verified.identity()?.to_string();
    let repository = verified.certificate().and_then(|certificate| certificate.ci_claims.source_repository_uri.clone());
    Some(match repository.filter(|repository| !signer.starts_with(&format!("{repository}/"))) {
        Some(repository) => format!("{repository} through {signer}"),
        None => signer,
    })
}

/// The digest of a package of npm's (`sha512-` and base64).
pub(super) fn sha512(digests: &BTreeSet<String>) -> Option<ArtifactDigest> {
    let digest = digests.iter().find_map(|digest| STANDARD.decode(digest.strip_prefix("sha512-")?).ok())?;
    ArtifactDigest::new(HashAlgorithm::Sha2512, digest).ok()
}

/// The digest of a file of PyPI's.
pub(super) fn sha256(digest: &str) -> Option<ArtifactDigest> {
    Sha256Hash::from_hex(digest).ok().map(ArtifactDigest::sha256)
}

/// What this program knows of sigstore.
struct Known {
    root: TrustedRoot,
    verifier: Verifier,
}

/// Made once: to read sigstore's roots takes longer than to verify a signature.
fn known() -> Option<&'static Known> {
    static KNOWN: OnceLock<Option<Known>> = OnceLock::new();
    let made = KNOWN.get_or_init(|| {
        cryptography::install();
        let root = TrustedRoot::from_embedded(SigstoreInstance::PublicGood).ok()?;
        Some(Known { verifier: Verifier::new(&root).ok()?, root })
    });
    made.as_ref()
}

/// Whether it failed because the signer is newer than this program, or of another kind than it knows.
fn is_unknown(error: &Error) -> bool {
    matches!(error, Error::Certificate(CertificateError::NoValidAuthority { .. }) | Error::UnsupportedBundle(_))
}

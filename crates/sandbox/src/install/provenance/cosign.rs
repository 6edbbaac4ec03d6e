//! The form in which cosign signed images before version 3: layers of an image of its own, with the certificate and the entry of the log
//! beside them. They hold the same as a bundle of sigstore's, under other names.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What a bundle calls itself whose entry of the log is only promised, as it is here.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle+json;version=0.1";

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const ENTRY: &str = "dev.sigstore.cosign/bundle";

/// What a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Form {
    /// An envelope with a statement.
    Attestation,
    /// A text that names the image, and is signed.
    Signature,
}

/// One attestation or signature.
pub(in super::super) struct Layer<'a> {
    pub(in super::super) form: Form,
    pub(in super::super) text: &'a [u8],
    pub(in super::super) annotations: &'a BTreeMap<String, String>,
}

/// An entry of the log, which has promised to keep it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    signed_entry_timestamp: String,
    payload: EntryPayload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryPayload {
    body: String,
    integrated_time: i64,
    log_index: i64,
    #[serde(rename = "logID")]
    log_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryBody {
    kind: String,
    api_version: String,
}

/// The text that is signed in the place of the image.
#[derive(Deserialize)]
struct Named {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: NamedImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct NamedImage {
    docker_manifest_digest: String,
}

/// Whether a signed text is of the image with this digest.
pub(super) fn names(text: &[u8], digest: &str) -> bool {
    let named: Option<Named> = serde_json::from_slice(text).ok();
    let is_it =
        |critical: &Critical| critical.kind == "cosign container image signature" && critical.image.docker_manifest_digest == digest;
    named.is_some_and(|named| is_it(&named.critical))
}

/// The bundle that says the same. `None` where it cannot be read.
pub(super) fn bundle(layer: &Layer<'_>) -> Option<String> {
    let annotation = |name: &str| layer.annotations.get(name).filter(|text| !text.is_empty());
    let mut material = match annotation(CERTIFICATE) {
        Some(pem) => json!({ "x509CertificateChain": { "certificates": [{ "rawBytes": der(pem)? }] } }),
        None => json!({ "publicKey": { "hint": "" } }),
    };
    if let Some(entry) = annotation(ENTRY) {
        material["tlogEntries"] = json!([log_entry(&serde_json::from_str(entry).ok()?)?]);
    }
    let (name, content) = match layer.form {
        Form::Attestation => ("dsseEnvelope", serde_json::from_slice(layer.text).ok()?),
        Form::Signature => ("messageSignature", signature(layer.text, annotation(SIGNATURE)?)),
    };
    Some(json!({ "mediaType": BUNDLE, "verificationMaterial": material, name: content }).to_string())
}

fn signature(text: &[u8], signature: &str) -> Value {
    let digest = STANDARD.encode(Sha256::digest(text));
    json!({ "messageDigest": { "algorithm": "SHA2_256", "digest": digest }, "signature": signature })
}

fn log_entry(entry: &Entry) -> Option<Value> {
    let EntryPayload { body, integrated_time, log_index, log_id } = &entry.payload;
    let EntryBody { kind, api_version } = serde_json::from_slice(&STANDARD.decode(body).ok()?).ok()?;
    Some(json!({
        "logIndex": log_index.to_string(),
        "logId": { "keyId": STANDARD.encode(bytes(log_id)?) },
        "kindVersion": { "kind": kind, "version": api_version },
        "integratedTime": integrated_time.to_string(),
        "inclusionPromise": { "signedEntryTimestamp": entry.signed_entry_timestamp },
        "canonicalizedBody": body,
    }))
}

/// What is between the lines that begin and end a certificate: the first, which is the signer's own.
fn der(pem: &str) -> Option<String> {
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (inside, _) = rest.split_once("-----END CERTIFICATE-----")?;
    Some(inside.split_whitespace().collect())
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair.filter(|pair| pair.len() == 2)?, 16).ok()).collect()
}

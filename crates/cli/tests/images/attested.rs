//! Who built an image, as its registry has it beside the image.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::registry::Registry;
use super::{Images, is_root, publish};

const SLSA: &str = "https://slsa.dev/provenance/v1";

/// A statement that an image was built, signed by a key that nobody knows.
fn bundle(digest: &str) -> String {
    let subject = json!([{ "name": "server", "digest": { "sha256": digest.strip_prefix("sha256:").unwrap() } }]);
    let statement = json!({ "_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": SLSA, "predicate": {} });
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": { "publicKey": { "hint": "somebody" }, "tlogEntries": [] },
        "dsseEnvelope": {
            "payload": STANDARD.encode(statement.to_string()),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{ "sig": STANDARD.encode("signed"), "keyid": "" }],
        },
    });
    bundle.to_string()
}

#[test]
#[ignore = "needs runc, docker-registry and skopeo, which `cargo xtask peers` installs"]
fn who_built_an_image_is_locked_and_missed_where_it_is_not_told_any_more() {
    if !is_root() {
        return;
    }
    let registry = Registry::with_password();
    publish(&registry, "greets", "server:1");
    let first = registry.digest("server", "1");
    registry.attach("server", &first, &bundle(&first));
    let made = Images::new(&json!([format!("oci:{}/server:1", registry.host())]), "");
    made.log_in(&registry);
    let shown = made.installs().stdout;
    assert!(shown.contains(&format!("attested for these files, by a signer unknown here: {SLSA}")), "{shown}");
    assert_eq!(made.greeting(), "greets hello /app --usual");
    let (lock, matching) = (made.lock(), format!("matching = [\"{SLSA}\"]"));
    assert!(lock.contains(&matching) && !lock.contains("verified"), "{lock}");

    // No registry of this machine has what sigstore would vouch for.
    let builder = "https://github.com/made/here/.github/workflows/release.yml@refs/tags/v1.0.0";
    let had = format!("verified = [\"{SLSA}\"]\nbuilders = [\"{builder}\"]");
    fs::write(made.project.path("sallyport.lock"), lock.replace(&matching, &had)).unwrap();
    publish(&registry, "other", "server:1");
    let second = registry.digest("server", "1");
    let (version, _) = second.split_at("sha256:".len() + 12);
    let shown = made.succeeds(&["update", "--dry-run", "--no-start"]);
    assert!(shown.contains(&format!("was built by {builder}; version 1@{version} is not")), "{shown}");
    assert!(shown.contains(&format!("was attested {SLSA}; version 1@{version} is not")), "{shown}");

    // Somebody puts there what was attested of the first.
    registry.attach("server", &second, &bundle(&first));
    let said = made.installs();
    assert!(!said.success && said.stderr.contains("/server is of something else"), "{}{}", said.stdout, said.stderr);
    assert_eq!(made.greeting(), "greets hello /app --usual", "what is locked goes on");
}

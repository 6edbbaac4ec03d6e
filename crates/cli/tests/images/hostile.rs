//! Registries that serve what they should not. Nothing is started: they are met by the installation alone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::harness::processes::eventually;
use super::scripted::{Answer, Scripted};
use super::{Images, Said, is_root};

/// An image in parts that a test can change before it is served.
struct Parts {
    layer: Vec<u8>,
    config: Value,
    manifest: Value,
    answers: BTreeMap<String, Answer>,
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn descriptor(bytes: &[u8]) -> Value {
    json!({ "digest": digest(bytes), "size": bytes.len() })
}

fn blob(descriptor: &Value) -> String {
    format!("/v2/server/blobs/{}", descriptor["digest"].as_str().unwrap())
}

const TAG: &str = "/v2/server/manifests/1";

impl Parts {
    fn new() -> Self {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(6);
        header.set_mode(0o755);
        archive.append_data(&mut header, "server", &b"hello\n"[..]).unwrap();
        let layer = archive.into_inner().unwrap();
        let config = json!({ "config": { "Entrypoint": ["/server"] }, "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] } });
        let manifest = json!({ "config": descriptor(config.to_string().as_bytes()), "layers": [descriptor(&layer)] });
        Self { layer, config, manifest, answers: BTreeMap::new() }
    }

    fn layer_path(&self) -> String {
        blob(&self.manifest["layers"][0])
    }

    /// Answers this at a path, whatever would be there.
    fn answering(mut self, path: &str, answer: Answer) -> Self {
        self.answers.insert(path.to_owned(), answer);
        self
    }

    /// The same at the layer.
    fn with_layer(self, answer: Answer) -> Self {
        let path = self.layer_path();
        self.answering(&path, answer)
    }

    fn answers(self) -> BTreeMap<String, Answer> {
        let (config, manifest) = (self.config.to_string(), self.manifest.to_string());
        let mut answers = BTreeMap::from([
            (TAG.to_owned(), Answer::of(manifest.clone())),
            (format!("/v2/server/manifests/{}", digest(manifest.as_bytes())), Answer::of(manifest)),
            (blob(&descriptor(config.as_bytes())), Answer::of(config)),
            (self.layer_path(), Answer::of(self.layer)),
        ]);
        answers.extend(self.answers);
        answers
    }

    fn serve(self) -> Scripted {
        let answers = self.answers();
        Scripted::answering(move |request| answers.get(&request.path).cloned().unwrap_or_else(|| Answer::status(404)))
    }

    /// What installing it comes to.
    fn installed(self) -> (Images, Said) {
        let registry = self.serve();
        let made = Images::new(&json!([format!("oci:{}/server:1", registry.host())]), "");
        let said = made.installs();
        (made, said)
    }

    /// Why it is not installed. Nothing of it stays.
    fn refused(self, expected: &str) {
        let (made, said) = self.installed();
        assert!(!said.success && said.stderr.contains(expected), "{expected}: {}{}", said.stdout, said.stderr);
        for place in made.stored() {
            let left: Vec<_> = std::fs::read_dir(place).unwrap().flatten().map(|entry| entry.file_name()).collect();
            assert!(left.iter().all(|name| name == "lock"), "{left:?}");
        }
    }
}

#[test]
fn an_image_by_a_scripted_registry_is_installed() {
    if !is_root() {
        return;
    }
    let (made, said) = Parts::new().installed();
    assert!(said.success, "{}", said.stderr);
    assert_eq!(std::fs::read(made.stored()[0].join("tree/root/server")).unwrap(), b"hello\n");
}

#[test]
fn layers_that_are_not_what_the_manifest_says_are_refused() {
    if !is_root() {
        return;
    }
    let layer = Parts::new().layer;
    let changed: Vec<u8> = layer.iter().map(|byte| byte ^ 1).collect();
    Parts::new().with_layer(Answer::of(changed)).refused("in the place of sha256:");
    Parts::new().with_layer(Answer::of(&layer[..layer.len() - 512])).refused(&format!("serves {} bytes of sha256:", layer.len() - 512));
    Parts::new().with_layer(Answer::of([&layer[..], &layer[..]].concat())).refused("serves more than the");
    Parts::new().with_layer(Answer::status(404)).refused("answers 404");
    // Packed as the manifest says, and unpacked to something else than the configuration says.
    let mut other = Parts::new();
    other.config["rootfs"]["diff_ids"] = json!([digest(b"other")]);
    other.manifest["config"] = descriptor(other.config.to_string().as_bytes());
    other.refused("does not unpack to the digest");
}

#[test]
fn manifests_that_are_none_or_without_end_are_refused() {
    if !is_root() {
        return;
    }
    Parts::new().answering(TAG, Answer::of(vec![b' '; 5 << 20])).refused("has more than 4194304 bytes");
    Parts::new().answering(TAG, Answer::of("{}")).refused("none of an image");
    Parts::new().answering(TAG, Answer::of("[".repeat(100_000))).refused("is not understood");
    let mut many = Parts::new();
    many.manifest["layers"] = json!(vec![many.manifest["layers"][0].clone(); 128]);
    many.refused("128 layers");
    for size in [json!(1u64 << 60), json!(u64::MAX), Value::Null] {
        let mut large = Parts::new();
        large.manifest["layers"][0]["size"] = size;
        large.refused("does not say how large it is, or it has more than 16 GiB");
    }
    for name in ["sha256:../../../../etc/passwd", "sha512:00", ""] {
        let mut climbing = Parts::new();
        climbing.manifest["layers"][0]["digest"] = json!(name);
        climbing.refused("is no digest by sha256");
    }
    // An index that leads to an index, and so on.
    let mut nested = Parts::new();
    let mut inner = nested.manifest.to_string();
    for _ in 0..5 {
        let path = format!("/v2/server/manifests/{}", digest(inner.as_bytes()));
        nested = nested.answering(&path, Answer::of(inner.clone()));
        inner = json!({ "manifests": [descriptor(inner.as_bytes())] }).to_string();
    }
    let path = format!("/v2/server/manifests/{}", digest(inner.as_bytes()));
    nested.answering(&path, Answer::of(inner.clone())).answering(TAG, Answer::of(inner)).refused("indexes within each other");
}

#[test]
fn nobody_is_led_into_another_network() {
    if !is_root() {
        return;
    }
    for elsewhere in ["http://169.254.169.254/latest/meta-data", "https://10.0.0.1/blob", "http://[fd00::1]/", "file:///etc/passwd"] {
        Parts::new().with_layer(Answer::redirect(elsewhere)).refused("is not asked");
        let challenge = Answer::status(401).with("www-authenticate", &format!("Bearer realm=\"{elsewhere}\""));
        Parts::new().answering(TAG, challenge).refused("is not asked");
    }
    let own = Parts::new().layer_path();
    Parts::new().with_layer(Answer::redirect(&own)).refused("without end");
}

#[test]
fn who_is_killed_while_it_pulls_leaves_nothing_in_the_way() {
    if !is_root() {
        return;
    }
    let parts = Parts::new();
    let (path, is_first) = (parts.layer_path(), AtomicBool::new(true));
    let (layer, answers) = (path.clone(), parts.answers());
    let registry = Scripted::answering(move |request| {
        if request.path == layer && is_first.swap(false, Ordering::Relaxed) {
            thread::sleep(Duration::from_secs(600));
        }
        answers.get(&request.path).cloned().unwrap_or_else(|| Answer::status(404))
    });
    let made = Images::new(&json!([format!("oci:{}/server:1", registry.host())]), "");
    let mut pulling = made.command(&["update", "--dry-run", "--no-start"]).spawn().unwrap();
    eventually("it waits for the layer", Duration::from_secs(60), || registry.asked().iter().any(|request| request.path == path));
    pulling.kill().unwrap();
    pulling.wait().unwrap();
    let said = made.installs();
    assert!(said.success, "{}", said.stderr);
    assert!(made.stored()[0].join("tree/image.json").exists());
}

#[test]
fn where_a_registry_leads_sees_no_credentials() {
    if !is_root() {
        return;
    }
    let parts = Parts::new();
    let (path, layer) = (parts.layer_path(), parts.layer.clone());
    let storage = Scripted::answering(move |_| Answer::of(layer.clone()));
    let mut answers = parts.answers();
    answers.insert(path, Answer::redirect(&storage.url("/bucket/layer?signature=x")));
    let challenge = Answer::status(401).with("www-authenticate", "Basic realm=\"x\"");
    let registry = Scripted::answering(move |request| match request.header("authorization") {
        Some("Basic bWU6c2VjcmV0") => answers.get(&request.path).cloned().unwrap_or_else(|| Answer::status(404)),
        _ => challenge.clone(),
    });
    let made = Images::new(&json!([format!("oci:{}/server:1", registry.host())]), "");
    let settings = json!({ "auths": { registry.host(): { "auth": "bWU6c2VjcmV0" } } });
    std::fs::create_dir(made.project.home().join(".docker")).unwrap();
    std::fs::write(made.project.home().join(".docker/config.json"), settings.to_string()).unwrap();
    let said = made.installs();
    assert!(said.success, "{}", said.stderr);
    let asked = storage.asked();
    assert!(!asked.is_empty() && asked.iter().all(|request| request.header("authorization").is_none()), "{asked:?}");
}

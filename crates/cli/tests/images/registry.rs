//! A real registry of Debian's package `docker-registry`, filled by Debian's `skopeo`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::harness::loopback;
use super::scripted::{Answer, Scripted};

/// Who may read and write, and the password `secret` as bcrypt has it.
const USER: &str = "reader";
const PASSWORD: &str = "secret";
const HTPASSWD: &str = "reader:$2y$04$X3Q/cC/P89dtA/X13t8yZeYjQqJRybFsbyk8y4lOX.r0J/bTCHTsa\n";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A registry on loopback. Stopped and removed when dropped.
pub(crate) struct Registry {
    folder: TempDir,
    pub(crate) port: u16,
    running: Option<Child>,
    tokens: Option<Tokens>,
}

/// Gives out tokens to whom knows the password, and notes for what.
struct Tokens {
    server: Scripted,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    /// One that wants a name and a password.
    pub(crate) fn with_password() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("htpasswd");
        fs::write(&file, HTPASSWD).unwrap();
        let authentication = format!("  htpasswd:\n    realm: here\n    path: {}\n", file.display());
        Self::start(folder, &authentication, None)
    }

    /// One that wants a token of another server.
    pub(crate) fn with_tokens() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["tokens".to_owned()]).unwrap().self_signed(&key).unwrap();
        let bundle = folder.path().join("tokens.pem");
        fs::write(&bundle, certificate.pem()).unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (noted, chain, key) = (asked.clone(), STANDARD.encode(certificate.der()), key.serialize_der());
        let server = Scripted::answering(move |request| {
            noted.lock().unwrap().push(request.path.clone());
            let expected = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
            match request.header("authorization") {
                Some(found) if found == expected => Answer::json(&json!({ "token": token(&chain, &key, &request.path) })),
                _ => Answer::status(401),
            }
        });
        let (realm, bundle) = (server.url("/token"), bundle.display());
        let authentication = format!("  token:\n    realm: {realm}\n    service: here\n    issuer: tokens\n    rootcertbundle: {bundle}\n");
        Self::start(folder, &authentication, Some(Tokens { server, asked }))
    }

    fn start(folder: TempDir, authentication: &str, tokens: Option<Tokens>) -> Self {
        let (port, data) = (loopback::free_port(), folder.path().join("data"));
        let settings = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\nauth:\n{authentication}",
            data.display()
        );
        fs::write(folder.path().join("config.yml"), settings).unwrap();
        let mut registry = Self { folder, port, running: None, tokens };
        registry.resume();
        registry
    }

    /// Starts it, with what it had.
    pub(crate) fn resume(&mut self) {
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(self.folder.path().join("config.yml")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.running = Some(command.spawn().expect("docker-registry is installed: run `cargo xtask peers`"));
        loopback::wait_for_port(self.port, Duration::from_secs(30));
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill().unwrap();
            running.wait().unwrap();
        }
    }

    /// Its name.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Puts the image of a layout into it.
    pub(crate) fn push(&self, layout: &Path, name: &str) {
        let (from, to) = (format!("oci:{}", layout.display()), format!("docker://{}/{name}", self.host()));
        let credentials = format!("{USER}:{PASSWORD}");
        let options = ["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", &credentials];
        let output =
            Command::new("skopeo").args(options).args([&from, &to]).output().expect("skopeo is installed: run `cargo xtask peers`");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The digest that a tag stands for.
    pub(crate) fn digest(&self, name: &str, tag: &str) -> String {
        let head = self.ask("GET", &format!("/v2/{name}/manifests/{tag}"), MANIFEST, b"");
        header(&head, "docker-content-digest").unwrap().to_owned()
    }

    /// Puts a bundle of sigstore's beside what has this digest, as is done where a registry lists no referrers.
    pub(crate) fn attach(&self, name: &str, digest: &str, bundle: &str) {
        let part = |kind: &str, text: &str| json!({ "mediaType": kind, "digest": self.put_blob(name, text), "size": text.len() });
        let holder = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": BUNDLE,
            "config": part("application/vnd.oci.empty.v1+json", "{}"), "layers": [part(BUNDLE, bundle)],
            "subject": { "mediaType": MANIFEST, "digest": digest, "size": 1 },
        });
        let holder = holder.to_string();
        let held = format!("sha256:{}", hex(holder.as_bytes()));
        self.ask("PUT", &format!("/v2/{name}/manifests/{held}"), MANIFEST, holder.as_bytes());
        let referrer = json!({ "mediaType": MANIFEST, "digest": held, "size": holder.len(), "artifactType": BUNDLE });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [referrer] }).to_string();
        self.ask("PUT", &format!("/v2/{name}/manifests/{}", digest.replace(':', "-")), INDEX, index.as_bytes());
    }

    fn put_blob(&self, name: &str, text: &str) -> String {
        let begun = self.ask("POST", &format!("/v2/{name}/blobs/uploads/"), "application/octet-stream", b"");
        let place = header(&begun, "location").unwrap().replace(&format!("http://{}", self.host()), "");
        let digest = format!("sha256:{}", hex(text.as_bytes()));
        self.ask("PUT", &format!("{place}&digest={digest}"), "application/octet-stream", text.as_bytes());
        digest
    }

    /// One request of somebody who may write. Gives what is in front of the answer.
    fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let (host, credentials, length) = (self.host(), STANDARD.encode(format!("{USER}:{PASSWORD}")), body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Basic {credentials}\r\naccept: {kind}\r\ncontent-type: {kind}\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 20"), "{method} {path}: {answer}");
        answer.split("\r\n\r\n").next().unwrap().to_owned()
    }

    /// What `docker login` would write into its settings.
    pub(crate) fn settings(&self) -> String {
        json!({ "auths": { self.host(): { "auth": STANDARD.encode(format!("{USER}:{PASSWORD}")) } } }).to_string()
    }

    /// For what tokens were asked.
    pub(crate) fn tokens_asked(&self) -> Vec<String> {
        let tokens = self.tokens.as_ref().unwrap();
        assert!(!tokens.server.asked().is_empty());
        tokens.asked.lock().unwrap().clone()
    }

    /// How often this was asked for.
    pub(crate) fn served(&self, what: &str) -> usize {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap();
        log.lines().filter(|line| line.contains("response completed") && line.contains("GET") && line.contains(what)).count()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A token for what the path asks for, as docker's registry reads it.
fn token(certificate: &str, key: &[u8], path: &str) -> String {
    let scope = path.split("scope=").nth(1).unwrap().split('&').next().unwrap().replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
    let [kind, name, actions] = scope.split(':').collect::<Vec<_>>().try_into().unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let actions: Vec<&str> = actions.split(',').collect();
    let head = json!({ "typ": "JWT", "alg": "ES256", "x5c": [certificate] });
    let claims = json!({
        "iss": "tokens", "sub": USER, "aud": "here", "exp": now + 300, "nbf": now - 10, "iat": now, "jti": "1",
        "access": [{ "type": kind, "name": name, "actions": actions }],
    });
    let text = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key, &random).unwrap();
    let signature = key.sign(&random, text.as_bytes()).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

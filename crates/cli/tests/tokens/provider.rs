//! A certified authorization server as a process of its own (npm's `oidc-provider`).

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::loopback::free_port;
use crate::harness::peers;

/// The password of both of its clients.
pub(crate) const SECRET: &str = "a-secret-of-at-least-32-characters-for-tests";

/// The endpoint at which tokens are shown that its client `gateway` exchanges.
const GATEWAY: &str = "https://mcp.example.com/mcp";

/// An authorization server; ended when dropped.
pub(crate) struct Provider {
    child: Option<Child>,
    pub(crate) port: u16,
    folder: TempDir,
    settings: Value,
}

impl Provider {
    /// Starts one that issues tokens for these resources: `jwt:ALGORITHM` or `opaque`.
    pub(crate) fn start(resources: &[(String, &str)]) -> Self {
        Self::start_with(resources, &json!({}))
    }

    /// Starts one that people log in with, who are sent back to this address.
    pub(crate) fn for_people(callback: &str) -> Self {
        Self::start_with(&[], &json!({ "login": [callback] }))
    }

    /// Starts one with `more` settings.
    pub(crate) fn start_with(resources: &[(String, &str)], more: &Value) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let port = free_port();
        let resources: serde_json::Map<String, Value> = resources.iter().map(|(url, form)| (url.clone(), json!(form))).collect();
        let mut settings = json!({
            "port": port, "folder": folder.path(), "modules": peers::npm(""), "resources": resources,
            "algorithms": ["RS256", "ES256", "EdDSA"],
            "scopes": "mcp mcp:read files files:read files:write_file files:list_directory notes",
            "gateways": [GATEWAY], "known_as": "near",
        });
        settings.as_object_mut().zip(more.as_object()).into_iter().for_each(|(all, more)| all.extend(more.clone()));
        let mut provider = Self { child: None, port, folder, settings };
        provider.begin();
        provider
    }

    /// Starts it anew after [`stop`](Self::stop).
    pub(crate) fn begin(&mut self) {
        let mut child = Command::new(peers::node())
            .arg(peers::driver("oidc_provider.mjs"))
            .arg(self.settings.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says when it is ready");
        assert_eq!(line, "ready\n");
        self.child = Some(child);
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only when it is gone already.
            let _killed = child.kill();
            let _reaped = child.wait();
        }
    }

    /// Starts it anew with other keys, as after a rotation that leaves nothing of the old ones.
    pub(crate) fn rotate(&mut self) {
        self.stop();
        fs::remove_file(self.keys_file()).expect("it had made keys");
        self.begin();
    }

    fn keys_file(&self) -> PathBuf {
        self.folder.path().join("keys.json")
    }

    /// Its private keys, as a key set.
    pub(crate) fn keys(&self) -> Value {
        serde_json::from_slice(&fs::read(self.keys_file()).expect("it has made keys")).expect("they are JSON")
    }

    pub(crate) fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A token of the client `agent` for a resource.
    pub(crate) fn token(&self, resource: &str, scope: &str) -> String {
        let answer = self.post("/token", &[("grant_type", "client_credentials"), ("resource", resource), ("scope", scope)]);
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}"));
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    pub(crate) fn revoke(&self, token: &str) {
        self.post("/token/revocation", &[("token", token)]);
    }

    fn post(&self, path: &str, form: &[(&str, &str)]) -> String {
        let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", value.replace(' ', "%20"))).collect();
        let (body, credentials) = (body.join("&"), base64_of(&format!("agent:{SECRET}")));
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket takes a timeout");
        let head = format!(
            "POST {path} HTTP/1.0\r\nHost: 127.0.0.1:{}\r\nAuthorization: Basic {credentials}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).expect("the server reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the server answers");
        answer.split_once("\r\n\r\n").expect("a head ends").1.to_owned()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.stop();
    }
}

fn base64_of(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

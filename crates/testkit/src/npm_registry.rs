//! A registry of npm on this machine, whose packages a test publishes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

/// Serves packages until the process ends.
#[derive(Debug, Clone)]
pub struct NpmRegistry {
    port: u16,
    shelf: Arc<Mutex<Shelf>>,
}

#[derive(Debug, Default)]
struct Shelf {
    packages: BTreeMap<String, BTreeMap<String, Value>>,
    archives: BTreeMap<String, Vec<u8>>,
    open: bool,
    asked: usize,
}

impl NpmRegistry {
    /// Listens on a port of loopback.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[allow(clippy::expect_used, reason = "a test without its registry has nothing to test")]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("a listener has an address").port();
        let registry = Self { port, shelf: Arc::new(Mutex::new(Shelf { open: true, ..Shelf::default() })) };
        let serving = registry.clone();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| serving.answer(stream)));
        registry
    }

    /// What npm is told: `npm_config_registry`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// How often it was asked for anything.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.with(|shelf| shelf.asked)
    }

    /// Answers nothing any more.
    pub fn close(&self) {
        self.with(|shelf| shelf.open = false);
    }

    /// Publishes a version with one program, `server.js`; `manifest` adds to its `package.json`.
    ///
    /// # Panics
    /// When the package cannot be packed.
    pub fn publish(&self, name: &str, version: &str, program: &str, manifest: Value) {
        let archive = pack(name, version, program, &manifest);
        let integrity = format!("sha512-{}", STANDARD.encode(Sha512::digest(&archive)));
        let place = format!("/{name}/-/{name}-{version}.tgz");
        let mut about = manifest_of(name, version, &manifest);
        about["dist"] = json!({ "tarball": format!("{}{}", self.url(), place.trim_start_matches('/')), "integrity": integrity });
        about["hasInstallScript"] = json!(manifest.get("scripts").is_some());
        self.with(|shelf| {
            shelf.packages.entry(name.to_owned()).or_default().insert(version.to_owned(), about);
            shelf.archives.insert(place, archive);
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Shelf) -> T) -> T {
        work(&mut self.shelf.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return,
            }
        }
        let head = String::from_utf8_lossy(&head);
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let body = self.with(|shelf| {
            shelf.asked += 1;
            shelf.open.then(|| shelf.find(&path)).flatten()
        });
        let (status, body) = body.map_or_else(|| ("404 Not Found", b"{}".to_vec()), |body| ("200 OK", body));
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        // Whoever has gone does not want it.
        let _gone = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
    }
}

impl Shelf {
    fn find(&self, path: &str) -> Option<Vec<u8>> {
        if let Some(archive) = self.archives.get(path) {
            return Some(archive.clone());
        }
        let name = path.trim_start_matches('/');
        let versions = self.packages.get(name)?;
        let latest = versions.keys().next_back()?;
        Some(json!({ "name": name, "dist-tags": { "latest": latest }, "versions": versions }).to_string().into_bytes())
    }
}

fn manifest_of(name: &str, version: &str, more: &Value) -> Value {
    let mut manifest = json!({ "name": name, "version": version, "bin": { name: "server.js" } });
    for (key, value) in more.as_object().into_iter().flatten() {
        manifest[key] = value.clone();
    }
    manifest
}

#[allow(clippy::expect_used, reason = "a test without its package has nothing to test")]
fn pack(name: &str, version: &str, program: &str, manifest: &Value) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let package = folder.path().join("package");
    fs::create_dir(&package).expect("a new folder is writable");
    write(&package.join("package.json"), &manifest_of(name, version, manifest).to_string());
    write(&package.join("server.js"), program);
    let packed = Command::new("tar").arg("-czC").arg(folder.path()).arg("package").output().expect("tar is there");
    packed.stdout
}

#[allow(clippy::expect_used, reason = "as above")]
fn write(file: &Path, text: &str) {
    fs::write(file, text).expect("a new folder is writable");
}

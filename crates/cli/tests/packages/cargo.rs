//! Crates of a registry of this machine.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Packages;
use crate::harness::gateway::Project;
use crate::registry::Registry;

/// A server with one tool, whose description is the text that its build script has made.
const PROGRAM: &str = r##"use std::io::BufRead;

fn main() {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Some((_, rest)) = line.split_once("\"id\":") else { continue };
        let id: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let says = env!("DESCRIPTION");
        let result = if line.contains("\"initialize\"") {
            r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"made","version":"1"}}"#.to_owned()
        } else if line.contains("\"tools/list\"") {
            format!(r#"{{"tools":[{{"name":"greet","description":"{says}","inputSchema":{{"type":"object"}}}}]}}"#)
        } else {
            format!(r#"{{"content":[{{"type":"text","text":"{says}"}}]}}"#)
        };
        println!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
    }
}
"##;

impl Packages<Registry> {
    fn of_cargo() -> Self {
        let registry = Registry::start();
        let project = Project::new("[servers.made]\ncommand = [\"cargo:made-here\"]\nscripts = true\n");
        let index = registry.url("index/");
        let settings = format!("[source.crates-io]\nreplace-with = \"here\"\n[source.here]\nregistry = \"sparse+{index}\"\n");
        fs::create_dir(project.home().join(".cargo")).unwrap();
        fs::write(project.home().join(".cargo/config.toml"), settings).unwrap();
        let files = registry.url("crates/{crate}-{version}.crate");
        fs::write(registry.file("index/config.json"), json!({ "dl": files }).to_string()).unwrap();
        let usual = || format!("{}/.rustup", std::env::var("HOME").unwrap());
        let toolchains = std::env::var("RUSTUP_HOME").unwrap_or_else(|_| usual());
        Self { settings: vec![("RUSTUP_HOME".to_owned(), toolchains)], registry, project }
    }

    /// Publishes a version whose build script is this.
    fn publish_crate(&self, version: &str, build: &str) {
        let name = format!("made-here-{version}");
        let source = self.project.path(format!("../{name}"));
        fs::create_dir_all(source.join("src")).unwrap();
        let manifest = format!("[package]\nname = \"made-here\"\nversion = \"{version}\"\nedition = \"2021\"\n");
        for (file, text) in [("Cargo.toml", manifest.as_str()), ("build.rs", build), ("src/main.rs", PROGRAM)] {
            fs::write(source.join(file), text).unwrap();
        }
        let archive = self.registry.file(&format!("crates/{name}.crate"));
        let packed = Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(source.parent().unwrap()).arg(&name).status();
        assert!(packed.unwrap().success());
        let digest: String = Sha256::digest(fs::read(&archive).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
        let line = json!({ "name": "made-here", "vers": version, "deps": [], "cksum": digest, "features": {}, "yanked": false });
        let index = self.registry.file("index/ma/de/made-here");
        let others = fs::read_to_string(&index).unwrap_or_default();
        let others = others.lines().filter(|line| !line.contains(&format!("\"vers\":\"{version}\"")));
        let lines: String = others.map(str::to_owned).chain([line.to_string()]).map(|line| line + "\n").collect();
        fs::write(index, lines).unwrap();
    }
}

#[test]
fn a_version_that_is_asked_for_is_that_one_and_a_range_is_one() {
    let made = Packages::of_cargo();
    for version in ["1.2.3", "1.2.9", "1.3.0"] {
        made.publish_crate(version, &says(version));
    }
    let asked = |wanted: &str| {
        made.project.configure(&format!("[servers.made]\ncommand = [\"cargo:made-here@{wanted}\"]\nscripts = true\n"));
        made.greeting()
    };
    for (wanted, found) in [("1.2.3", "1.2.3"), ("1.2", "1.2.9"), ("^1.2.3", "1.3.0")] {
        assert_eq!(asked(wanted), found, "{wanted}");
    }
    assert_eq!(asked("1.2.3"), "1.2.3");
    // A lock that runs another one under the same requirement.
    let other = made.lock().replace("1.2.3 sha256", "1.2.9 sha256").replace("version = \"1.2.3\"", "version = \"1.2.9\"");
    fs::write(made.project.path("sallyport.lock"), other).unwrap();
    let told = made.run(&["tools"]);
    assert!(told.stderr.contains("made-here@1.2.3 is not among its packages"), "{}", told.stderr);
}

fn says(description: &str) -> String {
    format!("fn main() {{ println!(\"cargo:rustc-env=DESCRIPTION={description}\"); }}\n")
}

#[test]
fn a_crate_is_locked_updated_and_given_back() {
    let mut made = Packages::of_cargo();
    made.publish_crate("1.0.0", &says("greets"));
    assert_eq!(made.greeting(), "greets");
    let lock = made.lock();
    assert!(lock.contains("version = \"1.0.0\"") && lock.contains("\"made-here 1.0.0 sha256:"), "{lock}");

    made.publish_crate("1.1.0", &says("another"));
    let asked = made.registry.asked();
    assert_eq!((made.greeting().as_str(), made.registry.asked()), ("greets", asked), "nothing is looked up any more");
    let shown: Value = serde_json::from_str(&made.succeeds(&["update", "--yes", "--json"])).unwrap();
    assert_eq!(shown["updated"][0]["tools"]["changed"][0]["to"], "another", "{shown}");
    assert_eq!(made.greeting(), "another");

    assert!(made.succeeds(&["rollback", "made"]).contains("version 1.0.0"));
    made.forget_installations();
    assert_eq!(made.greeting(), "greets", "another machine builds what is locked, not what is newest");
    made.registry.close();
    assert_eq!(made.greeting(), "greets");
}

#[test]
fn a_crate_that_is_built_reaches_nobody_and_another_one_under_its_version_is_refused() {
    let made = Packages::of_cargo();
    let other = Registry::start();
    let reach = "fn reach(port: u16) -> &'static str {\n    match std::net::TcpStream::connect((\"127.0.0.1\", port)) {\n        \
                 Ok(_) => \"reached\",\n        Err(_) => \"refused\",\n    }\n}\n";
    let (own, others) = (made.registry.port(), other.port());
    let told = format!("println!(\"cargo:rustc-env=DESCRIPTION={{}} {{}}\", reach({own}), reach({others}));");
    made.publish_crate("1.0.0", &format!("{reach}fn main() {{ {told} }}\n"));
    assert_eq!(made.greeting(), "refused refused", "what is fetched is built without a network");
    assert_eq!(other.asked(), 0);

    made.publish_crate("1.0.0", &says("evil"));
    made.forget_installations();
    let told = made.run(&["tools"]);
    assert!(!told.stdout.contains("made__greet"), "{}", told.stdout);
    assert!(told.stderr.contains("serves other files of made-here 1.0.0 than those that were locked"), "{}", told.stderr);
}

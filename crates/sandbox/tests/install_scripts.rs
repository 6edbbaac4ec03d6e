//! Code of packages that is run while they are installed is led nowhere: it overwrites nothing of the user's, and learns no credentials.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::fs;
use std::process::Command;

use support::{Caller, Folder, callers, launcher, sdist, text};

/// Installs a source distribution whose build does `more`; what it says on stdout and stderr.
fn build(folder: &Folder, caller: Caller, more: &str, variables: &[(&str, &str)]) -> (String, String) {
    sdist::made_here(folder, more);
    let (home, packages) = (folder.folder("home"), folder.path("packages"));
    let mut run = launcher(caller, &["--packages", packages.to_str().unwrap(), "--scripts", "true"], &["pypi:made-here"]);
    run.env("HOME", home).env("PIP_NO_INDEX", "1").env("PIP_FIND_LINKS", folder.path("files")).envs(variables.iter().copied());
    let output = run.output().unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_build_overwrites_no_file_of_the_user_by_links() {
    for caller in callers() {
        let folder = Folder::of(*caller);
        let victim = folder.file("victim", "untouched");
        let links = format!(
            "for name in ('tmp/locked.txt', 'tmp/wanted.txt', 'tmp/compiled.txt', 'tmp/attestations.json', 'given/locked.txt'):\n        \
             try: os.symlink('{}', os.path.join(os.path.dirname(tmp), name))\n        except OSError: pass",
            victim.display()
        );
        let (stdout, stderr) = build(&folder, *caller, &links, &[]);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched", "{stderr}");
        assert_eq!(stdout, "built\n", "{stderr}");
    }
}

#[test]
fn what_a_build_leaves_among_the_downloads_is_read_only_where_it_is_a_file() {
    let folder = Folder::of(Caller::Itself);
    let endless = "os.makedirs(tmp + '/files', exist_ok=True); os.path.lexists(tmp + '/files/other-1.0-py3-none-any.whl') or \
                os.symlink('/dev/zero', tmp + '/files/other-1.0-py3-none-any.whl')";
    let (_, stderr) = build(&folder, Caller::Itself, endless, &[]);
    assert!(stderr.contains("files cannot be read"), "{stderr}");
}

#[test]
fn a_build_leaves_no_link_out_of_the_installation() {
    let folder = Folder::of(Caller::Itself);
    // What lies round the end of the link would be shown to a program whose first line names it.
    let other = folder.folder("project/bin").join("python");
    std::os::unix::fs::symlink("/usr/bin/python3", &other).unwrap();
    let link = format!(
        "import sys\n    if os.path.basename(sys.prefix) == 'tree': os.symlink('{}', sys.prefix + '/bin/python9')",
        other.display()
    );
    let (stdout, stderr) = build(&folder, Caller::Itself, &link, &[]);
    assert!(stdout.is_empty() && stderr.contains("it has left the link bin/python9 to"), "{stdout}{stderr}");
    assert!(stderr.contains("which is outside of it") && stderr.contains("hint:"), "{stderr}");
}

#[test]
fn an_index_with_credentials_builds_nothing() {
    let folder = Folder::of(Caller::Itself);
    let (stdout, stderr) = build(&folder, Caller::Itself, "pass", &[("PIP_INDEX_URL", "http://me:word@127.0.0.1:9/simple")]);
    assert!(stdout.is_empty() && stderr.contains("the credentials in variable PIP_INDEX_URL") && stderr.contains("hint:"), "{stderr}");
    assert!(!stderr.contains("word"), "{stderr}");
}

/// A registry of cargo in a folder with one crate, whose own settings name a program to be run, and a user with a token for it.
fn crates(folder: &Folder) {
    let source = folder.folder("crate/made-here-1.0.0/src");
    let source = source.parent().unwrap();
    fs::write(source.join("Cargo.toml"), "[package]\nname = \"made-here\"\nversion = \"1.0.0\"\nedition = \"2021\"\n").unwrap();
    let build = r#"fn main() {
        let (home, tmp) = (std::env::var("HOME").unwrap(), std::env::var("TMPDIR").unwrap());
        let mut seen: Vec<String> = std::env::vars().map(|(_, value)| value).collect();
        seen.extend(["credentials.toml", "config.toml"].iter().flat_map(|name| std::fs::read_to_string(format!("{home}/.cargo/{name}"))));
        seen.extend(std::fs::read_to_string(format!("{tmp}/seen")));
        println!("cargo:rustc-env=SEEN={}", seen.iter().any(|text| text.contains("s3cret")));
    }"#;
    fs::write(source.join("build.rs"), build).unwrap();
    fs::write(source.join("src/main.rs"), "fn main() { println!(\"seen: {}\", env!(\"SEEN\")); }\n").unwrap();
    let wrapper = "#!/bin/sh\n{ env; cat \"$HOME/.cargo/credentials.toml\"; } >>\"$TMPDIR/seen\" 2>&1\nexec \"$@\"\n";
    fs::write(source.join("wrapper"), wrapper).unwrap();
    fs::set_permissions(source.join("wrapper"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::create_dir(source.join(".cargo")).unwrap();
    fs::write(source.join(".cargo/config.toml"), "[build]\nrustc-wrapper = \"./wrapper\"\n").unwrap();
    let registry = folder.folder("registry");
    let archive = registry.join("made-here-1.0.0.crate");
    sdist::pack(&archive, &folder.path("crate"), "made-here-1.0.0");
    let digest = text(&Command::new("sha256sum").arg(&archive).output().unwrap().stdout);
    let digest = digest.split(' ').next().unwrap();
    let entry = format!(r#"{{"name":"made-here","vers":"1.0.0","deps":[],"cksum":"{digest}","features":{{}},"yanked":false}}"#);
    fs::write(folder.folder("registry/index/ma/de").join("made-here"), entry + "\n").unwrap();
    let source = format!("[source.crates-io]\nreplace-with = \"here\"\n[source.here]\nlocal-registry = \"{}\"\n", registry.display());
    let home = folder.folder("home/.cargo");
    fs::write(home.join("config.toml"), source + "[registries.own]\nindex = \"sparse+https://own.example/\"\ntoken = \"s3cret\"\n")
        .unwrap();
    fs::write(home.join("credentials.toml"), "[registry]\ntoken = \"s3cret\"\n").unwrap();
}

#[test]
fn a_crate_is_built_without_the_tokens_of_its_registry() {
    let folder = Folder::of(Caller::Itself);
    crates(&folder);
    let packages = folder.path("packages");
    let mut run = launcher(Caller::Itself, &["--packages", packages.to_str().unwrap(), "--scripts", "true"], &["cargo:made-here@1"]);
    let home = std::env::var("HOME").unwrap();
    run.env_remove("CARGO_HOME").env("RUSTUP_HOME", std::env::var("RUSTUP_HOME").unwrap_or_else(|_| format!("{home}/.rustup")));
    let output = run.env("HOME", folder.path("home")).env("CARGO_REGISTRY_TOKEN", "s3cret").output().unwrap();
    assert_eq!(text(&output.stdout), "seen: false\n", "{}", text(&output.stderr));
}

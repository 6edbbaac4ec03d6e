//! What a machine's root is made of beside this machine's own files: container images, and packages out of the store. Kernels are booted, as in
//! `microvm.rs`. As root and as an ordinary user, who needs no right for any of it.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use support::image::{Holds, archive, layout_over};
use support::packages::{local_crates, npm_package, wheel};
use support::{Caller, Folder, callers, launcher, text};
use tar::{Builder, EntryType, Header};

/// Finds out from inside an image what there is, and what can be done with it.
const LOOKS: &str = r#"
read line; echo "read $line"; echo "in $PWD as $(id -u), $GREETING $*"; ls /usr/bin; ls /app; cat /app/file
[ -u /app/privileged ] || echo "no privilege"; ls /dev | while read -r device; do echo "device $device"; done
cat /app/out /app/up; cat /etc/hosts /etc/passwd; cat "$ROOT/visible"; ls "$ROOT"; echo "changed" > "$ROOT/write/new"
echo x > /app/new; echo x > "$ROOT/new"; echo x > /tmp/scratch && ls /tmp; ls /proc/self/comm; exit 7
"#;

fn member(kind: EntryType, name: &str, link: &str, mode: u32, text: &str) -> (Header, String) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_path(name).unwrap();
    // As it is, wherever it leads.
    header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_mode(mode);
    header.set_size(text.len() as u64);
    header.set_cksum();
    (header, text.to_owned())
}

fn file(name: &str, text: &str) -> (Header, String) {
    member(EntryType::Regular, name, "", 0o644, text)
}

fn link(name: &str, target: &str) -> (Header, String) {
    member(EntryType::Symlink, name, target, 0o777, "")
}

fn layer(members: &[(Header, String)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    members.iter().for_each(|(header, text)| builder.append(header, text.as_bytes()).unwrap());
    builder.into_inner().unwrap()
}

/// An image whose second layer takes away from the first, and would reach for what is not its own.
fn hostile_image(folder: &Folder, root: &Path) -> std::path::PathBuf {
    let image = folder.path("image");
    let start = json!({
        "Entrypoint": ["/bin/sh", "/app/server"], "Cmd": ["--usual"], "Env": ["GREETING=hello", "ROOT=nowhere"],
        "WorkingDir": "/made/for/it", "User": "root",
    });
    let own = root.strip_prefix("/").unwrap().to_str().unwrap().to_owned();
    let second = layer(&[
        file("app/.wh.gone", ""),
        member(EntryType::Regular, "app/privileged", "", 0o6755, "run"),
        member(EntryType::Char, "app/device", "", 0o666, ""),
        member(EntryType::Block, "dev/disk", "", 0o666, ""),
        link("app/out", "/etc/shadow"),
        link("app/up", "../../../../../../../../../etc/shadow"),
        // In the place of what the machine mounts, and of what it shows of the host.
        link("proc", "/app"),
        link("tmp", "../../app"),
        file("etc/hosts", "192.0.2.1 localhost\n"),
        file("etc/passwd", "of-the-image:x:1000:1000::/:/bin/sh\n"),
        file(&format!("{own}/planted"), "by the image"),
        link(&format!("{own}/write"), "/app"),
    ]);
    let programs = [("app/server", LOOKS), ("app/file", "of the image\n"), ("app/gone", "taken away\n")];
    layout_over(&image, Holds::Shell, &start, &programs, &[second]);
    image
}

#[test]
fn an_image_is_the_root_of_a_machine_and_what_is_shown_lies_over_it() {
    for caller in callers() {
        let folder = Folder::of(*caller);
        let (root, cache, layers) = (folder.folder("root"), folder.folder("cache"), folder.file("layers", ""));
        folder.folder("root/write");
        folder.file("root/visible", "of the host\n");
        let image = hostile_image(&folder, &root);
        let packed = folder.path("image.tar");
        archive(&image, &packed);
        let (guest, write) = (folder.guest(), folder.path("root/write"));
        for image in [&image, &packed] {
            let sandbox = json!({ "microvm": { "memory_mb": 192, "guest": guest, "image": image } }).to_string();
            let (shown, written) = (root.to_str().unwrap(), write.to_str().unwrap());
            let environment = format!("ROOT={shown}");
            let options = [
                ["--sandbox", &sandbox],
                ["--read", shown],
                ["--write", written],
                ["--env", &environment],
                ["--layers", layers.to_str().unwrap()],
            ];
            let mut run = launcher(*caller, options.as_flattened(), &["entrypoint"]);
            let mut gateway = run.env("XDG_CACHE_HOME", &cache).stdin(Stdio::piped()).spawn().unwrap();
            gateway.stdin.take().unwrap().write_all(b"first\n").unwrap();
            let output = gateway.wait_with_output().unwrap();
            let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
            assert_eq!(output.status.code(), Some(7), "{caller:?}: {stdout}\n{stderr}");
            let lines: Vec<&str> = stdout.lines().collect();
            let expected = [
                "read first",
                "in /made/for/it as 1000, hello --usual",
                "id",
                "file",
                "out",
                "privileged",
                "server",
                "up",
                "of the image",
                "no privilege",
            ];
            let (begin, rest) = lines.split_at(expected.len());
            assert_eq!(begin, expected, "{caller:?}: {stderr}");
            let (devices, rest): (Vec<&str>, Vec<&str>) = rest.iter().partition(|line| line.starts_with("device "));
            assert!(devices.contains(&"device null") && !devices.iter().any(|device| device.contains("disk")), "{devices:?}");
            let expected = [
                "127.0.0.1 localhost mcp",
                "::1 localhost",
                "of-the-image:x:1000:1000::/:/bin/sh",
                "of the host",
                "visible",
                "write",
                "scratch",
                "/proc/self/comm",
            ];
            assert_eq!(rest, expected, "{caller:?}: {stderr}");
            assert_eq!(stderr.matches("Read-only file system").count(), 2, "{stderr}");
            assert_eq!(stderr.matches("/etc/shadow").count() + stderr.matches("No such file or directory").count(), 2, "{stderr}");
            assert_eq!(fs::read_to_string(write.join("new")).unwrap(), "changed\n");
            let layers: Value = serde_json::from_str(&fs::read_to_string(&layers).unwrap()).unwrap();
            let (machine, unpacked) = (layers["layers"]["machine"]["in_force"].as_str().unwrap(), cache.join("sallyport/images"));
            assert!(machine.contains(&format!(", root {}/sha256-", unpacked.display())), "{machine}");
            assert_eq!(fs::read_dir(unpacked).unwrap().count(), 1, "both are one image, unpacked once");
        }
    }
}

#[test]
fn an_image_that_is_none_or_another_one_is_refused() {
    let folder = Folder::of(Caller::Itself);
    let (guest, cache, image) = (folder.guest(), folder.folder("cache"), folder.path("image"));
    let digest = layout_over(&image, Holds::Shell, &json!({}), &[], &[]);
    let fails = |settings: &Value, command: &str| {
        let mut machine = json!({ "memory_mb": 192, "guest": guest });
        machine.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let sandbox = json!({ "microvm": machine }).to_string();
        let output = launcher(Caller::Itself, &["--sandbox", &sandbox], &[command]).env("XDG_CACHE_HOME", &cache).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{}", text(&output.stdout));
        text(&output.stderr)
    };
    let said = fails(&json!({ "image": image, "digest": digest }), "entrypoint");
    assert!(said.contains("says nothing of what it starts") && said.contains("hint: name a program in it"), "{said}");
    let other = digest.replace(digest.get(7..15).unwrap(), "00000000");
    let said = fails(&json!({ "image": image, "digest": other }), "/bin/ls");
    assert!(said.contains(&format!("is not {other}, but {digest}")), "{said}");
    let said = fails(&json!({ "image": folder.path("nowhere") }), "/bin/ls");
    assert!(said.contains("nowhere cannot be read") && said.contains("hint: name a folder in OCI layout"), "{said}");
    let said = fails(&json!({ "image": image }), "/usr/bin/python3");
    assert!(said.contains("execute /usr/bin/python3") && said.contains("No such file"), "{said}");

    let climbing = layer(&[member(EntryType::Link, "app/file", "../outside", 0o644, "")]);
    let hostile = folder.path("hostile");
    layout_over(&hostile, Holds::Shell, &json!({}), &[], &[climbing]);
    assert!(fails(&json!({ "image": hostile }), "/bin/ls").contains("a path that climbs"));
}

#[test]
fn packages_out_of_the_store_run_in_a_machine() {
    for caller in callers() {
        let folder = Folder::of(*caller);
        let (home, packages, cache) = (folder.folder("home"), folder.path("packages"), folder.folder("cache"));
        let sandbox = json!({ "microvm": { "memory_mb": 384, "guest": folder.guest() } }).to_string();
        let run = |command: &[&str]| -> Output {
            let options = ["--packages", packages.to_str().unwrap(), "--sandbox", &sandbox, "--scripts", "true"];
            let options = if command[0].starts_with("cargo:") { &options[..] } else { &options[..4] };
            let mut run = launcher(*caller, options, command);
            let tools = std::env::var("RUSTUP_HOME").unwrap_or_else(|_| format!("{}/.rustup", std::env::var("HOME").unwrap()));
            run.env_remove("CARGO_HOME").env("RUSTUP_HOME", tools);
            run.env("HOME", &home).env("XDG_CACHE_HOME", &cache).output().unwrap()
        };
        let serves = |command: &[&str]| {
            let output = run(command);
            assert!(output.status.success(), "{caller:?} {command:?}: {}\n{}", text(&output.stdout), text(&output.stderr));
            text(&output.stdout)
        };
        let seen: Value = serde_json::from_str(&serves(&["npx", "-y", &npm_package(&folder), "a b"])).unwrap();
        assert_eq!(seen, json!({ "sealed": true, "home": false, "ran": false, "args": ["a b"] }));
        assert_eq!(serves(&["uvx", "--from", &wheel(&folder), "serve-it", "--flag"]), "served ['--flag'] True\n");
        if *caller == Caller::Itself {
            // Which compiles: once is enough, and root's compiler is out of another user's reach.
            local_crates(&folder);
            assert_eq!(serves(&["cargo:made-here@1"]), "built by its script\n");
        }
    }
}

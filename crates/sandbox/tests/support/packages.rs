//! Packages made here, for npm, pip and cargo, so that no registry is asked.

use std::fs;
use std::process::Command;

use super::{Folder, text};

/// Packs an npm package whose scripts and whose program would both leave a file.
pub(crate) fn npm_package(folder: &Folder) -> String {
    let source = folder.folder("source/package");
    let manifest = r#"{"name": "@made-here/server", "version": "1.0.0", "bin": {"other": "other.js", "server": "server.js"},
        "scripts": {"preinstall": "touch ran", "install": "touch ran", "postinstall": "touch ran"}}"#;
    let program = "#!/usr/bin/env node\n\
        const fs = require('node:fs'), refused = (work) => { try { work(); return false } catch { return true } };\n\
        const sealed = refused(() => fs.writeFileSync(__dirname + '/written', ''));\n\
        const home = fs.existsSync(__dirname + '/../../../../../../../../home');\n\
        console.log(JSON.stringify({ sealed, home, ran: fs.existsSync(__dirname + '/ran'), args: process.argv.slice(2) }));\n";
    fs::write(source.join("package.json"), manifest).unwrap();
    fs::write(source.join("server.js"), program).unwrap();
    fs::write(source.join("other.js"), "#!/usr/bin/env node\n").unwrap();
    let packed = folder.path("server-1.0.0.tgz");
    let made = Command::new("tar").arg("-czf").arg(&packed).arg("-C").arg(folder.path("source")).arg("package").status().unwrap();
    assert!(made.success());
    packed.to_str().unwrap().to_owned()
}

/// Makes a wheel with one console script.
pub(crate) fn wheel(folder: &Folder) -> String {
    let script = r#"
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    info = "made_here-1.0.dist-info/"
    wheel.writestr("made_here.py", "import sys\ndef main(): print('served', sys.argv[1:], sys.prefix != sys.base_prefix)\n")
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: made-here\nVersion: 1.0\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "entry_points.txt", "[console_scripts]\nserve-it = made_here:main\n")
    wheel.writestr(info + "RECORD", "")
"#;
    let path = folder.path("made_here-1.0-py3-none-any.whl");
    assert!(Command::new("/usr/bin/python3").args(["-c", script]).arg(&path).status().unwrap().success());
    path.to_str().unwrap().to_owned()
}

/// A registry of cargo in a folder, as settings name it, with one program that its build script makes.
pub(crate) fn local_crates(folder: &Folder) {
    let source = folder.folder("crate/made-here-1.0.0/src");
    let source = source.parent().unwrap();
    fs::write(source.join("Cargo.toml"), "[package]\nname = \"made-here\"\nversion = \"1.0.0\"\nedition = \"2021\"\n").unwrap();
    fs::write(source.join("build.rs"), "fn main() { println!(\"cargo:rustc-env=BUILT=by its script\"); }\n").unwrap();
    fs::write(source.join("src/main.rs"), "fn main() { println!(\"built {}\", env!(\"BUILT\")); }\n").unwrap();
    let registry = folder.folder("registry");
    let archive = registry.join("made-here-1.0.0.crate");
    assert!(
        Command::new("tar")
            .arg("-czf")
            .arg(&archive)
            .arg("-C")
            .arg(folder.path("crate"))
            .arg("made-here-1.0.0")
            .status()
            .unwrap()
            .success()
    );
    let digest = Command::new("sha256sum").arg(&archive).output().unwrap();
    let digest = text(&digest.stdout).split(' ').next().unwrap().to_owned();
    let entry = format!(r#"{{"name":"made-here","vers":"1.0.0","deps":[],"cksum":"{digest}","features":{{}},"yanked":false}}"#);
    fs::write(folder.folder("registry/index/ma/de").join("made-here"), entry + "\n").unwrap();
    let settings = format!("[source.crates-io]\nreplace-with = \"here\"\n[source.here]\nlocal-registry = \"{}\"\n", registry.display());
    fs::write(folder.folder("home/.cargo").join("config.toml"), settings).unwrap();
}

//! Builds the init of microVMs, crate `guest`, and puts it into this crate: whoever has the gateway's binary has it too. It is linked
//! statically, with flags of its own, so cargo has to be asked once more; where that fails the gateway is built without it, and says so
//! when a microVM is wanted.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What microVMs are made for so far.
const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../guest");
    let Some(out) = env::var_os("OUT_DIR").map(PathBuf::from) else { return };
    let embedded = out.join("sallyport-guest");
    let built = match env::var("TARGET") {
        Ok(target) if target == TARGET => build(&out),
        _ => Err("microVMs are made for x86-64 linux so far".to_owned()),
    };
    let copied = built.and_then(|built| fs::copy(built, &embedded).map_err(|error| error.to_string()));
    if let Err(why) = copied {
        if env::var("TARGET").is_ok_and(|target| target == TARGET) {
            println!("cargo::warning=sandbox = \"microvm\" will not work with this build: {why}");
        }
        if let Err(error) = fs::write(&embedded, []) {
            println!("cargo::error=cannot write {}: {error}", embedded.display());
        }
    }
}

/// A target folder of its own: the usual one is locked by the cargo that runs this.
fn build(out: &Path) -> Result<PathBuf, String> {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").map(|folder| PathBuf::from(folder).join("../guest/Cargo.toml"));
    let target = out.join("guest");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--release", "--locked", "--bin", "sallyport-guest", "--target", TARGET])
        .arg("--manifest-path")
        .arg(manifest.ok_or("cargo does not say where this crate is")?)
        .arg("--target-dir")
        .arg(&target)
        .stdin(Stdio::null())
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static\u{1f}-Crelocation-model=static")
        // Small: it is unpacked in every cold boot.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    for of_the_outer_build in ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(of_the_outer_build);
    }
    let output = cargo.output().map_err(|error| format!("cargo cannot be started: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rfind(|line| line.starts_with("error")).unwrap_or("no error was told");
        return Err(format!("its init cannot be linked statically ({last}); install glibc's static library"));
    }
    Ok(target.join(TARGET).join("release/sallyport-guest"))
}

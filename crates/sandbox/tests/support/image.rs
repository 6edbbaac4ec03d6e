//! An image made of this machine's own shell, tools and Python, so that no registry is asked.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const PROGRAMS: [&str; 5] = ["/bin/sh", "/bin/cat", "/bin/ls", "/bin/sleep", "/usr/bin/id"];
const PYTHON: &str = "/usr/bin/python3";

/// What is in the image.
#[derive(Clone, PartialEq)]
pub(crate) enum Holds {
    Shell,
    /// That too, which takes seconds to pack.
    Python,
    /// The shell and this program.
    Program(PathBuf),
}

/// Writes an image in OCI layout to `folder`; gives the digest of its manifest.
pub(crate) fn layout(folder: &Path, holds: Holds) -> String {
    let start = json!({ "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["echo from the image: $GREETING"], "Env": ["GREETING=hello"] });
    layout_of(folder, holds, &start, &[])
}

/// The same, which starts what `start` says, with further programs in it.
pub(crate) fn layout_of(folder: &Path, holds: Holds, start: &Value, programs: &[(&str, &str)]) -> String {
    layout_over(folder, holds, start, programs, &[])
}

/// The same with further layers, the lowest first: archives as they are.
pub(crate) fn layout_over(folder: &Path, holds: Holds, start: &Value, programs: &[(&str, &str)], further: &[Vec<u8>]) -> String {
    fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    let lowest = layer(folder, holds, programs);
    let descriptor = |kind: &str, bytes: &[u8]| {
        let kind = format!("application/vnd.oci.image.{kind}");
        json!({ "mediaType": kind, "digest": blob(folder, bytes), "size": bytes.len() })
    };
    let mut layers = vec![descriptor("layer.v1.tar", &fs::read(&lowest).unwrap())];
    fs::remove_file(lowest).unwrap();
    layers.extend(further.iter().map(|layer| descriptor("layer.v1.tar", layer)));
    let digests: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let rootfs = json!({ "type": "layers", "diff_ids": digests });
    let configuration = json!({ "architecture": architecture, "os": "linux", "config": start, "rootfs": rootfs });
    let configuration = descriptor("config.v1+json", configuration.to_string().as_bytes());
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": kind, "config": configuration, "layers": layers });
    let manifest = descriptor("manifest.v1+json", manifest.to_string().as_bytes());
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    manifest["digest"].as_str().unwrap().to_owned()
}

/// The same image as `docker save` writes it.
pub(crate) fn archive(layout: &Path, file: &Path) {
    let read = |name: &str| -> Value { serde_json::from_slice(&fs::read(layout.join(name)).unwrap()).unwrap() };
    let path = |digest: &Value| digest.as_str().unwrap().replace("sha256:", "blobs/sha256/");
    let manifest = read(&path(&read("index.json")["manifests"][0]["digest"]));
    let configuration = path(&manifest["config"]["digest"]);
    let layers: Vec<String> = manifest["layers"].as_array().unwrap().iter().map(|layer| path(&layer["digest"])).collect();
    let saved = json!([{ "Config": configuration, "RepoTags": ["test:latest"], "Layers": layers }]).to_string();
    let mut builder = tar::Builder::new(File::create(file).unwrap());
    for name in [vec![configuration], layers].concat() {
        builder.append_path_with_name(layout.join(&name), &name).unwrap();
    }
    let mut header = tar::Header::new_gnu();
    header.set_size(saved.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, "manifest.json", saved.as_bytes()).unwrap();
    builder.finish().unwrap();
}

fn blob(folder: &Path, bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(folder.join("blobs/sha256").join(&hex), bytes).unwrap();
    format!("sha256:{hex}")
}

fn layer(folder: &Path, holds: Holds, programs: &[(&str, &str)]) -> PathBuf {
    let file = folder.join("layer.tar");
    let mut builder = tar::Builder::new(File::create(&file).unwrap());
    builder.sparse(false); // no engine writes layers so
    let mut files: BTreeSet<PathBuf> = PROGRAMS.iter().map(PathBuf::from).collect();
    if let Holds::Program(program) = &holds {
        files.insert(program.clone());
    }
    if holds == Holds::Python {
        let library = PathBuf::from(output(PYTHON, &["-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"]).trim());
        files.insert(PYTHON.into());
        files.extend(fs::read_dir(library.join("lib-dynload")).unwrap().map(|entry| entry.unwrap().path()));
        add_sources(&mut builder, &library);
    }
    let needed: Vec<_> = files.iter().flat_map(|file| libraries(file)).collect();
    files.extend(needed);
    for path in &files {
        let mut content = File::open(path).unwrap();
        builder.append_file(path.strip_prefix("/").unwrap(), &mut content).unwrap();
    }
    for (path, text) in programs {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o755);
        builder.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    builder.finish().unwrap();
    file
}

/// Python's own modules, without what is only for its tests.
fn add_sources(builder: &mut tar::Builder<File>, folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let skipped = ["test", "idlelib", "ensurepip", "lib2to3", "__pycache__", "dist-packages", "site-packages", "lib-dynload"];
        if entry.file_type().unwrap().is_dir() && !skipped.iter().any(|skipped| name == *skipped) {
            add_sources(builder, &path);
        } else if path.extension().is_some_and(|extension| extension == "py") {
            builder.append_path_with_name(&path, path.strip_prefix("/").unwrap()).unwrap();
        }
    }
}

fn libraries(file: &Path) -> Vec<PathBuf> {
    let listed = output("ldd", &[file.to_str().unwrap()]);
    listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

fn output(program: &str, arguments: &[&str]) -> String {
    String::from_utf8(Command::new(program).args(arguments).output().unwrap().stdout).unwrap()
}

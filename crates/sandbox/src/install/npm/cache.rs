//! What the registry has told npm, out of npm's own cache (`cacache`): npm shows it to nobody.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::super::below;
use super::super::locked::hex;

/// The longest list of versions that a registry has of a public package takes ten megabytes.
const DOCUMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Files of the cache that are looked at: a thousand packages leave two each.
const MOST_FILES: usize = 50_000;

/// A line of the cache's index.
#[derive(Deserialize)]
struct Entry {
    key: String,
    integrity: Option<String>,
}

/// `dist` of all versions, by name and version, of all packages that npm has looked up. What cannot be read is left out: then nothing is
/// known of it.
pub(super) fn distributions(cache: &Path) -> BTreeMap<(String, String), Value> {
    let mut found = BTreeMap::new();
    for file in files_below(&cache.join("index-v5")) {
        let text = read(cache, &file).unwrap_or_default();
        // Each line is a digest, a tab, and the entry; the last one counts.
        let entry = text.lines().filter_map(|line| serde_json::from_str::<Entry>(line.split_once('\t')?.1).ok()).next_back();
        let Some(entry) = entry.filter(|entry| entry.key.starts_with("make-fetch-happen:") && !entry.key.contains(".tgz")) else {
            continue;
        };
        let Some(document) = entry.integrity.and_then(|integrity| content(cache, &integrity)) else { continue };
        let document: Value = read(cache, &document).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let versions = document.get("versions").and_then(Value::as_object).into_iter().flatten();
        let name = document.get("name").and_then(Value::as_str).unwrap_or_default();
        found.extend(versions.filter_map(|(version, about)| Some(((name.to_owned(), version.clone()), about.get("dist")?.clone()))));
    }
    found
}

/// The file of what has this digest (`sha512-BASE64`).
fn content(cache: &Path, integrity: &str) -> Option<PathBuf> {
    let (algorithm, digest) = integrity.split_whitespace().next()?.split_once('-')?;
    let digest = hex(STANDARD.decode(digest).ok()?.iter());
    let plain = algorithm.chars().all(|character| character.is_ascii_alphanumeric());
    plain.then(|| Some(cache.join("content-v2").join(algorithm).join(digest.get(..2)?).join(digest.get(2..4)?).join(digest.get(4..)?)))?
}

fn read(cache: &Path, file: &Path) -> Option<String> {
    below::read(cache, file.strip_prefix(cache).ok()?, DOCUMENT_BYTES).ok()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![folder.to_path_buf()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() && files.len() < MOST_FILES => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files
}

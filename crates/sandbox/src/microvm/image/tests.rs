#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::*;
use crate::policy::{Access, Network, Tree as Shown};

fn view(path: &Path) -> View {
    let folder = path.is_dir();
    View {
        trees: vec![Shown { path: path.to_path_buf(), access: Access::Read, folder }],
        links: [("/bin".into(), "usr/bin".into())].into(),
        exec_in_write: false,
    }
}

/// The whole disk, as a machine would read it.
fn written(image: &Image) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut reader = Reader::new(image);
    let mut at = 0;
    while at < image.size() {
        let mut piece = vec![0xAA; usize::try_from((image.size() - at).min(100_000)).unwrap()];
        reader.read(at, &mut piece).unwrap();
        file.write_all(&piece).unwrap();
        at += piece.len() as u64;
    }
    file
}

/// A folder whose path is its own.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    (folder, path)
}

#[test]
fn the_kernels_own_tool_finds_every_file_as_it_is() {
    let (_keep, path) = folder();
    fs::write(path.join("empty"), "").unwrap();
    fs::write(path.join("exact"), vec![7; 8192]).unwrap();
    fs::write(path.join("+before the dot"), "hello\n").unwrap();
    fs::create_dir(path.join("many")).unwrap();
    for number in 0..700 {
        fs::write(path.join(format!("many/a name that is long enough to fill blocks {number}")), format!("{number}")).unwrap();
    }
    symlink("x".repeat(4000), path.join("long link")).unwrap();
    symlink("many", path.join("link")).unwrap();
    fs::set_permissions(path.join("exact"), fs::Permissions::from_mode(0o4755)).unwrap();
    let image = Image::of(&view(&path), None, &Network::None).unwrap();
    let disk = written(&image);

    let (_keep, unpacked) = folder();
    let checked = Command::new("fsck.erofs").arg(format!("--extract={}", unpacked.join("x").display())).arg(disk.path()).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let inside = unpacked.join("x").join(path.strip_prefix("/").unwrap());
    let same = Command::new("diff").args(["--recursive", "--no-dereference"]).args([&path, &inside]).output().unwrap();
    assert!(same.status.success(), "{}", String::from_utf8_lossy(&same.stdout));
    assert_eq!(fs::read_link(unpacked.join("x/bin")).unwrap(), Path::new("usr/bin"));
    assert!(fs::read_to_string(unpacked.join("x/etc/passwd")).unwrap().starts_with("mcp:x:1000:"));
    assert_eq!(fs::metadata(inside.join("exact")).unwrap().permissions().mode() & 0o7000, 0, "no setuid bit");
    assert_eq!(
        fs::metadata(inside.join("exact")).unwrap().modified().unwrap(),
        fs::metadata(path.join("exact")).unwrap().modified().unwrap()
    );
}

#[test]
fn what_was_replaced_or_is_not_for_the_program_is_not_read() {
    let (_keep, path) = folder();
    let file = path.join("file");
    fs::write(&file, vec![1; 5000]).unwrap();
    fs::write(path.join("closed"), "canary").unwrap();
    fs::set_permissions(path.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path.join("socket")).unwrap();
    let image = Image::of(&view(&path), None, &Network::None).unwrap();
    assert_eq!(image.files.len(), 1);
    let start = image.files[0].start;
    let mut block = vec![0xAA; 8192];
    Reader::new(&image).read(start, &mut block).unwrap();
    assert!(block[..5000].iter().all(|byte| *byte == 1) && block[5000..].iter().all(|byte| *byte == 0));
    assert!(Reader::new(&image).read(start + 1, &mut block).is_err(), "beyond the end");
    assert!(Reader::new(&image).read(u64::MAX, &mut block).is_err());

    fs::rename(&file, path.join("before")).unwrap();
    symlink(path.join("before"), &file).unwrap();
    assert!(Reader::new(&image).read(start, &mut block).is_err(), "a link");
    fs::remove_file(&file).unwrap();
    fs::write(&file, "another").unwrap();
    assert!(Reader::new(&image).read(start, &mut block).is_err(), "another file of that name");
}

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::io::Write;
use std::os::unix::fs::symlink;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

use super::*;

/// One member, its name and link as they are, whatever they are.
fn member(kind: EntryType, name: &str, link: &str, mode: u32, text: &str) -> (Header, Vec<u8>) {
    let mut header = Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(text.len() as u64);
    header.set_cksum();
    (header, text.as_bytes().to_vec())
}

fn file(name: &str, text: &str) -> (Header, Vec<u8>) {
    member(EntryType::Regular, name, "", 0o600, text)
}

fn packed(members: &[(Header, Vec<u8>)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (header, text) in members {
        builder.append(header, text.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

struct Trial {
    folder: tempfile::TempDir,
    unpack: Unpack,
}

impl Trial {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("root")).unwrap();
        fs::write(folder.path().join("outside"), "untouched").unwrap();
        let root = openat(CWD, folder.path().join("root"), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        Self { folder, unpack: Unpack { root, bytes: 1 << 20, entries: 100, made: HashSet::new(), names: 1 << 20 } }
    }

    fn root(&self, name: &str) -> PathBuf {
        self.folder.path().join("root").join(name)
    }

    fn layer(&mut self, members: &[(Header, Vec<u8>)]) -> io::Result<String> {
        self.unpack.layer(packed(members).as_slice())
    }

    fn is_untouched(&self) -> bool {
        let names: HashSet<_> = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.len() == 2 && fs::read_to_string(self.folder.path().join("outside")).unwrap() == "untouched"
    }
}

#[test]
fn files_come_out_readable_without_privilege_and_the_digest_is_that_of_the_unpacked_layer() {
    let mut trial = Trial::new();
    let members = [member(EntryType::Regular, "./usr/bin/tool", "", 0o4700, "run"), file("/etc/key", "text")];
    let plain = packed(&members);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&plain).unwrap();
    let found = trial.unpack.layer(gzip.finish().unwrap().as_slice()).unwrap();
    assert_eq!(found, format!("sha256:{}", hex(&Sha256::digest(&plain))));
    let mode = |name: &str| fs::metadata(trial.root(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("usr/bin/tool"), mode("etc/key"), mode("usr")), (0o555, 0o444, 0o755));
}

#[test]
fn nothing_leaves_the_folder() {
    let climbing = [file("../outside", "x"), file("a/../../outside", "x"), member(EntryType::Link, "a", "../outside", 0o644, "")];
    for member in climbing {
        let mut trial = Trial::new();
        assert!(trial.layer(&[member]).is_err());
        assert!(trial.is_untouched());
    }
    let mut trial = Trial::new();
    let through_links = [
        member(EntryType::Symlink, "up", "../..", 0o777, ""),
        file("up/outside", "inside"),
        member(EntryType::Symlink, "absolute", "/", 0o777, ""),
        file("absolute/also", "inside"),
        member(EntryType::Symlink, "hidden", "../outside", 0o777, ""),
        file("hidden", "a file in the link's place"),
        file("up/.wh.outside", ""),
    ];
    trial.layer(&through_links).unwrap();
    assert!(trial.is_untouched());
    assert_eq!(fs::read_to_string(trial.root("also")).unwrap(), "inside");
    assert!(!trial.root("outside").exists());
    assert!(fs::symlink_metadata(trial.root("hidden")).unwrap().is_file());
}

#[test]
fn a_hard_link_leads_to_a_file_of_the_image_only() {
    let mut trial = Trial::new();
    symlink("../outside", trial.root("link")).unwrap();
    assert!(trial.layer(&[member(EntryType::Link, "a", "link", 0o644, "")]).is_err());
    trial.layer(&[file("one", "text"), member(EntryType::Link, "two", "one", 0o644, "")]).unwrap();
    assert_eq!(fs::read_to_string(trial.root("two")).unwrap(), "text");
}

#[test]
fn devices_and_pipes_are_left_out() {
    let mut trial = Trial::new();
    let kinds = [EntryType::Char, EntryType::Block, EntryType::Fifo];
    trial.layer(&kinds.map(|kind| member(kind, "dev/node", "", 0o666, ""))).unwrap();
    assert!(!trial.root("dev/node").exists());
}

#[test]
fn whiteouts_take_away_what_lies_below_and_nothing_of_their_own_layer() {
    let mut trial = Trial::new();
    trial.layer(&[file("kept/old", ""), file("gone/file", ""), file("opaque/old", "")]).unwrap();
    trial.layer(&[file("opaque/new", ""), file(".wh.gone", ""), file("opaque/.wh..wh..opq", ""), file("kept/.wh.missing", "")]).unwrap();
    assert!(trial.root("kept/old").exists() && trial.root("opaque/new").exists());
    assert!(!trial.root("gone").exists() && !trial.root("opaque/old").exists());
    assert!(trial.layer(&[file("kept/.wh...", "")]).is_err());
    assert!(trial.is_untouched());
}

#[test]
fn what_is_too_large_ends() {
    let mut trial = Trial::new();
    let large = "x".repeat(2 << 20);
    assert!(trial.layer(&[file("large", &large)]).unwrap_err().to_string().contains("too many bytes"));
    let mut trial = Trial::new();
    let many: Vec<_> = (0..101).map(|number| file(&format!("f{number}"), "")).collect();
    assert!(trial.layer(&many).unwrap_err().to_string().contains("too many entries"));
    let mut trial = Trial::new();
    let zeros = vec![0; 100 << 20];
    let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
    bomb.write_all(&zeros).unwrap();
    assert!(trial.unpack.layer(bomb.finish().unwrap().as_slice()).is_err());
}

/// An entry whose text is about the one after it.
fn about(kind: EntryType, text: &str) -> (Header, Vec<u8>) {
    member(kind, "about", "", 0o644, text)
}

#[test]
fn long_names_are_those_that_were_told_before() {
    let mut trial = Trial::new();
    let long = "a".repeat(150);
    let record = format!("{} path=posix/{long}\n", 3 + 1 + 5 + 6 + long.len() + 1);
    trial
        .layer(&[
            about(EntryType::GNULongName, &format!("gnu/{long}\0")),
            file("short", "by gnu"),
            about(EntryType::XHeader, &record),
            file("short", "by posix"),
            file("after", "its own"),
            about(EntryType::GNULongLink, &format!("{long}\0")),
            member(EntryType::Symlink, "link", "short", 0o777, ""),
        ])
        .unwrap();
    let text = |name: &str| fs::read_to_string(trial.root(name)).unwrap();
    assert_eq!(
        (text(&format!("gnu/{long}")), text(&format!("posix/{long}")), text("after")),
        ("by gnu".into(), "by posix".into(), "its own".into())
    );
    assert_eq!(fs::read_link(trial.root("link")).unwrap(), Path::new(&long));
    assert!(!trial.root("short").exists());
}

#[test]
fn a_name_without_end_is_not_read_to_its_end() {
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let mut endless = about(kind, &"x".repeat(300 * 1024));
        assert!(Trial::new().layer(&[endless.clone()]).unwrap_err().to_string().contains("too long"));
        // As long as a header can say, with nothing behind it.
        endless.0.set_size(0o77_777_777_777);
        endless.0.set_cksum();
        let header = endless.0.as_bytes().as_slice();
        assert!(Trial::new().unpack.layer(header).unwrap_err().to_string().contains("too long"));
    }
    let climbs = Trial::new().layer(&[about(EntryType::GNULongName, "../../outside\0"), file("short", "x")]);
    assert!(climbs.unwrap_err().to_string().contains("climbs"));
}

#[test]
fn folders_grow_no_deeper_by_way_of_links() {
    let mut trial = Trial::new();
    trial.unpack.entries = 1000;
    let down = "d/".repeat(40);
    // Each link leads to where the folders before it end.
    let members = (0..10).flat_map(|step| {
        let from = if step == 0 { String::new() } else { format!("s{}/", step - 1) };
        [
            file(&format!("{from}{down}f"), "x"),
            member(EntryType::Symlink, &format!("s{step}"), &format!("{from}{}", down.trim_end_matches('/')), 0o777, ""),
        ]
    });
    let error = trial.layer(&members.collect::<Vec<_>>()).unwrap_err();
    assert!(error.to_string().contains("levels of folders"), "{error}");
}

#[test]
fn folders_that_no_entry_names_are_counted() {
    let mut trial = Trial::new();
    let members: Vec<_> = (0..5).map(|number| file(&format!("{number}/{}f", "d/".repeat(40)), "x")).collect();
    let error = trial.layer(&members).unwrap_err();
    assert!(error.to_string().contains("entries"), "{error}");
}

//! Nothing outside of the root is ever read or written, whatever is laid out in it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sallyport_protocol::Method;
use serde_json::{Value, json};

use crate::caller::Caller;

/// How long each race is run.
const RACE: Duration = Duration::from_secs(2);

const CANARY: &str = "canary-7f3a: must never be read";

/// `outside/secret.txt` with the canary, and an empty `root` beside it.
fn layout() -> (tempfile::TempDir, Caller) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("outside")).unwrap();
    fs::create_dir(folder.path().join("root")).unwrap();
    fs::write(folder.path().join("outside/secret.txt"), CANARY).unwrap();
    let caller = Caller::filesystem(&folder.path().join("root"), true);
    (folder, caller)
}

fn assert_refused(caller: &Caller, path: &str) {
    for (tool, arguments) in [
        ("read_file", json!({ "path": path })),
        ("read_media", json!({ "path": path })),
        ("write_file", json!({ "path": path, "content": "broken out" })),
        ("edit_file", json!({ "path": path, "edits": [{ "old_text": "canary", "new_text": "x" }] })),
    ] {
        let told = caller.err(tool, arguments);
        assert!(told.contains("leads outside"), "{tool} {path}: {told}");
        assert!(!told.contains("canary"), "{told}");
    }
}

#[test]
fn paths_and_links_out_of_the_root_are_refused() {
    let (folder, caller) = layout();
    let root = folder.path().join("root");
    let secret = folder.path().join("outside/secret.txt");
    symlink(&secret, root.join("absolute")).unwrap();
    symlink("../outside/secret.txt", root.join("relative")).unwrap();
    symlink("../outside", root.join("dir")).unwrap();
    symlink("dir", root.join("twice")).unwrap();
    for path in
        ["../outside/secret.txt", "absolute", "relative", "dir/secret.txt", "twice/secret.txt", secret.to_str().unwrap(), "/etc/passwd"]
    {
        assert_refused(&caller, path);
    }
    for path in ["dir", "..", "/", "twice"] {
        assert!(caller.err("list_directory", json!({ "path": path })).contains("leads outside"), "{path}");
        assert!(caller.err("search_files", json!({ "path": path, "content": "canary" })).contains("leads outside"), "{path}");
        assert!(caller.err("directory_tree", json!({ "path": path })).contains("leads outside"), "{path}");
        assert!(caller.err("get_file_info", json!({ "path": format!("{path}/secret.txt") })).contains("leads outside"), "{path}");
    }
    assert_eq!(caller.ok("search_files", json!({ "content": "canary" })).structured["matches"], json!([]));
    for (tool, arguments) in [
        ("create_directory", json!({ "path": "dir/new" })),
        ("move_file", json!({ "from": "dir/secret.txt", "to": "stolen" })),
        ("move_file", json!({ "from": "absolute", "to": "dir/planted" })),
        ("move_file", json!({ "from": "absolute", "to": "../planted" })),
    ] {
        assert!(caller.err(tool, arguments.clone()).contains("leads outside"), "{tool} {arguments}");
    }
    assert_eq!(fs::read_dir(folder.path().join("outside")).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(&secret).unwrap(), CANARY);
}

#[test]
fn links_that_stay_inside_are_followed() {
    let (folder, caller) = layout();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/file"), "inside").unwrap();
    symlink("../file", root.join("a/b/up")).unwrap();
    symlink("a/b", root.join("short")).unwrap();
    assert_eq!(caller.ok("read_file", json!({ "path": "short/up" })).text(), "inside");
    assert_eq!(caller.ok("list_directory", json!({ "path": "short" })).structured["total"], 1);
    symlink("circle", root.join("circle")).unwrap();
    assert!(caller.err("read_file", json!({ "path": "circle" })).contains("in a circle"));
    symlink("nothing", root.join("dangling")).unwrap();
    assert!(caller.err("write_file", json!({ "path": "dangling", "content": "" })).contains("no such file"));
}

#[test]
fn pipes_sockets_and_devices_are_not_opened() {
    let (folder, caller) = layout();
    let root = folder.path().join("root");
    rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::from(0o600), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let began = Instant::now();
    for path in ["pipe", "socket"] {
        assert!(caller.err("read_file", json!({ "path": path })).contains("not a regular file"), "{path}");
        assert!(caller.err("write_file", json!({ "path": path, "content": "x" })).contains("not a regular file"), "{path}");
    }
    assert_eq!(caller.ok("search_files", json!({ "content": "x" })).structured["matches"], json!([]));
    assert!(began.elapsed() < Duration::from_secs(5), "a pipe was waited for");
    // A device cannot be made without privileges: one that is there is looked at through its folder.
    let devices = Caller::filesystem(Path::new("/dev"), false);
    assert!(devices.err("read_file", json!({ "path": "zero" })).contains("not a regular file"));
}

/// Swaps what `root/swap` is, as fast as it goes: a folder with a harmless file of the same name, and a link outside.
fn swap(root: &Path, until: Instant) {
    let (path, honest, link) = (root.join("swap"), root.join("honest"), root.join("link"));
    while Instant::now() < until {
        // The tools move the harmless file away, and what they make meanwhile is cleared away with all that lies in it.
        let _ = fs::create_dir(&honest);
        let _ = fs::write(honest.join("secret.txt"), "harmless");
        let _ = symlink("../outside", &link);
        for one in [&honest, &link] {
            // Where the tools under attack made a folder of one of these names meanwhile, it is cleared away.
            while Instant::now() < until && fs::rename(one, &path).is_err() {
                let _ = fs::remove_dir_all(&path);
            }
            while Instant::now() < until && fs::rename(&path, one).is_err() {
                let _ = fs::remove_dir_all(one);
            }
        }
    }
}

/// What a tool answered, as text.
fn answer(caller: &Caller, tool: &str, arguments: &Value) -> String {
    let reply = caller.send(Method::ToolsCall, json!({ "name": tool, "arguments": arguments })).unwrap();
    reply.result.to_json().as_str().to_owned()
}

#[test]
fn no_race_of_renames_leads_outside() {
    let (folder, caller) = layout();
    let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
    let (until, harmless) = (Instant::now() + RACE, AtomicU64::new(0));
    let attacks = [
        ("read_file", json!({ "path": "swap/secret.txt" })),
        ("search_files", json!({ "content": "canary" })),
        ("search_files", json!({ "path": "swap", "content": "canary" })),
        ("get_file_info", json!({ "path": "swap/secret.txt" })),
        ("write_file", json!({ "path": "swap/planted.txt", "content": "broken out" })),
        ("edit_file", json!({ "path": "swap/secret.txt", "edits": [{ "old_text": "e", "new_text": "e", "replace_all": true }] })),
        ("create_directory", json!({ "path": "swap/planted/deep" })),
        ("move_file", json!({ "from": "swap/secret.txt", "to": "stolen.txt" })),
        ("move_file", json!({ "from": "stolen.txt", "to": "swap/secret.txt" })),
    ];
    std::thread::scope(|scope| {
        scope.spawn(|| swap(&root, until));
        for _ in 0..2 {
            scope.spawn(|| {
                while Instant::now() < until {
                    for (tool, arguments) in &attacks {
                        let text = answer(&caller, tool, arguments);
                        assert!(!text.contains("canary-7f3a"), "{tool} {arguments}: {text}");
                        assert!(!text.contains(&format!("\"size\":{}", CANARY.len())), "{tool} {arguments}: {text}");
                        harmless.fetch_add(u64::from(text.contains("harmless")), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(harmless.load(Ordering::Relaxed) > 0, "the race was never won by the honest folder: the test shows nothing");
    let left: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["secret.txt"], "something was planted outside");
    assert_eq!(fs::read_to_string(outside.join("secret.txt")).unwrap(), CANARY);
}

//! npm `server-filesystem` over a small folder.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::{Server, command, stable, stdio_configuration, unstable};
use crate::harness::peers;
use crate::visit::Step;

const PROGRAM: &str = "@modelcontextprotocol/server-filesystem/dist/index.js";
/// One pixel.
const PNG: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, 0x49, 0x48, 0x44, 0x52, 0, 0, 0, 1, 0, 0, 0, 1, 8, 6, 0, 0, 0, 0x1f,
    0x15, 0xc4, 0x89,
];

pub(crate) fn server(folder: &Path) -> Server {
    let root = folder.join("files");
    lay_out(&root);
    let at = |name: &str| root.join(name).display().to_string();
    let direct = command(vec![peers::node(), peers::npm(PROGRAM), at("")], &[]);
    // It lists its folder, in which whatever covers names that it must not make would be seen.
    let configuration = format!("{}write = [{root:?}]\ndeny_write = [\"!*\"]\n", stdio_configuration(&direct));
    let steps = vec![
        stable(Step::list("tools/list")),
        stable(Step::call("list_allowed_directories", &json!({}))),
        stable(Step::call("read_file", &json!({ "path": at("notes.txt") }))),
        stable(Step::call("read_text_file", &json!({ "path": at("notes.txt"), "head": 1 }))),
        stable(Step::call("read_media_file", &json!({ "path": at("pixel.png") }))),
        stable(Step::call("read_multiple_files", &json!({ "paths": [at("notes.txt"), at("absent.txt")] }))),
        stable(Step::call("list_directory", &json!({ "path": at("") }))),
        stable(Step::call("list_directory_with_sizes", &json!({ "path": at(""), "sortBy": "size" }))),
        stable(Step::call("directory_tree", &json!({ "path": at("") }))),
        stable(Step::call("search_files", &json!({ "path": at(""), "pattern": "**/*.txt" }))),
        stable(Step::call("write_file", &json!({ "path": at("new.txt"), "content": "written\n" }))),
        stable(Step::call("edit_file", &json!({ "path": at("new.txt"), "edits": [{ "oldText": "written", "newText": "edited" }] }))),
        stable(Step::call("create_directory", &json!({ "path": at("made") }))),
        stable(Step::call("move_file", &json!({ "source": at("new.txt"), "destination": at("made/moved.txt") }))),
        unstable(
            Step::call("get_file_info", &json!({ "path": at("notes.txt") })),
            &["/content/0/text", "/structuredContent/content"],
            "it tells when the file was made and read",
        ),
        stable(Step::call("read_file", &json!({ "path": "/etc/passwd" }))),
    ];
    let reset = Box::new(|folder: &Path| lay_out(&folder.join("files")));
    Server {
        name: "filesystem",
        direct,
        configuration,
        steps,
        not_called: vec![],
        asking: vec![],
        remembering: vec![],
        one_sided: vec![],
        reset,
    }
}

/// The folder itself stays, since a running server holds it open.
fn lay_out(root: &Path) {
    for left_over in ["new.txt", "made/moved.txt"] {
        let _absent_is_as_good = fs::remove_file(root.join(left_over));
    }
    let _absent_is_as_good = fs::remove_dir(root.join("made"));
    fs::create_dir_all(root.join("deeper")).expect("the project is writable");
    for (name, content) in [("notes.txt", "one\ntwo ü\nthree\n".as_bytes()), ("deeper/more.txt", b"more\n"), ("pixel.png", PNG)] {
        fs::write(root.join(name), content).expect("the project is writable");
    }
}

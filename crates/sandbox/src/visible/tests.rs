#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
use super::*;
use std::fs;
use std::os::unix::fs::symlink;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("visible").tempdir_in("/var/tmp").unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(name)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

fn view_of(profile: &Profile, program: &Program) -> View {
    resolve(profile, program).unwrap().0
}

fn shown(view: &View, path: &Path) -> Option<Access> {
    let tree = view.trees.iter().rev().find(|tree| path.starts_with(&tree.path));
    tree.map(|tree| tree.access)
}

fn program(path: &Path) -> Program {
    Program::new("test", path.to_str().unwrap())
}

#[test]
fn a_virtual_environment_is_shown_with_the_interpreter_that_its_links_lead_to() {
    let folder = Folder::new();
    let python = folder.file("pythons/3.11/bin/python3", "");
    let library = folder.file("pythons/3.11/lib/python3.11/os.py", "");
    symlink("3.11", folder.path("pythons/latest")).unwrap();
    folder.file("venv/pyvenv.cfg", "");
    fs::create_dir_all(folder.path("venv/bin")).unwrap();
    symlink(folder.path("pythons/latest/bin/python3"), folder.path("venv/bin/python")).unwrap();
    let script = folder.file("venv/bin/server", &format!("#!{}\n", folder.path("venv/bin/python").display()));
    let secret = folder.file("pythons/secret", "");

    let view = view_of(&Profile::default(), &program(&script));
    assert_eq!(shown(&view, &folder.path("venv/lib/x")), Some(Access::Read));
    assert_eq!(shown(&view, &python), Some(Access::Read));
    assert_eq!(shown(&view, &library), Some(Access::Read));
    assert_eq!(view.links.get(&folder.path("pythons/latest")), Some(&PathBuf::from("3.11")));
    assert_eq!(shown(&view, &secret), None);
}

/// The audited attacks: a package's own script names what is to be shown.
#[test]
fn a_script_cannot_have_anything_of_the_host_shown_by_its_first_line() {
    let folder = Folder::new();
    folder.file("app/package.json", "{}");
    let key = folder.file("app/.ssh/id", "secret");
    let hook = folder.file("app/.git/hooks/pre-commit", "#!/bin/sh\n");
    folder.file("other/pyvenv.cfg", "");
    folder.file("other/lib/code", "");
    let tool = folder.file("other/bin/tool", "");
    fs::create_dir_all(folder.path("package")).unwrap();
    symlink(folder.path("app"), folder.path("package/link")).unwrap();
    let (app, hook_path, tool) = (folder.path("app"), hook.display().to_string(), tool.display().to_string());
    let relative = |path: &str| path.trim_start_matches('/').to_owned();
    let up = "../".repeat(20);
    let lines = [
        relative(app.to_str().unwrap()),
        relative(&hook_path),
        hook_path.clone(),
        app.display().to_string(),
        key.display().to_string(),
        tool.clone(),
        format!("/usr/bin/{up}{}", relative(&hook_path)),
        folder.path("package/link/.git/hooks/pre-commit").display().to_string(),
        format!("/usr/bin/env {hook_path}"),
        format!("/usr/bin/env {up}{}", relative(&hook_path)),
        format!("/usr/bin/env -S {hook_path}"),
        format!("/usr/bin/env -S -u {hook_path} sh"),
        format!("/usr/bin/env -S -C {} sh", app.display()),
        format!("/usr/bin/env -u {hook_path} sh"),
        format!("/usr/bin/env --split-string={hook_path} sh"),
        format!("/usr/bin/env -S PATH={} sh", folder.path("app/.git/hooks").display()),
        format!("\x0b{hook_path}"),
        format!("/bin/sh\0 {hook_path}"),
    ];
    for line in lines {
        folder.file("package/package.json", "{}");
        let script = folder.file("package/bin/evil", &format!("#!{line}\n"));
        let view = view_of(&Profile::default(), &program(&script));
        assert_eq!(shown(&view, &script), Some(Access::Read));
        for hidden in [app.as_path(), &key, &hook, &folder.path("other/lib/code"), Path::new(&tool)] {
            assert_eq!(shown(&view, hidden), None, "#!{line} shows {}", hidden.display());
        }
    }
}

#[test]
fn an_interpreter_in_the_path_brings_its_prefix_and_no_package_round_it() {
    let folder = Folder::new();
    folder.file("nvm/v20/bin/node", "");
    let npm = folder.file("nvm/v20/lib/node_modules/npm/index.js", "");
    folder.file("pyenv/shims/python", "#!/usr/bin/env bash\n");
    let version = folder.file("pyenv/versions/3.12/bin/python", "");
    folder.file("tools/x/pyvenv.cfg", "");
    let of_tool = folder.file("tools/x/lib/x.py", "");
    folder.file("tools/x/bin/tool", "");
    fs::create_dir_all(folder.path("bin")).unwrap();
    symlink("../tools/x/bin/tool", folder.path("bin/tool")).unwrap();
    let app = folder.file("app/secret", "");
    folder.file("app/package.json", "{}");
    folder.file("app/scripts/run", "");
    let folders = ["nvm/v20/bin", "pyenv/shims", "bin", "app/scripts"].map(|name| folder.path(name));
    let path = std::env::join_paths(folders.iter().map(PathBuf::as_path).chain([Path::new("/usr/bin")])).unwrap();
    let brought = |line: &str, what: &Path| {
        let mut program = program(&folder.file("own/script", &format!("#!{line}\n")));
        program.env.insert("PATH".to_owned(), EnvText::from(path.to_str().unwrap()));
        shown(&view_of(&Profile::default(), &program), what)
    };
    let node = format!("{} --flag", folder.path("nvm/v20/bin/node").display());
    for line in ["/usr/bin/env node", "  /usr/bin/env\t-S  node --flag", "/usr/bin/env -Snode", &node] {
        assert_eq!(brought(line, &npm), Some(Access::Read), "{line}");
        assert_eq!(brought(line, &version), None, "{line}");
    }
    assert_eq!(brought("/usr/bin/env python", &version), Some(Access::Read));
    assert_eq!(brought("/usr/bin/env tool", &of_tool), Some(Access::Read));
    assert_eq!(brought("/usr/bin/env run", &folder.path("app/scripts/run")), Some(Access::Read));
    assert_eq!(brought("/usr/bin/env run", &app), None);
}

#[test]
fn an_interpreter_in_a_named_root_brings_the_code_that_its_link_leads_to_and_no_environment_of_others() {
    let folder = Folder::new();
    folder.file("pythons/3.11/bin/python3", "");
    let library = folder.file("pythons/3.11/lib/os.py", "");
    folder.file("other/pyvenv.cfg", "");
    let private = folder.file("other/.env", "");
    folder.file("other/bin/python", "");
    fs::create_dir_all(folder.path("project/venv/bin")).unwrap();
    symlink(folder.path("pythons/3.11/bin/python3"), folder.path("project/venv/bin/python")).unwrap();
    symlink(folder.path("other/bin/python"), folder.path("project/venv/bin/trap")).unwrap();
    let profile = Profile { write: vec![folder.path("project")], ..Profile::default() };
    let view = |name: &str| {
        let line = format!("#!{}\n", folder.path("project/venv/bin").join(name).display());
        view_of(&profile, &program(&folder.file("scripts/server", &line)))
    };
    assert_eq!(shown(&view("python"), &library), Some(Access::Read));
    assert_eq!(shown(&view("trap"), &private), None);
}

#[test]
fn a_script_brings_its_outermost_node_modules_and_nothing_beside_it() {
    let folder = Folder::new();
    let script = folder.file("project/node_modules/a/node_modules/b/cli.js", "#!/bin/sh\n");
    folder.file("project/node_modules/a/node_modules/b/package.json", "{}");
    let secret = folder.file("project/.env", "");
    fs::create_dir_all(folder.path("project/node_modules/.bin")).unwrap();
    let link = folder.path("project/node_modules/.bin/b");
    symlink("../a/node_modules/b/cli.js", &link).unwrap();

    let view = view_of(&Profile::default(), &program(&link));
    assert_eq!(shown(&view, &folder.path("project/node_modules/c")), Some(Access::Read));
    assert_eq!(shown(&view, &script), Some(Access::Read));
    assert_eq!(shown(&view, &secret), None);
}

#[test]
fn existing_paths_among_the_arguments_are_shown_to_read_but_never_sockets_or_the_whole_system() {
    let folder = Folder::new();
    let data = folder.file("data/one.txt", "");
    let other = folder.file("data/two.txt", "");
    let socket = folder.path("data/socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut program = Program::new("test", "/bin/sh");
    program.args = vec![
        data.display().to_string(),
        format!("--file={}", other.display()),
        socket.display().to_string(),
        "/".to_owned(),
        "/etc".to_owned(),
        "/proc/1".to_owned(),
        "/does/not/exist".to_owned(),
    ];

    let view = view_of(&Profile::default(), &program);
    assert_eq!(shown(&view, &data), Some(Access::Read));
    assert_eq!(shown(&view, &other), Some(Access::Read));
    for hidden in [&socket, Path::new("/etc/shadow"), Path::new("/proc/1"), Path::new("/var/lib")] {
        assert_eq!(shown(&view, hidden), None, "{}", hidden.display());
    }
}

#[test]
fn a_root_to_write_inside_one_to_read_stays_writable_and_repeats_are_dropped() {
    let folder = Folder::new();
    let out = folder.file("project/out/x", "");
    let profile = Profile {
        read: vec![folder.path("project"), folder.path("project/out")],
        write: vec![folder.path("project/out")],
        ..Profile::default()
    };

    let view = view_of(&profile, &Program::new("test", "/bin/sh"));
    assert_eq!(shown(&view, &out), Some(Access::Write));
    assert_eq!(shown(&view, &folder.path("project/y")), Some(Access::Read));
    let here: Vec<_> = view.trees.iter().filter(|tree| tree.path.starts_with(folder.path(""))).collect();
    assert_eq!(here.len(), 2);
}

#[test]
fn a_root_to_read_inside_one_to_write_stays_read_only_and_the_folders_between_are_held() {
    let folder = Folder::new();
    let file = folder.file("project/a/b/rules", "");
    let beside = folder.file("project/a/beside/x", "");
    let mut program = Program::new("test", "/bin/sh");
    program.args = vec![beside.display().to_string(), folder.path("project/a").display().to_string()];
    let profile = Profile { read: vec![file.clone()], write: vec![folder.path("project")], ..Profile::default() };

    let view = view_of(&profile, &program);
    assert_eq!(shown(&view, &file), Some(Access::Read));
    assert_eq!(shown(&view, &beside), Some(Access::Write), "only what is named is read-only, not what an argument brings");
    let here: Vec<_> = view.trees.iter().filter_map(|tree| tree.path.strip_prefix(folder.path("project")).ok()).collect();
    assert_eq!(here, ["", "a", "a/b", "a/b/rules"].map(Path::new));
}

#[test]
fn what_cannot_be_shown_is_an_error_that_names_it() {
    for (root, expected) in [("/", "root / cannot be shown"), ("/proc", "root /proc"), ("/no/such", "root /no/such")] {
        let profile = Profile { read: vec![root.into()], ..Profile::default() };
        let error = resolve(&profile, &Program::new("test", "/bin/sh")).err().unwrap();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.hint().is_some());
    }
    let error = resolve(&Profile::default(), &Program::new("test", "no-such-program")).err().unwrap();
    assert_eq!(error.to_string(), "program no-such-program of server test is not there");
}

#[test]
fn a_working_folder_must_be_visible() {
    let folder = Folder::new();
    folder.file("project/x", "");
    let mut program = Program::new("test", "/bin/sh");
    program.cwd = Some(folder.path("project"));
    let error = resolve(&Profile::default(), &program).err().unwrap();
    assert!(error.to_string().contains("is not visible in the sandbox"), "{error}");

    let profile = Profile { read: vec![folder.path("project")], ..Profile::default() };
    assert_eq!(resolve(&profile, &program).unwrap().1.cwd, folder.path("project"));
}

#[test]
fn the_environment_is_built() {
    let mut program = Program::new("test", "/bin/sh");
    program.env.insert("TOKEN".to_owned(), EnvText::from("t"));
    let (_, target, _) = resolve(&Profile::default(), &program).unwrap();
    let names: Vec<&str> = target.env.keys().map(String::as_str).collect();
    assert_eq!(names, ["HOME", "LANG", "PATH", "TOKEN"]);
    assert_eq!(target.env["HOME"].expose(), "/tmp");
}

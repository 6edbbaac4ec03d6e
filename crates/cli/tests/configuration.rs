//! The subcommands that read and write configurations, run as a user runs them, in a home folder of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// A secret that must never be printed.
const SECRET: &str = "ghp_0123456789abcdefghijklmnopqrstuvwxyz";

/// A user with a home folder and a project in it.
struct User {
    folder: tempfile::TempDir,
}

/// What a run said.
#[derive(Debug)]
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

impl User {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("home/project")).unwrap();
        Self { folder }
    }

    fn home(&self, file: &str) -> PathBuf {
        self.folder.path().join("home").join(file)
    }

    fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        let file = self.home(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.home(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sallyport"));
        command.args(arguments).current_dir(self.home("project")).env_clear();
        command.env("HOME", self.home("")).env("PATH", "/usr/bin:/bin");
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        self.said(self.command(arguments).output().unwrap())
    }

    /// What was said, the folder's name taken out.
    fn said(&self, Output { status, stdout, stderr }: Output) -> Said {
        let folder = self.folder.path().canonicalize().unwrap().display().to_string();
        let text =
            |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&folder, "").replace(&self.folder.path().display().to_string(), "");
        let said = Said { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) };
        assert!(!said.stdout.contains(SECRET) && !said.stderr.contains(SECRET), "a secret was printed: {said:?}");
        assert!(!said.stdout.contains('\u{1b}') && !said.stderr.contains('\u{1b}'), "colours where nobody looks: {said:?}");
        said
    }

    fn ok(&self, arguments: &[&str]) -> Said {
        let said = self.run(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said
    }
}

#[cfg(unix)]
fn mode(file: &std::path::Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[test]
fn check_tells_what_holds_without_a_file() {
    let user = User::new();
    let said = user.ok(&["check"]);
    assert!(said.stdout.contains("built-in default") && said.stdout.contains("servers: filesystem"), "{said:?}");
    let json: serde_json::Value = serde_json::from_str(&user.ok(&["check", "--json"]).stdout).unwrap();
    assert_eq!((&json["ok"], &json["servers"][0]), (&true.into(), &"filesystem".into()));
}

#[test]
fn check_tells_every_error_and_exits_with_64() {
    let user = User::new();
    user.write("project/sallyport.toml", "lisen = 1\n[servers.a]\ncomand = [\"a\"]\n");
    let said = user.run(&["check"]);
    assert_eq!(said.code, 64);
    assert_eq!(said.stderr.matches("error:").count(), 2, "{said:?}");
    assert!(
        said.stderr.contains("sallyport.toml:3:1: servers.a.comand: unknown key `comand`\n  hint: did you mean `command`?"),
        "{said:?}"
    );
    let said = user.run(&["check", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        (said.code, json["errors"][1]["line"].as_u64(), json["errors"][1]["path"].as_str()),
        (64, Some(3), Some("servers.a.comand"))
    );
}

#[test]
fn exit_codes_are_as_written_down() {
    let user = User::new();
    assert_eq!(user.run(&["no-such-thing"]).code, 2);
    assert_eq!(user.run(&["remove", "nobody"]).code, 1);
    assert_eq!(user.run(&["--config", "missing.toml", "check"]).code, 64);
    assert_eq!(user.run(&["--listen", "0.0.0.0:1", "check"]).code, 64);
    let page = include_str!("../../../docs/reference/exit-codes.md");
    let help = user.ok(&["--help"]).stdout;
    for code in ["0", "1", "2", "64"] {
        assert!(page.contains(&format!("| {code} |")), "{code}");
        assert!(help.lines().any(|line| line.trim_start().starts_with(&format!("{code} "))), "{code}");
    }
}

#[test]
fn the_schema_and_the_completions_come_out_whole() {
    let user = User::new();
    let schema: serde_json::Value = serde_json::from_str(&user.ok(&["check", "--schema"]).stdout).unwrap();
    assert!(schema["properties"]["servers"].is_object());
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(user.ok(&["completions", shell]).stdout.contains("import"), "{shell}");
    }
}

#[test]
fn a_server_is_added_listed_and_removed() {
    let user = User::new();
    let said = user.ok(&["add", "time", "--network", "time.example.com", "--", "uvx", "mcp-server-time", "$HOME", "${X}"]);
    assert!(said.stderr.contains("made /home/project/sallyport.toml") && said.stderr.contains("filesystem"), "{said:?}");
    insta::assert_snapshot!("added", user.read("project/sallyport.toml"));
    let rows: serde_json::Value = serde_json::from_str(&user.ok(&["list", "--json"]).stdout).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!((&rows[1]["name"], &rows[1]["network"][0]), (&"time".into(), &"time.example.com".into()));
    assert!(user.ok(&["list"]).stdout.contains("network: time.example.com"));
    assert_eq!(user.run(&["add", "time", "--", "x"]).code, 1);
    user.ok(&["remove", "time"]);
    assert!(!user.read("project/sallyport.toml").contains("time"));
}

#[test]
fn what_is_around_a_server_stays_as_it_is() {
    let user = User::new();
    let before =
        "# mine\nlisten = \"127.0.0.1:1\" # there\n\n[servers.b] # first\ncommand = [ \"b\" ]\n\n[toolsets.t]\ntools = [\"b__*\"]\n";
    user.write("project/sallyport.toml", before);
    user.ok(&["add", "a", "--url", "https://a.example.com/mcp"]);
    let between = user.read("project/sallyport.toml");
    assert!(between.contains("# mine\nlisten = \"127.0.0.1:1\" # there\n\n[servers.b] # first\ncommand = [ \"b\" ]\n"), "{between}");
    user.ok(&["remove", "a"]);
    assert_eq!(user.read("project/sallyport.toml"), before);
}

#[test]
fn a_server_that_would_break_the_file_is_not_written() {
    let user = User::new();
    for arguments in [
        &["add", "a", "--", "docker", "run", "--privileged", "x"][..],
        &["add", "a", "--url", "ftp://x"],
        &["add", "a", "--network", "a b", "--", "x"],
    ] {
        assert_eq!(user.run(arguments).code, 64, "{arguments:?}");
    }
    for arguments in [&["add", "a b", "--", "x"][..], &["add", "a"], &["add", "a", "--url", "https://a", "--", "b"]] {
        assert_ne!(user.run(arguments).code, 0, "{arguments:?}");
    }
    assert!(!user.home("project/sallyport.toml").exists());
}

#[test]
fn a_dry_run_changes_nothing() {
    let user = User::new();
    user.write(
        ".cursor/mcp.json",
        format!(r#"{{ "mcpServers": {{ "gh": {{ "command": "gh", "env": {{ "GITHUB_TOKEN": "{SECRET}" }} }} }} }}"#),
    );
    for arguments in [
        &["add", "a", "--dry-run", "--", "a"][..],
        &["import", "--dry-run"],
        &["connect", "cursor", "--dry-run"],
        &["connect", "codex", "--dry-run"],
    ] {
        let said = user.ok(arguments);
        assert!(!said.stdout.is_empty(), "{arguments:?}");
    }
    let left: Vec<_> = fs::read_dir(user.home("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(fs::read_dir(user.home("project")).unwrap().count(), 0);
}

#[test]
fn a_secret_on_the_command_line_goes_to_a_private_file() {
    let user = User::new();
    user.ok(&["add", "gh", "--env", &format!("GITHUB_TOKEN={SECRET}"), "--env", "LOG=debug", "--", "gh"]);
    let file = user.home(".config/sallyport/secrets/gh-github-token");
    assert_eq!(fs::read_to_string(&file).unwrap(), SECRET);
    #[cfg(unix)]
    assert_eq!(mode(&file), 0o600);
    assert!(!user.read("project/sallyport.toml").contains(SECRET));
}

#[test]
fn import_takes_over_what_all_clients_have() {
    let user = User::new();
    let project = user.home("project").canonicalize().unwrap();
    user.write(
        ".claude.json",
        format!(
            r#"{{ "mcpServers": {{ "gh": {{ "command": "npx", "args": ["-y", "gh"], "env": {{ "GITHUB_TOKEN": "{SECRET}", "LOG": "debug" }} }},
                                   "sallyport": {{ "type": "http", "url": "http://127.0.0.1:7420/mcp" }} }},
                 "projects": {{ {project:?}: {{ "mcpServers": {{ "here": {{ "command": "here" }} }} }} }} }}"#
        ),
    );
    user.write(".config/Claude/claude_desktop_config.json", r#"{ "globalShortcut": "" }"#);
    user.write(
        ".cursor/mcp.json",
        r#"{ "mcpServers": { "gh": { "command": "other" }, "My Server": { "url": "https://mine.example.com/mcp" } } }"#,
    );
    user.write(
        "project/.vscode/mcp.json",
        r#"{ "servers": { "code": { "command": "code", "args": ["${workspaceFolder}"], "env": { "T": "${input:t}" } } } }"#,
    );
    user.write(
        ".codex/config.toml",
        format!("[mcp_servers.codexs]\nurl = \"https://c.example.com/mcp\"\nhttp_headers = {{ Authorization = \"Bearer {SECRET}\" }}\n"),
    );
    user.write(".config/zed/settings.json", "{\n // zed\n \"context_servers\": { \"zeds\": { \"command\": \"zed-server\" }, } }");

    let asked = user.run(&["import"]);
    assert_eq!(asked.code, 1, "nobody is there to ask: {asked:?}");
    assert!(!user.home("project/sallyport.toml").exists() && !user.home(".config/sallyport").exists());

    let said = user.ok(&["import", "--yes"]);
    insta::assert_snapshot!(
        "imported",
        user.read("project/sallyport.toml")
            .replace(&project.display().to_string(), "/home/project")
            .replace(&user.folder.path().display().to_string(), "")
    );
    insta::assert_snapshot!("import_said", said.stderr);
    let secret = user.home(".config/sallyport/secrets/gh-github-token");
    assert_eq!(fs::read_to_string(&secret).unwrap(), SECRET);
    #[cfg(unix)]
    assert_eq!((mode(&secret), mode(secret.parent().unwrap())), (0o600, 0o700));
    user.ok(&["check"]);
    let again = user.ok(&["import", "--yes"]);
    assert!(again.stderr.contains("nothing to take over"), "{again:?}");
}

#[test]
fn import_takes_one_client_or_one_file() {
    let user = User::new();
    user.write(".cursor/mcp.json", r#"{ "mcpServers": { "one": { "command": "a" } } }"#);
    user.write("project/mcp.json", r#"{ "mcpServers": { "two": { "command": "b" } } }"#);
    user.ok(&["import", "--from", "mcp.json", "--yes"]);
    let file = user.read("project/sallyport.toml");
    assert!(file.contains("[servers.two]") && !file.contains("[servers.one]"), "{file}");
    user.ok(&["import", "--from", "cursor", "--yes", "--user"]);
    assert!(user.read(".config/sallyport/sallyport.toml").contains("[servers.one]"));
    assert_eq!(user.run(&["import", "--from", "zed"]).code, 1);
    assert_eq!(user.run(&["import", "--from", "nonsense"]).code, 1);
}

#[test]
fn import_leaves_out_what_cannot_be_served_and_takes_the_rest() {
    let user = User::new();
    let servers = r#""dock": { "command": "docker", "args": ["run", "-it", "x"] }, "one": { "command": "a" }"#;
    user.write(".cursor/mcp.json", format!(r#"{{ "mcpServers": {{ {servers} }} }}"#));
    let said = user.ok(&["import", "--yes"]);
    assert!(said.stderr.contains("`dock` of") && said.stderr.contains("docker"), "{said:?}");
    let file = user.read("project/sallyport.toml");
    assert!(file.contains("[servers.one]") && !file.contains("dock"), "{file}");
}

#[test]
fn connect_and_undo_leave_every_client_as_it_was() {
    let user = User::new();
    user.write("project/sallyport.toml", "");
    for (client, file, before) in [
        ("claude-code", ".claude.json", "{\n  \"numStartups\": 3,\n  \"mcpServers\": {}\n}\n"),
        ("claude-desktop", ".config/Claude/claude_desktop_config.json", "{}"),
        ("cursor", ".cursor/mcp.json", "{ \"mcpServers\": { \"a\": { \"command\": \"a\" } } }"),
        ("vscode", ".config/Code/User/mcp.json", "{\n\t// mine\n\t\"servers\": {\n\t},\n\t\"inputs\": [],\n}\n"),
        ("codex", ".codex/config.toml", "model = \"o\" # mine\n\n[tui]\ntheme = \"x\"\n"),
        ("zed", ".config/zed/settings.json", "// mine\n{\n  \"theme\": \"One Dark\",\n}\n"),
    ] {
        user.write(file, before);
        user.ok(&["connect", client]);
        let connected = user.read(file);
        assert!(connected.contains("sallyport"), "{client}: {connected}");
        let reaches = if client == "claude-desktop" { "stdio" } else { "http://127.0.0.1:7420/mcp" };
        assert!(connected.contains(reaches), "{client}: {connected}");
        let again = user.ok(&["connect", client]);
        assert!(again.stderr.contains("connected already"), "{client}: {again:?}");
        assert_eq!(user.read(file), connected, "{client}");
        user.ok(&["connect", client, "--stdio"]);
        assert!(user.read(file).contains("project/sallyport.toml"), "{client}");
        user.ok(&["connect", client, "--undo"]);
        assert_eq!(user.read(file), before, "{client}");
        assert!(!user.home(&format!("{file}.before-sallyport")).exists(), "{client}");
        assert!(user.ok(&["connect", client, "--undo"]).stderr.contains("not connected"), "{client}");
    }
    assert_eq!(user.run(&["connect", "claude-desktop", "--http"]).code, 1);
}

#[test]
fn connect_makes_a_file_and_undo_takes_it_away() {
    let user = User::new();
    for client in ["claude-code", "cursor", "vscode", "codex", "zed"] {
        user.ok(&["connect", client, "--project"]);
        user.ok(&["connect", client, "--project", "--undo"]);
    }
    let files = fs::read_dir(user.home("project")).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file()).count();
    assert_eq!(files, 0);
    assert_eq!(user.run(&["connect", "claude-desktop", "--project"]).code, 1);
}

#[test]
fn undo_keeps_what_the_client_changed_since() {
    let user = User::new();
    user.write(".cursor/mcp.json", "{ \"mcpServers\": {} }");
    user.ok(&["connect", "cursor"]);
    let changed = user.read(".cursor/mcp.json").replacen('{', "{ \"since\": true,", 1);
    user.write(".cursor/mcp.json", changed);
    user.ok(&["connect", "cursor", "--undo"]);
    let after = user.read(".cursor/mcp.json");
    assert!(after.contains("since") && !after.contains("sallyport"), "{after}");
}

#[test]
fn a_key_is_named_and_never_written_into_a_clients_file() {
    let user = User::new();
    user.write("project/sallyport.toml", "keys = [\"env:SALLYPORT_KEY\"]\n");
    for (client, file, named) in [
        ("claude-code", ".claude.json", "Bearer ${SALLYPORT_KEY}"),
        ("cursor", ".cursor/mcp.json", "Bearer ${env:SALLYPORT_KEY}"),
        ("codex", ".codex/config.toml", "bearer_token_env_var = \"SALLYPORT_KEY\""),
        ("zed", ".config/zed/settings.json", "\"stdio\""),
    ] {
        user.ok(&["connect", client]);
        assert!(user.read(file).contains(named), "{client}: {}", user.read(file));
    }
}

#[test]
fn a_clients_file_that_is_broken_is_left_alone() {
    let user = User::new();
    user.write(".cursor/mcp.json", "{ \"mcpServers\": [ }");
    let said = user.run(&["connect", "cursor"]);
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("is not changed"), "{said:?}");
    assert_eq!(user.read(".cursor/mcp.json"), "{ \"mcpServers\": [ }");
    assert!(!user.home(".cursor/mcp.json.before-sallyport").exists());
}

#[test]
fn programs_are_told_what_was_changed() {
    let user = User::new();
    let json = |arguments: &[&str]| {
        let said = user.ok(arguments);
        serde_json::from_str::<Value>(&said.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said:?}"))
    };
    let token = format!("GITHUB_TOKEN={SECRET}");
    let mut add = vec!["add", "gh", "--env", &token, "--json", "--dry-run", "--", "gh"];
    let told = |written: bool| json!({ "server": "gh", "secrets": ["env.GITHUB_TOKEN"], "file": "/home/project/sallyport.toml", "written": written, "warnings": [] });
    assert_eq!(json(&add), told(false), "the file of the secret is not missed");
    assert!(!user.home("project/sallyport.toml").exists());
    add.retain(|word| *word != "--dry-run");
    assert_eq!(json(&add), told(true));
    assert_eq!(json(&["check", "--json"])["warnings"], json!([]));
    fs::remove_file(user.home(".config/sallyport/secrets/gh-github-token")).unwrap();
    let missed = &json(&["check", "--json"])["warnings"][0];
    assert_eq!((&missed["path"], &missed["line"]), (&json!("servers.gh.env.GITHUB_TOKEN"), &json!(6)), "{missed}");
    assert!(missed["hint"].as_str().unwrap().starts_with("the server cannot start until that is put right"), "{missed}");
    assert_eq!(
        json(&["remove", "gh", "--json"]),
        json!({ "server": "gh", "file": "/home/project/sallyport.toml", "written": true, "warnings": [] })
    );

    user.write(
        ".cursor/mcp.json",
        format!(r#"{{ "mcpServers": {{ "cur": {{ "command": "c", "env": {{ "API_TOKEN": "{SECRET}" }} }} }} }}"#),
    );
    let taken = json!([{ "server": "cur", "from": "/home/.cursor/mcp.json", "secrets": ["env.API_TOKEN"] }]);
    for (arguments, servers, written) in [
        (["import", "--json", "--dry-run"], &taken, false),
        (["import", "--json", "--yes"], &taken, true),
        (["import", "--json", "--yes"], &json!([]), false),
    ] {
        let told = json(&arguments);
        assert_eq!((&told["servers"], &told["written"]), (servers, &json!(written)), "{told}");
    }

    let connected = |told: &Value| ["connected", "changes", "written"].map(|key| told[key].as_bool().unwrap());
    let would = json(&["connect", "cursor", "--json", "--dry-run"]);
    assert_eq!(connected(&would), [true, true, false]);
    assert!(would["entry"].as_str().unwrap().contains("http://127.0.0.1:7420/mcp") && would["backup"].is_null(), "{would}");
    let done = json(&["connect", "cursor", "--json"]);
    assert_eq!(connected(&done), [true, true, true]);
    assert_eq!((&done["client"], &done["backup"]), (&json!("cursor"), &json!("/home/.cursor/mcp.json.before-sallyport")));
    assert_eq!(connected(&json(&["connect", "cursor", "--json"])), [true, false, false]);
    assert_eq!(connected(&json(&["connect", "cursor", "--undo", "--json"])), [false, true, true]);
    assert_eq!(connected(&json(&["connect", "cursor", "--undo", "--json"])), [false, false, false]);
}

#[test]
fn programs_are_told_whom_a_command_changed() {
    let user = User::new();
    let run = |arguments: &[&str]| -> Value {
        let mut command = user.command(arguments);
        let mut running = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        writeln!(running.stdin.take().unwrap(), "correct horse battery staple").unwrap();
        let output = running.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let added = run(&["user", "add", "alice", "--admin", "--group", "ops", "--json"]);
    assert_eq!(
        ["name", "admin", "groups", "standing"].map(|key| &added[key]),
        [&json!("alice"), &json!(true), &json!(["ops"]), &json!("active")]
    );
    assert_eq!(run(&["user", "passwd", "alice", "--json"]), added);
    for (command, standing) in [("disable", "disabled"), ("enable", "active"), ("remove", "removed")] {
        let changed = run(&["user", command, "alice", "--json"]);
        assert_eq!((&changed["name"], &changed["standing"]), (&json!("alice"), &json!(standing)));
    }
    assert_eq!(user.run(&["user", "disable", "nobody", "--json"]).code, 1);

    user.write(
        ".local/state/sallyport/servers/filesystem.log",
        "one
two
three
",
    );
    let logs: Value = serde_json::from_str(&user.ok(&["logs", "filesystem", "-n", "2", "--json"]).stdout).unwrap();
    assert_eq!(logs, json!({ "file": "/home/.local/state/sallyport/servers/filesystem.log", "lines": ["two", "three"] }));
    assert_eq!(user.run(&["logs", "--json", "--follow"]).code, 2);
}

//! `sallyport learn` with real servers: what is proposed is what they lack, and with it the same calls succeed.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod harness;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use harness::peers;
use serde_json::{Value, json};

/// An id that no distribution gives to anybody.
const USER: u32 = 64_111;

/// A server in a few lines: its tools do to paths and hosts what they are told.
const SERVER: &str = r#"
import ctypes, json, os, socket, sys
def read(path): return open(path).read()
def write(path): open(path, "w").write("written"); return "done"
def follow(path): return read(read(path).strip())
def connect(host, port): socket.create_connection((host, port), 3); return "connected"
def key(): libc = ctypes.CDLL(None, use_errno=True); libc.syscall(250, 0, 0, 0); return os.strerror(ctypes.get_errno())
tools = {f.__name__: f for f in (read, write, follow, connect, key)}
for line in sys.stdin:
    message = json.loads(line)
    method, result, error = message.get("method"), None, None
    if method == "initialize":
        result = {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}
    elif method == "tools/list":
        result = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in tools]}
    elif method == "tools/call":
        try: text, failed = tools[message["params"]["name"]](**message["params"]["arguments"]), False
        except Exception as reason: text, failed = str(reason), True
        result = {"content": [{"type": "text", "text": text}], "isError": failed}
    else:
        error = {"code": -32601, "message": "no such method"}
    if "id" in message:
        answer = {"jsonrpc": "2.0", "id": message["id"]} | ({"error": error} if error else {"result": result})
        print(json.dumps(answer), flush=True)
"#;

/// Somebody with a project that has a configuration, and a folder outside of it.
struct Somebody {
    folder: tempfile::TempDir,
    id: Option<u32>,
}

struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Somebody {
    fn new(id: Option<u32>, configuration: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("sallyport-learn-").tempdir_in("/var/tmp").unwrap();
        let this = Self { folder, id };
        this.give("");
        for folder in ["home", "home/project", "outside"] {
            fs::create_dir(this.path(folder)).unwrap();
            this.give(folder);
        }
        this.write("home/project/server.py", SERVER);
        this.write("home/project/sallyport.toml", &configuration.replace("HERE", this.path("").to_str().unwrap().trim_end_matches('/')));
        this
    }

    /// Root tries it as itself and as somebody else.
    fn each(configuration: &str) -> Vec<Self> {
        let ids = if rustix::process::geteuid().is_root() { vec![None, Some(USER)] } else { vec![None] };
        ids.into_iter().map(|id| Self::new(id, configuration)).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        self.give(name);
    }

    fn give(&self, name: &str) {
        if let Some(id) = self.id {
            chown(self.path(name), Some(id), Some(id)).unwrap();
        }
    }

    fn configuration(&self) -> String {
        fs::read_to_string(self.path("home/project/sallyport.toml")).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let binary = env!("CARGO_BIN_EXE_sallyport");
        let mut command = match self.id {
            None => Command::new(binary),
            Some(id) => {
                let mut command = Command::new("setpriv");
                command.args([&format!("--reuid={id}"), &format!("--regid={id}"), "--clear-groups", binary]);
                command
            }
        };
        command.args(arguments).current_dir(self.path("home/project")).stdin(Stdio::null()).env_clear();
        let output = command.env("HOME", self.path("home")).env("PATH", "/usr/bin:/bin").output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    fn learn(&self, arguments: &[&str]) -> Value {
        let said = self.run(&[&["learn", "--json"], arguments].concat());
        assert_eq!(said.code, 0, "{:?} {arguments:?}: {}\n{}", self.id, said.stdout, said.stderr);
        serde_json::from_str(&said.stdout).unwrap()
    }

    #[track_caller]
    fn calls(&self, tool: &str, arguments: &Value) {
        let said = self.run(&["call", tool, &arguments.to_string()]);
        assert_eq!(said.code, 0, "{:?} {tool}: {}\n{}", self.id, said.stdout, said.stderr);
    }
}

const CONFIGURATION: &str = "# kept\n[servers.tool]\ncommand = [\"/usr/bin/python3\", \"HERE/home/project/server.py\"] # this too\n";

#[test]
fn with_what_is_proposed_the_same_calls_succeed() {
    for somebody in Somebody::each(CONFIGURATION) {
        somebody.write("outside/file", "text");
        let (file, new) = (json!({ "path": somebody.text("outside/file") }), json!({ "path": somebody.text("home/project/new") }));
        let calls = ["tool", "--call", "read", &file.to_string(), "--call", "tool__write", &new.to_string()].map(str::to_owned);
        let calls = calls.each_ref().map(String::as_str);
        let before = somebody.configuration();
        let learnt = somebody.learn(&calls);
        assert_eq!(learnt["profile"], json!({ "read": [somebody.text("outside/file")], "write": ["."], "network": [] }));
        assert_eq!((&learnt["answered"], &learnt["written"]), (&json!(true), &json!(false)));
        assert_eq!(somebody.configuration(), before);
        assert!(!somebody.path("home/project/new").exists(), "a trial grants nothing");

        assert_eq!(somebody.learn(&[&calls[..], &["--write"]].concat())["written"], true);
        let after = somebody.configuration();
        assert!(after.starts_with(before.trim_end()), "{after}");
        somebody.calls("tool__read", &file);
        somebody.calls("tool__write", &new);
        let again = somebody.learn(&[&calls[..], &["--write"]].concat());
        assert_eq!(
            (&again["written"], &again["rounds"][0]["proposed"]),
            (&json!(false), &json!({ "read": [], "write": [], "network": [] }))
        );
        assert_eq!(somebody.configuration(), after);
    }
}

#[test]
fn hosts_and_system_calls_are_told_of() {
    for somebody in Somebody::each(CONFIGURATION) {
        let learnt = somebody.learn(&["tool", "--call", "connect", r#"{"host":"api.example","port":8443}"#, "--call", "key", "{}"]);
        assert_eq!(learnt["profile"]["network"], json!(["api.example:8443"]));
        let refused = learnt["rounds"][0]["refused"].as_array().unwrap();
        assert!(refused.iter().any(|row| row["kind"] == "system call" && row["what"] == "keyctl"), "{refused:?}");
        assert!(learnt["warnings"].as_array().unwrap().iter().any(|warning| warning["subject"] == "keyctl"));
    }
}

#[test]
fn each_round_has_what_the_one_before_proposed() {
    let somebody = Somebody::new(None, CONFIGURATION);
    somebody.write("outside/file", "text");
    somebody.write("outside/link", &somebody.text("outside/file"));
    let call = ["tool", "--call", "follow", &json!({ "path": somebody.text("outside/link") }).to_string()].map(str::to_owned);
    let call = call.each_ref().map(String::as_str);
    let once = somebody.learn(&call);
    assert_eq!(once["profile"]["read"], json!([".", somebody.text("outside/link")]));
    let thrice = somebody.learn(&[&call[..], &["--rounds", "5"]].concat());
    assert_eq!(thrice["profile"]["read"], json!([".", somebody.text("outside/link"), somebody.text("outside/file")]));
    assert_eq!(thrice["rounds"].as_array().unwrap().len(), 3, "the third is quiet");
}

#[test]
fn secrets_are_told_of_loudly_and_not_proposed() {
    let somebody = Somebody::new(None, CONFIGURATION);
    fs::create_dir(somebody.path("home/.ssh")).unwrap();
    somebody.write("home/.ssh/id_ed25519", "key");
    let key = json!({ "path": somebody.text("home/.ssh/id_ed25519") }).to_string();
    let own = json!({ "path": somebody.text("home/project/sallyport.toml") }).to_string();
    let said = somebody.run(&["learn", "tool", "--call", "read", &key, "--call", "write", &own, "--write"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_eq!(said.stdout.matches("warning:").count(), 2, "{}", said.stdout);
    assert!(said.stdout.contains("may hold secrets") && said.stdout.contains("its own rules"), "{}", said.stdout);
    assert!(!somebody.configuration().contains(".ssh") && !somebody.configuration().contains("write ="), "{}", somebody.configuration());
}

#[test]
fn secrets_policies_and_state_of_the_gateway_are_told_of_and_not_proposed() {
    let configuration = format!(
        "keys = [\"file:creds/team\"]\n[policy]\nengines = [{{ cedar = {{ files = [\"policies/main.cedar\"] }} }}]\n{CONFIGURATION}read = [\"server.py\"]\n"
    );
    let somebody = Somebody::new(None, &configuration);
    for (folder, file, text) in
        [("creds", "team", "a-secret-that-is-long-enough"), ("policies", "main.cedar", "permit(principal, action, resource);")]
    {
        fs::create_dir(somebody.path(&format!("home/project/{folder}"))).unwrap();
        somebody.write(&format!("home/project/{folder}/{file}"), text);
        fs::set_permissions(somebody.path(&format!("home/project/{folder}/{file}")), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let at = |file: &str| json!({ "path": somebody.text(file) }).to_string();
    let (secret, policy, state) =
        (at("home/project/creds/team"), at("home/project/policies/main.cedar"), at("home/.local/state/sallyport/audit/audit.jsonl"));
    let calls = ["--call", "read", &secret, "--call", "write", &policy, "--call", "read", &state];
    let said = somebody.run(&[&["learn", "tool"], &calls[..], &["--rounds", "2", "--write"]].concat());
    assert_eq!(said.code, 0, "{}\n{}", said.stdout, said.stderr);
    for told in ["a secret of the gateway", "its own rules", "keeps for itself"] {
        assert!(said.stdout.contains(told), "{told}: {}", said.stdout);
    }
    let now = somebody.configuration();
    assert!(now.contains("read = [\"server.py\"]") && !now.contains("write ="), "{now}");
}

#[test]
fn a_server_that_is_not_configured_is_tried_and_can_be_added() {
    let somebody = Somebody::new(None, "# mine\n");
    somebody.write("outside/file", "text");
    let file = json!({ "path": somebody.text("outside/file") });
    let (script, call) = (somebody.text("home/project/server.py"), file.to_string());
    let said = somebody.run(&["learn", "mine", "--call", "read", &call, "--write", "--", "/usr/bin/python3", &script]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stdout.contains("+[servers.mine]"), "{}", said.stdout);
    assert!(somebody.configuration().contains("# mine\n"), "{}", somebody.configuration());
    somebody.calls("mine__read", &file);
}

#[test]
fn a_server_that_does_not_answer_is_told_of_with_what_it_lacked() {
    for (script, why) in [
        ("import sys; open('HERE/outside/file'); sys.exit(3)", "exited with code 1"),
        ("import time; open('HERE/home/project/sallyport.toml'); time.sleep(60)", ""),
    ] {
        let configuration =
            "[servers.tool]\ncommand = [\"/usr/bin/python3\", \"HERE/home/project/other.py\"]\ntimeouts = { connect = \"2s\" }\n";
        let somebody = Somebody::new(None, configuration);
        somebody.write("outside/file", "text");
        somebody.write("home/project/other.py", &script.replace("HERE", somebody.path("").to_str().unwrap().trim_end_matches('/')));
        let said = somebody.run(&["learn", "tool", "--json"]);
        assert_eq!(said.code, 1, "{} {}", said.stdout, said.stderr);
        assert!(said.stderr.contains("cannot be reached") && said.stderr.contains(why), "{}", said.stderr);
        let learnt: Value = serde_json::from_str(&said.stdout).unwrap();
        let lacks = learnt["profile"]["read"].as_array().unwrap().contains(&json!(somebody.text("outside/file")));
        assert_eq!(lacks, !why.is_empty(), "{learnt}");
    }
}

#[test]
fn it_can_be_worked_with_for_a_while() {
    let somebody = Somebody::new(None, CONFIGURATION);
    let said = somebody.run(&["learn", "tool", "--for", "200ms", "--listen", "127.0.0.1:0"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stderr.contains("work with it at http://127.0.0.1:"), "{}", said.stderr);
    assert!(said.stdout.ends_with("no change of the configuration is proposed\n"), "{}", said.stdout);
}

#[test]
fn what_cannot_be_tried_says_so() {
    let somebody = Somebody::new(
        None,
        "[servers.files]\nbuiltin = { filesystem = {} }\n[servers.off]\ncommand = [\"x\"]\ndisabled = true\n[servers.ends]\ncommand = [\"/bin/true\"]\n\
         [servers.locked]\ncommand = [\"/bin/true\"]\nsandbox = \"microvm\"\nmin_isolation = \"microvm\"\n\
         [servers.image]\ncommand = [\"/bin/true\"]\nsandbox = { oci = { image = \"image\" } }\n\
         [servers.pulled]\ncommand = [\"oci:registry.invalid/image:1\"]\n",
    );
    for (arguments, said) in [
        (&["learn", "files"][..], "is no program"),
        (&["learn", "locked"], "has `min_isolation = \"microvm\"`, and a trial is held in sandbox `os`"),
        (&["learn", "image"], "is a container image, in which nothing can be watched"),
        (&["learn", "pulled"], "is a container image, in which nothing can be watched"),
        (&["learn", "nobody"], "no server `nobody`"),
        (&["learn", "off"], "is disabled"),
        (&["learn", "files", "--", "/bin/true"], "cannot be a new server's name"),
        (&["learn", "ends", "--call", "x", "[]"], "no JSON object"),
        (&["learn", "bad name", "--", "/bin/true"], "cannot be a new server's name"),
    ] {
        let heard = somebody.run(arguments);
        assert_eq!(heard.code, 1, "{arguments:?} {}", heard.stderr);
        assert!(heard.stderr.contains(said), "{arguments:?}: {}", heard.stderr);
    }
    assert_eq!(somebody.run(&["learn"]).code, 2);
    assert_eq!(somebody.run(&["learn", "files", "--rounds", "0"]).code, 2);
}

#[test]
fn public_servers_get_what_they_need() {
    let git = Somebody::new(None, &format!("[servers.git]\ncommand = [{:?}]\n", peers::pypi_mcp_1("mcp-server-git")));
    for arguments in [&["init", "-q"][..], &["-c", "user.name=n", "-c", "user.email=e@x", "commit", "-q", "--allow-empty", "-m", "first"]] {
        assert!(Command::new("git").args(arguments).current_dir(git.path("outside")).status().unwrap().success());
    }
    let log = json!({ "repo_path": git.text("outside") });
    let learnt = git.learn(&["git", "--call", "git_log", &log.to_string(), "--write"]);
    assert_eq!(learnt["profile"]["read"], json!([".", git.text("outside")]));
    git.calls("git__git_log", &log);

    let server = peers::npm("@modelcontextprotocol/server-filesystem/dist/index.js");
    let files = Somebody::new(None, &format!("[servers.files]\ncommand = [{:?}, {server:?}, \"HERE/outside\"]\n", peers::node()));
    let write = json!({ "path": files.text("outside/new"), "content": "text" });
    let learnt = files.learn(&["files", "--call", "write_file", &write.to_string(), "--write"]);
    assert_eq!(learnt["profile"]["write"], json!([files.text("outside")]), "{learnt}");
    files.calls("files__write_file", &write);
    assert_eq!(fs::read_to_string(files.path("outside/new")).unwrap(), "text");

    let fetch = Somebody::new(None, &format!("[servers.fetch]\ncommand = [{:?}]\n", peers::pypi_mcp_1("mcp-server-fetch")));
    let learnt = fetch.learn(&["fetch", "--call", "fetch", r#"{"url":"https://docs.example/page"}"#]);
    assert_eq!(learnt["profile"]["network"], json!(["docs.example:443"]), "{learnt}");
}

//! The back-end `wasm`: what components and programs can do, and what they cannot.
#![cfg(feature = "wasm")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use sallyport_sandbox::{
    Backend, EnvText, Exceeded, Exit, Host, Instance, Limits, Network, Profile, Program, Running, Selection, Stdin, Stdout,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};

/// A call that nothing stops would take for ever.
const LONG: Duration = Duration::from_secs(60);

fn backend() -> Box<dyn Backend> {
    serde_json::from_str::<Selection>("\"wasm\"").unwrap().build(&Host::this_binary()).unwrap()
}

fn compiled(folder: &Path, name: &str) -> PathBuf {
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wasm").join(name);
    let file = folder.join(name).with_extension("wasm");
    std::fs::write(&file, wat::parse_file(text).unwrap()).unwrap();
    file
}

fn program(file: &Path) -> Program {
    Program::new("fixture", file.to_string_lossy())
}

/// A component that is spoken to.
struct Client {
    instance: Instance<Running>,
    stdin: Stdin,
    stdout: Lines<BufReader<Stdout>>,
    _folder: tempfile::TempDir,
}

impl Client {
    async fn start(profile: Profile) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = compiled(folder.path(), "tools.wat");
        let instance = backend().launch(&profile, &program(&file)).await.unwrap();
        let (stdin, stdout) = instance.take_io().unwrap();
        Self { instance, stdin, stdout: BufReader::new(stdout).lines(), _folder: folder }
    }

    async fn send(&mut self, message: Value) {
        self.stdin.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    async fn answer(&mut self) -> Value {
        let line = tokio::time::timeout(LONG, self.stdout.next_line()).await.expect("no answer").unwrap().expect("it has ended");
        serde_json::from_str(&line).unwrap()
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.send(json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })).await;
        self.answer().await
    }

    async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let mut answer = self.ask("tools/call", json!({ "name": tool, "arguments": arguments })).await;
        answer["result"].take()
    }

    async fn fails(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments).await;
        assert_eq!(result["isError"], json!(true), "{result}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn exported_functions_are_tools_with_schemas() {
    let mut client = Client::start(Profile::default()).await;
    let initialized = client.ask("initialize", json!({ "protocolVersion": "2025-06-18" })).await;
    assert_eq!(initialized["result"]["protocolVersion"], "2025-06-18");
    let listed = client.ask("tools/list", json!({})).await;
    let tools = listed["result"]["tools"].as_array().unwrap();
    let tool = |name: &str| tools.iter().find(|tool| tool["name"] == name).unwrap();
    assert_eq!(tool("math_plus")["inputSchema"], tool("add")["inputSchema"]);
    let integer = json!({ "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX });
    assert_eq!(
        tool("add")["inputSchema"],
        json!({ "type": "object", "properties": { "a": integer, "b": integer }, "required": ["a", "b"], "additionalProperties": false })
    );
    let point = json!({
        "type": "object",
        "properties": { "x": { "type": "number" }, "label": { "anyOf": [{ "type": "string" }, { "type": "null" }] } },
        "required": ["x"],
        "additionalProperties": false
    });
    assert_eq!(tool("move")["inputSchema"]["properties"]["point"], point);
    assert_eq!(tool("move")["inputSchema"]["properties"]["kind"], json!({ "type": "string", "enum": ["near", "far", "broken"] }));
    assert_eq!(tool("move")["outputSchema"], point);
    assert_eq!(tool("echo").get("outputSchema"), None);
    assert_eq!(client.ask("resources/list", json!({})).await["error"]["code"], -32601);
}

#[tokio::test]
async fn values_cross_in_both_directions() {
    let mut client = Client::start(Profile::default()).await;
    assert_eq!(client.call("add", json!({ "a": 2, "b": -5 })).await["structuredContent"], json!({ "result": -3 }));
    assert_eq!(client.call("math_plus", json!({ "a": 2, "b": 3 })).await["structuredContent"]["result"], 5);
    assert_eq!(client.call("echo", json!({ "text": "größer\n" })).await["content"], json!([{ "type": "text", "text": "größer\n" }]));
    assert_eq!(client.call("bytes", json!({ "bytes": [1, 2, 255] })).await["structuredContent"]["result"], json!([1, 2, 255]));
    let moved = client.call("move", json!({ "point": { "x": 1.5, "label": "a" }, "by": [1, 2.5], "kind": "far" })).await;
    assert_eq!(moved["structuredContent"], json!({ "x": 5.0, "label": "a" }));
    let moved = client.call("move", json!({ "point": { "x": 1 }, "by": [], "kind": "near" })).await;
    assert_eq!(moved["structuredContent"], json!({ "x": 1.0, "label": null }));
    for shape in [json!("dot"), json!({ "circle": 2.5 }), json!({ "text": "here" })] {
        assert_eq!(client.call("mirror", json!({ "shape": shape })).await["structuredContent"]["result"], shape);
    }
    assert_eq!(client.call("bits", json!({ "rights": ["run", "read"] })).await["structuredContent"]["result"], json!(["read", "run"]));
}

#[tokio::test]
async fn what_does_not_fit_is_told_with_its_place() {
    let mut client = Client::start(Profile::default()).await;
    assert_eq!(client.fails("add", json!({ "a": 1 })).await, "argument b must be there");
    assert!(
        client.fails("add", json!({ "a": 1, "b": 2_147_483_648_u64 })).await.starts_with("argument b must be an integer that fits in 32")
    );
    assert_eq!(client.fails("add", json!({ "a": 1, "b": 1, "c": 1 })).await, "argument c must be left out: it is not known");
    let place = client.fails("move", json!({ "point": { "x": "1" }, "by": [], "kind": "near" })).await;
    assert_eq!(place, "argument point.x must be a number");
    let place = client.fails("move", json!({ "point": { "x": 1 }, "by": [1, null], "kind": "near" })).await;
    assert_eq!(place, "argument by.1 must be a number");
    let names = client.fails("mirror", json!({ "shape": { "circle": 1, "dot": 2 } })).await;
    assert_eq!(names, "argument shape must be one of \"dot\", {\"circle\": …}, {\"text\": …}");
    assert_eq!(client.ask("tools/call", json!({ "name": "none" })).await["error"]["code"], -32602);
    assert_eq!(client.fails("move", json!({ "point": { "x": 1 }, "by": [], "kind": "broken" })).await, "it is broken");
    assert_eq!(client.fails("nothing-to-say", json!({})).await, "it gave a number that JSON cannot say");
}

#[tokio::test]
async fn nothing_of_one_call_is_there_in_the_next() {
    let mut client = Client::start(Profile::default()).await;
    for _ in 0..3 {
        assert_eq!(client.call("calls", json!({})).await["structuredContent"]["result"], 1);
    }
}

#[tokio::test]
async fn an_endless_loop_ends_when_its_call_is_cancelled_and_holds_up_nobody() {
    let mut client = Client::start(Profile::default()).await;
    client.send(json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": "spin" } })).await;
    assert_eq!(client.call("add", json!({ "a": 1, "b": 1 })).await["structuredContent"]["result"], 2);
    client.send(json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 7 } })).await;
    // Its place is free again: as many as there are can be taken four times over.
    for round in 0..4 {
        for id in 0..4 {
            client.send(json!({ "jsonrpc": "2.0", "id": 100 + id, "method": "tools/call", "params": { "name": "spin" } })).await;
        }
        for id in 0..4 {
            client.send(json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 100 + id } })).await;
        }
        assert_eq!(client.call("add", json!({ "a": round, "b": 1 })).await["structuredContent"]["result"], round + 1);
    }
}

#[tokio::test]
async fn whatever_runs_ends_with_the_instance() {
    let mut client = Client::start(Profile::default()).await;
    client.send(json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": "spin" } })).await;
    assert_eq!(client.call("add", json!({ "a": 1, "b": 1 })).await["structuredContent"]["result"], 2);
    client.instance.kill();
    assert_eq!(client.instance.wait().await, Exit::Signal(9));
    let spins = || {
        let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok()).any(|name| name.trim() == "wasm-guest")
    };
    for _ in 0..500 {
        if !spins() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("its thread goes on");
}

#[tokio::test]
async fn memory_is_bounded_for_all_calls_together_and_given_back() {
    let mut profile = Profile::default();
    profile.limits.memory_mb = 64;
    let mut client = Client::start(profile).await;
    for _ in 0..3 {
        let got = client.call("hog", json!({})).await["structuredContent"]["result"].as_u64().unwrap();
        assert!((60..=64).contains(&got), "{got}");
    }
    let why = client.fails("starve", json!({})).await;
    assert!(why.starts_with("it wanted more memory than `limits.memory_mb` allows"), "{why}");
    assert_eq!(client.call("add", json!({ "a": 1, "b": 1 })).await["structuredContent"]["result"], 2);
}

#[tokio::test]
async fn floods_and_bombs_end_their_own_call_only() {
    let mut client = Client::start(Profile::default()).await;
    assert_eq!(client.call("flood", json!({ "mib": 4 })).await["content"][0]["text"].as_str().unwrap().len(), 4 << 20);
    assert_eq!(client.fails("flood", json!({ "mib": 32 })).await, "its answer is larger than 8 MiB");
    let why = client.fails("flood", json!({ "mib": 512 })).await;
    assert!(why.contains("fuel"), "{why}");
    let why = client.fails("bomb", json!({})).await;
    assert!(why.contains("fuel"), "{why}");
    let why = client.fails("overflow", json!({})).await;
    assert!(why.contains("stack"), "{why}");
    assert_eq!(client.call("add", json!({ "a": 1, "b": 1 })).await["structuredContent"]["result"], 2);
}

#[tokio::test]
async fn a_component_ends_when_its_stdin_is_closed() {
    let client = Client::start(Profile::default()).await;
    drop((client.stdin, client.stdout));
    assert_eq!(client.instance.wait().await, Exit::Code(0));
}

/// Runs the program with `profile`, says `words` to it, gives what it says.
async fn runs(profile: &Profile, program: &Program, words: &str) -> (String, Exit) {
    let instance = backend().launch(profile, program).await.unwrap();
    let (mut stdin, mut stdout) = instance.take_io().unwrap();
    stdin.write_all(words.as_bytes()).await.unwrap();
    drop(stdin);
    let mut said = String::new();
    stdout.read_to_string(&mut said).await.unwrap();
    (said, instance.wait().await)
}

/// A folder `shown` with a file and a link to what lies beside it.
fn rooms() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let shown = folder.path().join("shown");
    std::fs::create_dir(&shown).unwrap();
    std::fs::write(shown.join("file"), "").unwrap();
    std::fs::write(folder.path().join("secret"), "").unwrap();
    std::os::unix::fs::symlink("../secret", shown.join("link")).unwrap();
    (folder, shown)
}

#[tokio::test]
async fn a_program_has_its_stdio_and_nothing_that_is_not_named() {
    let (folder, shown) = rooms();
    let mut program = program(&compiled(folder.path(), "program.wat"));
    let (said, exit) = runs(&Profile::default(), &program, "hello\n").await;
    assert_eq!(exit, Exit::Code(7));
    let nothing = "variables 00\nfolders 00\ninside 08\nabsolute 08\nabove 08\nlink 08\ncreate 08\nplant 08\nhello\n";
    assert_eq!(said, nothing);

    program.env.insert("TOKEN".into(), EnvText::from("x"));
    let profile = Profile { read: vec![shown.clone()], ..Profile::default() };
    let (said, _) = runs(&profile, &program, "").await;
    // 8 is `badf`, 63 `perm`.
    assert_eq!(said, "variables 01\nfolders 01\ninside 00\nabsolute 63\nabove 63\nlink 63\ncreate 63\nplant 63\n");
    assert!(!shown.join("made").exists() && shown.join("planted").symlink_metadata().is_err());

    let profile = Profile { write: vec![shown.clone()], ..Profile::default() };
    let (said, _) = runs(&profile, &program, "").await;
    assert!(said.contains("create 00\n") && said.contains("above 63\nlink 63\n"), "{said}");
    assert!(shown.join("made").exists());
}

#[tokio::test]
async fn a_program_of_preview_2_runs_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = program(&compiled(folder.path(), "command.wat"));
    assert_eq!(runs(&Profile::default(), &program, "").await, ("a program of preview 2\n".to_owned(), Exit::Code(0)));
    program.args.push("fail".to_owned());
    assert_eq!(runs(&Profile::default(), &program, "").await.1, Exit::Code(1));
}

/// A program that writes 4 KiB at a time without end to this descriptor.
fn flood(folder: &Path, descriptor: u8) -> PathBuf {
    let file = folder.join("flood.wasm");
    let text = r#"(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 8) "\00\10\00\00\00\10\00\00")
        (func (export "_start") (loop $ever (drop (call $write (i32.const TO) (i32.const 8) (i32.const 1) (i32.const 0))) (br $ever))))"#;
    std::fs::write(&file, wat::parse_str(text.replace("TO", &descriptor.to_string())).unwrap()).unwrap();
    file
}

#[tokio::test]
async fn who_writes_to_stderr_without_end_is_ended_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = flood(folder.path(), 2);
    let profile = Profile { limits: Limits { output_mb: 1, ..Limits::default() }, ..Profile::default() };
    let instance = backend().launch(&profile, &program(&file)).await.unwrap();
    let ended = tokio::time::timeout(LONG, instance.wait()).await.expect("it never ends");
    assert_eq!((ended, instance.exceeded()), (Exit::Signal(9), Some(Exceeded::Output(1))));
}

#[tokio::test]
async fn who_writes_without_end_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let file = flood(folder.path(), 1);
    let profile = Profile { limits: Limits { output_mb: 1, ..Limits::default() }, ..Profile::default() };
    let instance = backend().launch(&profile, &program(&file)).await.unwrap();
    let (_stdin, mut stdout) = instance.take_io().unwrap();
    let read = tokio::time::timeout(LONG, tokio::io::copy(&mut stdout, &mut tokio::io::sink())).await.expect("it never ends").unwrap();
    assert_eq!((instance.wait().await, instance.exceeded()), (Exit::Signal(9), Some(Exceeded::Output(1))));
    assert!(read < 4 << 20, "{read}");
}

#[tokio::test]
async fn a_folder_is_the_one_that_was_looked_at() {
    let (folder, shown) = rooms();
    let program = program(&compiled(folder.path(), "program.wat"));
    let profile = Profile { read: vec![shown.clone()], ..Profile::default() };
    let instance = backend().launch(&profile, &program).await.unwrap();
    // Whatever takes its place afterwards is not shown.
    std::fs::rename(&shown, folder.path().join("moved")).unwrap();
    std::os::unix::fs::symlink("/etc", &shown).unwrap();
    let (stdin, stdout) = instance.take_io().unwrap();
    drop(stdin);
    let mut said = String::new();
    stdout.take(1000).read_to_string(&mut said).await.unwrap();
    assert!(said.contains("inside 00"), "{said}");
}

#[tokio::test]
async fn what_cannot_be_kept_to_is_refused_before_anything_runs() {
    let (folder, shown) = rooms();
    let program = program(&compiled(folder.path(), "program.wat"));
    let refused = async |profile: Profile| backend().launch(&profile, &program).await.map(drop).unwrap_err().to_string();
    assert!(refused(Profile { network: Network::Host, ..Profile::default() }).await.contains("names a network"));
    assert!(refused(Profile { read: vec![shown.join("file")], ..Profile::default() }).await.contains("shows folders alone"));
    let nested = Profile { read: vec![shown.clone()], write: vec![folder.path().to_owned()], ..Profile::default() };
    assert!(refused(nested).await.contains("lies in one to write"));
    let denied = Profile { write: vec![shown.clone()], deny_write: vec![".envrc".to_owned()], ..Profile::default() };
    assert!(refused(denied).await.contains("cannot keep it from"));
}

#[tokio::test]
async fn what_is_no_webassembly_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = async |name: &str, bytes: &[u8]| {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        backend().launch(&Profile::default(), &program(&file)).await.map(drop).unwrap_err().to_string()
    };
    assert!(refused("empty.wasm", b"").await.contains("cannot be used"));
    assert!(refused("elf.wasm", b"\x7fELF\x02\x01\x01\0").await.contains("cannot be used"));
    let cut = &std::fs::read(compiled(folder.path(), "tools.wat")).unwrap()[..900];
    assert!(refused("cut.wasm", cut).await.contains("cannot be used"));
    let wants = wat::parse_str(r#"(component (import "wasi:http/outgoing-handler@0.2.0" (instance (export "handle" (func)))))"#).unwrap();
    let why = refused("http.wasm", &wants).await;
    assert!(why.contains("wasi:http/outgoing-handler"), "{why}");
    let empty = wat::parse_str("(component)").unwrap();
    assert!(refused("empty.component.wasm", &empty).await.contains("exports no function"));
}

#[tokio::test]
async fn a_trap_is_told_where_the_program_writes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trap.wasm");
    std::fs::write(&file, wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start") unreachable))"#).unwrap())
        .unwrap();
    let instance = backend().launch(&Profile::default(), &program(&file)).await.unwrap();
    assert_eq!(instance.wait().await, Exit::Signal(6));
    assert!(instance.stderr_tail().join(" ").contains("unreachable"), "{:?}", instance.stderr_tail());
}

#[tokio::test]
async fn the_probe_runs_a_program() {
    let report = backend().probe().await;
    assert!(report.works, "{:?}", report.findings);
}

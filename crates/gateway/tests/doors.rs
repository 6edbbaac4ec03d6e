//! Every request takes the one pipeline, whichever door it came through: each leaves an audit record with policy's decision in it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sallyport_gateway::config::{self, Invocation};
use sallyport_gateway::plan::{Origin, Plan};
use sallyport_gateway::upstream::{Pins, Surroundings, WayOut};
use sallyport_gateway::{Changes, Gateway};
use sallyport_identity::api_keys::ApiKeys;
use sallyport_protocol::ServerIdentity;
use sallyport_sandbox::Host;
use sallyport_store::Store;
use sallyport_store::api_key::ApiKey;
use sallyport_telemetry::state_folder::private_folder;
use sallyport_telemetry::{Audit, AuditRecord, Folders, Metrics, Outcome, Tap};
use sallyport_transport::server::{http, stdio};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const CONFIGURATION: &str = r#"
[servers.files]
builtin = { filesystem = { root = ".", write = true } }
deny = ["write_file"]

[toolsets.look]
tools = ["files__read_*"]
"#;

struct House {
    _folder: tempfile::TempDir,
    folder: std::path::PathBuf,
    gateway: Gateway,
    records: Tap,
}

fn plan(folder: &Path, text: &str) -> Plan {
    plan_from(None, folder, text)
}

fn plan_from(file: Option<&Path>, folder: &Path, text: &str) -> Plan {
    let invocation = Invocation { file: None, listen: None, folder: folder.to_owned(), variables: Arc::new(|_| None) };
    config::read(text, Origin { file: file.map(Path::to_owned), folder: folder.to_owned() }, &invocation).unwrap()
}

fn house() -> House {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().canonicalize().unwrap();
    std::fs::write(folder.join("a.txt"), "hello").unwrap();
    let metrics = Arc::new(Metrics::new());
    let audit = Audit::to_file(&folder.join("audit.jsonl"), &metrics).unwrap();
    let folders = Folders { state: folder.join("s"), cache: folder.join("c"), config: folder.join("g") };
    let (way_out, pins) = (Arc::new(WayOut::new(&folders)), Arc::new(Pins::new(&folders)));
    let identity = ServerIdentity::new("sallyport", "0");
    let surroundings = Surroundings { host: Host::this_binary(), folders, identity, metrics: metrics.clone(), way_out, pins };
    let records = audit.subscribe();
    let gateway = Gateway::build(plan(&folder, CONFIGURATION), audit, metrics, Arc::new(surroundings)).unwrap();
    gateway.start();
    House { _folder: temporary, folder, gateway, records }
}

impl House {
    /// The record of the next call of a tool.
    fn call(&self) -> AuditRecord<'static> {
        loop {
            let record = self.records.recv_timeout(Duration::from_secs(10)).unwrap();
            if record.method.as_str() == "tools/call" {
                return record;
            }
        }
    }

    async fn listen(&self) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let options = http::Options::new(ServerIdentity::new("sallyport", "0"));
        tokio::spawn(http::serve(listener, Arc::new(self.gateway.clone()), options, std::future::pending()));
        address
    }
}

fn modern_call(tool: &str, arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    )
}

async fn post(address: std::net::SocketAddr, path: &str, tool: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn every_door_leads_through_the_pipeline() {
    let house = house();
    let address = house.listen().await;

    for (path, tool) in [("/mcp", "files__read_file"), ("/servers/files/mcp", "read_file"), ("/toolsets/look/mcp", "files__read_file")] {
        let answer = post(address, path, tool, &modern_call(tool, r#"{"path":"a.txt"}"#)).await;
        assert!(answer.contains(r#""text":"hello""#), "{answer}");
        let record = house.call();
        assert_eq!((record.endpoint.as_str(), record.outcome, record.target.as_ref().unwrap().as_str()), (path, Outcome::Ok, "read_file"));
        assert_eq!(record.decision.as_ref().unwrap().as_str(), "allow");
        assert!(record.arguments.is_some());
    }

    let (client, server) = tokio::io::duplex(1 << 16);
    let (read, write) = tokio::io::split(server);
    let front = Arc::new(house.gateway.clone());
    tokio::spawn(stdio::serve(read, write, front, stdio::Options::new(ServerIdentity::new("sallyport", "0")), std::future::pending()));
    let (read, mut write) = tokio::io::split(client);
    write.write_all(format!("{}\n", modern_call("files__read_file", r#"{"path":"a.txt"}"#)).as_bytes()).await.unwrap();
    let mut line = String::new();
    BufReader::new(read).read_line(&mut line).await.unwrap();
    assert!(line.contains(r#""text":"hello""#), "{line}");
    let record = house.call();
    assert_eq!((record.endpoint.as_str(), record.outcome), ("stdio", Outcome::Ok));
}

#[tokio::test]
async fn what_policy_denies_is_neither_listed_nor_done() {
    let house = house();
    let address = house.listen().await;
    let answer = post(address, "/mcp", "files__write_file", &modern_call("files__write_file", r#"{"path":"b.txt","text":"x"}"#)).await;
    assert!(answer.contains("isError") && answer.contains("servers.files.deny"), "{answer}");
    assert!(!house.folder.join("b.txt").exists());
    let record = house.call();
    assert_eq!((record.outcome, record.rule.as_ref().unwrap().as_str()), (Outcome::Denied, "servers.files.deny[0]"));
    assert!(
        house.gateway.upstreams()[0].listed(Duration::from_secs(10)).await.tools.iter().any(|tool| tool.name == "write_file"),
        "the server offers it"
    );
}

#[tokio::test]
async fn a_reload_keeps_what_did_not_change() {
    let house = house();
    let kept = house.gateway.upstreams()[0].clone();
    let more = format!("{CONFIGURATION}\n[servers.more]\nbuiltin = {{ filesystem = {{ root = \".\" }} }}\n");
    let changes = house.gateway.reload(plan(&house.folder, &more), Duration::from_secs(1)).await.unwrap();
    assert_eq!(changes, Changes { added: vec!["more".into()], ..Changes::default() });
    assert!(Arc::ptr_eq(&kept, &house.gateway.upstreams()[0]));
    let changes =
        house.gateway.reload(plan(&house.folder, "[servers.more]\nbuiltin = { filesystem = {} }\n"), Duration::from_secs(1)).await.unwrap();
    assert_eq!(changes.removed, ["files"]);
    assert!(!house.gateway.metrics().contains("server=\"files\""), "its figures are gone with it");
    let address = house.listen().await;
    let answer = post(address, "/servers/files/mcp", "read_file", &modern_call("read_file", "{}")).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[tokio::test]
async fn a_server_from_which_the_configuration_is_kept_is_started_anew_when_that_file_is_replaced() {
    let house = house();
    let file = house.folder.join("sallyport.toml");
    let text = "[servers.beside]\ncommand = [\"none\"]\nstart = \"lazy\"\nread = [\"s\"]\n[servers.writer]\ncommand = [\"none\"]\nstart = \"lazy\"\nwrite = [\".\"]\n";
    let reload = async || {
        let changes = house.gateway.reload(plan_from(Some(&file), &house.folder, text), Duration::ZERO).await.unwrap();
        (changes.changed, house.gateway.upstreams())
    };
    std::fs::write(&file, text).unwrap();
    let (_, first) = reload().await;
    std::fs::write(&file, text).unwrap();
    let (_, second) = reload().await;
    assert!(Arc::ptr_eq(&first[1], &second[1]), "the same file");
    std::fs::write(house.folder.join("new"), text).unwrap();
    std::fs::rename(house.folder.join("new"), &file).unwrap();
    let (changed, third) = reload().await;
    assert_eq!(changed, ["writer"]);
    assert!(!Arc::ptr_eq(&second[1], &third[1]));
    assert!(Arc::ptr_eq(&second[0], &third[0]), "it never saw the file");
}

/// Opens the stream of a session that is opened with `key`.
async fn session_stream(address: std::net::SocketAddr, key: &str) -> BufReader<TcpStream> {
    let head = format!("HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n");
    let body = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    let accept = "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n";
    let mut greeting = TcpStream::connect(address).await.unwrap();
    let text = format!("POST /mcp {head}{accept}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    greeting.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    greeting.read_to_string(&mut answer).await.unwrap();
    let id = answer.lines().find_map(|line| line.strip_prefix("mcp-session-id: ")).unwrap_or_else(|| panic!("{answer}"));
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    let text = format!("GET /mcp {head}Accept: text/event-stream\r\nMcp-Session-Id: {id}\r\n\r\n");
    stream.get_mut().write_all(text.as_bytes()).await.unwrap();
    let mut first = String::new();
    stream.read_line(&mut first).await.unwrap();
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    stream
}

/// Whether a stream of events ends in the next seconds.
async fn ends(stream: &mut BufReader<TcpStream>) -> bool {
    let end = async {
        let mut line = String::new();
        // The last chunk of a body is empty.
        while line.trim_end() != "0" {
            line.clear();
            stream.read_line(&mut line).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), end).await.is_ok()
}

#[tokio::test]
async fn a_stream_ends_with_the_key_that_opened_it() {
    let house = house();
    let folders = Folders { state: house.folder.join("s"), cache: house.folder.join("c"), config: house.folder.join("g") };
    private_folder(&folders.state).unwrap();
    let store = Store::open(&folders.store_file()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut keys = Vec::new();
    for (name, ends) in [("expires", Some(now + 8)), ("revoked", None), ("stays", None)] {
        let (secret, digest) = ApiKeys::make().unwrap();
        let (id, name) = (name.to_owned(), name.to_owned());
        let key = ApiKey { id, name, scopes: None, groups: Vec::new(), tenant: String::new(), made: now, ends, used: None };
        assert!(store.add_api_key(key, digest, None).await.unwrap());
        keys.push(secret.expose().to_owned());
    }
    let taking = format!("{CONFIGURATION}\n[identity]\napi_keys = true\n");
    house.gateway.reload(plan(&house.folder, &taking), Duration::from_secs(1)).await.unwrap();
    let address = house.listen().await;
    let mut expires = session_stream(address, &keys[0]).await;
    let mut revoked = session_stream(address, &keys[1]).await;
    let mut stays = session_stream(address, &keys[2]).await;

    store.revoke_api_key("revoked", now).await.unwrap();
    assert!(ends(&mut expires).await && ends(&mut revoked).await);
    let more = format!("{taking}\n[servers.more]\nbuiltin = {{ filesystem = {{ root = \".\" }} }}\n");
    house.gateway.reload(plan(&house.folder, &more), Duration::from_secs(1)).await.unwrap();
    let mut heard = String::new();
    while !heard.contains("list_changed") {
        assert!(stays.read_line(&mut heard).await.unwrap() > 0, "{heard}");
    }
}

//! Extensions of 2026-07-28 through a whole gateway, with the fixture behind it: skills, and what nobody here knows.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sallyport_gateway::Gateway;
use sallyport_gateway::config::{self, Invocation};
use sallyport_gateway::plan::Origin;
use sallyport_gateway::upstream::{Pins, Surroundings, WayOut};
use sallyport_protocol::ServerIdentity;
use sallyport_sandbox::Host;
use sallyport_telemetry::{Audit, AuditRecord, Folders, Metrics, Outcome, Tap};
use sallyport_testkit::fixture::{Era, Process, Revision, Transport};
use sallyport_transport::server::http;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ECHO: &str = "com.example/echo";

/// A gateway with the fixture behind it under several names.
struct House {
    _folder: tempfile::TempDir,
    _fixture: [Process; 2],
    gateway: Gateway,
    records: Tap,
    address: SocketAddr,
}

/// `one` and `two` are the same modern fixture, `two` with rules; `old` is a legacy one, and nobody listens at `gone`.
async fn house() -> House {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().canonicalize().unwrap();
    let anywhere = Transport::Http("127.0.0.1:0".parse().unwrap());
    let modern = Process::start(anywhere, Era::Modern, Revision::V2026_07_28).unwrap();
    let legacy = Process::start(anywhere, Era::Legacy, Revision::V2025_11_25).unwrap();
    let text = format!(
        "[servers.one]\nurl = \"{0}\"\n\n[servers.two]\nurl = \"{0}\"\ndeny = [\"skill://greeting/*\"]\n\n[servers.old]\nurl = \"{1}\"\n\n\
         [servers.gone]\nurl = \"http://127.0.0.1:9/mcp\"\n",
        modern.url(),
        legacy.url()
    );
    let invocation = Invocation { file: None, listen: None, folder: folder.clone(), variables: Arc::new(|_| None) };
    let plan = config::read(&text, Origin { file: None, folder: folder.clone() }, &invocation).unwrap();
    let metrics = Arc::new(Metrics::new());
    let audit = Audit::to_file(&folder.join("audit.jsonl"), &metrics).unwrap();
    let folders = Folders { state: folder.join("s"), cache: folder.join("c"), config: folder.join("g") };
    let identity = ServerIdentity::new("sallyport", "0");
    let (way_out, pins) = (Arc::new(WayOut::new(&folders)), Arc::new(Pins::new(&folders)));
    let surroundings =
        Surroundings { host: Host::this_binary(), folders, identity: identity.clone(), metrics: metrics.clone(), way_out, pins };
    let records = audit.subscribe();
    let gateway = Gateway::build(plan, audit, metrics, Arc::new(surroundings)).unwrap();
    gateway.start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(http::serve(listener, Arc::new(gateway.clone()), http::Options::new(identity), std::future::pending()));
    House { _folder: temporary, _fixture: [modern, legacy], gateway, records, address }
}

impl House {
    /// Asks at an endpoint in the modern way; the answer's `result`, or its `error`.
    async fn ask(&self, endpoint: &str, method: &str, params: Value) -> Value {
        let mut params = params;
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": { "extensions": { ECHO: { "a": 1 } } },
        });
        let name = params["uri"].as_str().filter(|_| method == "resources/read").map(|uri| format!("Mcp-Name: {uri}\r\n"));
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let head = format!(
            "POST {endpoint} HTTP/1.1\r\nHost: {0}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
             MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n{1}Content-Length: {2}\r\nConnection: close\r\n\r\n",
            self.address,
            name.unwrap_or_default(),
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let json = answer.lines().rev().find_map(|line| line.find('{').map(|at| line.split_at(at).1)).unwrap_or_default();
        let mut answer: Value = serde_json::from_str(json).unwrap_or_else(|_| panic!("no answer in {answer}"));
        if answer["error"].is_object() { answer["error"].take() } else { answer["result"].take() }
    }

    /// The record of the next request of that method.
    fn record(&self, method: &str) -> AuditRecord<'static> {
        loop {
            let record = self.records.recv_timeout(Duration::from_secs(10)).unwrap();
            if record.method.as_str() == method {
                return record;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn skills_are_served_under_each_endpoints_uris() {
    let house = house().await;
    for (endpoint, root) in [("/servers/one/mcp", "skill://greeting"), ("/mcp", "skill://one.mcp/greeting")] {
        let declared = house.ask(endpoint, "server/discover", json!({})).await["capabilities"]["extensions"].take();
        assert_eq!(declared["io.modelcontextprotocol/skills"], json!({ "directoryRead": true }), "{endpoint}");

        let list = house.ask(endpoint, "skills/list", json!({})).await;
        let [skill] = list["skills"].as_array().unwrap().as_slice() else { panic!("{endpoint}: {list}") };
        assert_eq!((&skill["uri"], &skill["frontmatter"]["name"]), (&json!(format!("{root}/SKILL.md")), &json!("greeting")));
        assert_eq!((&list["cacheScope"], &list["resultType"]), (&json!("private"), &json!("complete")));
        assert!(list["ttlMs"].is_number());
        let got = house.ask(endpoint, "skills/get", json!({ "uri": skill["uri"] })).await;
        assert_eq!(&got["skill"], skill, "{endpoint}");

        for file in skill["resources"].as_array().unwrap() {
            let read = house.ask(endpoint, "resources/read", json!({ "uri": file["uri"] })).await;
            assert_eq!(read["contents"][0]["uri"], file["uri"]);
            assert_eq!(read["contents"][0]["text"].as_str().unwrap().len() as u64, file["size"].as_u64().unwrap());
        }
        let inside = house.ask(endpoint, "resources/directory/read", json!({ "uri": root })).await;
        let uris: Vec<&str> = inside["resources"].as_array().unwrap().iter().map(|entry| entry["uri"].as_str().unwrap()).collect();
        assert_eq!(uris, [format!("{root}/SKILL.md"), format!("{root}/words")]);
        for (method, uri) in [("skills/get", format!("{root}/none/SKILL.md")), ("resources/directory/read", format!("{root}/SKILL.md"))] {
            assert_eq!(house.ask(endpoint, method, json!({ "uri": uri })).await["code"], -32602, "{endpoint} {method}");
        }
    }
    house.gateway.stop(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_holds_for_skills_as_for_resources_and_servers_without_them_have_no_such_method() {
    let house = house().await;
    let denied = "skill://greeting/SKILL.md";
    assert_eq!(house.ask("/servers/two/mcp", "skills/list", json!({})).await["skills"], json!([]));
    for method in ["skills/get", "resources/read"] {
        let error = house.ask("/servers/two/mcp", method, json!({ "uri": denied })).await;
        assert!(error["message"].as_str().unwrap().contains("deny list"), "{error}");
        assert_eq!(house.record(method).outcome, Outcome::Denied);
    }
    for method in ["skills/list", "skills/get", "resources/directory/read", ECHO] {
        for endpoint in ["/servers/old/mcp", "/servers/gone/mcp"] {
            assert_eq!(house.ask(endpoint, method, json!({ "uri": denied })).await["code"], -32601, "{endpoint} {method}");
        }
    }
    assert_eq!(house.ask("/mcp", "skills/list", json!({ "cursor": "x" })).await["code"], -32602);
    house.gateway.stop(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_nobody_knows_passes_untouched_at_its_servers_own_endpoint() {
    let house = house().await;
    let params = json!({ "name": "x", "uri": "ui://a", "deep": { "n": 1.5, "cursor": null } });
    let came = house.ask("/servers/one/mcp", ECHO, params.clone()).await;
    assert_eq!(came["resultType"], "echo");
    let mut without_meta = came["came"].clone();
    let meta = without_meta.as_object_mut().unwrap().remove("_meta").unwrap();
    assert_eq!(without_meta, params);
    assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"]["extensions"][ECHO], json!({ "a": 1 }));
    let record = house.record(ECHO);
    assert_eq!(
        (record.outcome, record.server.as_ref().unwrap().as_str(), record.rule.unwrap().as_str()),
        (Outcome::Ok, "one", "policy.default")
    );

    let denied = house.ask("/servers/two/mcp", ECHO, params.clone()).await;
    assert!(denied["message"].as_str().unwrap().contains("allow list"), "{denied}");
    assert_eq!(house.record(ECHO).outcome, Outcome::Denied);
    assert_eq!(house.ask("/mcp", ECHO, params.clone()).await["code"], -32601);
    assert_eq!(house.ask("/servers/one/mcp", "com.example/other", params).await["code"], -32601);
    for (endpoint, is_declared) in [("/servers/one/mcp", true), ("/mcp", false)] {
        let discovery = house.ask(endpoint, "server/discover", json!({})).await;
        assert_eq!(discovery["capabilities"]["extensions"][ECHO].is_object(), is_declared, "{discovery}");
    }
    house.gateway.stop(Duration::from_secs(1)).await;
}

//! What is no tool: prompts, resources, templates, completion and subscriptions of a server that each user goes to in their own name. The third
//! party's own audit records say in whose name.

use std::net::TcpStream;

use super::*;
use crate::fixture::Fixture;
use crate::harness::http::{Connection, Response};
use crate::visitor::{Stream, Visitor};

const ALICES: &str = "alice-0123456789abcdef";
const BOBS: &str = "bob-0123456789abcdef";
const UPDATED: &str = "notifications/resources/updated";
const WATCHED: &str = "theirs.mcp:test://watched-resource";

/// A request for each kind of thing, and what is in the answer to it.
fn doors() -> [(&'static str, Value, &'static str); 6] {
    let completed = |of: Value, argument: &str| json!({ "ref": of, "argument": { "name": argument, "value": "par" } });
    let prompt = json!({ "type": "ref/prompt", "name": "theirs__test_prompt_with_arguments" });
    let template = json!({ "type": "ref/resource", "uri": "theirs.mcp:test://template/{id}/data" });
    [
        ("tools/call", json!({ "name": "theirs__test_simple_text", "arguments": {} }), "simple text"),
        ("prompts/get", json!({ "name": "theirs__test_simple_prompt" }), "a simple prompt"),
        ("resources/read", json!({ "uri": "theirs.mcp:test://static-text" }), "the static text resource"),
        ("resources/read", json!({ "uri": "theirs.mcp:test://template/7/data" }), "\\\"7\\\""),
        ("completion/complete", completed(prompt, "arg1"), "paris"),
        ("completion/complete", completed(template, "id"), "\"values\""),
    ]
}

struct Bench {
    theirs: (Project, Gateway),
    project: Project,
    gateway: Gateway,
    _fixture: Fixture,
}

impl Bench {
    fn new() -> Self {
        let (relay, fixture) = (Relay::new(), Fixture::start());
        let there = Project::new(&format!(
            "public_url = \"http://127.0.0.1:{}\"\n[identity.server]\n[policy]\ndefault = \"allow\"\n\
             [servers.all]\nurl = \"http://127.0.0.1:{}/mcp\"\n",
            relay.port, fixture.port
        ));
        for name in ["alice", "bob"] {
            there.add_user(&[name], PASSWORD);
        }
        let url = format!("http://127.0.0.1:{}/servers/all/mcp", relay.port);
        let theirs = there.up();
        relay.lead_to(theirs.port);
        let project = Project::new(&format!(
            "keys = [\"file:alice\", \"file:bob\"]\n[policy]\ndefault = \"allow\"\n\
             [servers.theirs]\nurl = \"{url}\"\ncredential = {{ per_user = {{}} }}\n"
        ));
        write_private(&project, "alice", ALICES);
        write_private(&project, "bob", BOBS);
        let gateway = project.up();
        Self { theirs: (there, theirs), project, gateway, _fixture: fixture }
    }

    fn caller(&self, key: &str) -> Caller {
        Caller::new(self.gateway.port, key)
    }

    /// Grants access in the name of the user who has that key.
    fn grant(&self, key: &str, name: &str) {
        let mut browser = Browser::default();
        let page = browser.open(&link(&self.caller(key), &self.gateway)).unwrap();
        let login = browser.submit(&page, &[("key", key)]).unwrap();
        let done = agree_as(name, &mut browser, &login);
        assert!(done.status == 200 && done.body.contains("is granted"), "{done:?}\n{}", self.gateway.log());
    }

    /// Who was served at the third party with these requests, in their order.
    fn served(&self, method: &str) -> Vec<String> {
        let records = fs::read_to_string(self.theirs.0.state().join("sallyport/audit/audit.jsonl")).unwrap();
        let records = records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of_it = records.filter(|record| record["method"] == method && record["outcome"] == "ok");
        of_it.map(|record| record["principal"].as_str().unwrap().to_owned()).collect()
    }

    /// The same once there are as many: records are written a moment after the answer.
    fn has_served(&self, method: &str, count: usize) -> Vec<String> {
        eventually(&format!("{count} records of {method}"), Duration::from_secs(30), || self.served(method).len() >= count);
        self.served(method)
    }

    /// Every door is shut, and says where it is opened.
    fn asks(&self, key: &str) {
        let able = json!({ "_meta": { "io.modelcontextprotocol/clientCapabilities": { "elicitation": { "url": {} } } } });
        for (method, params, _) in doors() {
            let told = self.caller(key).ask("/mcp", method, params.clone());
            let is_told =
                told.body.contains("wants to be visited") && told.body.contains("/connect/") && !told.body.contains("input_required");
            assert!(is_told, "who cannot be asked reads it, {method} {params}: {told:?}");
            let mut asked = params.clone();
            asked["_meta"] = able["_meta"].clone();
            let asked = self.caller(key).ask("/mcp", method, asked);
            assert!(asked.body.contains("/connect/") && !asked.body.contains("-32042"), "{method} {params}: {asked:?}");
            // Completion has no way to ask anything: whoever wants it reads it, too.
            assert_eq!(asked.body.contains("input_required"), method != "completion/complete", "{method}: {asked:?}");
        }
    }

    fn lists(&self, key: &str) -> String {
        let lists = ["prompts/list", "resources/list", "resources/templates/list"];
        lists.map(|method| self.caller(key).ask("/mcp", method, json!({})).body).concat()
    }

    /// Listens to news of a resource; reading waits for so many seconds.
    fn listen(&self, key: &str, patience: u64) -> (Box<dyn Stream>, String) {
        let connect = || {
            let stream = TcpStream::connect(("127.0.0.1", self.gateway.port)).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(patience))).unwrap();
            Box::new(stream) as Box<dyn Stream>
        };
        let wanted = json!({ "notifications": { "resourceSubscriptions": [WATCHED] } });
        let (stream, told) = Visitor::by("a listener", Some(key), connect).listen("/mcp", wanted);
        (stream, told.message.to_string())
    }

    /// Makes the resource another, by the tool of its server.
    fn change(&self, key: &str) {
        let tool = json!({ "name": "theirs__test_trigger_resource_update", "arguments": {} });
        let done = self.caller(key).ask("/mcp", "tools/call", tool);
        assert!(done.body.contains("\"content\""), "{done:?}");
    }
}

#[test]
fn each_kind_of_request_goes_in_the_name_of_who_makes_it_or_asks_for_that() {
    let bench = Bench::new();
    for key in [ALICES, BOBS] {
        bench.asks(key);
        assert!(!bench.lists(key).contains("test"), "{}", bench.lists(key));
    }
    bench.grant(ALICES, "alice");
    bench.asks(BOBS);
    bench.grant(BOBS, "bob");
    for (method, params, expected) in doors() {
        let before = bench.served(method).len();
        for key in [ALICES, BOBS] {
            let answer = bench.caller(key).ask("/mcp", method, params.clone());
            assert!(answer.body.contains(expected), "{method} {params}: {answer:?}\n{}", bench.gateway.log());
        }
        let served = bench.has_served(method, before + 2);
        let last = &served[before..];
        assert!(last.len() == 2 && last[0] != last[1], "{method}: {served:?}");
        assert!(served.iter().all(|one| *one == last[0] || *one == last[1]), "{method}: {served:?}");
    }
    let alice = &bench.served("prompts/get")[0];
    for method in ["tools/call", "resources/read", "completion/complete"] {
        let served = bench.served(method);
        assert!(served.iter().step_by(2).all(|one| one == alice), "{method}: {served:?}");
    }
    for key in [ALICES, BOBS] {
        eventually("the lists are there", Duration::from_secs(30), || bench.lists(key).contains("theirs.mcp:test://template/{id}/data"));
        assert!(bench.lists(key).contains("theirs__test_simple_prompt"), "{}", bench.lists(key));
    }

    let vault = |arguments: &[&str]| -> Value {
        let told = bench.project.sallyport().arg("vault").args(arguments).arg("--json").output().unwrap();
        serde_json::from_slice(&told.stdout).unwrap_or_else(|_| panic!("{told:?}"))
    };
    let kept = vault(&["list"]);
    let users: Vec<&str> = kept.as_array().unwrap().iter().map(|grant| grant["user"].as_str().unwrap()).collect();
    let [_, bob] = users[..] else { panic!("{kept}") }; // in the order of their names
    assert_eq!(vault(&["forget", "--user", bob]), json!({ "grants": 1 }), "{bob}");
    eventually("bob is asked again", Duration::from_secs(30), || {
        bench.caller(BOBS).ask("/mcp", "prompts/get", doors()[1].1.clone()).body.contains("/connect/")
    });
    bench.asks(BOBS);
    for (method, params, expected) in doors() {
        let answer = bench.caller(ALICES).ask("/mcp", method, params);
        assert!(answer.body.contains(expected), "{method}: what is bob's is not alice's: {answer:?}");
    }
}

/// A session of a client of 2025-11-25, and the answer to its wish to hear of a resource.
fn subscribe(port: u16, key: &str, capabilities: Value) -> Response {
    let bearer = format!("Bearer {key}");
    let ask = |session: Option<&str>, method: &str, params: Value| {
        let mut headers = vec![("Authorization", bearer.as_str())];
        headers.extend(session.into_iter().flat_map(|session| [("Mcp-Session-Id", session), ("MCP-Protocol-Version", "2025-11-25")]));
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        Connection::open(port).post("/mcp", &headers, &body)
    };
    let client = json!({ "name": "t", "version": "1" });
    let greeting = json!({ "protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": client });
    let greeted = ask(None, "initialize", greeting);
    let session = greeted.header("mcp-session-id").expect("a session was made");
    ask(Some(session), "resources/subscribe", json!({ "uri": WATCHED }))
}

/// Reads on until there is `text`.
fn hears(stream: &mut dyn Stream, text: &str) {
    let (mut heard, mut some) = (String::new(), [0; 4096]);
    while !heard.contains(text) {
        let length = stream.read(&mut some).unwrap_or_else(|error| panic!("no {text}: {error}: {heard}"));
        assert!(length > 0, "it ended without {text}: {heard}");
        heard.push_str(&String::from_utf8_lossy(&some[..length]));
    }
}

#[test]
fn who_wants_to_hear_of_a_resource_hears_of_it_by_their_own_grant_alone() {
    let bench = Bench::new();
    let able = json!({ "elicitation": { "url": {} } });
    let asked: Value = serde_json::from_str(subscribe(bench.gateway.port, ALICES, able).message().unwrap()).unwrap();
    assert_eq!(asked["error"]["code"], -32042, "{asked}");
    assert!(asked["error"]["data"]["elicitations"][0]["url"].as_str().unwrap().contains("/connect/"), "{asked}");
    let told: Value = serde_json::from_str(subscribe(bench.gateway.port, ALICES, json!({})).message().unwrap()).unwrap();
    assert!(told["error"]["message"].as_str().unwrap().contains("/connect/"), "whoever cannot be asked reads it: {told}");

    bench.grant(ALICES, "alice");
    let (mut alices, told) = bench.listen(ALICES, 60);
    assert!(told.contains(WATCHED), "{told}");
    let (mut bobs, told) = bench.listen(BOBS, 2);
    assert!(!told.contains(WATCHED), "he has granted nothing: {told}");
    bench.change(ALICES);
    hears(&mut *alices, UPDATED);
    let mut some = [0; 4096];
    while let Ok(length @ 1..) = bobs.read(&mut some) {
        assert!(!String::from_utf8_lossy(&some[..length]).contains(UPDATED), "what alice hears is hers");
    }
    let alice = bench.has_served("resources/subscribe", 1)[0].clone();

    bench.grant(BOBS, "bob");
    let (mut bobs, told) = bench.listen(BOBS, 60);
    assert!(told.contains(WATCHED), "{told}");
    let served = bench.has_served("resources/subscribe", 2);
    assert!(served.len() == 2 && served[1] != alice, "each by their own: {served:?}");
    bench.change(BOBS);
    hears(&mut *bobs, UPDATED);
}

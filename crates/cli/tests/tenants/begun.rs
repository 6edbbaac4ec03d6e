//! What is open or granted for somebody of one tenant, tried by another: streams, subscriptions, links, users' grants.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use sallyport_testkit::browser::Browser;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::fixture::Fixture;
use crate::harness::gateway::{Gateway, Project};
use crate::harness::http::Connection;
use crate::harness::loopback::{free_port, get_as};
use crate::objects::Legacy;
use crate::visitor::Visitor;
use crate::{ACME_KEY, OWN, TENANTS, UMBRELLA_KEY, project, result, told};

const PASSWORD: &str = "correct horse battery staple";

/// An id as long as another, and nobody's.
fn unknown(id: &str) -> String {
    id.chars().map(|letter| if letter == 'a' { 'b' } else { 'a' }).collect()
}

/// The answer to a request without a body, but for its date.
fn send(port: u16, method: &str, path: &str, key: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n{headers}");
    write!(stream, "{head}Connection: close\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{method} {path}: {error}: {answer}"));
    answer.lines().filter(|line| !line.starts_with("date: ")).collect::<Vec<_>>().join("\n")
}

/// Reads on until it has `text`.
fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let (mut heard, mut some) = (String::new(), [0; 4096]);
    while !heard.contains(text) {
        let length = stream.read(&mut some).unwrap_or_else(|error| panic!("no {text}: {error}: {heard}"));
        assert!(length > 0, "it ended without {text}: {heard}");
        heard.push_str(&String::from_utf8_lossy(&some[..length]));
    }
    heard
}

#[test]
fn a_stream_of_another_takes_and_tells_nothing() {
    let project = project(&format!("{OWN}{TENANTS}"));
    let gateway = project.up();
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head =
        format!("GET /t/acme/sse HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\nAuthorization: Bearer {ACME_KEY}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let opened = read_until(&mut stream, "session=");
    let opened = if opened.ends_with('\n') { opened } else { opened + &read_until(&mut stream, "\n") };
    let id = opened.split("session=").nth(1).unwrap().split(['\r', '\n']).next().unwrap().to_owned();

    let greeting = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" },
    } });
    let post = |key: &str, path: &str| {
        let bearer = format!("Bearer {key}");
        Connection::open(gateway.port).post(path, &[("Authorization", &bearer)], &greeting.to_string())
    };
    for place in ["/t/umbrella", "/t/umbrella/servers/files", "/t/umbrella/toolsets/look"] {
        let answers = [id.clone(), unknown(&id)].map(|id| told(&post(UMBRELLA_KEY, &format!("{place}/messages?session={id}")), &[]));
        assert_eq!(answers[0], answers[1], "{place}");
        assert!(answers[0].starts_with('4'), "{}", answers[0]);
    }
    let answers = [id.clone(), unknown(&id)].map(|id| told(&post(UMBRELLA_KEY, &format!("/t/acme/messages?session={id}")), &[(&id, "ID")]));
    assert!(answers[0] == answers[1] && answers[0].starts_with("401"), "{answers:?}");
    let own = post(ACME_KEY, &format!("/t/acme/messages?session={id}"));
    assert_eq!(own.status, 202, "whose stream it is goes on: {own:?}");
    assert!(read_until(&mut stream, "serverInfo").contains("\"id\":1"), "and hears its own answer");

    let mut session = Legacy::open(gateway.port, ACME_KEY, "/t/acme/mcp");
    for (method, more) in
        [("GET", "Accept: text/event-stream\r\n"), ("GET", "Accept: text/event-stream\r\nLast-Event-ID: 1\r\n"), ("DELETE", "")]
    {
        for place in ["/t/umbrella/mcp", "/t/umbrella/servers/files/mcp", "/t/acme/mcp"] {
            let answers = [session.session.clone(), unknown(&session.session)].map(|id| {
                let headers = format!("{more}MCP-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: {id}\r\n");
                send(gateway.port, method, place, UMBRELLA_KEY, &headers)
            });
            assert_eq!(answers[0], answers[1], "{method} at {place}");
            let status = if place.starts_with("/t/acme") { "HTTP/1.1 401" } else { "HTTP/1.1 404" };
            assert!(answers[0].starts_with(status), "{method} at {place}: {}", answers[0]);
        }
    }
    assert_eq!(session.ask("tools/list", json!({})).status, 200, "nobody ended it");
}

#[test]
fn what_changes_at_another_is_not_heard() {
    let fixture = Fixture::start();
    let only = format!("[tenants.acme.servers.secret2]\nurl = \"http://127.0.0.1:{}/mcp\"\n", fixture.port);
    let project = project(&format!("{OWN}{TENANTS}{only}"));
    let gateway = project.up();
    let listener = |key: &str, patience: u64| {
        let port = gateway.port;
        let connect = move || {
            let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(patience))).unwrap();
            Box::new(stream) as Box<dyn crate::visitor::Stream>
        };
        Visitor::by("a listener", Some(key), connect)
    };
    let wanted = |resource: &str| {
        let uri = format!("secret2.mcp:test://{resource}-resource");
        json!({ "notifications": { "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true, "resourceSubscriptions": [uri] } })
    };
    let told_of = |resource: &str| {
        let (stream, told) = listener(UMBRELLA_KEY, 3).listen("/t/umbrella/mcp", wanted(resource));
        assert_eq!(told.status, 200, "{told:?}");
        (stream, told.message.to_string().replace(resource, "NAME"))
    };
    let ((mut theirs, foreign), (_, nobodys)) = (told_of("watched"), told_of("absent"));
    assert_eq!(foreign, nobodys, "one may not learn by listening what there is");
    let (mut own, told) = listener(ACME_KEY, 60).listen("/t/acme/mcp", wanted("watched"));
    assert!(told.message.to_string().contains("secret2.mcp:test://watched-resource"), "{told:?}");

    let acme = Caller::new(gateway.port, ACME_KEY);
    for tool in ["test_trigger_tool_change", "test_trigger_resource_update"] {
        let done = result(&acme.ask("/t/acme/mcp", "tools/call", json!({ "name": format!("secret2__{tool}"), "arguments": {} })));
        assert!(done["content"].is_array(), "{done}");
    }
    let mut heard = String::new();
    let mut some = [0; 4096];
    while !(heard.contains("notifications/tools/list_changed") && heard.contains("notifications/resources/updated")) {
        let length = own.read(&mut some).unwrap_or_else(|error| panic!("{error}: {heard}"));
        assert!(length > 0, "it ended: {heard}");
        heard.push_str(&String::from_utf8_lossy(&some[..length]));
    }
    let mut heard = String::new();
    while let Ok(length @ 1..) = theirs.read(&mut some) {
        heard.push_str(&String::from_utf8_lossy(&some[..length]));
        assert!(heard.len() < 64 * 1024, "it tells without end: {heard}");
    }
    assert!(!heard.contains("notifications/") && !heard.contains("test://"), "{heard}");
}

/// A gateway elsewhere, with a user, for whose server users of both tenants grant access.
fn with_grants() -> ((Project, Gateway), Project, Gateway) {
    let port = free_port();
    let elsewhere = Project::new(&format!(
        "public_url = \"http://127.0.0.1:{port}\"\n[identity.server]\n[policy]\ndefault = \"allow\"\n[servers.files]\nbuiltin = {{ filesystem = {{}} }}\n"
    ));
    elsewhere.add_user(&["alice"], PASSWORD);
    let running = elsewhere.up_at(port);
    let server = |tenant: &str| {
        let url = running.url("/servers/files/mcp");
        format!("[tenants.{tenant}.servers.theirs]\nurl = \"{url}\"\ncredential = {{ per_user = {{}} }}\n")
    };
    let port = free_port();
    let project = project(&format!("public_url = \"http://127.0.0.1:{port}\"\n{OWN}{TENANTS}{}{}", server("acme"), server("umbrella")));
    let gateway = project.up_at(port);
    ((elsewhere, running), project, gateway)
}

#[test]
fn what_a_user_granted_is_for_no_namesake_of_another_tenant() {
    let (_elsewhere, project, gateway) = with_grants();
    let call = |key: &str, tenant: &str, tool: &str| {
        let params = json!({ "name": format!("theirs__{tool}"), "arguments": { "path": "." } });
        Caller::new(gateway.port, key).ask(&format!("/t/{tenant}/mcp"), "tools/call", params).body
    };
    let link = |key: &str, tenant: &str| {
        let asked = call(key, tenant, "sallyport_connect");
        let (_, rest) =
            asked.split_once(&format!("/t/{tenant}/connect/")).unwrap_or_else(|| panic!("no link in {asked}\n{}", gateway.log()));
        rest.chars().take_while(|letter| letter.is_ascii_alphanumeric() || "-_".contains(*letter)).collect::<String>()
    };
    let id = link(ACME_KEY, "acme");

    let page = |tenant: &str, id: &str, key: &str| {
        let path = format!("/t/{tenant}/connect/{id}");
        let bearer = if key.is_empty() { String::new() } else { format!("Authorization: Bearer {key}\r\n") };
        let read = get_as(gateway.port, &path, &bearer).unwrap();
        let sent = crate::browser::Browser::default().post(&gateway.url(&path), &[("key", key)]);
        let read = read.lines().filter(|line| !line.starts_with("date: ")).collect::<Vec<_>>().join("\n");
        (read.replace(id, "ID"), sent.status, sent.html.replace(id, "ID"))
    };
    for key in [UMBRELLA_KEY, ACME_KEY, ""] {
        assert_eq!(page("umbrella", &id, key), page("umbrella", &unknown(&id), key), "a link of another is as none, with {key:?}");
    }
    assert_eq!(page("acme", &id, UMBRELLA_KEY).1, 403, "a key of another is no key");

    let mut browser = Browser::default();
    let asked = browser.open(&gateway.url(&format!("/t/acme/connect/{id}"))).unwrap();
    let login = browser.submit(&asked, &[("key", ACME_KEY)]).unwrap();
    let consent = browser.submit(&login, &[("name", "alice"), ("password", PASSWORD)]).unwrap();
    let done = browser.submit(&consent, &[("decision", "allow")]).unwrap();
    assert_eq!(done.status, 200, "{done:?}\n{}", gateway.log());
    let listed: Value = serde_json::from_str(&call(ACME_KEY, "acme", "list_directory")).unwrap_or_default();
    assert!(listed["result"]["content"].is_array() && listed["result"]["isError"] != json!(true), "{listed}\n{}", gateway.log());
    // Both show the first configured key of their tenant, and are called the same.
    let other = call(UMBRELLA_KEY, "umbrella", "list_directory");
    assert!(!other.contains("sallyport.toml") && other.contains("/t/umbrella/connect/"), "nothing was granted there: {other}");
    assert!(!link(UMBRELLA_KEY, "umbrella").is_empty());

    for (tenant, count) in [("acme", 1), ("umbrella", 0)] {
        let kept = project.sallyport().args(["vault", "list", "--json", "--tenant", tenant]).output().unwrap();
        let kept: Value = serde_json::from_slice(&kept.stdout).unwrap_or_else(|_| panic!("{kept:?}"));
        assert_eq!(kept.as_array().map(Vec::len), Some(count), "{tenant}: {kept}");
    }
}

/// Both tenants have the same server with the same limit, started for each.
#[test]
fn limits_lists_and_processes_are_each_tenants_own() {
    let program = Fixture::program();
    let folder = program.parent().unwrap();
    let own = |tenant: &str| {
        format!(
            "[[tenants.{tenant}.limits]]\nserver = \"work\"\ntools = [\"test_simple_text\"]\nacross = \"tenant\"\n\
             rate = {{ calls = 2, seconds = 3600 }}\n\
             [tenants.{tenant}.servers.work]\ncommand = [{program:?}, \"stdio\", \"--revision\", \"2026-07-28\"]\nread = [{folder:?}]\n"
        )
    };
    let project = project(&format!("{OWN}{TENANTS}{}{}", own("acme"), own("umbrella")));
    let gateway = project.up();
    let (acme, umbrella) = (Caller::new(gateway.port, ACME_KEY), Caller::new(gateway.port, UMBRELLA_KEY));
    let call = |caller: &Caller, tenant: &str, tool: &str| {
        let params = json!({ "name": format!("work__{tool}"), "arguments": {} });
        result(&caller.ask(&format!("/t/{tenant}/mcp"), "tools/call", params))
    };
    let is_limited = |result: &Value| result["_meta"]["dev.sallyport/failure"]["kind"] == "limited";
    for _ in 0..2 {
        let done = call(&acme, "acme", "test_simple_text");
        assert!(done["content"].is_array() && !is_limited(&done), "{done}\n{}", gateway.log());
    }
    assert!(is_limited(&call(&acme, "acme", "test_simple_text")));
    let others = [0; 3].map(|_| is_limited(&call(&umbrella, "umbrella", "test_simple_text")));
    assert_eq!(others, [false, false, true], "what acme has used up is not umbrella's");

    let has_extra = |caller: &Caller, tenant: &str| {
        result(&caller.ask(&format!("/t/{tenant}/mcp"), "tools/list", json!({}))).to_string().contains("work__extra_tool")
    };
    let before = has_extra(&umbrella, "umbrella");
    assert_eq!(has_extra(&acme, "acme"), before);
    call(&acme, "acme", "test_trigger_tool_change");
    crate::harness::processes::eventually("acme's list has changed", Duration::from_secs(20), || has_extra(&acme, "acme") != before);
    assert_eq!(has_extra(&umbrella, "umbrella"), before, "it is another process, and another list");
}

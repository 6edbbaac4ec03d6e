//! A reload adds and takes away tenants, and the others do not notice.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::caller::Caller;
use crate::harness::processes::eventually;
use crate::objects::Legacy;
use crate::{ACME_KEY, OWN, TENANTS, UMBRELLA_KEY, project, result};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn tenants_come_and_go_while_others_stay() {
    let (acme, umbrella) = TENANTS.split_once("[tenants.umbrella]").unwrap();
    let umbrella = format!("[tenants.umbrella]{umbrella}");
    let project = project(&format!("{OWN}{acme}"));
    let gateway = project.up();
    let knock = |key: &str, endpoint: &str| Caller::new(gateway.port, key).knock(endpoint);
    assert_eq!((knock(ACME_KEY, "/t/acme/mcp"), knock(UMBRELLA_KEY, "/t/umbrella/mcp")), (200, 401));
    let mut session = crate::objects::Legacy::open(gateway.port, ACME_KEY, "/t/acme/mcp");

    project.configure(&format!("{OWN}{acme}{umbrella}"));
    eventually("a tenant is added", PATIENCE, || knock(UMBRELLA_KEY, "/t/umbrella/mcp") == 200);
    assert_eq!(session.ask("tools/list", json!({})).status, 200, "the other's sessions stay");

    // One that cannot be put in force changes nothing, for nobody.
    project.configure(&format!("{OWN}{umbrella}{}", acme.replace("file:acme.key", "file:none.key")));
    eventually("it is refused", PATIENCE, || gateway.log().contains("tenant `acme`: "));
    assert_eq!((knock(ACME_KEY, "/t/acme/mcp"), knock(UMBRELLA_KEY, "/t/umbrella/mcp")), (200, 200));

    project.configure(&format!("{OWN}{umbrella}"));
    eventually("a tenant is gone", PATIENCE, || knock(ACME_KEY, "/t/acme/mcp") == 401);
    assert_eq!(session.ask("tools/list", json!({})).status, 401, "and its sessions with it");
    let read = json!({ "name": "files__read_file", "arguments": { "path": "whose.txt" } });
    let answer = Caller::new(gateway.port, UMBRELLA_KEY).ask("/t/umbrella/mcp", "tools/call", read);
    assert_eq!(result(&answer)["content"][0]["text"], "umbrella");

    project.configure(OWN);
    eventually("there are none any more", PATIENCE, || knock(UMBRELLA_KEY, "/t/umbrella/mcp") == 404);
    assert_eq!(knock(crate::OWN_KEY, "/mcp"), 200, "{}", gateway.log());
}

/// An open stream of what the server of a session says unasked.
fn stream(port: u16, key: &str, endpoint: &str, session: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        stream,
        "GET {endpoint} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nAccept: text/event-stream\r\nMcp-Session-Id: {session}\r\n\
         MCP-Protocol-Version: 2025-11-25\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut begun = [0; 12];
    stream.read_exact(&mut begun).unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200", "{endpoint}");
    stream
}

#[test]
fn the_open_streams_of_a_tenant_end_when_it_goes() {
    let project = project(&format!("{OWN}{TENANTS}"));
    let gateway = project.up();
    let [acme, umbrella] = [(ACME_KEY, "/t/acme/mcp"), (UMBRELLA_KEY, "/t/umbrella/mcp")].map(|(key, endpoint)| {
        let session = Legacy::open(gateway.port, key, endpoint).session;
        stream(gateway.port, key, endpoint, &session)
    });
    let (_, rest) = TENANTS.split_once("[tenants.umbrella]").unwrap();
    project.configure(&format!("{OWN}[tenants.umbrella]{rest}"));
    let mut told = Vec::new();
    (&acme).read_to_end(&mut told).unwrap_or_else(|error| panic!("the stream does not end: {error}\n{}", gateway.log()));
    umbrella.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let open = (&umbrella).read_to_end(&mut told);
    let is_open = open.as_ref().is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
    assert!(is_open, "the other's stays: {open:?}");
}

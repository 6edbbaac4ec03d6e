//! How clients and others are told of a call that waits.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::mpsc;
use std::time::Duration;

use ring::hmac;
use serde_json::{Value, json};

use crate::agent::{Agent, handle_of, key};
use crate::harness::http::Connection;
use crate::{CONFIGURATION, approval, project, write};

/// An agent whose client can be asked to open a page.
fn asked(port: u16, token: &str) -> Agent {
    let mut agent = Agent::new(port, token);
    agent.capabilities = json!({ "elicitation": { "form": {}, "url": {} } });
    agent
}

const KEY: &str = "dev.sallyport/approval";

#[test]
fn a_client_that_can_be_asked_is_sent_to_the_page_and_its_yes_is_no_approval() {
    let project = project(CONFIGURATION);
    let token = key(&project, "agent");
    let gateway = project.up();
    let agent = asked(gateway.port, &token);
    let answer = agent.call("write_file", write("a.txt"));
    let result = &answer["result"];
    assert_eq!(result["resultType"], "input_required", "{answer}");
    let question = &result["inputRequests"][KEY];
    assert_eq!((&question["method"], &question["params"]["mode"]), (&json!("elicitation/create"), &json!("url")));
    let handle = question["params"]["elicitationId"].as_str().unwrap().to_owned();
    assert!(question["params"]["url"].as_str().unwrap().ends_with(&format!("/approvals/{handle}")), "{question}");

    let state = &result["requestState"];
    let says = |action: &str| json!({ KEY: { "action": action, "content": { "approved": true } } });
    let yes = agent.call_again("write_file", write("a.txt"), state, says("accept"));
    assert_eq!(yes["result"]["resultType"], "input_required", "a client's yes is not a person's: {yes}");
    let no = agent.call_again("write_file", write("a.txt"), state, says("decline"));
    assert!(no.to_string().contains("was not opened"), "{no}");
    assert!(!project.path("files/a.txt").exists());

    // It is decided while the client's next request waits; and the state is good after a restart, and for nothing else.
    drop(gateway);
    let gateway = project.up();
    let agent = asked(gateway.port, &token);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| agent.call_again("write_file", write("a.txt"), state, says("accept")));
        std::thread::sleep(Duration::from_secs(1));
        approval(&project, &["approve", &handle]).unwrap();
        let done = waiting.join().unwrap();
        assert!(done["result"]["content"].is_array() && done["result"]["isError"] != true, "{done}");
    });
    assert!(project.path("files/a.txt").exists());
    let other = agent.call_again("write_file", write("b.txt"), state, says("decline"));
    assert!(other.to_string().contains("was not opened"), "{other}");
    assert!(!project.path("files/b.txt").exists());
}

/// A server on loopback that takes notices and answers each with a status of its own.
fn receiver(statuses: &'static [u16]) -> (u16, mpsc::Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, notices) = mpsc::channel();
    std::thread::spawn(move || {
        for (stream, status) in listener.incoming().zip(statuses) {
            let mut stream = BufReader::new(stream.unwrap());
            let head: Vec<String> = stream.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            let header = |name: &str| head.iter().find_map(|line| line.to_ascii_lowercase().starts_with(name).then(|| line.clone()));
            let length = header("content-length").and_then(|line| line.split_once(": ")?.1.parse().ok()).unwrap();
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let signature = header("sallyport-signature").and_then(|line| Some(line.split_once(": ")?.1.to_owned())).unwrap_or_default();
            told.send((signature, String::from_utf8(body).unwrap())).unwrap();
            write!(stream.get_mut(), "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        }
    });
    (port, notices)
}

const SECRET: &str = "whsec-0123456789abcdef0123456789abcdef";

#[test]
fn a_signed_notice_says_what_waits_and_nothing_of_its_arguments() {
    let (port, notices) = receiver(&[503, 200, 200]);
    let hook = format!("webhook = \"http://127.0.0.1:{port}/hook\"\nwebhook_secret = \"file:hook.secret\"\napprovers =");
    let project = project(&CONFIGURATION.replace("approvers =", &hook));
    std::fs::write(project.path("hook.secret"), SECRET).unwrap();
    std::fs::set_permissions(project.path("hook.secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let (token, approver) = (key(&project, "agent"), key(&project, "boss"));
    let gateway = project.up();
    let agent = Agent::new(gateway.port, &token);
    let handle = handle_of(&agent.call("write_file", json!({ "path": "a.txt", "content": "hunter2" })));
    let next = || notices.recv_timeout(Duration::from_secs(30)).unwrap_or_else(|_| panic!("no notice: {}", gateway.log()));
    let (first, (signature, body)) = (next(), next());
    assert_eq!(first.1, body, "nobody took the first");
    let notice: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&notice["handle"], &notice["principal"], &notice["target"]), (&json!(handle), &json!("key:agent"), &json!("write_file")));
    assert!(notice["page"].as_str().unwrap().ends_with(&format!("/approvals/{handle}")), "{notice}");
    assert!(!body.contains("hunter2") && !body.contains("a.txt"), "{body}");

    let (time, digest) = signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).unwrap();
    let digest: Vec<u8> = digest.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect();
    let secret = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    hmac::verify(&secret, format!("{time}.{body}").as_bytes(), &digest).unwrap();

    // Who was told so may decide, with a key that is an approver's.
    let decides = |key: &str, decision: &str| {
        let bearer = format!("Bearer {key}");
        let headers = [("Authorization", &*bearer), ("Content-Type", "application/x-www-form-urlencoded")];
        Connection::open(gateway.port).post(&format!("/approvals/{handle}"), &headers, &format!("decision={decision}")).status
    };
    assert_eq!(decides(&token, "approve"), 404, "nobody decides about their own calls");
    assert_eq!(decides("sp_no-key", "approve"), 403);
    assert_eq!(decides(&approver, "perhaps"), 400);
    assert_eq!(decides(&approver, "approve"), 303, "{}", gateway.log());
    assert_eq!(decides(&approver, "approve"), 404, "it is decided");
    let done = agent.call("write_file", json!({ "path": "a.txt", "content": "hunter2" }));
    assert!(done["result"]["isError"] != true && project.path("files/a.txt").exists(), "{done}");

    handle_of(&agent.call("write_file", write("b.txt")));
    assert!(!next().1.contains(&handle), "the same call is told of once");
}

//! Users' own grants, with two gateways over one store.
//!
//! The issuer is a gateway's own authorization server, which gives a refresh token once, and the same answer again for half a minute.

mod doors;
mod vault;

use std::fs;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use sallyport_testkit::browser::{Browser, Page};
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::harness::gateway::{Gateway, Project, send_signal};
use crate::harness::loopback::free_port;
use crate::harness::processes::eventually;
use crate::relay::{Relay, Sent};
use crate::write_private;

const PASSWORD: &str = "correct horse battery staple";
/// How long an access token lives here, and until it has ended for certain.
const LIFE: &str = "2s";
const ENDED: Duration = Duration::from_millis(2500);
/// How long the issuer's answer is held back, for another gateway to want the same.
const HELD: Duration = Duration::from_secs(1);

/// How a token endpoint is asked to renew.
const RENEWAL: &str = "grant_type=refresh_token";

/// The third party: it has an authorization server with a user, and what is sent to it is seen.
fn third_party(relay: Relay) -> (Project, Gateway, Sent) {
    let project = Project::new(&format!(
        "public_url = \"http://127.0.0.1:{}\"\n[identity.server]\naccess_token_life = \"{LIFE}\"\n[policy]\ndefault = \"allow\"\n\
         [servers.files]\nbuiltin = {{ filesystem = {{}} }}\n",
        relay.port
    ));
    project.add_user(&["alice", "--admin"], PASSWORD);
    let gateway = project.up();
    let sent = relay.lead_to(gateway.port);
    (project, gateway, sent)
}

fn call(caller: &Caller, tool: &str) -> Value {
    let answer = caller.ask("/mcp", "tools/call", json!({ "name": tool, "arguments": { "path": "." } }));
    answer.message().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

fn lists_the_folder(caller: &Caller) {
    let answer = call(caller, "theirs__list_directory");
    let is_done = answer["result"]["content"].is_array() && answer["result"]["isError"] != json!(true);
    assert!(is_done, "{answer}");
}

/// The link by which a caller is to grant access, as `gateway` serves it.
fn link(caller: &Caller, gateway: &Gateway) -> String {
    let asked = call(caller, "theirs__sallyport_connect").to_string();
    let (_, rest) = asked.split_once("/connect/").unwrap_or_else(|| panic!("no link in {asked}\n{}", gateway.log()));
    let id: String = rest.chars().take_while(|letter| letter.is_ascii_alphanumeric() || "-_".contains(*letter)).collect();
    gateway.url(&format!("/connect/{id}"))
}

/// Logs alice in at the third party and agrees.
fn agree(browser: &mut Browser, login: &Page) -> Page {
    agree_as("alice", browser, login)
}

/// The same of anybody.
fn agree_as(name: &str, browser: &mut Browser, login: &Page) -> Page {
    let consent = browser.submit(login, &[("name", name), ("password", PASSWORD)]).unwrap();
    browser.submit(&consent, &[("decision", "allow")]).unwrap()
}

#[test]
fn a_grant_survives_the_gateway_that_was_killed_between_renewing_and_writing_it_down() {
    let relay = Relay::new();
    let theirs = format!("http://127.0.0.1:{}/servers/files/mcp", relay.port);
    let (_project, _third_party, sent) = third_party(relay);
    let project = Project::new(&format!("[servers.theirs]\nurl = \"{theirs}\"\ncredential = {{ per_user = {{}} }}\n"));
    let (mut first, second) = (project.up(), project.up());
    let (one, other) = (Caller { port: first.port, token: None }, Caller { port: second.port, token: None });
    let mut browser = Browser::default();
    let page = browser.open(&link(&one, &first)).unwrap();
    let login = browser.submit(&page, &[]).unwrap();
    let done = agree(&mut browser, &login);
    assert!(done.status == 200 && done.body.contains("is granted"), "{done:?}\n{}", first.log());
    lists_the_folder(&one);
    lists_the_folder(&other);

    let renewals = || sent.text().matches(RENEWAL).count();
    thread::sleep(ENDED);
    let (before, watched) = (renewals(), sent.clone());
    let (begins, has_begun) = mpsc::channel();
    let (ends, has_ended) = mpsc::channel();
    sent.before_the_answer_to(RENEWAL, move || {
        begins.send(()).unwrap();
        thread::sleep(HELD);
        ends.send(watched.text().matches(RENEWAL).count()).unwrap();
    });
    thread::scope(|both| {
        both.spawn(|| lists_the_folder(&one));
        has_begun.recv_timeout(Duration::from_secs(60)).expect("the token had ended");
        both.spawn(|| lists_the_folder(&other));
    });
    assert_eq!(has_ended.recv().unwrap(), before + 1, "one renews, and the other waits for what comes of it");

    thread::sleep(ENDED);
    let (victim, before) = (first.id(), renewals());
    sent.before_the_answer_to(RENEWAL, move || send_signal(victim, "KILL"));
    let last = one.clone();
    assert!(thread::spawn(move || call(&last, "theirs__list_directory")).join().is_err(), "it died before it could answer");
    assert_eq!(first.wait(), None, "by the signal");
    assert_eq!(renewals(), before + 1, "the issuer has renewed, and nobody knows what it said");

    lists_the_folder(&other);
    thread::sleep(ENDED);
    lists_the_folder(&other); // the family lives: what the other got is the newest that there is
    let kept = project.sallyport().args(["vault", "list", "--json"]).output().unwrap();
    let kept: Value = serde_json::from_slice(&kept.stdout).unwrap();
    assert_eq!(kept.as_array().map(Vec::len), Some(1), "{kept}");
}

/// The tools of `theirs` that a caller is shown.
fn shown(caller: &Caller) -> Vec<String> {
    let answer = caller.ask("/mcp", "tools/list", json!({}));
    let answer: Value = answer.message().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| panic!("{answer:?}"));
    let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("{answer}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn policies_about_a_servers_own_tools_hold_before_access_is_granted_and_after() {
    let relay = Relay::new();
    let theirs = format!("http://127.0.0.1:{}/servers/files/mcp", relay.port);
    let (_project, _third_party, sent) = third_party(relay);
    let project = Project::new(&format!(
        "keys = [\"file:alice\", \"file:bob\"]\n[policy]\nengines = [{{ cedar = {{ files = [\"main.cedar\"] }} }}]\n\
         [servers.theirs]\nurl = \"{theirs}\"\ncredential = {{ per_user = {{}} }}\n"
    ));
    // Arguments are typed by what the tools take, which nobody knows before alice has granted access.
    let policies = r#"
        permit (principal, action == Action::"theirs/sallyport_connect", resource);
        permit (principal, action == Action::"theirs/list_directory", resource) when { context.args has path && context.args.path == "." };
    "#;
    fs::write(project.path("main.cedar"), policies).unwrap();
    let (alices, bobs) = ("alice-0123456789abcdef", "bob-0123456789abcdef");
    write_private(&project, "alice", alices);
    write_private(&project, "bob", bobs);
    let gateway = project.up();
    let (alice, bob) = (Caller::new(gateway.port, alices), Caller::new(gateway.port, bobs));

    for caller in [&alice, &bob] {
        assert_eq!(shown(caller), ["theirs__sallyport_connect"], "{}", gateway.log());
        let early = call(caller, "theirs__list_directory").to_string();
        assert!(early.contains("denied"), "nothing is known of it: {early}");
    }
    let mut browser = Browser::default();
    let page = browser.open(&link(&alice, &gateway)).unwrap();
    let login = browser.submit(&page, &[("key", alices)]).unwrap();
    assert_eq!(agree(&mut browser, &login).status, 200);

    eventually("alice is shown the tools that policies name", Duration::from_secs(30), || shown(&alice) == ["theirs__list_directory"]);
    lists_the_folder(&alice);
    let elsewhere = alice.ask("/mcp", "tools/call", json!({ "name": "theirs__list_directory", "arguments": { "path": "/" } }));
    assert!(elsewhere.body.contains("denied"), "what it may be called with is known by now: {elsewhere:?}");
    let asked = call(&alice, "theirs__sallyport_connect").to_string();
    assert!(asked.contains("Access is granted"), "clients call it again: {asked}");
    for other in ["theirs__read_file", "theirs__search_files"] {
        let other = call(&alice, other).to_string();
        assert!(other.contains("denied"), "no policy permits it: {other}");
    }
    assert!(!sent.text().contains("read_file"), "what is denied is not sent");

    assert_eq!(shown(&bob), ["theirs__sallyport_connect"], "what alice has granted is hers");
    assert!(link(&bob, &gateway).contains("/connect/"), "bob has granted nothing");
    assert!(call(&bob, "theirs__list_directory").to_string().contains("denied"));
}

#[test]
fn a_link_is_for_whom_it_was_given_and_the_way_back_leads_to_any_process() {
    let relay = Relay::new();
    let theirs = format!("http://127.0.0.1:{}/servers/files/mcp", relay.port);
    let (_project, _third_party, sent) = third_party(relay);
    let port = free_port();
    let project = Project::new(&format!(
        "public_url = \"http://127.0.0.1:{port}\"\nkeys = [\"file:alice\", \"file:bob\"]\n[policy]\ndefault = \"allow\"\n\
         [servers.theirs]\nurl = \"{theirs}\"\ncredential = {{ per_user = {{}} }}\n"
    ));
    let (alices, bobs) = ("alice-0123456789abcdef", "bob-0123456789abcdef");
    write_private(&project, "alice", alices);
    write_private(&project, "bob", bobs);
    let (begins, ends) = (project.up(), project.up_at(port));
    let (alice, bob) = (Caller::new(begins.port, alices), Caller::new(begins.port, bobs));

    let alices_link = link(&alice, &begins);
    let mut browser = Browser::default();
    let page = browser.open(&alices_link).unwrap();
    for key in [bobs, "nobody", ""] {
        assert_eq!(browser.submit(&page, &[("key", key)]).unwrap().status, 403, "another would give alice their account");
    }
    assert!(!sent.text().contains("/oauth/authorize"), "nobody was sent there");
    let login = browser.submit(&page, &[("key", alices)]).unwrap();
    assert!(login.url.contains("/oauth/"), "{login:?}");
    assert_eq!(browser.open(&alices_link).unwrap().status, 404, "a link is used once");
    // The issuer sends the browser back to the public address, where the other process is.
    let done = agree(&mut browser, &login);
    assert!(done.url.starts_with(&ends.url("/connect/callback")) && done.status == 200, "{done:?}\n{}", ends.log());
    lists_the_folder(&alice);
    assert_ne!(browser.open(&done.url).unwrap().status, 200, "a way back is gone once");
    assert!(link(&bob, &begins).contains("/connect/"), "bob has granted nothing");

    let mut bobs_browser = Browser::default();
    let page = bobs_browser.open(&link(&bob, &begins)).unwrap();
    let login = bobs_browser.submit(&page, &[("key", bobs)]).unwrap();
    assert_eq!(agree(&mut bobs_browser, &login).status, 200);
    lists_the_folder(&bob);
    assert_eq!(sent.text().matches("POST /oauth/register").count(), 1, "the gateway is one client, however many log in");
}

//! Approvers who are logged in at the gateway's own authorization server, in a browser without scripts.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use sallyport_testkit::browser::{Browser, Page};
use serde_json::Value;

use crate::agent::{Agent, handle_of, key};
use crate::harness::gateway::{Gateway, Project};
use crate::harness::loopback::free_port;
use crate::{browser, project, write};

const PASSWORD: &str = "correct horse battery staple";
const VERIFIER: &str = "a-verifier-that-is-long-enough-for-the-specification";

struct Bench {
    project: Project,
    gateway: Gateway,
}

impl Bench {
    /// Alice approves by her name, bob by his group, and carol not at all.
    fn new() -> Self {
        Self::under("default = \"allow\"")
    }

    /// The same under a policy.
    fn under(policy: &str) -> Self {
        let port = free_port();
        let project = project(&format!(
            r#"
public_url = "http://127.0.0.1:{port}"
[identity]
api_keys = true
[identity.server.clients.portal]
redirect_uris = ["http://127.0.0.1:1/callback"]
[policy]
{policy}
[approvals]
approvers = ["user:alice@http://127.0.0.1:{port}", "group:oncall"]
[servers.files]
builtin = {{ filesystem = {{ root = "files", write = true }} }}
ask = ["write_file"]
"#
        ));
        for arguments in [&["alice"][..], &["bob", "--group", "oncall"], &["carol"]] {
            project.add_user(arguments, PASSWORD);
        }
        let gateway = project.up_at(port);
        Self { project, gateway }
    }

    fn page(&self, handle: &str) -> String {
        self.gateway.url(&format!("/approvals/{handle}"))
    }

    /// A browser at which somebody has logged in by way of the page about a call, and what it is shown then.
    fn log_in(&self, handle: &str, name: &str) -> (Browser, Page) {
        let mut browser = Browser::default();
        let asked = browser.open(&self.page(handle)).unwrap();
        assert!(asked.body.contains("name=key") && !asked.body.contains("write_file"), "{asked:?}");
        let (_, link) = asked.body.split_once("<a href=\"").unwrap_or_else(|| panic!("no link: {asked:?}"));
        let form = browser.open(link.split_once("\">Log in<").unwrap().0).unwrap();
        let shown = browser.submit(&form, &[("name", name), ("password", PASSWORD)]).unwrap();
        assert_eq!(shown.url, self.page(handle), "{shown:?}");
        (browser, shown)
    }

    /// A token in the name of whoever is logged in at a browser, as an agent of theirs gets it.
    fn token(&self, browser: &mut Browser) -> String {
        self.token_for(browser, "/servers/files/mcp")
    }

    /// The same for any endpoint.
    fn token_for(&self, browser: &mut Browser, endpoint: &str) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, VERIFIER.as_bytes()));
        let asked = format!(
            "/oauth/authorize?client_id=portal&redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fcallback&response_type=code&state=s\
             &code_challenge={challenge}&code_challenge_method=S256&resource={}",
            self.gateway.url(endpoint).replace(':', "%3A").replace('/', "%2F")
        );
        let consent = browser.open(&self.gateway.url(&asked)).unwrap();
        // Nobody listens where the client is: the browser says what it could not open.
        let away = browser.submit(&consent, &[("decision", "allow")]).unwrap_err();
        let code = away.split_once("code=").unwrap().1.split('&').next().unwrap().to_owned();
        let fields = [("grant_type", "authorization_code"), ("client_id", "portal"), ("code", &code), ("code_verifier", VERIFIER)];
        let answer = browser::Browser::new(self.gateway.port).post("/oauth/token", &fields);
        let tokens: Value = serde_json::from_str(answer.text.split_once("\r\n\r\n").unwrap().1).unwrap();
        tokens["access_token"].as_str().unwrap().to_owned()
    }
}

#[test]
fn who_is_logged_in_decides_where_they_are_an_approver() {
    let bench = Bench::new();
    let agent = Agent::new(bench.gateway.port, &key(&bench.project, "agent"));
    let handle = handle_of(&agent.call("write_file", write("a.txt")));

    let (mut carol, shown) = bench.log_in(&handle, "carol");
    assert!(shown.body.contains("You are carol, who approves no calls here"), "{shown:?}");
    assert!(shown.status == 200 && shown.body.contains("name=key") && !shown.body.contains("a.txt"), "{shown:?}");
    let (mut alice, page) = bench.log_in(&handle, "alice");
    assert!(page.body.contains("a.txt") && page.body.contains("You are user:alice@"), "{page:?}");
    assert_eq!(carol.submit(&page, &[("decision", "approve")]).unwrap().status, 403, "alice's form is of no use to her");

    let token = page.body.split_once("name=form_token value=\"").unwrap().1.split_once('"').unwrap().0.to_owned();
    let forged = Page { body: page.body.replace(&token, &"A".repeat(token.len())), ..page.clone() };
    assert_eq!(alice.submit(&forged, &[("decision", "approve")]).unwrap().status, 403, "a form that she was not shown");
    assert_eq!(handle_of(&agent.call("write_file", write("a.txt"))), handle, "nothing has been decided");
    let decided = alice.submit(&page, &[("decision", "approve")]).unwrap();
    assert!(decided.body.contains("It is approved"), "{decided:?}");
    assert!(agent.call("write_file", write("a.txt"))["result"]["isError"] != true);

    // Whoever is logged in and no approver may become somebody else.
    let form = carol.submit(&shown, &[("request", &format!("approvals.{handle}"))]).unwrap();
    let again = carol.submit(&form, &[("name", "bob"), ("password", PASSWORD)]).unwrap();
    assert!(again.url == bench.page(&handle) && again.body.contains("It was approved"), "{again:?}");
}

#[test]
fn nobody_who_is_logged_in_decides_about_calls_of_their_own() {
    let bench = Bench::new();
    let stranger = Agent::new(bench.gateway.port, &key(&bench.project, "agent"));
    let others = handle_of(&stranger.call("write_file", write("b.txt")));
    let (mut alice, _) = bench.log_in(&others, "alice");
    let agent = Agent::new(bench.gateway.port, &bench.token(&mut alice));
    let own = handle_of(&agent.call("write_file", write("a.txt")));
    assert_eq!(alice.open(&bench.page(&own)).unwrap().status, 404);
    let list = alice.open(&bench.gateway.url("/approvals")).unwrap();
    assert!(list.body.contains(&others) && !list.body.contains(&own), "{list:?}");

    let (mut bob, page) = bench.log_in(&own, "bob");
    assert_eq!(alice.submit(&page, &[("decision", "approve")]).unwrap().status, 403, "with a form of somebody else's");
    bob.submit(&page, &[("decision", "approve")]).unwrap();
    assert!(agent.call("write_file", write("a.txt"))["result"]["isError"] != true);

    let disabled = bench.project.sallyport().args(["user", "disable", "bob"]).output().unwrap();
    assert!(disabled.status.success());
    let shut_out = bob.open(&bench.page(&others)).unwrap();
    assert!(shut_out.body.contains("name=key") && !shut_out.body.contains("b.txt"), "{shut_out:?}");
    assert_eq!(handle_of(&stranger.call("write_file", write("b.txt"))), others, "it waits still");
}

#[test]
fn a_token_that_an_agent_got_in_an_approvers_name_approves_nothing() {
    let bench = Bench::new();
    let stranger = Agent::new(bench.gateway.port, &key(&bench.project, "agent"));
    let handle = handle_of(&stranger.call("write_file", write("a.txt")));
    let (mut bob, _) = bench.log_in(&handle, "bob");
    // Good for everything, as every client's token of `/mcp` is.
    let token = bench.token_for(&mut bob, "/mcp");
    let (page, bearer) = (format!("/approvals/{handle}"), format!("Authorization: Bearer {token}\r\n"));
    let mut agent = browser::Browser::new(bench.gateway.port);
    assert_eq!(agent.post_from(&page, &[("decision", "approve")], &bearer).status, 403);
    assert_eq!(agent.post("/approvals", &[("key", &token)]).status, 403, "nor is it taken for a key");
    assert!(agent.cookie.is_none());
    assert_eq!(handle_of(&stranger.call("write_file", write("a.txt"))), handle, "nothing has been decided");
}

#[test]
fn a_token_of_the_gateways_own_says_the_groups_of_its_user() {
    let cedar =
        "permit (principal, action, resource); forbid (principal in Group::\"oncall\", action == Action::\"files/read_file\", resource);";
    let bench = Bench::under(&format!("engines = [{{ cedar = {{ text = '{cedar}' }} }}]"));
    let handle = handle_of(&Agent::new(bench.gateway.port, &key(&bench.project, "agent")).call("write_file", write("a.txt")));
    let reads = |name: &str| {
        let (mut browser, _) = bench.log_in(&handle, name);
        Agent::new(bench.gateway.port, &bench.token(&mut browser)).tools().iter().any(|tool| tool == "read_file")
    };
    assert!(reads("alice") && !reads("bob"));
}

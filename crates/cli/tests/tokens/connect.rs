//! A user's own grant for a server elsewhere: by who is logged in at the gateway, from the page or the link to the way back. The server
//! elsewhere is another gateway, with users of its own.

use crate::browser::{Browser, Page};
use crate::harness::gateway::{Gateway, Project};
use crate::harness::loopback::free_port;

const PASSWORD: &str = "correct horse battery staple";

/// A gateway at which these people may log in.
fn gateway(servers: &str, people: &[&str]) -> (Project, Gateway) {
    let port = free_port();
    let project =
        Project::new(&format!("public_url = \"http://127.0.0.1:{port}\"\n[policy]\ndefault = \"allow\"\n[identity.server]\n{servers}\n"));
    for name in people {
        project.add_user(&[name], PASSWORD);
    }
    let gateway = project.up_at(port);
    (project, gateway)
}

struct Bench {
    _tracker: (Project, Gateway),
    _project: Project,
    gateway: Gateway,
}

impl Bench {
    fn new() -> Self {
        let tracker = gateway("[servers.files]\nbuiltin = { filesystem = {} }", &["bob"]);
        let elsewhere = format!(
            "[servers.tracker]\nurl = \"{url}\"\ncredential = {{ per_user = {{}} }}\n\
             [servers.hidden]\nurl = \"{url}\"\ncredential = {{ per_user = {{}} }}\ndeny = [\"*\"]",
            url = tracker.1.url("/servers/files/mcp")
        );
        let (project, gateway) = gateway(&elsewhere, &["alice", "mallory"]);
        Self { _tracker: tracker, _project: project, gateway }
    }

    /// A browser at which somebody is logged in, and the page of their access.
    fn logged_in(&self, name: &str) -> (Browser, Page) {
        let mut browser = Browser::default();
        let page = browser.open(&self.gateway.url("/connect"));
        assert!(page.html.contains("Log in"), "{page:?}");
        let page = browser.log_in(&page, name, PASSWORD);
        assert_eq!((page.url.path(), page.status), ("/connect", 200), "{page:?}");
        (browser, page)
    }

    /// The link that the button of a page makes.
    fn link(&self, browser: &mut Browser, page: &Page) -> String {
        let token = page.field("form_token");
        let sent = browser.post(&self.gateway.url("/connect"), &[("server", "tracker"), ("form_token", &token)]);
        sent.location.unwrap_or_else(|| panic!("{} {}", sent.html, self.gateway.log())).into()
    }

    /// Goes on from a link, logs in there, agrees, and stops before the way back.
    fn as_far_as_the_way_back(&self, browser: &mut Browser, link: &str) -> String {
        let page = browser.open(link);
        assert!(page.html.contains("Grant access to tracker?") && page.html.contains("You are alice."), "{page:?}");
        let sent_on = browser.post(link, &[("form_token", &page.field("form_token"))]);
        assert_eq!(sent_on.status, 200, "its form goes nowhere but here: {sent_on:?}");
        assert!(sent_on.html.contains("go on to 127.0.0.1</a>"), "{sent_on:?}");
        let there = browser.open(sent_on.location.unwrap_or_else(|| panic!("{} {}", sent_on.html, self.gateway.log())).as_str());
        let there = if there.html.contains("name=\"password\"") { browser.log_in(&there, "bob", PASSWORD) } else { there };
        let back = browser.allow(&there);
        back.location.unwrap_or_else(|| panic!("{} {}", back.html, self.gateway.log())).into()
    }
}

#[test]
fn who_is_logged_in_sees_what_is_theirs_and_grants_it() {
    let bench = Bench::new();
    let (mut alice, page) = bench.logged_in("alice");
    assert!(page.html.contains("You are alice.") && page.html.contains("Grant access to tracker"), "{page:?}");
    assert!(!page.html.contains("hidden\""), "policy keeps it from her: {page:?}");
    let link = bench.link(&mut alice, &page);
    let back = bench.as_far_as_the_way_back(&mut alice, &link);
    let granted = alice.get(&back);
    assert_eq!(granted.status, 200, "{granted:?} {}", bench.gateway.log());
    assert!(granted.html.contains("Access to tracker is granted"), "{granted:?}");
    let page = alice.open(&bench.gateway.url("/connect"));
    assert!(page.html.contains("access is granted"), "{page:?}");
    let (_, page) = bench.logged_in("mallory");
    assert!(!page.html.contains("access is granted"), "hers is not theirs: {page:?}");
    assert_eq!(alice.get(&link).status, 404, "a link works once");
    assert_eq!(alice.get(&back).status, 404, "so does the way back");
}

#[test]
fn a_link_is_opened_by_whom_it_was_given_to_alone() {
    let bench = Bench::new();
    let (mut alice, page) = bench.logged_in("alice");
    let link = bench.link(&mut alice, &page);
    let token = alice.get(&link).field("form_token");

    let mut stranger = Browser::default();
    let asked = stranger.open(&link);
    assert!(asked.html.contains("Log in") && !asked.html.contains("tracker"), "{asked:?}");
    let mallory = stranger.log_in(&asked, "mallory", PASSWORD);
    assert_eq!((mallory.status, mallory.url.as_str()), (403, link.as_str()), "{mallory:?}");
    assert!(!mallory.html.contains("tracker") && !mallory.html.contains("alice"), "{mallory:?}");
    assert_eq!(stranger.post(&link, &[("form_token", &token)]).status, 403, "nor with alice's form");

    assert_eq!(alice.post(&link, &[]).status, 403, "a page of somebody else's cannot send hers on");
    assert_eq!(alice.post(&bench.gateway.url("/connect"), &[("server", "tracker")]).status, 404, "or make a link");
    let denied = [("server", "hidden"), ("form_token", &page.field("form_token"))];
    assert_eq!(alice.post(&bench.gateway.url("/connect"), &denied).status, 404, "what policy denies is not there");
    let nobody = Browser::default().post(&link, &[("form_token", &token)]);
    assert!(nobody.location.is_some_and(|to| to.path() == "/oauth/login"));
    let typed = Browser::default().post(&link, &[("key", "k-0123456789abcdef0123456789abcdef")]);
    assert!(typed.location.is_some_and(|to| to.path() == "/oauth/login"));
    assert_eq!(alice.get(&link).status, 200, "nothing of that used it up");
}

#[test]
fn what_was_begun_by_somebody_ends_only_while_they_are_logged_in() {
    let bench = Bench::new();
    let (mut alice, page) = bench.logged_in("alice");
    let link = bench.link(&mut alice, &page);
    let back = bench.as_far_as_the_way_back(&mut alice, &link);
    let elsewhere = bench.logged_in("alice").0.get(&back);
    assert_eq!(elsewhere.status, 400, "she, in another browser: {elsewhere:?}");

    // With the cookie that binds the way back, but somebody else logged in meanwhile.
    let page = alice.open(&bench.gateway.url("/connect"));
    let link = bench.link(&mut alice, &page);
    let other = bench.link(&mut alice, &page);
    let back = bench.as_far_as_the_way_back(&mut alice, &link);
    let mut mallory = bench.logged_in("mallory").0;
    let page = mallory.get(&other);
    let log_out = [("request", page.field("request")), ("form_token", page.field("form_token"))];
    let log_out: Vec<(&str, &str)> = log_out.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert!(mallory.submit(page.action().as_str(), &log_out).html.contains("name=\"password\""), "who is the wrong one can log in anew");
    alice.take_login_of(bench.gateway.port, &bench.logged_in("mallory").0);
    let taken = alice.get(&back);
    assert_eq!(taken.status, 400, "{taken:?}");
    assert!(taken.html.contains("not logged in at this browser any more"), "{taken:?}");
    let page = bench.logged_in("alice").1;
    assert!(!page.html.contains("access is granted"), "nothing of it was kept: {page:?}");
}

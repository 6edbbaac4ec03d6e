//! People log in at the gateway with a real identity provider (npm's `oidc-provider`).

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::browser::{Browser, Page};
use crate::caller::Caller;
use crate::harness::gateway::{Gateway, Project};
use crate::harness::loopback::free_port;
use crate::provider::{Provider, SECRET};
use crate::write_private;

const VERIFIER: &str = "a-verifier-that-is-long-enough-for-the-specification";

struct Bench {
    /// What the paths begin with: nothing, or those of a tenant.
    place: &'static str,
    provider: Provider,
    project: Project,
    gateway: Gateway,
}

impl Bench {
    fn new() -> Self {
        Self::at("")
    }

    /// People log in at the gateway itself, or at a tenant.
    fn at(place: &'static str) -> Self {
        let port = free_port();
        let provider = Provider::for_people(&format!("http://127.0.0.1:{port}{place}/oauth/callback/corp"));
        let table = place.strip_prefix("/t/").map(|name| format!("tenants.{name}.")).unwrap_or_default();
        let project = Project::new(&format!(
            r#"
public_url = "http://127.0.0.1:{port}"
[{table}policy]
default = "allow"
[{table}identity.server.clients.portal]
redirect_uris = ["http://127.0.0.1:1/callback"]
[{table}identity.server.login.corp]
issuer = "{}"
title = "Corp & Sons"
client = {{ id = "web", secret = "file:secret" }}
scopes = ["openid", "email", "groups"]
allowed_domains = ["corp.example"]
groups = {{ "Platform Team" = "staff" }}
[{table}servers.files]
builtin = {{ filesystem = {{ root = "." }} }}
"#,
            provider.issuer()
        ));
        write_private(&project, "secret", SECRET);
        let gateway = project.up_at(port);
        Self { place, provider, project, gateway }
    }

    fn url(&self, path: &str) -> String {
        self.gateway.url(&format!("{}{path}", self.place))
    }

    /// The address that a client of the gateway sends a browser to.
    fn authorize(&self) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
        self.url(&format!(
            "/oauth/authorize?client_id=portal&redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fcallback&response_type=code&state=s\
             &code_challenge={challenge}&code_challenge_method=S256&resource={}",
            self.url("/servers/files/mcp").replace(':', "%3A").replace('/', "%2F")
        ))
    }

    /// From the login page for `address` to the provider's answer, before the gateway sees it.
    fn as_far_as_the_answer(&self, browser: &mut Browser, address: &str, name: &str) -> Page {
        let page = browser.open(address);
        let mut page = browser.open(&page.link("Log in with Corp &amp; Sons"));
        let fields = [("prompt", "login"), ("login", name), ("password", "any")];
        let mut sent = browser.post(page.action().as_str(), &fields);
        // Towards the consent page, and from it back: every step is the provider's own but the last.
        for _ in 0..8 {
            match &sent.location {
                Some(to) if to.port() == Some(self.gateway.port) => return sent,
                Some(to) => page = browser.get(to.clone().as_str()),
                None => {
                    sent = browser.post(sent.action().as_str(), &[("prompt", "consent")]);
                    continue;
                }
            }
            sent = page;
        }
        panic!("the provider does not answer: {sent:?} {}", self.gateway.log());
    }

    /// A browser at which somebody has logged in with the provider, and what it is shown then.
    fn log_in(&self, address: &str, name: &str) -> (Browser, Page) {
        let mut browser = Browser::default();
        let answer = self.as_far_as_the_answer(&mut browser, address, name);
        let page = browser.open(answer.location.unwrap().as_str());
        (browser, page)
    }

    fn device(&self) -> String {
        self.url("/oauth/device")
    }

    fn is_logged_in(&self, browser: &mut Browser) -> bool {
        browser.open(&self.device()).html.contains("You are ")
    }

    fn user(&self, arguments: &[&str]) -> Value {
        let tenant = self.place.strip_prefix("/t/").map(|name| ["--tenant", name]);
        let run = Command::output(self.project.sallyport().arg("user").args(arguments).args(tenant.iter().flatten())).unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        serde_json::from_slice(&run.stdout).unwrap_or_default()
    }
}

#[test]
fn who_logs_in_with_a_provider_gets_a_token_of_the_gateways() {
    logs_in(&Bench::new(), ["/servers/files/mcp", "/mcp"]);
}

#[test]
fn who_logs_in_with_a_tenants_provider_gets_a_token_of_the_tenants() {
    logs_in(&Bench::at("/t/acme"), ["/t/acme/servers/files/mcp", "/t/acme/mcp"]);
}

/// Logs in, and shows the token where it is good and where not.
fn logs_in(bench: &Bench, [good, other]: [&str; 2]) {
    let (mut browser, consent) = bench.log_in(&bench.authorize(), "alice");
    let name = format!("alice|{}", bench.provider.issuer());
    assert!(consent.html.contains(&name) && consent.html.contains("portal"), "{consent:?} {}", bench.gateway.log());
    let code = browser.allow(&consent).parameter("code").unwrap();
    let fields = [("grant_type", "authorization_code"), ("client_id", "portal"), ("code", &code), ("code_verifier", VERIFIER)];
    let answer = Browser::default().post(&bench.url("/oauth/token"), &fields);
    let token: Value = serde_json::from_str(&answer.html).unwrap_or_else(|_| panic!("{answer:?}"));
    let token = token["access_token"].as_str().unwrap_or_else(|| panic!("{answer:?}"));
    assert_eq!([good, other].map(|endpoint| Caller::new(bench.gateway.port, token).knock(endpoint)), [200, 401]);
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
    assert_eq!(
        (&claims["sub"], &claims["groups"]),
        (&name.as_str().into(), &serde_json::json!(["staff"])),
        "`admin` there is nothing here"
    );
    let users = bench.user(&["list", "--json"]);
    assert_eq!((&users[0]["name"], &users[0]["admin"]), (&name.as_str().into(), &false.into()), "{users}");

    // Disabled here, they are out whatever the provider says; and a password cannot be given to them.
    bench.user(&["disable", &name]);
    assert!(!bench.is_logged_in(&mut browser));
    let (mut again, refused) = bench.log_in(&bench.device(), "alice");
    assert!(refused.status == 400 && refused.html.contains("does not let you in"), "{refused:?}");
    assert!(!bench.is_logged_in(&mut again));
}

#[test]
fn an_answer_is_for_the_browser_and_the_login_that_asked() {
    let bench = Bench::new();
    let mut alice = Browser::default();
    let fixed = {
        alice.open(&bench.device());
        alice.clone()
    };
    let answer = bench.as_far_as_the_answer(&mut alice, &bench.device(), "alice");
    let back = answer.location.clone().unwrap();
    assert!(answer.parameter("iss").is_some_and(|issuer| issuer == bench.provider.issuer()), "{answer:?}");

    // A victim is given the link of somebody else's answer: with no cookie, and with a cookie of their own.
    let mut victim = Browser::default();
    assert_eq!(victim.open(back.as_str()).status, 400);
    victim.open(&bench.device());
    let page = victim.open(back.as_str());
    assert!(page.status == 400 && page.html.contains("begun in another browser"), "{page:?}");
    assert!(!bench.is_logged_in(&mut victim));

    let page = alice.open(back.as_str());
    assert!(page.status == 200 && page.html.contains("You are alice|"), "{page:?} {}", bench.gateway.log());
    let mut planted = fixed;
    assert_ne!(planted.cookie(bench.gateway.port), alice.cookie(bench.gateway.port), "it logs in under a new cookie");
    assert!(!bench.is_logged_in(&mut planted), "whoever planted the old one has nothing");
    assert_eq!(alice.open(back.as_str()).status, 400, "an answer is good once");
}

#[test]
fn an_answer_is_the_providers_that_was_asked() {
    let bench = Bench::new();
    let changed = |change: &dyn Fn(&str) -> String| {
        let mut browser = Browser::default();
        let answer = bench.as_far_as_the_answer(&mut browser, &bench.device(), "alice");
        let page = browser.open(&change(answer.location.unwrap().as_str()));
        assert!(!bench.is_logged_in(&mut browser), "{page:?}");
        page
    };
    let issuer = format!("iss={}", bench.provider.issuer().replace(':', "%3A").replace('/', "%2F"));
    for page in [
        changed(&|back| back.replace(&issuer, "iss=https%3A%2F%2Fevil.example")),
        changed(&|back| back.replace(&format!("&{issuer}"), "")),
        changed(&|back| format!("{back}&{issuer}")),
        changed(&|back| back.replace("/callback/corp", "/callback/other")),
        changed(&|back| back.replace("code=", "code=x")),
        changed(&|back| back.replace("state=", "state=x")),
        changed(&|back| back.replace("code=", "error=access_denied&was=")),
    ] {
        assert_eq!(page.status, 400, "{page:?}");
    }
    let log = bench.gateway.log();
    assert!(!log.contains(SECRET) && !log.contains("code="), "{log}");
}

#[test]
fn who_is_of_another_domain_does_not_come_in() {
    let bench = Bench::new();
    let (mut browser, refused) = bench.log_in(&bench.device(), "mallory");
    assert!(refused.status == 400 && refused.html.contains("of another domain"), "{refused:?}");
    assert!(!bench.is_logged_in(&mut browser));
    assert_eq!(bench.user(&["list", "--json"]), serde_json::json!([]), "nothing is kept of them");
}

//! People of a tenant log in there, at an authorization server of its own inside the gateway; and are nobody elsewhere.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sallyport_identity::authorization_server::Route;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::form_urlencoded::byte_serialize;

use crate::browser::{Browser, Page};
use crate::caller::Caller;
use crate::commands::{json_of, run, said};
use crate::harness::gateway::{Gateway, Project};
use crate::harness::loopback::{free_port, get};
use crate::{ACME_KEY, OWN, OWN_KEY, TENANTS, UMBRELLA_KEY, project};

const VERIFIER: &str = "a-verifier-that-is-long-enough-for-the-specification";

/// Where people log in: at the gateway itself, and at two tenants. Each has an alice, and a client `app`.
const PLACES: [&str; 3] = ["", "/t/acme", "/t/umbrella"];

struct Bench {
    project: Project,
    gateway: Gateway,
}

impl Bench {
    fn new() -> Self {
        let port = free_port();
        let server = |table: &str| {
            format!(
                "[{table}identity.server.clients.app]\nredirect_uris = [\"http://127.0.0.1:1/callback\"]\n\
                 grants = [\"authorization_code\", \"refresh_token\", \"device_code\"]\n"
            )
        };
        let servers = ["", "tenants.acme.", "tenants.umbrella."].map(server).concat();
        let project = project(&format!(
            "public_url = \"http://127.0.0.1:{port}\"\n{OWN}{TENANTS}{servers}[tenants.quiet]\nidentity = {{ api_keys = true }}\n"
        ));
        for place in PLACES {
            let tenant = place.strip_prefix("/t/").map(|name| ["--tenant", name]);
            project.add_user(&[&["alice"], tenant.as_slice().as_flattened()].concat(), &password(place));
        }
        let gateway = project.up_at(port);
        Self { project, gateway }
    }

    fn url(&self, place: &str, path: &str) -> String {
        self.gateway.url(&format!("{place}{path}"))
    }

    /// The address that a client sends a browser to, for everything that is at a place.
    fn authorize(&self, place: &str) -> String {
        self.authorize_for(place, "/mcp")
    }

    /// The same for one endpoint.
    fn authorize_for(&self, place: &str, endpoint: &str) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
        let resource: String = byte_serialize(self.url(place, endpoint).as_bytes()).collect();
        let query =
            "client_id=app&redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fcallback&response_type=code&state=s&code_challenge_method=S256";
        self.url(place, &format!("/oauth/authorize?{query}&code_challenge={challenge}&resource={resource}"))
    }

    /// Logs alice in at a place, as far as the answer to the client.
    fn log_in(&self, browser: &mut Browser, place: &str) -> Page {
        self.log_in_for(browser, place, "/mcp")
    }

    fn log_in_for(&self, browser: &mut Browser, place: &str, endpoint: &str) -> Page {
        let page = browser.open(&self.authorize_for(place, endpoint));
        let consent = browser.log_in(&page, "alice", &password(place));
        assert!(consent.html.contains(&self.url(place, endpoint)), "{consent:?} {}", self.gateway.log());
        browser.allow(&consent)
    }

    /// What the token endpoint of a place says.
    fn ask_token(&self, place: &str, fields: &[(&str, &str)]) -> Value {
        let answer = Browser::default().post(&self.url(place, "/oauth/token"), &[&[("client_id", "app")], fields].concat());
        serde_json::from_str(&answer.html).unwrap_or_else(|_| panic!("{answer:?}"))
    }

    fn redeem(&self, place: &str, code: &str) -> Value {
        let redirect = ("redirect_uri", "http://127.0.0.1:1/callback");
        self.ask_token(place, &[("grant_type", "authorization_code"), ("code", code), ("code_verifier", VERIFIER), redirect])
    }

    fn refresh(&self, place: &str, token: &str) -> Value {
        self.ask_token(place, &[("grant_type", "refresh_token"), ("refresh_token", token)])
    }

    /// The tokens of alice at a place.
    fn tokens(&self, place: &str) -> Value {
        self.tokens_for(place, "/mcp")
    }

    fn tokens_for(&self, place: &str, endpoint: &str) -> Value {
        let back = self.log_in_for(&mut Browser::default(), place, endpoint);
        self.redeem(place, &back.parameter("code").unwrap_or_else(|| panic!("{back:?}")))
    }

    fn access(&self, place: &str) -> String {
        text(&self.tokens(place)["access_token"])
    }

    fn is_logged_in(&self, browser: &mut Browser, place: &str) -> bool {
        browser.open(&self.url(place, "/oauth/device")).html.contains("You are alice")
    }

    /// The cookie of a place, as browsers keep it.
    fn cookie(&self, place: &str) -> String {
        let port = self.gateway.port;
        place.strip_prefix("/t/").map_or_else(|| format!("sallyport-{port}"), |name| format!("sallyport-{port}.{name}"))
    }
}

fn password(place: &str) -> String {
    format!("correct horse battery {place} staple")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_else(|_| panic!("{answer}"))
}

#[test]
fn a_client_finds_the_tenants_own_server_and_its_token_is_the_tenants_alone() {
    let bench = Bench::new();
    let port = bench.gateway.port;
    // From the refusal to the token, by nothing but what each step says.
    let refused = Caller { port, token: None }.ask("/t/acme/mcp", "tools/list", json!({}));
    let challenge = refused.header("www-authenticate").unwrap();
    let metadata = challenge.split("resource_metadata=\"").nth(1).unwrap().split('"').next().unwrap();
    let path = |url: &str| url.strip_prefix(&bench.gateway.url("")).unwrap_or_else(|| panic!("{url} is elsewhere")).to_owned();
    let resource = body(&get(port, &path(metadata)).unwrap());
    assert_eq!(resource["authorization_servers"], json!([bench.url("/t/acme", "")]));
    let servers = ["/.well-known/oauth-authorization-server/t/acme", "/.well-known/openid-configuration/t/acme"];
    let [server, other] = servers.map(|path| body(&get(port, path).unwrap()));
    assert_eq!(server, other);
    assert_eq!(server, body(&get(port, "/t/acme/.well-known/openid-configuration").unwrap()));
    assert_eq!(server["issuer"], resource["authorization_servers"][0]);
    for endpoint in ["authorization_endpoint", "token_endpoint", "jwks_uri", "registration_endpoint", "device_authorization_endpoint"] {
        assert!(path(&text(&server[endpoint])).starts_with("/t/acme/oauth/"), "{endpoint}: {server}");
    }
    let keys = PLACES.map(|place| body(&get(port, &format!("{place}/oauth/jwks")).unwrap())["keys"][0]["kid"].clone());
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0].is_string(), "keys of its own: {keys:?}");

    let mut browser = Browser::default();
    let back = bench.log_in(&mut browser, "/t/acme");
    assert_eq!(back.parameter("iss"), Some(bench.url("/t/acme", "")), "{back:?}");
    let tokens = bench.redeem("/t/acme", &back.parameter("code").unwrap());
    let token = text(&tokens["access_token"]);
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
    assert_eq!((&claims["iss"], &claims["sub"]), (&bench.url("/t/acme", "").into(), &"alice".into()));
    let caller = Caller::new(port, &token);
    for (endpoint, status) in [("/t/acme/mcp", 200), ("/t/acme/servers/files/mcp", 401), ("/t/umbrella/mcp", 401), ("/mcp", 401)] {
        assert_eq!(caller.knock(endpoint), status, "{endpoint}\n{}", bench.gateway.log());
    }
    // Nothing of it is for another place, and one that is not there is answered alike.
    let foreign =
        format!("{}&resource={}", bench.authorize("/t/acme").split("&resource").next().unwrap(), bench.url("/t/umbrella", "/mcp"));
    let page = Browser::default().open(&foreign);
    assert!(page.parameter("error").is_some_and(|error| error == "invalid_target"), "{page:?}");
    crate::harness::processes::eventually("records say whose call it was", std::time::Duration::from_secs(10), || {
        let audit = std::fs::read_to_string(bench.project.state().join("sallyport/audit/audit.jsonl")).unwrap_or_default();
        audit.lines().any(|line| line.contains(r#""principal":"user:alice@"#) && line.contains(r#""tenant":"acme""#))
    });
}

#[test]
fn what_one_place_gave_is_nothing_at_another() {
    let bench = Bench::new();
    let port = bench.gateway.port;
    for (own, others) in [("/t/acme", ["/t/umbrella", ""]), ("", ["/t/acme", "/t/umbrella"])] {
        let mut browser = Browser::default();
        let code = bench.log_in(&mut browser, own).parameter("code").unwrap();
        for other in others {
            assert_eq!(bench.redeem(other, &code)["error"], "invalid_grant", "a code of {own:?} at {other:?}");
        }
        let tokens = bench.redeem(own, &code);
        let (access, refresh) = (text(&tokens["access_token"]), text(&tokens["refresh_token"]));
        for other in others {
            assert_eq!(bench.refresh(other, &refresh)["error"], "invalid_grant", "a refresh token of {own:?} at {other:?}");
            let revoked = Browser::default().post(&bench.url(other, "/oauth/revoke"), &[("client_id", "app"), ("token", &refresh)]);
            assert_eq!(revoked.status, 200, "nothing is told, and nothing is done: {revoked:?}");
            assert_eq!(Caller::new(port, &access).knock(&format!("{other}/mcp")), 401, "a token of {own:?} at {other:?}");

            // The cookie as it is, and under the name that is looked for there.
            assert!(!bench.is_logged_in(&mut browser.clone(), other));
            let mut forged = Browser::default();
            forged.take_cookie(port, &browser, &bench.cookie(own), &bench.cookie(other));
            assert!(!bench.is_logged_in(&mut forged, other), "the cookie of {own:?} at {other:?}");

            // Her name is known there too, and her password is another.
            let mut mistaken = Browser::default();
            let page = mistaken.open(&bench.url(other, "/oauth/device"));
            assert!(mistaken.log_in(&page, "alice", &password(own)).html.contains("do not belong together"));
        }
        assert!(bench.is_logged_in(&mut browser, own));
        let page = |place: &str| browser.clone().open(&bench.url(place, "/connect")).url.path().to_owned();
        assert_eq!(page(own), format!("{own}/connect"));
        assert_eq!(page(others[0]), format!("{}/oauth/login", others[0]), "and the pages beside it know nobody");
        // Somebody who is logged in at one and logs in at another is then logged in at both.
        let page = browser.open(&bench.url(others[0], "/oauth/device"));
        browser.log_in(&page, "alice", &password(others[0]));
        assert!(bench.is_logged_in(&mut browser, own) && bench.is_logged_in(&mut browser, others[0]));
        assert!(bench.refresh(own, &refresh)["access_token"].is_string(), "and what was tried elsewhere ended nothing");
    }
}

#[test]
fn a_program_without_a_browser_logs_in_at_a_tenant() {
    let bench = Bench::new();
    let resource = bench.url("/t/acme", "/mcp");
    let begin = |place: &str| {
        let fields = [("client_id", "app"), ("resource", resource.as_str())];
        serde_json::from_str::<Value>(&Browser::default().post(&bench.url(place, "/oauth/device_authorization"), &fields).html).unwrap()
    };
    assert_eq!(begin("/t/umbrella")["error"], "invalid_target");
    let begun = begin("/t/acme");
    assert_eq!(begun["verification_uri"], bench.url("/t/acme", "/oauth/device"));
    let (code, device) = (text(&begun["user_code"]), text(&begun["device_code"]));
    let type_at = |place: &str| {
        let mut browser = Browser::default();
        let page = browser.open(&bench.url(place, "/oauth/device"));
        let page = browser.log_in(&page, "alice", &password(place));
        let typed = [("user_code", code.as_str()), ("form_token", &page.field("form_token"))];
        (browser.clone(), browser.submit(page.action().as_str(), &typed))
    };
    assert!(type_at("/t/umbrella").1.html.contains("No program waits with that code"));
    let (mut browser, page) = type_at("/t/acme");
    let decided = [("user_code", page.field("user_code")), ("form_token", page.field("form_token")), ("decision", "allow".into())];
    let decided: Vec<(&str, &str)> = decided.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert!(browser.submit(page.action().as_str(), &decided).html.contains("the program is logged in"));
    let poll = [("grant_type", "urn:ietf:params:oauth:grant-type:device_code"), ("device_code", device.as_str())];
    assert_eq!(bench.ask_token("/t/umbrella", &poll)["error"], "expired_token");
    let tokens = bench.ask_token("/t/acme", &poll);
    let caller = Caller::new(bench.gateway.port, &text(&tokens["access_token"]));
    assert_eq!(["/t/acme/mcp", "/t/umbrella/mcp", "/mcp"].map(|endpoint| caller.knock(endpoint)), [200, 401, 401]);
}

#[test]
fn people_are_added_and_shut_out_where_they_are() {
    let bench = Bench::new();
    let run = |arguments: &[&str]| run(&bench.project, arguments);
    let [own, acme, umbrella] = PLACES.map(|place| bench.tokens(place));
    let tokens = |tenant: &[&str]| json_of(&run(&[&["token", "list", "--json"], tenant].concat()));
    let grants = tokens(&["--tenant", "acme"]);
    assert_eq!((grants.as_array().unwrap().len(), &grants[0]["resource"]), (1, &bench.url("/t/acme", "/mcp").into()));
    assert_eq!(tokens(&["--tenant", "quiet"]), json!([]));
    assert!(run(&["user", "--tenant", "acme", "disable", "alice"]).status.success());
    let standing = |tenant: &[&str]| json_of(&run(&[&["user", "list", "--json"], tenant].concat()))[0]["standing"].clone();
    assert_eq!([standing(&["--tenant", "acme"]), standing(&[])], ["disabled", "active"]);
    for (place, tokens, stays) in [("/t/acme", &acme, false), ("/t/umbrella", &umbrella, true), ("", &own, true)] {
        let refreshed = bench.refresh(place, &text(&tokens["refresh_token"]));
        assert_eq!(refreshed["access_token"].is_string(), stays, "{place}: {refreshed}");
    }
    let ended = run(&["token", "revoke", "--user", "alice", "--tenant", "umbrella"]);
    assert!(ended.status.success(), "{}", said(&ended));
    assert_eq!(bench.refresh("/t/umbrella", &text(&umbrella["refresh_token"]))["error"], "invalid_grant");
    assert!(bench.refresh("", &text(&own["refresh_token"]))["error"].is_null());
    let unknown = run(&["user", "list", "--tenant", "nothere"]);
    assert!(said(&unknown).contains("there is no tenant `nothere`"), "{}", said(&unknown));
    let listed = json_of(&run(&["tenant", "list", "--json"]));
    let logins: Vec<(&str, bool)> =
        listed.as_array().unwrap().iter().map(|row| (row["name"].as_str().unwrap(), row["logins"] == true)).collect();
    assert_eq!(logins, [("acme", true), ("quiet", false), ("umbrella", true)]);
}

#[test]
fn a_tenant_without_logins_is_as_one_that_is_not_there() {
    let bench = Bench::new();
    let port = bench.gateway.port;
    let without_date = |answer: String| answer.lines().filter(|line| !line.starts_with("date: ")).collect::<Vec<_>>().join("\n");
    let asked_for = |tenant: &str| {
        let mut told = Vec::new();
        let places = ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"];
        let metadata = places.iter().flat_map(|place| [format!("{place}/t/{tenant}"), format!("/t/{tenant}{place}")]);
        let routes = Route::ALL.iter().map(|route| format!("/t/{tenant}{}", route.path()));
        for path in metadata.chain(routes).chain([format!("/t/{tenant}/oauth/callback/corp"), format!("/t/{tenant}/connect")]) {
            told.push(without_date(get(port, &path).unwrap()).replace(tenant, "x"));
            let sent = Browser::default().post(&bench.gateway.url(&path), &[("request", "device"), ("client_id", "app")]);
            told.push(format!("{} {:?} {}", sent.status, sent.location, sent.html).replace(tenant, "x"));
        }
        told
    };
    let (quiet, nobody) = (asked_for("quiet"), asked_for("nothere"));
    assert_eq!(quiet, nobody);
    let other_than_connect = quiet.len() - 2;
    assert!(quiet.iter().take(other_than_connect).all(|told| told.starts_with("HTTP/1.1 404") || told.starts_with("404")), "{quiet:?}");
    // Nor does the gateway's own server answer for a tenant.
    for path in ["/oauth/t/acme/login", "/.well-known/oauth-authorization-server/t/acme/mcp", "/t/acme/t/acme/oauth/login"] {
        assert!(get(port, path).unwrap().starts_with("HTTP/1.1 404"), "{path}");
    }
}

/// What somebody comes to at an endpoint: how many tools are listed, and whose file is read.
fn attempt(caller: &Caller, endpoint: &str) -> String {
    let listed = caller.ask(endpoint, "tools/list", json!({}));
    let read = if endpoint.contains("/servers/") { "read_file" } else { "files__read_file" };
    let read = crate::result(&caller.ask(endpoint, "tools/call", json!({ "name": read, "arguments": { "path": "whose.txt" } })));
    let tools = crate::result(&listed)["tools"].as_array().map(|tools| format!(", {} tools", tools.len())).unwrap_or_default();
    let whose = read["content"][0]["text"].as_str().map(|text| format!(", reads {text}")).unwrap_or_default();
    format!("{}{tools}{whose}", listed.status)
}

#[test]
fn who_may_do_what_where() {
    let bench = Bench::new();
    let mut principals = vec![("nobody", None), ("key of the gateway", Some(OWN_KEY.to_owned()))];
    principals.extend([("key of acme", ACME_KEY), ("key of umbrella", UMBRELLA_KEY)].map(|(name, key)| (name, Some(key.to_owned()))));
    principals.extend(
        [("alice", ""), ("alice of acme", "/t/acme"), ("alice of umbrella", "/t/umbrella")]
            .map(|(name, place)| (name, Some(bench.access(place)))),
    );
    principals.extend([("alice of acme, look", "/t/acme"), ("alice of umbrella, look", "/t/umbrella")].map(|(name, place)| {
        let tokens = bench.tokens_for(place, "/toolsets/look/mcp");
        (name, Some(text(&tokens["access_token"])))
    }));
    let endpoints = [
        "/mcp",
        "/toolsets/look/mcp",
        "/t/acme/mcp",
        "/t/acme/servers/files/mcp",
        "/t/acme/toolsets/look/mcp",
        "/t/umbrella/mcp",
        "/t/umbrella/toolsets/look/mcp",
        "/t/quiet/mcp",
        "/t/nothere/mcp",
    ];
    let mut table = String::from("| principal |");
    endpoints.iter().for_each(|endpoint| write!(table, " {endpoint} |").unwrap());
    writeln!(table, "\n|{}", " --- |".repeat(endpoints.len() + 1)).unwrap();
    for (name, token) in principals {
        let caller = Caller { port: bench.gateway.port, token };
        let cells: Vec<String> = endpoints.iter().map(|endpoint| attempt(&caller, endpoint)).collect();
        writeln!(table, "| {name} | {} |", cells.join(" | ")).unwrap();
    }
    insta::assert_snapshot!(table);
}

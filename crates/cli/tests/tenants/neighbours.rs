//! Who gets in where: keys and tokens of one tenant at another's endpoints, and at names that there are not.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::caller::Caller;
use crate::harness::loopback;
use crate::provider::Provider;
use crate::{ACME_KEY, OWN, OWN_KEY, PUBLIC, TENANTS, UMBRELLA_KEY, everyone, project, result, told};

/// Every kind of endpoint, of a tenant that is called so; of servers and toolsets that it has, and others.
fn endpoints(tenant: &str) -> Vec<String> {
    let below = ["", "/servers/files", "/servers/secret", "/servers/none", "/toolsets/look", "/toolsets/none"];
    below.iter().flat_map(|path| ["mcp", "sse", "messages"].map(|door| format!("/t/{tenant}{path}/{door}"))).collect()
}

#[test]
fn each_key_opens_its_own_and_serves_its_own() {
    let project = project(&format!("{OWN}{TENANTS}"));
    let gateway = project.up();
    let read = |key: &str, endpoint: &str| {
        let arguments = json!({ "name": "files__read_file", "arguments": { "path": "whose.txt" } });
        result(&Caller::new(gateway.port, key).ask(endpoint, "tools/call", arguments))["content"][0]["text"].clone()
    };
    for (key, endpoint, whose) in
        [(OWN_KEY, "/mcp", "own"), (ACME_KEY, "/t/acme/mcp", "acme"), (UMBRELLA_KEY, "/t/umbrella/mcp", "umbrella")]
    {
        assert_eq!(read(key, endpoint), whose, "{}", gateway.log());
        for other in ["/mcp", "/t/acme/mcp", "/t/umbrella/mcp", "/t/acme/servers/files/mcp"] {
            let is_own = other == endpoint || (key == ACME_KEY && other.starts_with("/t/acme/"));
            assert_eq!(Caller::new(gateway.port, key).knock(other), if is_own { 200 } else { 401 }, "{whose} at {other}");
        }
    }
    crate::harness::processes::eventually("records say whose they are", std::time::Duration::from_secs(10), || {
        let audit = std::fs::read_to_string(project.state().join("sallyport/audit/audit.jsonl")).unwrap_or_default();
        audit.contains(r#""tenant":"acme""#) && audit.contains(r#""endpoint":"/t/acme/mcp""#)
    });
}

#[test]
fn what_there_is_of_another_tenant_is_answered_as_what_there_is_not() {
    let approving =
        format!("{OWN}{TENANTS}").replace("[tenants.umbrella]", "[tenants.umbrella]\napprovals = { approvers = [\"key:boss\"] }");
    let both = approving.replace("[tenants.acme]", "[tenants.acme]\napprovals = { approvers = [\"key:boss\"] }");
    for configuration in [format!("{OWN}{TENANTS}"), with_keys_given_out(), approving, both] {
        let project = project(&configuration);
        let gateway = project.up();
        for caller in everyone(&gateway, &[]) {
            for (there, not_there) in endpoints("acme").iter().zip(endpoints("nothere")) {
                for method in ["tools/list", "initialize", "server/discover"] {
                    let names = [("acme", "nothere")];
                    let answers = [there, &not_there].map(|path| told(&caller.ask(path, method, json!({})), &names));
                    assert_eq!(answers[0], answers[1], "{there} by {:?}", caller.token);
                    assert!(answers[0].starts_with("401"), "{}", answers[0]);
                }
            }
            for page in [
                "/metrics",
                "/healthz",
                "/readyz",
                "/connect/x",
                "/connect/callback?state=x",
                "/connect/callback",
                "/oauth/token",
                "/approvals",
                "/approvals/x",
                "/approvalsx",
                "/",
            ] {
                let headers = caller.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
                let get = |tenant: &str| without_date(&loopback::get_as(gateway.port, &format!("/t/{tenant}{page}"), &headers).unwrap());
                assert_eq!(get("acme").replace("acme", "nothere"), get("nothere"), "{page} by {:?}", caller.token);
            }
        }
        assert!(!gateway.log().contains("panicked"));
    }
}

#[test]
fn links_of_a_tenant_are_looked_for_as_those_of_one_that_is_not_there() {
    let granting = "[tenants.acme.servers.elsewhere]\nurl = \"http://127.0.0.1:9/mcp\"\ncredential = { per_user = {} }\n";
    let project = project(&format!("{OWN}{TENANTS}{granting}"));
    let gateway = project.up();
    // Nobody waits for a vault to be made: whoever asks first would learn that there is one to be made.
    let vault = |folder: &str| project.state().join("sallyport").join(folder).join("store.db");
    crate::harness::processes::eventually("the vaults are open", std::time::Duration::from_secs(10), || {
        vault("tenants/acme").exists() && vault("nobody").exists()
    });
    let ask = |tenant: &str, page: &str, is_sent: bool| {
        let path = format!("/t/{tenant}{page}");
        let answer = match is_sent {
            false => without_date(&loopback::get_as(gateway.port, &path, "").unwrap()),
            true => {
                let sent = Browser::default().post(&gateway.url(&path), &[("key", ACME_KEY), ("server", "elsewhere")]);
                format!("{} {:?} {}", sent.status, sent.location, sent.html)
            }
        };
        answer.replace(tenant, "x")
    };
    for page in ["/connect", "/connect/", "/connect/x", "/connect/callback", "/connect/callback?state=x&code=y", "/connect/x/y"] {
        for is_sent in [false, true] {
            let answers = ["acme", "umbrella", "nothere", "neither"].map(|tenant| ask(tenant, page, is_sent));
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{page}: {answers:#?}");
        }
    }
    assert!(!vault("tenants/umbrella").exists() && !vault("tenants/nothere").exists());
}

/// One tenant has keys of the store, the other has not.
fn with_keys_given_out() -> String {
    format!("{OWN}{TENANTS}").replace("keys = [\"file:umbrella.key\"]", "keys = [\"file:umbrella.key\"]\nidentity = { api_keys = true }")
}

fn without_date(answer: &str) -> String {
    answer.lines().filter(|line| !line.starts_with("date: ")).collect::<Vec<_>>().join("\n")
}

/// A gateway whose tenants share an issuer, which says of each token whose it is; umbrella has one of its own besides.
fn trusting() -> (Provider, Provider, crate::Project) {
    let resource = |path: &str| (format!("{PUBLIC}{path}"), "jwt:EdDSA");
    let shared = Provider::start_with(
        &["/mcp", "/t/acme/mcp", "/t/acme/servers/files/mcp", "/t/umbrella/mcp", "/t/nothere/mcp"].map(resource),
        &json!({ "tenants": {
            format!("{PUBLIC}/t/acme/mcp"): "acme",
            format!("{PUBLIC}/t/acme/servers/files/mcp"): "acme",
            format!("{PUBLIC}/t/umbrella/mcp"): "acme",
            format!("{PUBLIC}/mcp"): "acme",
            format!("{PUBLIC}/t/nothere/mcp"): "nothere",
        } }),
    );
    let own = Provider::start(&["/t/acme/mcp", "/t/umbrella/mcp"].map(resource));
    let configuration = format!(
        "public_url = \"{PUBLIC}\"\n{OWN}\n[identity.issuers.all]\nissuer = \"{}\"\ntenant_claim = \"org\"\n{TENANTS}\n\
         [tenants.umbrella.identity.issuers.own]\nissuer = \"{}\"\n",
        shared.issuer(),
        own.issuer()
    );
    let project = project(&configuration);
    (shared, own, project)
}

#[test]
fn a_token_is_good_in_the_tenant_that_it_names_and_at_the_endpoint_that_it_is_for() {
    let (shared, own, project) = trusting();
    let gateway = project.up();
    let resource = |path: &str| format!("{PUBLIC}{path}");
    let endpoints = ["/mcp", "/t/acme/mcp", "/t/acme/servers/files/mcp", "/t/umbrella/mcp", "/t/nothere/mcp"];
    for (issuer, audience, good_at) in [
        (&shared, "/t/acme/mcp", Some("/t/acme/mcp")),
        (&shared, "/t/acme/servers/files/mcp", Some("/t/acme/servers/files/mcp")),
        (&shared, "/t/umbrella/mcp", None), // it claims acme
        (&shared, "/mcp", None),
        (&shared, "/t/nothere/mcp", None),
        (&own, "/t/umbrella/mcp", Some("/t/umbrella/mcp")),
        (&own, "/t/acme/mcp", None), // acme does not trust it
    ] {
        let caller = Caller::new(gateway.port, &issuer.token(&resource(audience), "mcp"));
        for endpoint in endpoints {
            let status = if good_at == Some(endpoint) { 200 } else { 401 };
            assert_eq!(caller.knock(endpoint), status, "a token of {} for {audience} at {endpoint}\n{}", issuer.issuer(), gateway.log());
        }
    }
}

#[test]
fn a_foreign_token_is_answered_as_at_a_name_that_there_is_not() {
    let (shared, own, project) = trusting();
    let gateway = project.up();
    let resource = |path: &str| format!("{PUBLIC}{path}");
    let tokens = [
        shared.token(&resource("/t/umbrella/mcp"), "mcp"),
        own.token(&resource("/t/umbrella/mcp"), "mcp"),
        shared.token(&resource("/mcp"), "mcp"),
    ];
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    for caller in everyone(&gateway, &tokens) {
        for (there, not_there) in endpoints("acme").iter().zip(endpoints("nothere")) {
            let answers = [there, &not_there].map(|path| told(&caller.ask(path, "tools/list", json!({})), &[("acme", "nothere")]));
            assert_eq!(answers[0], answers[1], "{there} by {:?}", caller.token);
        }
    }
    let metadata = |tenant: &str, path: &str| {
        let path = format!("/.well-known/oauth-protected-resource/t/{tenant}{path}");
        without_date(&loopback::get(gateway.port, &path).unwrap())
    };
    for path in ["/mcp", "/servers/files/mcp", "/servers/none/mcp", "/toolsets/look/mcp", "", "/", "/healthz"] {
        let length = |text: String| text.lines().filter(|line| !line.starts_with("content-length")).collect::<Vec<_>>().join("\n");
        assert_eq!(length(metadata("acme", path).replace("acme", "nothere")), length(metadata("nothere", path)), "{path}");
    }
    // Whoever is refused finds out where tokens for this very endpoint are had.
    let refused = Caller { port: gateway.port, token: None }.ask("/t/acme/servers/files/mcp", "tools/list", json!({}));
    let challenge = refused.header("www-authenticate").unwrap();
    assert!(challenge.contains(&format!("{PUBLIC}/.well-known/oauth-protected-resource/t/acme/servers/files/mcp")), "{challenge}");
    let body = metadata("acme", "/servers/files/mcp");
    let document: Value = serde_json::from_str(body.lines().last().unwrap()).unwrap();
    assert_eq!(document["resource"], resource("/t/acme/servers/files/mcp"));
    assert_eq!(document["authorization_servers"], json!([shared.issuer()]));
}

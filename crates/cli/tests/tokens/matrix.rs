//! Who may do what where: every principal at every endpoint with every action, as a table.

use std::fmt::Write as _;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::browser::Browser;
use crate::certificates::{Authority, Bench};
use crate::fixture::Fixture;
use crate::harness::gateway::{Gateway, Project};
use crate::harness::loopback::free_port;
use crate::visitor::{Told, Visitor};
use crate::{KEY, resource, trusting};

/// What is tried, by its name in the table; tools, prompts and resources by the name that an endpoint has for them.
const ACTIONS: [&str; 11] = ["greeting", "list", "look", "write", "unknown", "resources", "read", "prompt", "complete", "listen", "task"];

const ENDPOINTS: [&str; 8] = [
    "/mcp",
    "/servers/files/mcp",
    "/servers/notes/mcp",
    "/servers/work/mcp",
    "/toolsets/look/mcp",
    "/toolsets/keep/mcp",
    "/servers/none/mcp",
    "/toolsets/none/mcp",
];

/// Where a tenant has the same.
const OF_TENANTS: [&str; 4] = ["/t/acme/mcp", "/t/acme/servers/files/mcp", "/t/acme/toolsets/look/mcp", "/t/nothere/mcp"];

const PASSWORD: &str = "correct horse battery staple";
const VERIFIER: &str = "a-verifier-that-is-long-enough-for-the-specification";

fn attempt(visitor: &Visitor<'_>, endpoint: &str, action: &str, task: &str) -> String {
    let is_a_server = endpoint.contains("/servers/");
    let named = |server: &str, name: &str| if is_a_server { name.to_owned() } else { format!("{server}__{name}") };
    let found = |server: &str, uri: &str| if is_a_server { uri.to_owned() } else { format!("{server}.mcp:{uri}") };
    let call = |name: &str, arguments: Value| json!({ "name": named("files", name), "arguments": arguments });
    let (method, params) = match action {
        "greeting" => ("server/discover", json!({})),
        "list" => ("tools/list", json!({})),
        "look" => ("tools/call", call("list_directory", json!({ "path": "." }))),
        "write" => ("tools/call", call("write_file", json!({ "path": "new.txt", "content": "x" }))),
        "unknown" => ("tools/call", call("no_such_tool", json!({}))),
        "resources" => ("resources/list", json!({})),
        "read" => ("resources/read", json!({ "uri": found("work", "test://static-text") })),
        "prompt" => ("prompts/get", json!({ "name": named("work", "test_simple_prompt") })),
        "complete" => {
            let prompt = json!({ "type": "ref/prompt", "name": named("work", "test_prompt_with_arguments") });
            ("completion/complete", json!({ "ref": prompt, "argument": { "name": "arg1", "value": "pa" } }))
        }
        "listen" => {
            let watched = json!({ "resourceSubscriptions": [found("work", "test://watched-resource")] });
            ("subscriptions/listen", json!({ "notifications": watched }))
        }
        _ => ("tasks/get", json!({ "taskId": task })),
    };
    cell(&visitor.ask(endpoint, method, params))
}

/// What is told, in a few words.
fn cell(told: &Told) -> String {
    let Told { status, message, .. } = told;
    if let (403, Some(scope)) = (*status, &told.scope) {
        return format!("403 needs {scope}");
    }
    if *status != 200 {
        return status.to_string();
    }
    if told.message["result"]["supportedVersions"].is_array() {
        return greeting(&told.message["result"]);
    }
    let (result, heard) = (&message["result"], &message["params"]["notifications"]);
    let length = |of: &str| result[of].as_array().map(|list| format!("{} {of}", list.len()));
    match (message["error"]["code"].as_i64(), heard["resourceSubscriptions"].as_array()) {
        (Some(code), _) => code.to_string(),
        (None, Some(heard)) => format!("hears {}", heard.len()),
        _ if result["isError"] == true => "tool error".to_owned(),
        _ if message["method"] == "notifications/subscriptions/acknowledged" => "hears nothing".to_owned(),
        _ => length("tools").or_else(|| length("resources")).unwrap_or_else(|| if result.is_object() { "ok" } else { "?" }.to_owned()),
    }
}

/// What a caller is told of the servers behind an endpoint: who instructs, and what there is.
fn greeting(result: &Value) -> String {
    let instructions = result["instructions"].as_str().unwrap_or_default();
    let servers: Vec<&str> = instructions.split("Server `").skip(1).filter_map(|rest| rest.split('`').next()).collect();
    let who = match (instructions.is_empty(), &*servers) {
        (true, _) => "nobody".to_owned(),
        (false, []) => "it".to_owned(),
        (false, servers) => servers.join("+"),
    };
    let mut capabilities: Vec<&str> = result["capabilities"].as_object().unwrap().keys().map(String::as_str).collect();
    capabilities.sort_unstable();
    format!("{who} tells: {}", capabilities.join(" "))
}

/// The servers of all gateways here.
fn servers(fixture: &Fixture) -> String {
    format!(
        "[toolsets.look]\ntools = [\"files__list_*\", \"notes__list_*\"]\n[toolsets.keep]\ntools = [\"files__*\"]\n\
         [servers.files]\nbuiltin = {{ filesystem = {{ root = \"files\", write = true }} }}\n\
         [servers.notes]\nbuiltin = {{ filesystem = {{ root = \"notes\" }} }}\n{}",
        work(fixture)
    )
}

/// A server with all that the others have not.
fn work(fixture: &Fixture) -> String {
    format!(
        "[servers.work]\nurl = \"http://127.0.0.1:{}/mcp\"\nallow = [\"slow_compute\", \"test_simple_*\", \"test_prompt_with_arguments\", \"test://*\"]\n",
        fixture.port
    )
}

/// A tenant that has the same, for holders of certificates that an authority of its own has signed.
fn tenant(servers: &str) -> String {
    let its = servers.replace("[servers.", "[tenants.acme.servers.").replace("[toolsets.", "[tenants.acme.toolsets.");
    format!(
        "[tenants.acme]\npolicy = {{ default = \"allow\" }}\ntls = {{ client_ca = \"acme.pem\" }}\n\
         [tenants.acme.identity.certificates.ci]\ncertificate = \"dns:ci.example.com\"\n\
         [tenants.acme.identity.certificates.reader]\ncertificate = \"dns:reader.example.com\"\nscopes = [\"files:read\"]\n{its}"
    )
}

fn folders(project: &Project) {
    for folder in ["files", "notes"] {
        fs::create_dir(project.path(folder)).unwrap();
        fs::write(project.path(folder).join("a.txt"), "a").unwrap();
    }
}

/// A gateway whose own authorization server alice logs in at.
fn with_a_user(servers: &str) -> (Project, Gateway) {
    let port = free_port();
    let project = Project::new(&format!(
        "public_url = \"http://127.0.0.1:{port}\"\n[policy]\ndefault = \"allow\"\n\
         [identity.server.clients.portal]\nredirect_uris = [\"http://127.0.0.1:1/callback\"]\n{servers}"
    ));
    folders(&project);
    project.add_user(&["alice"], PASSWORD);
    let gateway = project.up_at(port);
    (project, gateway)
}

/// A token in alice's name.
fn token_of_alice(gateway: &Gateway, endpoint: &str, scope: &str) -> String {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let address = gateway.url(&format!(
        "/oauth/authorize?client_id=portal&redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fcallback&response_type=code&state=s\
         &code_challenge={challenge}&code_challenge_method=S256&scope={}&resource={}",
        scope.replace(':', "%3A"),
        gateway.url(endpoint).replace(':', "%3A").replace('/', "%2F")
    ));
    let mut browser = Browser::default();
    let login = browser.open(&address);
    let consent = browser.log_in(&login, "alice", PASSWORD);
    let code = browser.allow(&consent).parameter("code").unwrap_or_else(|| panic!("{consent:?} {}", gateway.log()));
    let fields = [("grant_type", "authorization_code"), ("client_id", "portal"), ("code", &*code), ("code_verifier", VERIFIER)];
    let answer = Browser::default().post(&gateway.url("/oauth/token"), &fields).html;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[test]
fn who_may_do_what_where() {
    let fixture = Fixture::start();
    let (provider, project) = trusting();
    let alone = fs::read_to_string(project.configuration()).unwrap();
    project.configure(&format!("{alone}{}", work(&fixture)));
    let gateway = project.up();
    let (_home, of_alice) = with_a_user(&servers(&fixture));
    let acme = Authority::new("acme");
    let bench = Bench::serving("", &format!("{0}{1}", servers(&fixture), tenant(&servers(&fixture))), |project| {
        folders(project);
        fs::write(project.path("acme.pem"), acme.pem()).unwrap();
    });

    let given = |name: &str, scope: &str| {
        let given = project.sallyport().args(["key", "add", name, "--scope", scope]).output().unwrap();
        String::from_utf8(given.stdout).unwrap().trim().to_owned()
    };
    let (reader, worker) = (given("reader", "mcp:read"), given("worker", "work"));
    let at = |name: &'static str, bearer: Option<&str>| Visitor::at_port(name, gateway.port, bearer);
    let begin = json!({ "name": "work__slow_compute", "arguments": { "seconds": 1, "label": "seven" } });
    let begun = at("configured key", Some(KEY)).ask("/mcp", "tools/call", begin);
    let task = begun.message["result"]["taskId"].as_str().unwrap_or_else(|| panic!("{begun:?}\n{}", gateway.log())).to_owned();

    let of_acme = |name: &str| Box::new(bench.connect(Some(&acme.sign(&[&format!("{name}.example.com")], |_| ()))));
    let mut visitors =
        vec![at("nobody", None), at("nonsense", Some("nonsense")), at("configured key", Some(KEY)), at("key for mcp:read", Some(&reader))];
    visitors.push(at("key for work", Some(&worker)));
    for (name, endpoint, scope) in [
        ("/mcp, mcp", "/mcp", "mcp"),
        ("/mcp, files:read", "/mcp", "files:read"),
        ("/mcp, none", "/mcp", ""),
        ("files, files", "/servers/files/mcp", "files"),
        ("files, files:write_file", "/servers/files/mcp", "files:write_file"),
        ("files, notes", "/servers/files/mcp", "notes"),
        ("notes, notes", "/servers/notes/mcp", "notes"),
        ("look, mcp", "/toolsets/look/mcp", "mcp"),
        ("look, files:list_directory", "/toolsets/look/mcp", "files:list_directory"),
        ("keep, files", "/toolsets/keep/mcp", "files"),
        ("keep, notes", "/toolsets/keep/mcp", "notes"),
    ] {
        visitors.push(at(name, Some(&provider.token(&resource(endpoint), scope))));
    }
    for (name, endpoint, scope) in [
        ("alice, /mcp, mcp", "/mcp", "mcp"),
        ("alice, /mcp, files:read", "/mcp", "files:read"),
        ("alice, work, work:read", "/servers/work/mcp", "work:read"),
        ("alice, look, mcp", "/toolsets/look/mcp", "mcp"),
        ("alice, keep, files:read", "/toolsets/keep/mcp", "files:read"),
    ] {
        visitors.push(Visitor::at_port(name, of_alice.port, Some(&token_of_alice(&of_alice, endpoint, scope))));
    }
    let by_tokens = visitors.len();
    visitors.push(Visitor::by("certificate", None, || Box::new(bench.connect_as("ci"))));
    visitors.push(Visitor::by("certificate, files:read", None, || Box::new(bench.connect_as("reader"))));
    visitors.push(Visitor::by("certificate of nobody", None, || Box::new(bench.connect_as("nobody"))));
    visitors.push(Visitor::by("certificate of acme", None, || of_acme("ci")));
    visitors.push(Visitor::by("certificate of acme, files:read", None, || of_acme("reader")));
    visitors.push(Visitor::by("certificate of acme of nobody", None, || of_acme("nobody")));

    let mut table = format!("| principal | endpoint | {} |\n|{}\n", ACTIONS.join(" | "), " --- |".repeat(ACTIONS.len() + 2));
    for (index, visitor) in visitors.iter().enumerate() {
        let of_tenants = OF_TENANTS.iter().filter(|_| index >= by_tokens); // the others' gateways have no tenants
        for endpoint in ENDPOINTS.iter().chain(of_tenants) {
            let cells = ACTIONS.map(|action| attempt(visitor, endpoint, action, &task));
            writeln!(table, "| {} | {endpoint} | {} |", visitor.name, cells.join(" | ")).unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

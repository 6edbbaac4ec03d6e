//! No way in that nobody tested: every route that the program has is tried by every method, by somebody who shows nothing, nonsense, or a token
//! for somewhere else.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use sallyport_gateway::pages::Page;
use sallyport_identity::authorization_server::Route;
use sallyport_transport::server::DOORS;

use crate::browser::Browser;
use crate::harness::gateway::Project;
use crate::harness::http::Connection;
use crate::harness::loopback;
use crate::harness::processes::eventually;
use crate::{KEY, resource, trusting, write_private};

/// What HTTP has beside `GET` and `POST` (RFC 9110 §9, RFC 5789), what may yet come, and what nobody knows. All of them are refused everywhere,
/// but for `HEAD` where it is `GET` without a body, and for a browser's question whether a page may call ([`PREFLIGHT`]).
const OTHER_METHODS: [&str; 9] = ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY", "BREW"];

/// A browser asks before a page's request, and cannot show a credential with that: it is told what pages may send, of any path the same.
const PREFLIGHT: &str = "Origin: http://localhost:1\r\nAccess-Control-Request-Method: POST\r\n";

/// What a stranger is answered by a page, who reads it and who sends it an empty form. A page that is new makes this incomplete, and the test
/// does not compile.
fn to_a_stranger(page: Page) -> (u16, u16) {
    match page {
        // For machines that watch, who are told no names.
        Page::Health | Page::Ready => (200, 405),
        Page::Metrics => (401, 405),
        // Where a stranger finds out how to get in; the same for names that there are and others.
        Page::ResourceMetadata => (200, 405),
        // Nobody can log in at this gateway, and without a link there is nothing to see.
        Page::Connect => (401, 401),
        // It asks who is there, and nothing is decided.
        Page::Approvals => (200, 403),
    }
}

/// The same of a tenant's page.
fn to_a_stranger_of_a_tenant(page: Page) -> (u16, u16) {
    match page {
        // They are of the whole gateway.
        Page::Health | Page::Ready | Page::ResourceMetadata => (404, 404),
        Page::Metrics | Page::Connect | Page::Approvals => to_a_stranger(page),
    }
}

/// What a stranger is answered by an address of the authorization server, who reads it and who sends it an empty form.
fn of_the_authorization_server(route: Route) -> (u16, u16) {
    match route {
        // For everybody, by their nature.
        Route::Metadata | Route::Keys | Route::Style => (200, 405),
        // Nobody is sent anywhere who does not say for which client, or has no cookie of a login that was begun.
        Route::Authorize | Route::LogIn | Route::Consent => (400, 400),
        Route::SignIn | Route::SignedIn => (400, 405),
        // To the login page; or without its cookie to nothing.
        Route::Device => (303, 400),
        Route::LogOut | Route::Register => (405, 400),
        // Clients say who they are.
        Route::DeviceAuthorization | Route::Token | Route::Revoke => (405, 401),
    }
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

/// A bearer token as a line of a request's head.
fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Tries the methods that a path does not have, where reading it is answered with `read`.
fn refuses_other_methods(port: u16, path: &str, headers: &str, read: u16) {
    for method in OTHER_METHODS {
        let answer =
            loopback::send(port, method, path, headers).unwrap_or_else(|error| panic!("{method} {path} with {headers:?}: {error}"));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let allowed = head.lines().find_map(|line| line.strip_prefix("allow: ")).unwrap_or_default();
        let tried = format!("{method} {path} with {headers:?}: {answer}");
        match status(&answer) {
            405 => assert!(!allowed.is_empty() && !allowed.split(", ").any(|known| known == method), "{tried}"),
            found if method == "HEAD" => assert!(found == read && body.is_empty(), "{tried}"),
            // It ends a session, and names none here.
            400 => assert!(method == "DELETE" && path.ends_with("/mcp"), "{tried}"),
            found => assert!([401, 404].contains(&found), "{tried}"),
        }
    }
    let asked = loopback::send(port, "OPTIONS", path, &format!("{headers}{PREFLIGHT}")).unwrap();
    assert!(status(&asked) == 204 && asked.ends_with("\r\n\r\n") && !asked.contains("allow-credentials"), "{path}: {asked}");
}

#[test]
fn no_door_opens_to_a_stranger() {
    let (_provider, project) = trusting();
    let gateway = project.up();
    let endpoints = ["", "/servers/files", "/servers/none", "/toolsets/look", "/toolsets/none"];
    for (endpoint, door) in endpoints.iter().flat_map(|endpoint| DOORS.map(|door| (endpoint, door))) {
        let path = format!("{endpoint}/{door}");
        for headers in ["", "Authorization: Bearer nonsense\r\n", "Authorization: Basic YTpi\r\n", "Host: mcp.example.com\r\n"] {
            let answer = loopback::get_as(gateway.port, &path, headers).unwrap();
            let refused = if headers.starts_with("Host") { 400..404 } else { 401..402 };
            assert!(refused.contains(&status(&answer)), "{path} with {headers:?}: {answer}");
        }
        refuses_other_methods(gateway.port, &path, "", 401);
        refuses_other_methods(gateway.port, &path, &bearer("nonsense"), 401);
        let twice = "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n";
        assert_eq!(status(&loopback::get_as(gateway.port, &path, twice).unwrap()), 400);
        for shown in [None, Some("Bearer nonsense"), Some("Basic YTpi")] {
            for body in [r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#, "{}", ""] {
                let headers: Vec<(&str, &str)> = shown.map(|shown| ("Authorization", shown)).into_iter().collect();
                let answer = Connection::open(gateway.port).post(&path, &headers, body);
                assert_eq!(answer.status, 401, "{path} with {shown:?} and {body}: {answer:?}");
            }
        }
    }
}

#[test]
fn no_door_opens_to_a_neighbour_by_any_method() {
    let (provider, project) = trusting();
    let alone = fs::read_to_string(project.configuration()).unwrap();
    write_private(&project, "acme", "a-0123456789abcdef0123456789abcdef");
    project.configure(&format!("{alone}[tenants.acme]\nkeys = [\"file:acme\"]\n"));
    let gateway = project.up();
    let everywhere = ["", "/servers/files", "/servers/notes", "/toolsets/look"];
    let tokens = everywhere.map(|own| (own, provider.token(&resource(&format!("{own}/mcp")), "mcp")));
    let others = ["/servers/none", "/toolsets/none", "/t/acme", "/t/none", "/t/acme/servers/files"];
    for endpoint in everywhere.into_iter().chain(others) {
        for (door, (_, token)) in
            DOORS.iter().flat_map(|door| tokens.iter().map(move |token| (door, token))).filter(|(_, (own, _))| *own != endpoint)
        {
            let path = format!("{endpoint}/{door}");
            for method in ["GET", "POST"].iter().chain(OTHER_METHODS.iter()) {
                let answer = loopback::send(gateway.port, method, &path, &bearer(token)).unwrap();
                assert_eq!(status(&answer), 401, "{method} {path}: {answer}");
            }
        }
    }
    for (_, token) in &tokens[1..] {
        let shown = bearer(token);
        assert_eq!(status(&loopback::get_as(gateway.port, "/metrics", &shown).unwrap()), 401, "it is a page of the whole gateway");
        refuses_other_methods(gateway.port, "/metrics", &shown, 401);
    }
    // Nor does who may come in find a method that is none.
    for (path, read) in
        [("/mcp", 400), ("/sse", 200), ("/messages", 405), ("/metrics", 200), ("/connect", 200), ("/connect/callback", 404), ("/none", 404)]
    {
        refuses_other_methods(gateway.port, path, &bearer(KEY), read);
    }
}

#[test]
fn a_page_says_to_a_stranger_no_more_than_it_should() {
    let (_provider, project) = trusting();
    let alone = fs::read_to_string(project.configuration()).unwrap();
    let approving = "approvals = { approvers = [\"key:boss\"] }\n";
    let tenant = "[tenants.acme]\nkeys = [\"file:acme\"]\n";
    write_private(&project, "acme", "a-0123456789abcdef0123456789abcdef");
    project.configure(&format!("{approving}{alone}{tenant}{approving}[tenants.acme.servers.notes]\nbuiltin = {{ filesystem = {{}} }}\n"));
    let gateway = project.up();
    for (place, page) in ["", "/t/acme"].iter().flat_map(|place| Page::ALL.map(|page| (place, page))) {
        let url = gateway.url(&format!("{place}{}", page.path()));
        let expected = if place.is_empty() { to_a_stranger(page) } else { to_a_stranger_of_a_tenant(page) };
        let (read, sent) = (Browser::default().get(&url), Browser::default().post(&url, &[]));
        assert_eq!((read.status, sent.status), expected, "{place} {page:?}: {read:?} {sent:?}");
        refuses_other_methods(gateway.port, &format!("{place}{}", page.path()), "", read.status);
        refuses_other_methods(gateway.port, &format!("{place}{}", page.path()), &bearer("nonsense"), read.status);
        for page in [read, sent] {
            assert!(!page.html.contains("notes"), "it tells a server's name: {page:?}");
        }
    }
    let there = loopback::get(gateway.port, "/.well-known/oauth-protected-resource/servers/notes/mcp").unwrap();
    let not_there = loopback::get(gateway.port, "/.well-known/oauth-protected-resource/servers/other/mcp").unwrap();
    let body = |answer: &str| answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!(body(&there).replace("notes", "other"), body(&not_there), "it does not tell which servers there are");

    project.configure(&format!("{alone}{tenant}"));
    let gateway = project.up();
    for path in ["/approvals", "/approvals/x", "/t/acme/approvals", "/t/acme/approvals/x"] {
        let (read, sent) = (Browser::default().get(&gateway.url(path)), Browser::default().post(&gateway.url(path), &[]));
        assert_eq!((read.status, sent.status), (404, 404), "nobody approves here: {read:?} {sent:?}");
    }
}

#[test]
fn the_authorization_server_gives_nothing_to_a_stranger() {
    let port = loopback::free_port();
    let project = Project::new(&format!(
        "public_url = \"http://127.0.0.1:{port}\"\n[policy]\ndefault = \"deny\"\n\
         [identity.server.login.corp]\nissuer = \"http://127.0.0.1:1\"\nclient = {{ id = \"us\" }}\nanyone = true\n\
         [tenants.acme.identity.server.login.corp]\nissuer = \"http://127.0.0.1:1\"\nclient = {{ id = \"us\" }}\nanyone = true\n\
         [servers.notes]\nbuiltin = {{ filesystem = {{}} }}\n"
    ));
    let gateway = project.up_at(port);
    // The gateway's own, and a tenant's.
    for (place, route) in ["", "/t/acme"].iter().flat_map(|place| Route::ALL.map(|route| (place, route))) {
        let path = if route == Route::Metadata { format!("{}{place}", route.path()) } else { format!("{place}{}", route.path()) };
        let url = gateway.url(&path);
        let url = if route == Route::SignedIn { format!("{url}/corp") } else { url };
        let (read, sent) = (Browser::default().get(&url), Browser::default().post(&url, &[]));
        assert_eq!((read.status, sent.status), of_the_authorization_server(route), "{place} {route:?}: {read:?} {sent:?}");
        refuses_other_methods(gateway.port, read.url.path(), "", read.status);
        refuses_other_methods(gateway.port, read.url.path(), &bearer("nonsense"), read.status);
        for page in [read, sent] {
            assert!(!page.html.contains("notes") && !page.html.contains("access_token"), "{route:?}: {page:?}");
        }
    }
    for place in ["", "/t/acme"] {
        let get = |path: &str| Browser::default().get(&gateway.url(&format!("{place}{path}")));
        let page = get("/connect");
        assert!(page.status == 303 && page.location.is_some_and(|to| to.path() == format!("{place}/oauth/login")));
        assert_eq!((get("/connect/callback?state=x&code=y").status, get("/connect/x").status), (404, 404));
    }
}

/// The port at which a process listens.
fn listening(id: u32) -> Option<u16> {
    let sockets = fs::read_dir(format!("/proc/{id}/fd")).ok()?.flatten().filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    let sockets: Vec<String> = sockets.map(|target| target.to_string_lossy().replace("socket:", "")).collect();
    let table = fs::read_to_string(format!("/proc/{id}/net/tcp")).ok()?;
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut listeners = lines.filter(|fields| fields[3] == "0A" && sockets.contains(&format!("[{}]", fields[9])));
    u16::from_str_radix(listeners.next()?[1].split_once(':')?.1, 16).ok()
}

#[test]
fn beside_stdio_nothing_is_open_but_the_page_of_grants() {
    let project = Project::new("[servers.far]\nurl = \"http://127.0.0.1:1/mcp\"\ncredential = { per_user = {} }\n");
    let mut gateway = project.sallyport().arg("stdio").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut port = None;
    eventually("the door is open", Duration::from_secs(30), || {
        port = listening(gateway.id());
        port.is_some()
    });
    let port = port.unwrap();
    let read = |path: &str| status(&loopback::get(port, path).unwrap());
    assert_eq!(read("/connect"), 200);
    refuses_other_methods(port, "/connect", "", 200);
    for path in DOORS.map(|door| format!("/{door}")).into_iter().chain(Page::ALL.map(|page| page.path().to_owned())).chain(["/".to_owned()])
    {
        if path != Page::Connect.path() {
            assert_eq!(read(&path), 404, "{path}");
            refuses_other_methods(port, &path, "", 404);
        }
    }
    drop(gateway.stdin.take());
    assert!(gateway.wait().unwrap().success());
}

//! No way in that nobody tested: every route that the program has is tried by somebody who shows nothing.

use std::fs;

use sallyport_gateway::pages::Page;
use sallyport_identity::authorization_server::Route;
use sallyport_transport::server::DOORS;

use crate::browser::Browser;
use crate::harness::gateway::Project;
use crate::harness::http::Connection;
use crate::harness::loopback;
use crate::{trusting, write_private};

/// What a stranger is answered by a page, who reads it and who sends it an empty form. A page that is new makes this incomplete, and the test
/// does not compile.
fn to_a_stranger(page: Page) -> (u16, u16) {
    match page {
        // For machines that watch, who are told no names.
        Page::Health | Page::Ready => (200, 200),
        Page::Metrics => (401, 401),
        // Where a stranger finds out how to get in; the same for names that there are and others.
        Page::ResourceMetadata => (200, 200),
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

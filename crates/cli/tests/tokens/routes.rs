//! No way in that nobody tested: every route that the program has is tried by somebody who shows nothing.

use sallyport_gateway::pages::Page;
use sallyport_transport::server::DOORS;

use crate::harness::loopback;
use crate::trusting;

/// What a stranger is answered by a page. A page that is new makes this incomplete, and the test does not compile.
fn to_a_stranger(page: Page) -> u16 {
    match page {
        // For machines that watch, who are told no names.
        Page::Health | Page::Ready => 200,
        Page::Metrics => 401,
        // Where a stranger finds out how to get in; the same for names that there are and others.
        Page::ResourceMetadata => 200,
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
    }
}

#[test]
fn a_page_says_to_a_stranger_no_more_than_it_should() {
    let (_provider, project) = trusting();
    let gateway = project.up();
    for page in Page::ALL {
        let answer = loopback::get(gateway.port, page.path()).unwrap();
        assert_eq!(status(&answer), to_a_stranger(page), "{}: {answer}", page.path());
        assert!(!answer.contains("notes"), "{} tells a server's name: {answer}", page.path());
    }
    let there = loopback::get(gateway.port, "/.well-known/oauth-protected-resource/servers/notes/mcp").unwrap();
    let not_there = loopback::get(gateway.port, "/.well-known/oauth-protected-resource/servers/other/mcp").unwrap();
    let body = |answer: &str| answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!(body(&there).replace("notes", "other"), body(&not_there), "it does not tell which servers there are");
}

//! npm `@playwright/mcp` with Debian's Chromium, in the boundary `os` and under the profile of `docs/guides/browser.md`.

use serde_json::json;

use crate::harness::gateway::Project;
use crate::harness::{loopback, peers};
use crate::session::Session;

/// What the guide tells to write, with `PORT` for where the page is served. The test below looks that it does.
const PROFILE: &str = r#"read = ["/etc/chromium.d", "/etc/fonts"]
seccomp = ["+local-sockets"]
limits = { processes = 256, tmp_mb = 512 }"#;

const PAGE: &str = "<!doctype html><html><head><title>Harbour</title></head><body><h1>Harbour</h1>\
    <button onclick=\"document.getElementById('state').textContent = 'cast off'\">Cast off</button><p id=state>moored</p></body></html>";

#[test]
#[ignore = "needs the peers that `cargo xtask peers` installs"]
fn playwright_drives_chromium() {
    let port = loopback::serve_page(PAGE);
    let elsewhere = loopback::serve_page(PAGE);
    let (node, server) = (peers::node(), peers::npm("@playwright/mcp/cli.js"));
    let options = r#""--headless", "--isolated", "--no-sandbox", "--executable-path", "/usr/bin/chromium""#;
    // Root can give the gateway a name for this machine; the browser then finds it by the gateway's answers alone.
    let is_root = rustix::process::geteuid().is_root();
    let (host, network) = match is_root {
        true => ("harbour.test", format!("[\"harbour.test:{port}\", \"127.0.0.1:{port}\"]")),
        false => ("127.0.0.1", format!("[\"127.0.0.1:{port}\"]")),
    };
    let project =
        Project::new(&format!("[servers.browser]\ncommand = [{node:?}, {server:?}, {options}]\nnetwork = {network}\n{PROFILE}\n"));
    let gateway = if is_root { project.up_knowing("127.0.0.1 harbour.test\n") } else { project.up() };
    let mut session = Session::open(gateway.port, "/servers/browser/mcp");
    assert!(["browser_navigate", "browser_snapshot", "browser_click"].iter().all(|tool| session.tools().iter().any(|name| name == tool)));
    let mut call = |tool: &str, arguments: serde_json::Value| {
        let called = session.call(tool, &arguments);
        assert!(!called.is_error(), "{tool}: {}\n{}", called.words(), gateway.log());
        called.words()
    };

    let opened = call("browser_navigate", json!({ "url": format!("http://{host}:{port}/") }));
    assert!(opened.contains("Page Title: Harbour"), "{opened}");
    let before = call("browser_snapshot", json!({}));
    assert!(before.contains("moored") && !before.contains("paragraph: cast off"), "{before}");
    let button = before.split_once("\"Cast off\" [ref=").and_then(|(_, rest)| rest.split_once(']')).map(|(name, _)| name.to_owned());
    call("browser_click", json!({ "element": "Cast off", "target": button.expect("the button has a name") }));
    let after = call("browser_snapshot", json!({}));
    assert!(after.contains(": cast off") && !after.contains("moored"), "{after}");

    let refused = session.call("browser_navigate", &json!({ "url": format!("http://127.0.0.1:{elsewhere}/") }));
    assert!(refused.is_error() && !refused.words().contains("Harbour"), "{}", refused.words());
    assert!(!session.call("browser_close", &json!({})).is_error());
}

#[test]
fn the_guide_tells_the_profile_that_is_tested() {
    let guide = std::fs::read_to_string(peers::repository().join("docs/guides/browser.md")).expect("the guide is there");
    assert!(guide.contains(PROFILE));
}

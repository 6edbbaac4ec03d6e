//! PyPI `mcp-server-fetch`, which fetches a page from this machine.

use serde_json::json;

use super::{Server, command, keeps_nothing, stable, stdio_configuration};
use crate::harness::{loopback, peers};
use crate::visit::Step;

const PAGE: &str = "<!doctype html><html><head><title>A page</title></head><body><article><h1>A page</h1>\
    <p>It has a paragraph that is long enough for whoever looks for the main part of a page to take it for that, with \
    <a href=\"/elsewhere\">a link</a> and a little <em>stress</em>.</p><p>And a second one.</p></article></body></html>";

pub(crate) fn server() -> Server {
    let port = loopback::serve_page(PAGE);
    let page = format!("http://127.0.0.1:{port}/page");
    let direct = command(vec![peers::pypi_mcp_1("mcp-server-fetch"), "--ignore-robots-txt".to_owned()], &[]);
    let configuration = format!("{}network = [\"127.0.0.1:{port}\"]\n", stdio_configuration(&direct));
    let steps = vec![
        stable(Step::list("tools/list")),
        stable(Step::list("prompts/list")),
        stable(Step::call("fetch", &json!({ "url": page }))),
        stable(Step::call("fetch", &json!({ "url": page, "raw": true, "max_length": 40, "start_index": 10 }))),
        stable(Step::prompt("fetch", &json!({ "url": page }))),
    ];
    Server {
        name: "fetch",
        direct,
        configuration,
        steps,
        not_called: vec![],
        asking: vec![],
        remembering: vec![],
        one_sided: vec![],
        reset: keeps_nothing(),
    }
}

//! PyPI `mcp-server-time`.

use serde_json::json;

use super::{Server, command, keeps_nothing, stable, stdio_configuration, unstable};
use crate::harness::peers;
use crate::visit::Step;

pub(crate) fn server() -> Server {
    let direct = command(vec![peers::pypi_mcp_1("mcp-server-time"), "--local-timezone".to_owned(), "UTC".to_owned()], &[]);
    let configuration = stdio_configuration(&direct);
    let steps = vec![
        stable(Step::list("tools/list")),
        unstable(Step::call("get_current_time", &json!({ "timezone": "Asia/Tokyo" })), &["/content/0/text"], "time goes on"),
        unstable(
            Step::call("convert_time", &json!({ "source_timezone": "Asia/Tokyo", "time": "12:30", "target_timezone": "UTC" })),
            &["/content/0/text"],
            "it tells the day as well, which may change between two runs",
        ),
        stable(Step::call("get_current_time", &json!({ "timezone": "Nowhere/Land" }))),
    ];
    Server {
        name: "time",
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

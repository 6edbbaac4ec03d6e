//! The gateway's endpoints as a client sees them: how steps are addressed there, and how answers read without the
//! gateway's own additions.

use serde_json::{Value, json};

use crate::visit::Step;

/// One way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `/mcp` or `sallyport stdio`: all servers, with names and URIs that tell them apart.
    Merged,
    /// `/servers/NAME/mcp`: one server under its own names.
    Single,
}

impl Endpoint {
    /// The step as it has to be asked here to reach `server`.
    pub(crate) fn address(self, server: &str, step: &Step) -> Step {
        let mut step = step.clone();
        if self == Self::Single {
            return step;
        }
        let prompt_reference = step.params["ref"]["type"] == json!("ref/prompt");
        match step.method {
            "tools/call" | "task" | "prompts/get" => expose_name(&mut step.params["name"], server),
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => expose_uri(&mut step.params["uri"], server),
            "completion/complete" if prompt_reference => expose_name(&mut step.params["ref"]["name"], server),
            "completion/complete" => expose_uri(&mut step.params["ref"]["uri"], server),
            _ => {}
        }
        step
    }

    /// The text of an answer with the server's part taken off names and URIs again.
    pub(crate) fn read(self, server: &str, text: &str) -> String {
        if self == Self::Single {
            return text.to_owned();
        }
        let name = format!("\"name\":\"{server}__");
        let uri = format!("\"{}", uri_prefix(server));
        text.replace(&name, "\"name\":\"").replace(&uri, "\"")
    }

    /// Whether an entry of a list belongs to `server`.
    pub(crate) fn is_of(self, server: &str, entry: &Value) -> bool {
        let starts = |key: &str, prefix: &str| entry[key].as_str().is_some_and(|text| text.starts_with(prefix));
        let uri = uri_prefix(server);
        self == Self::Single || starts("name", &format!("{server}__")) || starts("uri", &uri) || starts("uriTemplate", &uri)
    }
}

fn uri_prefix(server: &str) -> String {
    format!("{server}.mcp:")
}

fn expose_name(name: &mut Value, server: &str) {
    *name = json!(format!("{server}__{}", name.as_str().unwrap_or_default()));
}

fn expose_uri(uri: &mut Value, server: &str) {
    *uri = json!(format!("{}{}", uri_prefix(server), uri.as_str().unwrap_or_default()));
}

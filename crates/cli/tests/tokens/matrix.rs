//! Who may do what where: every principal at every endpoint with every action, as a table.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::{KEY, resource, trusting};

/// What is tried, by its name in the table; tools by the name that an endpoint has for them.
const ACTIONS: [&str; 5] = ["list", "look", "write", "read", "unknown"];

fn attempt(caller: &Caller, endpoint: &str, action: &str) -> String {
    let tool = |name: &str| if endpoint.starts_with("/servers/") { name.to_owned() } else { format!("files__{name}") };
    let call = |name: &str, arguments: Value| json!({ "name": tool(name), "arguments": arguments });
    let (method, params) = match action {
        "list" => ("tools/list", json!({})),
        "look" => ("tools/call", call("list_directory", json!({ "path": "." }))),
        "write" => ("tools/call", call("write_file", json!({ "path": "new.txt", "content": "x" }))),
        "read" => ("resources/list", json!({})),
        _ => ("tools/call", call("no_such_tool", json!({}))),
    };
    let answer = caller.ask(endpoint, method, params);
    let message: Value = answer.message().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let scope = answer.header("www-authenticate").filter(|_| answer.status == 403).and_then(|header| crate::parameter(header, "scope"));
    match (&message["result"], scope) {
        (_, Some(scope)) => format!("403 needs {scope}"),
        (Value::Object(result), _) if result.get("isError") == Some(&json!(true)) => format!("{} tool error", answer.status),
        (Value::Object(result), _) => match result.get("tools").and_then(Value::as_array) {
            Some(tools) => format!("{} {} tools", answer.status, tools.len()),
            None => format!("{} ok", answer.status),
        },
        _ => format!("{} {}", answer.status, message["error"]["code"]),
    }
}

#[test]
fn who_may_do_what_where() {
    let (provider, project) = trusting();
    let gateway = project.up();
    let token = |endpoint: &str, scope: &str| Some(provider.token(&resource(endpoint), scope));
    let given = project.sallyport().args(["key", "add", "reader", "--scope", "mcp:read"]).output().unwrap();
    let principals = [
        ("nobody", None),
        ("nonsense", Some("nonsense".to_owned())),
        ("configured key", Some(KEY.to_owned())),
        ("key for mcp:read", Some(String::from_utf8(given.stdout).unwrap().trim().to_owned())),
        ("/mcp, mcp", token("/mcp", "mcp")),
        ("/mcp, files:read", token("/mcp", "files:read")),
        ("/mcp, none", token("/mcp", "")),
        ("files, files", token("/servers/files/mcp", "files")),
        ("files, files:write_file", token("/servers/files/mcp", "files:write_file")),
        ("files, notes", token("/servers/files/mcp", "notes")),
        ("notes, notes", token("/servers/notes/mcp", "notes")),
        ("look, files:list_directory", token("/toolsets/look/mcp", "files:list_directory")),
    ];
    let mut table = String::from("| principal | endpoint |");
    ACTIONS.iter().for_each(|action| write!(table, " {action} |").unwrap());
    table.push_str("\n| --- | --- | --- | --- | --- | --- | --- |\n");
    for (name, token) in principals {
        let caller = Caller { port: gateway.port, token };
        for endpoint in ["/mcp", "/servers/files/mcp", "/servers/notes/mcp", "/toolsets/look/mcp", "/servers/none/mcp"] {
            let cells: Vec<String> = ACTIONS.iter().map(|action| attempt(&caller, endpoint, action)).collect();
            writeln!(table, "| {name} | {endpoint} | {} |", cells.join(" | ")).unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

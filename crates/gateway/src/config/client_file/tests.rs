#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::*;
use crate::config::model::Value as Written;
use crate::config::template::verbatim;
use crate::plan::RemoteTransport;

fn variables(name: &str) -> Option<String> {
    matches!(name, "HOME" | "TOKEN").then(|| format!("value of {name}"))
}

fn read_here(text: &str) -> Result<ClientFile, Vec<Diagnostic>> {
    read(text, &Setting { folder: Path::new("/home/me/project"), variables: &variables })
}

fn told(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|diagnostic| format!("{:?} {diagnostic}\n", diagnostic.place.map(|place| (place.line, place.column)))).collect()
}

fn written(text: &str) -> Written {
    Written::Written(text.to_owned())
}

#[test]
fn the_common_shape_is_taken_as_it_is() {
    let file = read_here(
        r#"{
  // what Claude and Cursor write
  "mcpServers": {
    "everything": { "command": "npx", "args": ["-y", "@modelcontextprotocol/server-everything"], "env": { "A": "b", "N": 1, "T": true, "Z": null } },
    "remote": { "type": "http", "url": "https://mcp.example.com/mcp", "headers": { "Authorization": "Bearer ${TOKEN}" } },
    "old": { "type": "sse", "url": "https://mcp.example.com/sse" },
    "off": { "command": "x", "disabled": true, "autoApprove": [], },
  },
}"#,
    )
    .unwrap();
    let servers = &file.config.servers;
    assert_eq!(servers["everything"].command.as_deref().unwrap(), ["npx", "-y", "@modelcontextprotocol/server-everything"]);
    assert_eq!(
        servers["everything"].env,
        BTreeMap::from([("A".into(), written("b")), ("N".into(), written("1")), ("T".into(), written("true"))])
    );
    assert_eq!(servers["remote"].transport, RemoteTransport::StreamableHttp);
    assert_eq!(servers["remote"].headers["Authorization"], written("Bearer ${env:TOKEN}"));
    assert_eq!(servers["old"].transport, RemoteTransport::Sse);
    assert!(servers["off"].disabled);
    assert!(file.warnings.is_empty(), "{:?}", file.warnings);
}

#[test]
fn variables_are_references_or_their_defaults() {
    let file = read_here(
        r#"{ "mcpServers": { "a": {
            "command": "${HOME}/bin/a",
            "args": ["${TOKEN:-x}", "${UNSET:-fall${back", "$HOME", "${workspaceFolder}/x", "${UNSET:-}"],
            "cwd": "${workspaceFolder}",
            "env": { "A": "${env:TOKEN}", "B": "file:./x", "C": "file:${TOKEN}" },
        } } }"#,
    )
    .unwrap();
    let server = &file.config.servers["a"];
    assert_eq!(
        server.command.as_deref().unwrap(),
        ["value of HOME/bin/a", "${env:TOKEN}", "$${UNSET:-fall$${back", "$HOME", "/home/me/project/x", ""]
    );
    assert_eq!(server.cwd.as_deref(), Some("/home/me/project"));
    assert_eq!(server.env["A"], written("env:TOKEN"));
    assert_eq!(server.env["B"], verbatim("file:./x"));
    assert_eq!(crate::config::template::of_value(&server.env["C"]).unwrap().to_string(), "file:${env:TOKEN}");
}

#[test]
fn vs_codes_inputs_become_variables_and_say_so() {
    let file = read_here(
        r#"{ "inputs": [{ "id": "github-token", "type": "promptString", "password": true }],
             "servers": { "github": { "type": "stdio", "command": "gh", "env": { "T": "${input:github-token}" } } } }"#,
    )
    .unwrap();
    assert_eq!(file.config.servers["github"].env["T"], written("env:GITHUB_TOKEN"));
    let told = told(&file.warnings);
    insta::assert_snapshot!(told);
}

#[test]
fn zeds_shapes_are_taken_old_and_new() {
    let file = read_here(
        r#"{ "theme": "One Dark", "context_servers": {
            "new": { "source": "custom", "command": "a", "args": ["b"], "env": {} },
            "old": { "command": { "path": "a", "args": ["b"], "env": { "C": "d" } }, "settings": {} },
            "extension": { "source": "extension", "settings": {} },
            "off": { "enabled": false, "command": "a" },
        } }"#,
    )
    .unwrap();
    let servers = &file.config.servers;
    assert_eq!(servers["new"].command, servers["old"].command);
    assert_eq!(servers["old"].env["C"], written("d"));
    assert!(servers["off"].disabled && !servers.contains_key("extension"));
    let told = told(&file.warnings);
    insta::assert_snapshot!(told);
}

#[test]
fn claude_codes_projects_are_those_of_this_folder() {
    let file = read_here(
        r#"{ "mcpServers": { "mine": { "command": "a" } }, "projects": {
            "/home/me/project": { "mcpServers": { "here": { "command": "b" } } },
            "/other": { "mcpServers": { "there": { "command": "c" } } } } }"#,
    )
    .unwrap();
    assert_eq!(file.config.servers.keys().collect::<Vec<_>>(), ["here", "mine"]);
}

#[test]
fn a_name_that_does_not_fit_is_changed_and_said() {
    let file =
        read_here(r#"{ "mcpServers": { "My Server (beta)": { "command": "a" }, "a__b": { "command": "a" }, "mcp": { "command": "a" } } }"#)
            .unwrap();
    assert_eq!(file.config.servers.keys().collect::<Vec<_>>(), ["My-Server-beta", "a-b", "mcp-server"]);
    assert_eq!(file.own_paths.own("servers.a-b.command[2]"), "mcpServers.a__b.args[1]");
    let told = told(&file.warnings);
    insta::assert_snapshot!(told);
}

#[test]
fn everything_wrong_is_told_at_once() {
    let errors = read_here(
        r#"{ "mcpServers": {
  "a b": { "command": "a" },
  "a-b": { "command": "a" },
  "c": [],
  "d": { "command": 1, "args": "x" },
  "e": { "command": "${UNSET}/x", "args": ["${config:x}", {}], "env": ["A=b"] },
  "f": { "url": "https://a.com", "type": "ws" } } }"#,
    )
    .unwrap_err();
    let told = told(&errors);
    insta::assert_snapshot!(told);
}

#[test]
fn a_file_without_servers_says_where_they_are_expected() {
    for text in ["", "[]", "{}", "{\"mcpServers\": []}", "nonsense", "{'a': 1}", "{\"a\" 1}"] {
        assert_eq!(read_here(text).unwrap_err().len(), 1, "{text}");
    }
}

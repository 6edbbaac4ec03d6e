#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::*;

fn http(client: Client) -> Entry {
    Entry::new(client, &Way::Http { url: "http://127.0.0.1:7420/mcp".into(), key: None })
}

fn stdio(client: Client) -> Entry {
    Entry::new(
        client,
        &Way::Stdio { program: "/bin/sallyport".into(), arguments: vec!["--config".into(), "/p/sallyport.toml".into(), "stdio".into()] },
    )
}

const COMMENTED: &str = r#"// mine
{
  "theme": "One Dark", /* why not */
  "context_servers": {
    // kept
    "z": { "command": "z" },
    "a": { "command": "a" }, // last
  },
  "after": [1, 2,],
}
"#;

#[test]
fn an_entry_is_added_and_nothing_else_moves() {
    let new = insert(COMMENTED, &http(Client::Zed)).unwrap();
    for kept in ["// mine", "/* why not */", "// kept", "// last", "\"after\": [1, 2,],"] {
        assert!(new.contains(kept), "{kept} is gone: {new}");
    }
    assert!(new.find("\"z\"") < new.find("\"a\"") && new.find("\"a\"") < new.find("\"sallyport\""), "{new}");
    assert_eq!(insert(&new, &http(Client::Zed)).unwrap(), new, "a second time changes nothing");
    assert_eq!(remove(&new, Client::Zed).unwrap().unwrap(), COMMENTED, "taking it out brings the file back");
}

#[test]
fn an_entry_of_another_kind_takes_the_place_of_the_first() {
    let first = insert(COMMENTED, &http(Client::Zed)).unwrap();
    let second = insert(&first, &stdio(Client::Zed)).unwrap();
    assert!(!second.contains("7420") && second.contains("/bin/sallyport"), "{second}");
    assert_eq!(second.matches("\"sallyport\"").count(), 1);
}

#[test]
fn a_file_is_made_where_there_is_none() {
    for client in Client::ALL {
        for entry in [http(client), stdio(client)] {
            let new = insert("", &entry).unwrap();
            assert_eq!(insert(&new, &entry).unwrap(), new);
            assert!(new.ends_with('\n') && !new.ends_with("\n\n"), "{client:?}: {new:?}");
            let without = remove(&new, client).unwrap().unwrap();
            assert!(is_empty(&without), "{client:?}: {without}");
        }
    }
}

#[test]
fn codexs_file_keeps_its_comments_and_order() {
    let text = "# mine\nmodel = \"o\" # big\n\n[mcp_servers.z]\ncommand = \"z\"\n\n[tui]\ntheme = \"x\"\n";
    let new = insert(text, &http(Client::Codex)).unwrap();
    insta::assert_snapshot!(new);
    assert_eq!(insert(&new, &http(Client::Codex)).unwrap(), new);
    assert_eq!(remove(&new, Client::Codex).unwrap().unwrap(), text);
}

#[test]
fn a_file_that_is_not_understood_is_left_alone() {
    for text in ["[]", "1", "{\"mcpServers\": []}", "{'a': 1}", "{\"a\": 1", "{ a: 1 }", "{} {}"] {
        assert!(insert(text, &http(Client::Cursor)).is_err(), "{text}");
    }
    assert!(insert("a = ", &http(Client::Codex)).is_err());
    assert!(insert("mcp_servers = 1", &http(Client::Codex)).is_err());
    assert_eq!(remove("{}", Client::Cursor), Ok(None));
}

#[test]
fn each_client_gets_the_entry_that_it_understands() {
    let key = Way::Http { url: "http://127.0.0.1:7420/mcp".into(), key: Some("SALLYPORT_KEY".into()) };
    let entries = |client| [http(client), stdio(client), Entry::new(client, &key)];
    let all: Vec<String> =
        Client::ALL.into_iter().flat_map(entries).map(|entry| format!("{:?}\n{}", entry.client, entry.to_text())).collect();
    let all = all.join("\n\n");
    insta::assert_snapshot!(all);
}

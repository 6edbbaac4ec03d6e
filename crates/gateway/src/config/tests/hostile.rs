//! Files that nobody means well with.

use proptest::prelude::*;

use super::*;

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let project = Project::new();
    let largest = usize::try_from(LARGEST_FILE).unwrap();
    project.write("large.toml", " ".repeat(largest + 1));
    assert!(project.told("large.toml").contains("larger than 16 MiB"));
    project.write("fits.toml", " ".repeat(largest));
    project.load("fits.toml").unwrap();
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_place() {
    let project = Project::new();
    project.write("bytes.toml", b"listen = \"\xff\"");
    assert!(project.told("bytes.toml").contains("byte 10 is not part of a character"));
}

#[test]
fn a_byte_order_mark_is_no_error() {
    let project = Project::new();
    project.write("mark.toml", "\u{feff}listen = \"127.0.0.1:1\"");
    project.load("mark.toml").unwrap();
}

#[test]
fn nesting_without_end_is_refused_and_does_not_overflow_the_stack() {
    let project = Project::new();
    for depth in [1_000, 100_000] {
        project.write("deep.toml", format!("a = {}", "[".repeat(depth)));
        assert!(project.load("deep.toml").is_err());
        project.write("deep.toml", format!("a = {}", "{a=".repeat(depth)));
        assert!(project.load("deep.toml").is_err());
        project.write("deep.toml", format!("[{}a]", "a.".repeat(depth)));
        assert!(project.load("deep.toml").is_err());
        project.write("deep.json", format!("{{\"mcpServers\":{}", "[".repeat(depth)));
        assert!(project.load("deep.json").is_err());
        project.write("deep.json", "{\"mcpServers\":".repeat(depth));
        assert!(project.load("deep.json").is_err());
    }
}

#[test]
fn a_key_said_twice_is_an_error() {
    let told = told_of_toml("[servers.a]\ncommand = [\"a\"]\n[servers.a]\ncommand = [\"b\"]\n");
    assert!(told.contains("3:") && told.contains("duplicate key"), "{told}");
    let project = Project::new();
    project.write("twice.json", r#"{ "mcpServers": { "a": { "command": "a" }, "a": { "command": "b" } } }"#);
    assert!(project.told("twice.json").contains("both come out as the server `a`"));
}

#[test]
fn a_name_that_would_leave_its_folder_or_its_line_is_no_name() {
    for name in ["", "..", "../x", "a/b", "a\\nb", "a__b", "-a", "_a", "a_", "é", "a.b", &"a".repeat(33)] {
        let told = told_of_toml(&format!("[servers.\"{name}\"]\ncommand = [\"a\"]\n"));
        assert!(told.contains("cannot be a name"), "{name}: {told}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        let _ = crate::config::toml_file::read(&text);
        let setting = client_file::Setting { folder: Path::new("/project"), variables: &|_| None };
        let _ = client_file::read(&text, &setting);
        let _ = client_file::read(&format!("{{\"mcpServers\":{{\"a\":{{\"command\":{text:?}}}}}}}"), &setting);
    }

    #[test]
    fn any_value_is_kept_or_refused_but_never_changed(text in "\\PC{0,60}") {
        let template = crate::config::template::of_value(&verbatim(&text)).unwrap();
        prop_assert_eq!(template.as_text(), Some(text.as_str()));
    }

    #[test]
    fn any_client_name_becomes_a_name_that_fits(name in "\\PC{0,60}") {
        prop_assert!(crate::config::validate::is_name(&client_file::fitting_name(&name)));
    }
}

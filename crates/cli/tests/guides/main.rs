//! README and the guides are true: each piece of a configuration in them is accepted, also with those above it on the page, and the cases for
//! policies come out as they say. (That each command is one is a test of `arguments`.)
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod pages;
mod written;

use std::fs;
use std::process::Command;
use std::sync::Arc;

use sallyport_gateway::config::{self, Invocation};

use self::pages::Page;
use self::written::Written;

/// Reads what a page has come to, as the gateway does, the policies of the page beside it.
fn read(page: &Page, written: &Written) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("policies")).unwrap();
    for block in &page.blocks {
        for name in ["main", "next"] {
            fs::write(folder.path().join(format!("policies/{name}.{}", block.language)), &block.text).unwrap();
        }
    }
    fs::write(folder.path().join("sallyport.toml"), written.to_string()).unwrap();
    let variables = |name: &str| (name == "HOME").then(|| "/home/me".to_owned());
    let invocation = Invocation { file: None, listen: None, folder: folder.path().to_owned(), variables: Arc::new(variables) };
    let told = |errors: Vec<config::Diagnostic>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    config::load(&invocation).map(|_| ()).map_err(told)
}

#[test]
fn every_piece_of_a_configuration_is_accepted() {
    let mut wrong = String::new();
    let mut read_in_all = 0;
    for page in pages::all() {
        let mut written = Written::default();
        for block in page.blocks.iter().filter(|block| block.language == "toml" && !block.text.contains("[[case]]")) {
            read_in_all += 1;
            let added = written.add(&block.text).map_err(|error| error.to_string());
            if let Err(error) = added.and_then(|()| read(&page, &written)) {
                wrong += &format!("{}:{}: {error}\n", page.name, block.line);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(read_in_all > 30, "only {read_in_all} were found");
}

/// What the policies of the guide are about, here without a server to be reached.
const DATABASE: &str = r#"
[servers.db]
builtin = { database = { sqlite = "shop.db", tables = ["orders", "customers", "salaries"] } }
"#;

/// `sallyport policy test` of the guide's cases under the guide's configuration with `engine`, of which `text` is the policy.
fn run_the_cases(engine: &str, text: &str) -> String {
    let page = pages::guide("policy");
    let folder = tempfile::tempdir().unwrap();
    let mut written = Written::default();
    written.add(DATABASE).unwrap();
    for part in ["[servers.github]", "[[servers.db.arguments]]       #"] {
        written.add(page.block("toml", part)).unwrap();
    }
    let file = format!("policies/main.{engine}");
    written.add(&format!("policy.engines = [{{ {engine} = {{ files = [{file:?}] }} }}]")).unwrap();
    fs::create_dir(folder.path().join("policies")).unwrap();
    fs::write(folder.path().join(file), text).unwrap();
    fs::write(folder.path().join("sallyport.toml"), written.to_string()).unwrap();
    fs::write(folder.path().join("policy-tests.toml"), page.block("toml", "[[case]]")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sallyport"));
    command.args(["policy", "test", "policy-tests.toml"]).current_dir(folder.path()).env_clear().env("HOME", folder.path());
    let output = command.output().unwrap();
    let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(output.status.success(), "{told}\n{written}");
    told
}

#[test]
fn the_cases_of_the_guide_pass_under_its_policies_in_cedar() {
    let told = run_the_cases("cedar", pages::guide("policy").block("cedar", "Group::\"analysts\""));
    assert!(told.ends_with("2 cases, 0 failed\n"), "{told}");
}

#[test]
fn the_cases_of_the_guide_pass_under_its_policies_in_rego() {
    let told = run_the_cases("rego", pages::guide("policy").block("rego", "package sallyport"));
    assert!(told.ends_with("2 cases, 0 failed\n"), "{told}");
}

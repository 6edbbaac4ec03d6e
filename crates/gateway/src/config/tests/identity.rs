//! Whose word is taken for who calls.

use super::{told_of_toml, toml};

#[test]
fn every_slip_about_issuers_is_told_at_once() {
    insta::assert_snapshot!(told_of_toml(
        r#"
public_url = "https://mcp.example.com/mcp"

[identity.issuers.main]
issuer = "https://login.example.com/?tenant=a"

[identity.issuers.plain]
issuer = "http://login.example.com"

[identity.issuers."not a name"]
issuer = "https://login.example.com"
algorithms = []
audiences = { "api://x" = "mcp" }
introspection = { client_id = "a", client_secret = "env:SECRET" }

[identity.issuers.twice]
issuer = "https://login.example.com"
introspection = { client_id = "a", client_secret = "env:SECRET" }

[servers.mcp]
url = "https://a.example.com"
"#
    ));
}

#[test]
fn tokens_need_an_address_that_they_are_for() {
    insta::assert_snapshot!(told_of_toml("[identity.issuers.main]\nissuer = \"https://login.example.com\"\n"));
}

#[test]
fn there_is_no_symmetric_algorithm() {
    let told = told_of_toml("[identity.issuers.main]\nissuer = \"https://login.example.com\"\nalgorithms = [\"HS256\"]\n");
    assert!(told.contains("unknown value `HS256`"), "{told}");
}

#[test]
fn an_issuer_or_keys_of_its_own_close_the_gateway_too() {
    let beyond = "listen = \"0.0.0.0:7420\"\nbehind_proxy = true\n";
    toml(&format!("{beyond}[identity]\napi_keys = true\n")).unwrap();
    let issuer = "public_url = \"https://mcp.example.com\"\n[identity.issuers.main]\nissuer = \"https://login.example.com/realms/a\"\n";
    let plan = toml(&format!("{beyond}{issuer}")).unwrap();
    assert_eq!(plan.identity.issuers[0].terms.issuer, "https://login.example.com/realms/a");
    assert_eq!(plan.public_url.unwrap().to_string(), "https://mcp.example.com");
}

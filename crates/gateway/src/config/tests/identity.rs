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

/// Keys of our own and certificates have scopes as tokens have.
#[test]
fn no_server_has_the_name_of_the_scope_of_all() {
    let server = "servers.mcp]\nurl = \"https://a.example.com\"\n";
    let told = "servers.mcp: whoever may use this server alone could use everything: `mcp` is the scope of all\n  hint: ";
    for config in ["[", "[identity]\napi_keys = true\n[", "[tenants.acme.identity]\napi_keys = true\n[tenants.acme."] {
        let found = told_of_toml(&format!("{config}{server}"));
        assert!(found.contains(told), "{config}: {found}");
    }
    toml(&format!("[{}", server.replace("servers.mcp", "servers.mcp-server"))).unwrap();
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
    let beyond = "listen = \"0.0.0.0:7420\"\nbehind_proxy = true\ntrusted_proxies = [\"10.0.0.5\"]\n";
    toml(&format!("{beyond}[identity]\napi_keys = true\n")).unwrap();
    let issuer = "public_url = \"https://mcp.example.com\"\n[identity.issuers.main]\nissuer = \"https://login.example.com/realms/a\"\n";
    let plan = toml(&format!("{beyond}{issuer}")).unwrap();
    assert_eq!(plan.identity.issuers[0].terms.issuer, "https://login.example.com/realms/a");
    assert_eq!(plan.public_url.unwrap().to_string(), "https://mcp.example.com");
}

#[test]
fn a_provider_to_log_in_with_says_who_may_come_in() {
    let config = |more: &str| {
        format!(
            "public_url = \"https://mcp.example.com\"\n[identity.server.login.corp]\nissuer = \"https://idp.example.com\"\nclient = {{ id = \"us\" }}\n{more}\n"
        )
    };
    let told = |more: &str| told_of_toml(&config(more));
    assert!(told("").contains("nothing says who may come in"));
    assert!(told("anyone = true\nallowed_groups = [\"a\"]").contains("is bounded, and everybody may"));
    assert!(told("anyone = true\nscopes = [\"email\"]").contains("without `openid`"));
    assert!(told("anyone = true\nsubject_claim = \"preferred_username\"").contains("call themselves what others are called"));
    assert!(told("anyone = true\ngroups = { \"A B\" = \"a b\" }").contains("cannot be a group here"));
    let plain = told_of_toml(&config("anyone = true").replace("https://idp", "http://idp"));
    assert!(plain.contains("cannot be an issuer"), "{plain}");
    let plan = toml(&config("allowed_domains = [\"corp.example\"]")).unwrap();
    assert_eq!(plan.identity.server.unwrap().sign_ins["corp"].subject_claim, "sub");
}

#[test]
fn who_is_known_by_two_providers_is_known_by_the_same_claim() {
    let config = |providers: &str, claim: &str| {
        format!(
            "public_url = \"https://mcp.example.com\"\n[identity.server]\nproviders = [\"{providers}\"]\n\
             [identity.server.login.corp]\nissuer = \"https://idp.example.com\"\nclient = {{ id = \"us\" }}\nanyone = true\n\
             subject_claim = \"{claim}\"\n"
        )
    };
    for claim in ["email", "oid"] {
        let told = told_of_toml(&config("https://idp.example.com", claim));
        assert!(told.contains("identity.server.login.corp.subject_claim") && told.contains("two people here"), "{told}");
        toml(&config("https://other.example.com", claim)).unwrap();
    }
    toml(&config("https://idp.example.com", "sub")).unwrap();
}

#[test]
fn an_issuers_groups_are_those_that_the_configuration_says() {
    let config = |groups: &str| {
        format!("public_url = \"https://mcp.example.com\"\n[identity.issuers.main]\nissuer = \"https://idp.example.com\"\n{groups}\n")
    };
    assert!(told_of_toml(&config("groups = { \"A B\" = \"a b\" }")).contains("cannot be a group here"));
    let groups = |text: &str| toml(&config(text)).unwrap().identity.issuers[0].terms.groups.clone().unwrap();
    assert!(groups("").is_empty());
    assert_eq!(groups("groups = { \"Platform Team\" = \"staff\" }")["Platform Team"], "staff");
}

#[test]
fn certificates_are_mapped_by_names_that_they_have() {
    let tls = "tls = { certificate = \"c.pem\", key = \"k.pem\", client_ca = \"ca.pem\" }\n";
    let one = |certificate: &str| format!("[identity.certificates.ci]\ncertificate = \"{certificate}\"\n");
    assert!(told_of_toml(&one("dns:ci.example")).contains("nobody can show a certificate here"));
    for wrong in ["ci.example", "CN=ci", "dns:", "ip:192.0.2.1"] {
        assert!(told_of_toml(&format!("{tls}{}", one(wrong))).contains("is no name that a certificate has"), "{wrong}");
    }
    let two = format!("{tls}{}[identity.certificates.other]\ncertificate = \"dns:CI.example\"\n", one("dns:ci.example"));
    assert!(told_of_toml(&two).contains("this is the certificate of `ci` too"));
    let lonely = "tls = { certificate = \"c.pem\", key = \"k.pem\", client_auth = \"required\" }\n";
    assert!(told_of_toml(lonely).contains("nothing says whose certificates"));
    let beyond = format!("listen = \"0.0.0.0:7420\"\n{tls}{}", one("dns:CI.example"));
    let plan = toml(&beyond).unwrap();
    assert_eq!(plan.identity.certificates[0].certificate, "dns:ci.example");
    assert!(!plan.tls.unwrap().clients.unwrap().is_required);
}

#[test]
fn a_tenant_says_itself_who_signs_for_its_callers() {
    let door = "tls = { certificate = \"c.pem\", key = \"k.pem\", client_ca = \"ca.pem\" }\n";
    let callers = "[tenants.acme.identity.certificates.ci]\ncertificate = \"dns:ci.example\"\n";
    let own = "[tenants.acme.tls]\nclient_ca = \"acme.pem\"\nclient_revoked = \"acme.crl\"\n";
    let lonely = told_of_toml(&format!("{door}{callers}"));
    assert!(lonely.contains("tenants.acme.identity.certificates: nobody can show a certificate here"), "{lonely}");
    assert!(lonely.contains("`tenants.acme.tls.client_ca`"), "another's authority is not its own: {lonely}");
    let plain = told_of_toml(&format!("{own}{callers}"));
    assert!(
        plain.contains("tenants.acme.tls: nobody can show a certificate here") && plain.contains("`tls` of the file itself"),
        "{plain}"
    );
    let half = told_of_toml(&format!("{door}[tenants.acme]\ntls = {{ client_revoked = \"acme.crl\" }}\n{callers}"));
    assert!(half.contains("tenants.acme.tls: missing field `client_ca`"), "{half}");
    let missing = told_of_toml(&format!("{door}{own}{callers}"));
    for file in [
        "tls.client_ca: PROJECT/ca.pem",
        "tenants.acme.tls.client_ca: PROJECT/acme.pem",
        "tenants.acme.tls.client_revoked: PROJECT/acme.crl",
    ] {
        assert!(missing.contains(&format!("{file} is no file")), "{missing}");
    }

    let plan = toml(&format!("{door}{own}{callers}")).unwrap();
    let signing: Vec<&str> = plan.client_authorities().map(|authority| &*authority.tenant).collect();
    assert_eq!(signing, ["", "acme"]);
    assert_eq!(plan.tenants["acme"].identity.certificates[0].name, "ci");
    let required = door.replace("client_ca = \"ca.pem\"", "client_auth = \"required\"");
    let plan = toml(&format!("{required}{own}{callers}")).unwrap();
    assert!(plan.tls.unwrap().clients.unwrap().is_required, "where a tenant alone has somebody who signs, too");
}

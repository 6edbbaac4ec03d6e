//! What of the settings is a secret, and what code of packages may know while it is run.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::profile::EnvText;

/// What the name of a setting has in it whose value is a secret, or half of one.
const SECRET_NAMES: &[&str] =
    &["AUTH", "CERT_KEY", "CLIENT-CERT", "CLIENT_CERT", "CREDENTIAL", "KEYFILE", "PASSWORD", "SECRET", "TOKEN", "USERNAME"];

/// Variables that a build needs: where toolchains are, and where a crate comes from, which is part of its name.
const BUILD_VARIABLES: &[&str] = &["CARGO_REGISTRY_DEFAULT", "HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];

/// The tables of cargo's settings that a build follows.
const BUILD_TABLES: &[&str] = &["build", "net", "profile", "registries", "registry", "source", "target"];

/// What of a registry, and of a source that replaces one, a build follows.
const REGISTRY_KEYS: &[&str] = &["default", "directory", "index", "local-registry", "protocol", "registry", "replace-with"];

/// Whether a setting holds credentials.
pub(super) fn holds(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    in_an_address(value) || SECRET_NAMES.iter().any(|mark| name.contains(mark))
}

/// Whether an address in `text` has a user or a password: `https://USER:PASSWORD@HOST`.
fn in_an_address(text: &str) -> bool {
    let authority = |rest: &str| rest.split(|end: char| "/?#\"' ,;\t\n".contains(end)).next().is_some_and(|found| found.contains('@'));
    text.split("://").skip(1).any(authority)
}

/// The variables that say nothing but where things are.
pub(super) fn harmless(env: &BTreeMap<String, EnvText>) -> BTreeMap<String, EnvText> {
    let is_harmless = |name: &str, value: &str| {
        let of_a_source = name.starts_with("CARGO_SOURCE_") || (name.starts_with("CARGO_REGISTRIES_") && name.ends_with("_INDEX"));
        (BUILD_VARIABLES.contains(&name) || of_a_source) && !in_an_address(value)
    };
    env.iter().filter(|(name, value)| is_harmless(name, value.expose())).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What a file of cargo's settings says to a build. `None` if it is none.
pub(super) fn harmless_cargo(text: &str) -> Option<String> {
    let mut settings: Table = toml::from_str(text).ok()?;
    settings.retain(|name, _| BUILD_TABLES.contains(&name));
    for (name, table) in &mut settings {
        let Value::Table(table) = table else { continue };
        match name.as_str() {
            "registry" => table.retain(|key, _| REGISTRY_KEYS.contains(&key)),
            "registries" | "source" => {
                table
                    .iter_mut()
                    .filter_map(|(_, one)| one.as_table_mut())
                    .for_each(|one| one.retain(|key, _| REGISTRY_KEYS.contains(&key)));
            }
            _ => {}
        }
        remove_addresses(table);
    }
    toml::to_string(&settings).ok()
}

fn remove_addresses(table: &mut Table) {
    table.retain(|_, value| !in_an_address(&value.to_string()) || value.is_table());
    table.iter_mut().filter_map(|(_, value)| value.as_table_mut()).for_each(remove_addresses);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use super::*;

    #[test]
    fn credentials_are_known_wherever_settings_have_them() {
        for (name, value, expected) in [
            ("index-url", "https://pypi.example/simple", false),
            ("index-url", "https://user:password@pypi.example/simple", true),
            ("url", "\"https://token@pypi.example/simple\"", true),
            ("find-links", "https://pypi.example/a@b", false),
            ("UV_INDEX_OWN_PASSWORD", "x", true),
            ("uv_index_own_username", "x", true),
            ("client_cert", "/home/me/cert.pem", true),
            ("PIP_CERT", "/etc/ca.pem", false),
            ("timeout", "10", false),
        ] {
            assert_eq!(holds(name, value), expected, "{name} {value}");
        }
    }

    #[test]
    fn a_build_learns_where_crates_are_from_and_no_token() {
        let env = ["HOME", "CARGO_REGISTRIES_OWN_INDEX", "CARGO_REGISTRIES_OWN_TOKEN", "CARGO_REGISTRY_TOKEN", "HTTPS_PROXY", "NPM_TOKEN"];
        let env = env.into_iter().map(|name| (name.to_owned(), EnvText::from("value"))).collect();
        assert_eq!(harmless(&env).into_keys().collect::<Vec<_>>(), ["CARGO_REGISTRIES_OWN_INDEX", "HOME"]);

        let settings = "[registry]\ntoken = \"t1\"\ndefault = \"own\"\n[registries.own]\nindex = \"sparse+https://own.example/\"\ntoken = \"t2\"\n\
            [registries.other]\nindex = \"https://u:t3@other.example/\"\n[source.crates-io]\nreplace-with = \"here\"\n\
            [http]\nproxy = \"u:t4@proxy\"\n[env]\nX = \"t5\"\n[build]\nrustflags = [\"-g\"]\n";
        let kept = harmless_cargo(settings).unwrap();
        assert!(["t1", "t2", "t3", "t4", "t5"].iter().all(|token| !kept.contains(token)), "{kept}");
        for what in ["default = \"own\"", "sparse+https://own.example/", "replace-with = \"here\"", "-g"] {
            assert!(kept.contains(what), "{what}: {kept}");
        }
        assert_eq!(harmless_cargo("credentials"), None);
    }
}

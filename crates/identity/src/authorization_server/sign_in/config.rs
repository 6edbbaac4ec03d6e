//! What the configuration says of a provider that people may log in with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::upstream::RegisteredConfig;

/// An identity provider (OpenID Connect) that people may log in with. It is found by its metadata.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Its name, a URL: exactly what its metadata (`issuer`) says, to the last slash.
    pub issuer: String,

    /// The client that you registered there, with `PUBLIC_URL/oauth/callback/NAME` as its redirect URI.
    pub client: RegisteredConfig,

    /// What people read on the login page. Default: its name here.
    #[serde(default)]
    pub title: Option<String>,

    /// The scopes to ask for. Default: `["openid", "email"]`; what says the groups is often one more.
    #[serde(default = "usual_scopes")]
    pub scopes: Vec<String>,

    /// The claim that people are known by. Default: `sub`, the one that never passes to somebody else. `email` may, and has to be
    /// verified; `oid` is Entra's. Other claims people may change as they like.
    #[serde(default = "usual_subject")]
    pub subject_claim: String,

    /// Who may come in, by the part of their verified address of mail behind the `@`. Default: none.
    #[serde(default)]
    pub allowed_domains: Vec<String>,

    /// Who may come in, by their groups at the provider: one of these is enough. Default: none. With `allowed_domains` too, both are
    /// needed.
    #[serde(default)]
    pub allowed_groups: Vec<String>,

    /// Lets everybody in whom the provider knows. Default: `false`, because some providers know everybody; so one of these three is
    /// needed.
    #[serde(default)]
    pub anyone: bool,

    /// The claim with the groups, a list. Default: `groups`.
    #[serde(default = "usual_groups")]
    pub groups_claim: String,

    /// Which of its groups are which here: `{ "Platform Team" = "staff" }`. Default: none; the others are left out, because a provider's
    /// names mean nothing here, and `admin` does.
    #[serde(default)]
    pub groups: BTreeMap<String, String>,
}

impl Config {
    /// The same, relative paths of its references understood from `folder`.
    #[must_use]
    pub fn within(self, folder: &Path) -> Self {
        Self { client: self.client.within(folder), ..self }
    }

    /// The groups here of somebody who is in `theirs` there.
    pub(super) fn groups_of(&self, theirs: &BTreeSet<&str>) -> Vec<String> {
        let ours: BTreeSet<&String> = self.groups.iter().filter(|(name, _)| theirs.contains(name.as_str())).map(|(_, own)| own).collect();
        ours.into_iter().cloned().collect()
    }

    /// The claims that it has to be known of.
    pub(super) fn needed(&self) -> Vec<&str> {
        let mut needed = vec![self.subject_claim.as_str()];
        if !self.allowed_domains.is_empty() || self.subject_claim == EMAIL {
            needed.extend([EMAIL, EMAIL_VERIFIED]);
        }
        if !self.allowed_groups.is_empty() || !self.groups.is_empty() {
            needed.push(&self.groups_claim);
        }
        needed
    }
}

pub(super) const EMAIL: &str = "email";
pub(super) const EMAIL_VERIFIED: &str = "email_verified";

fn usual_scopes() -> Vec<String> {
    vec!["openid".to_owned(), EMAIL.to_owned()]
}

fn usual_subject() -> String {
    "sub".to_owned()
}

fn usual_groups() -> String {
    "groups".to_owned()
}

//! `[approvals]` of the configuration, as it is written and as it is checked.

use std::time::Duration;

use sallyport_policy::Principal;
use sallyport_secrets::SecretReference;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

/// Who may approve calls that rules ask a person about, and for how long they wait.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Approvals")]
pub struct ApprovalsConfig {
    /// Who may decide on the gateway's page, besides whoever runs `sallyport approval` on its machine: holders of keys (`key:NAME`), users
    /// of the gateway's own login (`user:NAME@PUBLIC_URL`), and of both those in a group (`group:NAME`). They decide about calls of their
    /// own tenant. Access tokens decide nothing, because agents hold them. Default: nobody, because a page on which anybody approves guards
    /// nothing.
    pub approvers: Vec<String>,

    /// Lets approvers approve calls of their own. Default: `false`, because whatever calls in somebody's name may hold their key, and would
    /// approve for itself.
    pub self_approval: bool,

    /// For how long a call waits for a decision: `30m`, `8h`, at most a day. Default: `1h`: somebody who is told will have looked by then, and
    /// what was asked for longer ago is often not wanted any more.
    pub expires_after: Option<String>,

    /// Where a notice of each call that begins to wait is sent, by POST: its handle, who calls, which tool. Never the arguments. `https`;
    /// on this machine, `http` too. Redirects are not followed. Default: none.
    pub webhook: Option<String>,

    /// With what notices are signed (HMAC-SHA256): a reference (`env:NAME` or `file:PATH`). Needed with `webhook`, because whoever reads
    /// a notice has to know that it is the gateway's.
    pub webhook_secret: Option<SecretReference>,
}

/// The same, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalsPlan {
    /// Who may decide.
    pub approvers: Vec<Approver>,
    /// Also about calls of their own.
    pub self_approval: bool,
    /// For how long a call waits.
    pub expires_after: Duration,
    /// Where notices go, and what signs them.
    pub webhook: Option<(Url, SecretReference)>,
}

/// Somebody who may decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approver {
    /// The principal with this id.
    Principal(String),
    /// Everybody in this group.
    Group(String),
}

/// For how long a call waits where nothing is said.
pub(crate) const EXPIRES_AFTER: Duration = Duration::from_secs(60 * 60);

impl Default for ApprovalsPlan {
    fn default() -> Self {
        Self { approvers: Vec::new(), self_approval: false, expires_after: EXPIRES_AFTER, webhook: None }
    }
}

impl Approver {
    /// Reads `group:NAME` or a principal's id; `None` where it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        match kind {
            _ if name.is_empty() || text.trim() != text => None,
            "group" => Some(Self::Group(name.to_owned())),
            "key" => Some(Self::Principal(text.to_owned())),
            "user" if name.contains('@') => Some(Self::Principal(text.to_owned())),
            _ => None,
        }
    }

    fn is(&self, principal: &Principal) -> bool {
        match self {
            Self::Principal(id) => principal.id() == id,
            Self::Group(group) => principal.groups().iter().any(|of| **of == **group),
        }
    }
}

impl ApprovalsPlan {
    /// Whether somebody is named as an approver at all.
    #[must_use]
    pub fn names(&self, principal: &Principal) -> bool {
        self.approvers.iter().any(|approver| approver.is(principal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approvers_are_principals_and_groups() {
        let plan = |text: &str| ApprovalsPlan { approvers: Approver::parse(text).into_iter().collect(), ..ApprovalsPlan::default() };
        let alice = Principal::user("https://id.example", "alice").in_groups(vec!["oncall".into()]);
        assert!(plan("user:alice@https://id.example").names(&alice));
        assert!(plan("group:oncall").names(&alice));
        for other in ["user:alice@https://other.example", "group:on", "key:alice"] {
            assert!(!plan(other).names(&alice), "{other}");
        }
        for wrong in ["", "alice", "group:", "user:alice", "local", "role:x", " key:a", "client:bot@https://id.example"] {
            assert_eq!(Approver::parse(wrong), None, "{wrong}");
        }
    }
}

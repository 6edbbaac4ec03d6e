//! Who decides, and the record of it.

use std::time::SystemTime;

use sallyport_policy::{Principal, SCOPE_OF_ALL};
use sallyport_protocol::{Incoming, Method};
use sallyport_store::approval::{self, Approval};
use sallyport_store::{Store, StoreError};
use sallyport_telemetry::{Audit, AuditRecord, Outcome, RecordId};

use super::now;
use super::pass::USABLE;
use super::settings::ApprovalsPlan;
use crate::gateway::Gateway;

/// Decides about the approval `handle`, in the name of `decider`, and writes that down; `endpoint` says from where. `None` where there is none
/// that waits.
///
/// # Errors
/// Where the store cannot be written.
pub async fn decide(
    store: &Store,
    audit: &Audit,
    handle: &str,
    approves: bool,
    (decider, endpoint): (&Principal, &str),
) -> Result<Option<Approval>, StoreError> {
    let (handle, by, now) = (handle.to_owned(), decider.full_id(), now());
    let decided = store.write(move |tables| approval::decide(tables, &handle, approves, &by, (now, now + USABLE))).await?;
    if let Some(approval) = &decided {
        audit.record(&record(approval, approves, decider, endpoint));
    }
    Ok(decided)
}

/// All that are not over, the newest first.
///
/// # Errors
/// Where the store cannot be read.
pub async fn list(store: &Store) -> Result<Vec<Approval>, StoreError> {
    store.read(|tables| approval::list(tables, None, now())).await
}

/// The one with this handle.
///
/// # Errors
/// As [`list`].
pub async fn find(store: &Store, handle: &str) -> Result<Option<Approval>, StoreError> {
    let handle = handle.to_owned();
    store.read(move |tables| approval::find(tables, &handle, now())).await
}

fn record<'a>(approval: &'a Approval, approves: bool, decider: &'a Principal, endpoint: &'a str) -> AuditRecord<'a> {
    let asked = &approval.asked;
    AuditRecord {
        time: SystemTime::now().into(),
        id: RecordId::next(),
        trace_id: None,
        principal: Some(decider.id().into()),
        issuer: decider.issuer().map(Into::into),
        tenant: Some(asked.tenant.as_str()).filter(|tenant| !tenant.is_empty()).map(Into::into),
        client: None,
        revision: None,
        endpoint: endpoint.into(),
        method: if approves { "approval/approve" } else { "approval/refuse" }.into(),
        server: Some(asked.server.as_str().into()),
        target: Some(asked.target.as_str().into()),
        arguments: None,
        attributes: asked.attributes.as_deref().and_then(|text| serde_json::from_str(text).ok()),
        sizes: None,
        unrecorded: None,
        asked: None,
        decision: Some(if approves { "allow" } else { "deny" }.into()),
        rule: Some(asked.rule.as_str().into()),
        approval: Some(asked.handle.as_str().into()),
        outcome: Outcome::Ok,
        failure: None,
        result_bytes: None,
        sent_bytes: None,
        version: None,
        durations: Default::default(),
    }
}

/// Whether `approver` may see and decide about an approval.
fn may_decide(plan: &ApprovalsPlan, approver: &Principal, approval: &Approval) -> bool {
    let asked = &approval.asked;
    let is_own = approver.id() == asked.principal;
    approver.tenant() == asked.tenant && plan.names(approver) && (plan.self_approval || !is_own)
}

impl Gateway {
    /// Whose key a request shows, where that is somebody who may approve calls.
    pub async fn approver(&self, incoming: &Incoming) -> Option<Principal> {
        let parts = self.0.parts.load_full();
        let principal = parts.authenticate(incoming, Method::ToolsCall).await.ok()?;
        // A token of an issuer is made for a client, which is as a rule the very agent that asks: it does not show that a person is there.
        // A key for something less, as agents have them, is no approver's word either.
        let is_bounded = principal.scopes().is_some_and(|scopes| !scopes.has(SCOPE_OF_ALL));
        let is_persons = principal.issuer().is_none() && !is_bounded;
        (is_persons && parts.plan.approvals.names(&principal)).then_some(principal)
    }

    /// The approvals that `approver` may decide about, the newest first.
    pub async fn approvals(&self, approver: &Principal) -> Vec<Approval> {
        let plan = self.plan();
        let Ok(store) = self.0.approvals.store() else { return Vec::new() };
        let tenant = approver.tenant().to_owned();
        let found = store.read(move |tables| approval::list(tables, Some(&tenant), now())).await.unwrap_or_else(|error| {
            tracing::error!(hint = error.hint(), "approvals cannot be listed: {error}");
            Vec::new()
        });
        found.into_iter().filter(|approval| may_decide(&plan.approvals, approver, approval)).collect()
    }

    /// The one with this handle, where `approver` may decide about it: one of somebody else's is not there.
    pub async fn approval(&self, approver: &Principal, handle: &str) -> Option<Approval> {
        let store = self.0.approvals.store().ok()?;
        let found = find(&store, handle).await.unwrap_or_else(|error| {
            tracing::error!(hint = error.hint(), "an approval cannot be looked up: {error}");
            None
        });
        found.filter(|approval| may_decide(&self.plan().approvals, approver, approval))
    }

    /// Decides in the name of `approver`. `None` where there is nothing for them to decide.
    pub async fn decide_approval(&self, approver: &Principal, handle: &str, approves: bool) -> Option<Approval> {
        self.approval(approver, handle).await?;
        let store = self.0.approvals.store().ok()?;
        let page = self.plan().tenant.as_deref().map_or_else(|| "/approvals".to_owned(), |name| format!("/t/{name}/approvals"));
        decide(&store, &self.0.audit, handle, approves, (approver, &page)).await.unwrap_or_else(|error| {
            tracing::error!(hint = error.hint(), "an approval cannot be decided: {error}");
            None
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::approvals::settings::Approver;
    use sallyport_store::approval::{Asked, Standing};

    fn of(principal: &Principal) -> Approval {
        let text = String::new;
        let asked = Asked {
            handle: text(),
            binding: [0; 32],
            tenant: principal.tenant().into(),
            principal: principal.id().into(),
            server: text(),
            action: text(),
            target: text(),
            arguments: text(),
            attributes: None,
            reason: text(),
            rule: text(),
        };
        Approval { asked, standing: Standing::Pending, made: 0, ends: 1, decided: None, decider: None }
    }

    #[test]
    fn nobody_decides_about_their_own_calls_or_another_tenants() {
        let (alice, bob) = (Principal::key("alice"), Principal::key("bob"));
        let approvers: Vec<Approver> = ["key:alice"].into_iter().filter_map(Approver::parse).collect();
        let plan = ApprovalsPlan { approvers, ..ApprovalsPlan::default() };
        assert!(may_decide(&plan, &alice, &of(&bob)));
        assert!(!may_decide(&plan, &bob, &of(&alice)), "no approver");
        assert!(!may_decide(&plan, &alice, &of(&alice)), "her own");
        assert!(!may_decide(&plan, &alice, &of(&bob.of_tenant("acme"))));
        assert!(!may_decide(&plan, &alice.clone().of_tenant("acme"), &of(&Principal::key("bob"))));
        assert!(may_decide(&ApprovalsPlan { self_approval: true, ..plan }, &alice, &of(&alice)));
    }
}

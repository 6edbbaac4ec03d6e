//! Records and counts the connections that servers make out of their sandboxes.

use std::sync::Arc;
use std::time::SystemTime;

use sallyport_sandbox::egress::{Connection, Name, Observe, Outcome, Surroundings, Untold};
use sallyport_telemetry::{self as telemetry, Audit, AuditRecord, ConnectionOutcome, Metrics, RecordId};

/// What the way out of a sandbox has around it: connections are recorded in `audit` and counted in `metrics`; names are resolved as on
/// this machine. `tenant` is whose servers they are; empty for the gateway's own.
#[must_use]
pub fn recorded_in(audit: Audit, metrics: Arc<Metrics>, tenant: &str) -> Surroundings {
    Surroundings { observer: Arc::new(Records { audit, metrics, tenant: tenant.to_owned() }), ..Surroundings::default() }
}

struct Records {
    audit: Audit,
    metrics: Arc<Metrics>,
    tenant: String,
}

impl Observe for Records {
    fn count(&self, server: &str, outcome: ConnectionOutcome) {
        self.metrics.server(server).connection_ended(outcome);
    }

    fn connection(&self, connection: &Connection) {
        let (outcome, failure) = match &connection.outcome {
            Outcome::Ended => (telemetry::Outcome::Ok, None),
            Outcome::Refused(refusal) => (telemetry::Outcome::Denied, Some(refusal.label())),
            Outcome::Failed(_) => (telemetry::Outcome::Failed, Some("unreachable")),
        };
        let mut record = self.record("network/connect", &connection.server, &connection.target, outcome);
        record.time = (SystemTime::now() - connection.lasted).into();
        record.failure = failure.map(Into::into);
        record.result_bytes = Some(connection.received);
        record.sent_bytes = Some(connection.sent);
        record.durations.total = Some(connection.lasted);
        self.audit.record(&record);
    }

    fn name_refused(&self, server: &str, name: &Name) {
        self.audit.record(&self.record("network/resolve", server, name.as_str(), telemetry::Outcome::Denied));
    }

    fn untold(&self, server: &str, untold: &Untold) {
        let (method, outcome, failure) = match untold.outcome {
            ConnectionOutcome::Ok => ("network/connect", telemetry::Outcome::Ok, None),
            ConnectionOutcome::Failed => ("network/connect", telemetry::Outcome::Failed, Some("unreachable")),
            ConnectionOutcome::Refused => ("network/connect", telemetry::Outcome::Denied, None),
            ConnectionOutcome::NameRefused => ("network/resolve", telemetry::Outcome::Denied, None),
        };
        let target = format!("{} others", untold.count);
        let mut record = self.record(method, server, &target, outcome);
        record.failure = failure.map(Into::into);
        if method == "network/connect" {
            (record.result_bytes, record.sent_bytes) = (Some(untold.received), Some(untold.sent));
        }
        self.audit.record(&record);
    }
}

impl Records {
    fn record<'a>(&'a self, method: &'a str, server: &'a str, target: &'a str, outcome: telemetry::Outcome) -> AuditRecord<'a> {
        let decision = if outcome == telemetry::Outcome::Denied { "deny" } else { "allow" };
        AuditRecord {
            time: SystemTime::now().into(),
            id: RecordId::next(),
            trace_id: None,
            principal: None,
            issuer: None,
            tenant: Some(self.tenant.as_str()).filter(|tenant| !tenant.is_empty()).map(Into::into),
            client: None,
            revision: None,
            endpoint: "sandbox".into(),
            method: method.into(),
            server: Some(server.into()),
            target: Some(target.into()),
            arguments: None,
            attributes: None,
            sizes: None,
            unrecorded: None,
            asked: None,
            decision: Some(decision.into()),
            rule: Some(format!("servers.{server}.network").into()),
            approval: None,
            outcome,
            failure: None,
            result_bytes: None,
            sent_bytes: None,
            version: None,
            durations: Default::default(),
        }
    }
}

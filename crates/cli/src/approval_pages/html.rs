//! What the pages say. Every text from outside is bounded and escaped.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use sallyport_gateway::approvals::visible;
use sallyport_policy::Principal;
use sallyport_store::approval::{Approval, Standing};
use sallyport_telemetry::Timestamp;

use crate::html;

/// What a page may load, who may show it, and where its forms go: nothing, nobody, and back here.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Asks who is there.
pub(super) fn sign_in(status: StatusCode, told: Option<&str>) -> Response<Bytes> {
    let told = told.map_or_else(String::new, |told| format!("<p><b>{}</b></p>", escaped(told)));
    let text = format!(
        "<h1>Approve calls</h1>{told}<p>This page is for those who approve calls at this gateway.</p>\
         <form method=post><p><label>Your own key or token: <input type=password name=key autocomplete=off required></label></p>\
         <button>Go on</button></form>"
    );
    page(status, &text)
}

/// What `approver` may decide about.
pub(super) fn list(base: &str, approver: &Principal, approvals: &[Approval]) -> Response<Bytes> {
    let row = |approval: &Approval| {
        let asked = &approval.asked;
        let (handle, what, who) =
            (escaped(&asked.handle), escaped(&format!("{}/{}", asked.server, asked.target)), escaped(&asked.principal));
        format!("<tr><td><a href=\"{base}/{handle}\">{what}</a><td>{who}<td>{}", approval.standing.as_str())
    };
    let rows: String = approvals.iter().map(row).collect();
    let table = if rows.is_empty() {
        "<p>No call waits for you.</p>".to_owned()
    } else {
        format!("<table><tr><th>Call<th>By<th>Standing{rows}</table>")
    };
    page(StatusCode::OK, &format!("<h1>Calls</h1><p>You are {}.</p>{table}", escaped(approver.id())))
}

/// One call, with the buttons that decide about it.
pub(super) fn one(base: &str, approver: &Principal, approval: &Approval, form_token: &str) -> Response<Bytes> {
    let asked = &approval.asked;
    let mut rows = vec![("By", asked.principal.clone())];
    if !asked.tenant.is_empty() {
        rows.push(("Tenant", asked.tenant.clone()));
    }
    rows.extend([("Server", asked.server.clone()), ("Tool", asked.target.clone()), ("Arguments", asked.arguments.clone())]);
    rows.extend(asked.attributes.clone().map(|attributes| ("They mean", attributes)));
    rows.extend([
        ("Why you are asked", format!("{} ({})", asked.reason, asked.rule)),
        ("Asked for", time(approval.made)),
        ("Over", time(approval.ends)),
    ]);
    rows.extend(approval.decider.clone().map(|decider| ("Decided by", decider)));
    let rows: String = rows.iter().map(|(name, value)| format!("<dt>{name}<dd><pre>{}</pre>", escaped(value))).collect();
    let end = match approval.standing {
        Standing::Pending => format!(
            "<p>If you approve, this very call can be made once. You are {}.</p><form method=post><input type=hidden name=form_token \
             value=\"{}\"><button name=decision value=approve>Approve</button> <button name=decision value=refuse>Refuse</button></form>",
            escaped(approver.id()),
            escaped(form_token)
        ),
        Standing::Approved => "<p>It is approved, and has not been made yet.</p>".to_owned(),
        Standing::Refused => "<p>It is refused.</p>".to_owned(),
        Standing::Used => "<p>It was approved, and has been made.</p>".to_owned(),
    };
    page(StatusCode::OK, &format!("<h1>May this call be made?</h1><dl>{rows}</dl>{end}<p><a href=\"{base}\">All calls</a></p>"))
}

/// A page of a status, whose forms go nowhere but back here.
pub(super) fn page(status: StatusCode, body: &str) -> Response<Bytes> {
    let mut response = html::page(status, body);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

fn time(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or_default();
    Timestamp::from(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).to_string()
}

/// A text that people read to decide: what would be invisible, or turn the rest around, is spelt out.
fn escaped(text: &str) -> String {
    html::escaped(&visible(text))
}

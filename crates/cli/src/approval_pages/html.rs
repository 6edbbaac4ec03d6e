//! What the pages say. Every text from outside is bounded and escaped.

use bytes::Bytes;
use http::{Response, StatusCode};
use sallyport_gateway::approvals::visible;
use sallyport_identity::authorization_server::Visitor;
use sallyport_policy::Principal;
use sallyport_store::approval::{Approval, Standing};
use sallyport_telemetry::Timestamp;

use crate::html;
pub(super) use crate::html::page;

/// What is known of who has to show who they are.
pub(super) struct Asking<'a> {
    pub(super) told: Option<&'a str>,
    /// The call that they came for.
    pub(super) handle: Option<&'a str>,
    /// Where people log in.
    pub(super) log_in: Option<&'a str>,
    /// Somebody who is logged in and decides nothing here, and where they log out.
    pub(super) stranger: Option<(&'a Visitor, String)>,
}

/// Asks who is there.
pub(super) fn ask_who(status: StatusCode, asking: &Asking<'_>) -> Response<Bytes> {
    let told = asking.told.map_or_else(String::new, |told| format!("<p><b>{}</b></p>", escaped(told)));
    let login = match (&asking.stranger, asking.log_in) {
        (Some((visitor, log_out)), _) => other_person(visitor, asking.handle, log_out),
        (None, Some(log_in)) => format!("<p><a href=\"{}\">Log in</a>, or show a key.</p>", escaped(log_in)),
        (None, None) => String::new(),
    };
    let text = format!(
        "<h1>Approve calls</h1>{told}<p>This page is for those who approve calls at this gateway.</p>{login}\
         <form method=post><p><label>Your own key: <input type=password name=key autocomplete=off required></label></p>\
         <button>Go on</button></form>"
    );
    page(status, &text)
}

/// Lets somebody who is logged in, and is no approver, log in as another.
fn other_person(visitor: &Visitor, handle: Option<&str>, log_out: &str) -> String {
    let fields = visitor.log_out_to_approve_fields(handle);
    let hidden = fields.map(|(name, value)| format!("<input type=hidden name={name} value=\"{}\">", escaped(&value))).concat();
    let (name, action) = (escaped(visitor.name()), escaped(log_out));
    format!(
        "<form method=post action=\"{action}\">{hidden}<p>You are {name}, who approves no calls here. \
         <button>Log in as somebody else</button></p></form>"
    )
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
    let form =
        |buttons: &str| format!("<form method=post><input type=hidden name=form_token value=\"{}\">{buttons}</form>", escaped(form_token));
    let refuse = "<button name=decision value=refuse>Refuse</button>";
    let end = match approval.standing {
        Standing::Pending => format!(
            "<p>If you approve, this very call can be made once; nothing else that comes with it reaches the server. You are {}.</p>{}",
            escaped(approver.id()),
            form(&format!("<button name=decision value=approve>Approve</button> {refuse}"))
        ),
        Standing::Approved => {
            format!("<p>It is approved, and has not been made yet. Until it is, it can be refused after all.</p>{}", form(refuse))
        }
        Standing::Refused => "<p>It is refused.</p>".to_owned(),
        Standing::Used => "<p>It was approved, and has been made.</p>".to_owned(),
    };
    page(StatusCode::OK, &format!("<h1>May this call be made?</h1><dl>{rows}</dl>{end}<p><a href=\"{base}\">All calls</a></p>"))
}

fn time(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or_default();
    Timestamp::from(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).to_string()
}

/// A text that people read to decide: what would be invisible, or turn the rest around, is spelt out.
fn escaped(text: &str) -> String {
    html::escaped(&visible(text))
}

//! Who may approve calls.

use std::time::Duration;

use sallyport_identity::fetch::{Reach, check as check_address};
use sallyport_identity::resource_server::resource::PublicUrl;
use sallyport_secrets::SecretReference;
use url::Url;

use crate::approvals::settings::{ApprovalsConfig, ApprovalsPlan, Approver, EXPIRES_AFTER};
use crate::config::diagnostic::{Diagnostic, Report};
use crate::config::duration;
use crate::config::validate::Context;

/// Shortest wait: nobody reads a request and decides in less.
const SHORTEST: Duration = Duration::from_secs(10);

/// Checks `approvals`; `login` is the authorization server here at which approvers can log in, where there is one.
pub(super) fn check(config: &ApprovalsConfig, login: Option<&PublicUrl>, context: &Context<'_>, report: &mut Report) -> ApprovalsPlan {
    let login = login.map(|login| format!("@{login}"));
    let approver = |(index, text): (usize, &String)| {
        let path = format!("approvals.approvers[{index}]");
        let approver = Approver::parse(text).ok_or_else(|| {
            Diagnostic::new(&path, format!("`{}` is nobody", text.escape_debug()))
                .hint("write `key:NAME`, `user:NAME@PUBLIC_URL` or `group:NAME`")
        });
        // A token is not taken for its user's own word (`decide.rs`): who cannot log in here could never decide.
        let can_show = !text.starts_with("user:") || login.as_ref().is_some_and(|login| text.ends_with(login.as_str()));
        report.take(approver.and_then(|approver| {
            let nowhere = || {
                Diagnostic::new(&path, format!("`{}` cannot log in here, and a token decides nothing", text.escape_debug()))
                    .hint("name a user of this gateway's own login (`user:NAME@PUBLIC_URL`, with `identity.server`), or a key (`key:NAME`)")
            };
            if can_show { Ok(approver) } else { Err(nowhere()) }
        }))
    };
    let approvers = config.approvers.iter().enumerate().filter_map(approver).collect();
    let expires_after = config.expires_after.as_deref().map_or(Some(EXPIRES_AFTER), |text| expiry(text, report));
    let webhook = webhook(config, context, report);
    ApprovalsPlan { approvers, self_approval: config.self_approval, expires_after: expires_after.unwrap_or(EXPIRES_AFTER), webhook }
}

fn expiry(text: &str, report: &mut Report) -> Option<Duration> {
    let parsed = duration::parse(text).and_then(|time| if time < SHORTEST { Err("too short for a person") } else { Ok(time) });
    report.take(parsed.map_err(|why| {
        Diagnostic::new("approvals.expires_after", format!("`{}` is {why}", text.escape_debug())).hint("write `10s` to `24h`")
    }))
}

fn webhook(config: &ApprovalsConfig, context: &Context<'_>, report: &mut Report) -> Option<(Url, SecretReference)> {
    let (text, secret) = match (&config.webhook, &config.webhook_secret) {
        (Some(text), Some(secret)) => (text, secret),
        (None, None) => return None,
        (Some(_), None) => {
            report.error(
                Diagnostic::new("approvals.webhook_secret", "notices would not be signed, and anybody could send them")
                    .hint("name a secret: `webhook_secret = \"env:NAME\"` or `\"file:PATH\"`"),
            );
            return None;
        }
        (None, Some(_)) => {
            report
                .error(Diagnostic::new("approvals.webhook_secret", "there is no `webhook` whose notices it would sign").hint("remove it"));
            return None;
        }
    };
    let url = Url::parse(text).map_err(|error| format!("no address: {error}"));
    let url = url.and_then(|url| {
        check_address(&url, Reach::Configured).map_err(|error| error.to_string())?;
        Ok(url)
    });
    let hint = "write `https://HOST/PATH`, or `http` on this machine";
    let url = report.take(url.map_err(|why| Diagnostic::new("approvals.webhook", why).hint(hint)));
    let secret = secret.clone().within(&context.origin.folder);
    context.look_for("approvals.webhook_secret", &secret, "no notice can be signed, and none is sent", report);
    Some((url?, secret))
}

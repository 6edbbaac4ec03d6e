//! Who is asked about, as it is written on the command line and in test files.

use std::sync::Arc;

use sallyport_policy::{Principal, Scopes};

use crate::output::Failure;

/// Reads a principal: `local`, `key:NAME`, `user:SUBJECT@ISSUER` or `client:NAME@ISSUER`.
pub(super) fn principal(text: &str, groups: &[String], scopes: Option<&str>, tenant: Option<&str>) -> Result<Principal, Failure> {
    let vouched = |rest: &str| rest.rsplit_once('@').map(|(who, issuer)| (who.to_owned(), issuer.to_owned()));
    let principal = match text.split_once(':') {
        None if text == "local" => Some(Principal::local_user()),
        Some(("key", name)) => Some(Principal::key(name)),
        Some(("user", rest)) => vouched(rest).map(|(subject, issuer)| Principal::user(&issuer, &subject)),
        Some(("client", rest)) => vouched(rest).map(|(client, issuer)| Principal::client(&issuer, &client)),
        _ => None,
    };
    let mut principal = principal.ok_or_else(|| {
        Failure::new(format!("`{text}` is no principal")).hint("write `local`, `key:NAME`, `user:SUBJECT@ISSUER` or `client:NAME@ISSUER`")
    })?;
    if !groups.is_empty() {
        principal = principal.in_groups(groups.iter().map(|group| Arc::from(group.as_str())).collect());
    }
    if let Some(scopes) = scopes {
        let scopes =
            Scopes::parse(scopes).ok_or_else(|| Failure::new(format!("`{scopes}` are no scopes")).hint("put one space between them"))?;
        principal = principal.limited_to(scopes);
    }
    Ok(match tenant {
        Some(tenant) => principal.of_tenant(tenant),
        None => principal,
    })
}

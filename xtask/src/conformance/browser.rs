//! The user's browser: it opens a link of the gateway's, presses the button, and follows wherever it is sent, until it is sent no more.

use sallyport_testkit::browser::Browser;

use crate::repository::Outcome;

/// Grants what a link asks for.
pub(super) fn grant(link: &str) -> Outcome {
    let mut browser = Browser::default();
    let page = browser.open(link)?;
    let end = browser.submit(&page, &[])?;
    if end.status == 200 { Ok(()) } else { Err(format!("{} answered HTTP {}: {}", end.url, end.status, end.body)) }
}

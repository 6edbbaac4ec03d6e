//! What a person logs in for: where the browser goes once they have.

use super::problem::Problem;
use super::{Server, unguessable};

const DEVICE: &str = "device";
const CONNECT: &str = "connect";
const APPROVALS: &str = "approvals";
/// Digits of the handle of an approval.
const HANDLE: usize = 20;

/// What a person logs in for, as pages and forms carry it. Everything in it leads to this gateway: nobody is sent elsewhere by a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose<'a> {
    /// A client's request, by its id: `ID`.
    Request(&'a str),
    /// To type the code of a program without a browser: `device`.
    Device,
    /// To grant access to servers (`connect`), or to the one that a link is about (`connect.LINK`).
    Connect(Option<&'a str>),
    /// To decide about calls that wait (`approvals`), or about the one with a handle (`approvals.HANDLE`).
    Approve(Option<&'a str>),
}

impl<'a> Purpose<'a> {
    /// Reads one.
    pub(super) fn of(text: &'a str) -> Result<Self, Problem> {
        let is_id = |text: &&str| unguessable::decode(text).is_some_and(|bytes| bytes.len() == 32);
        let is_handle = |text: &&str| text.len() == HANDLE && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let link = || text.strip_prefix(CONNECT)?.strip_prefix('.').filter(is_id);
        let call = || text.strip_prefix(APPROVALS)?.strip_prefix('.').filter(is_handle);
        match text {
            DEVICE => Ok(Self::Device),
            CONNECT => Ok(Self::Connect(None)),
            APPROVALS => Ok(Self::Approve(None)),
            text if is_id(&text) => Ok(Self::Request(text)),
            _ => {
                let page = link().map(|link| Self::Connect(Some(link))).or_else(|| Some(Self::Approve(Some(call()?))));
                page.ok_or_else(|| Problem::invalid_request("this login is for nothing here"))
            }
        }
    }

    /// The reverse of [`of`](Self::of).
    pub(super) fn text(self) -> String {
        match self {
            Self::Request(id) => id.to_owned(),
            Self::Device => DEVICE.to_owned(),
            Self::Connect(None) => CONNECT.to_owned(),
            Self::Connect(Some(link)) => format!("{CONNECT}.{link}"),
            Self::Approve(None) => APPROVALS.to_owned(),
            Self::Approve(Some(handle)) => format!("{APPROVALS}.{handle}"),
        }
    }

    /// The client's request, where it is for one.
    pub(super) fn request(self) -> Option<&'a str> {
        match self {
            Self::Request(id) => Some(id),
            Self::Device | Self::Connect(_) | Self::Approve(_) => None,
        }
    }
}

impl Server {
    /// The login page.
    pub(super) fn login_for(&self, purpose: Purpose<'_>) -> String {
        format!("{}?request={}", self.url("login"), purpose.text())
    }

    /// Where somebody goes who is logged in.
    pub(super) fn after_login(&self, purpose: Purpose<'_>) -> String {
        match purpose {
            Purpose::Request(id) => format!("{}?request={id}", self.url("consent")),
            Purpose::Device => self.url("device"),
            Purpose::Connect(None) => format!("{}/connect", self.issuer()),
            Purpose::Connect(Some(link)) => format!("{}/connect/{link}", self.issuer()),
            Purpose::Approve(None) => format!("{}/approvals", self.issuer()),
            Purpose::Approve(Some(handle)) => format!("{}/approvals/{handle}", self.issuer()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_purpose_is_written_as_it_is_read_and_nothing_else_is_one() {
        let id = "A".repeat(43);
        let handle = "0123456789abcdef0123";
        let pages = [Purpose::Connect(None), Purpose::Connect(Some(&id)), Purpose::Approve(None), Purpose::Approve(Some(handle))];
        for purpose in [Purpose::Request(&id), Purpose::Device].into_iter().chain(pages) {
            assert_eq!(Purpose::of(&purpose.text()).unwrap(), purpose);
        }
        for text in ["approvals.", "approvals.0123456789abcdef012", "approvals.0123456789ABCDEF0123", "approvals.../0123456789abcdef0"] {
            assert!(Purpose::of(text).is_err(), "{text}");
        }
        for text in ["", "connect.", "connect./..", "connect.//evil.example", "connect.A", "https://evil.example", "device.x", "A"] {
            assert!(Purpose::of(text).is_err(), "{text}");
        }
    }
}

//! Who sits at a browser that asks for a page of the gateway beside the authorization server's own.

use std::fmt;

use http::HeaderMap;
use sallyport_policy::Principal;

use super::AuthorizationServer;
use super::browser::Browser;
use super::purpose::Purpose;

/// A browser at which somebody is logged in.
#[derive(Clone)]
pub struct Visitor {
    principal: Principal,
    name: String,
    browser: Browser,
}

impl AuthorizationServer {
    /// Who is logged in at the browser that sent these headers. Where the store cannot be read that is nobody, and the log says why.
    pub async fn visitor(&self, headers: &HeaderMap) -> Option<Visitor> {
        let browser = Browser::of(&self.0, headers)?;
        let (person, _) = self.0.person_at(&browser, (self.0.clock)()).await.ok()??;
        let groups = person.groups.iter().map(|group| group.as_str().into()).collect();
        let principal = Principal::user(self.0.issuer(), &person.name).in_groups(groups).of_tenant(&self.0.settings.tenant);
        Some(Visitor { principal, name: person.name, browser })
    }

    /// Whether a principal, by its id, is somebody who could log in here.
    #[must_use]
    pub fn vouches_for(&self, principal: &str) -> bool {
        let name = principal.strip_prefix("user:").and_then(|rest| rest.strip_suffix(self.0.issuer()));
        name.and_then(|rest| rest.strip_suffix('@')).is_some_and(|name| !name.is_empty())
    }

    /// The page where somebody logs in to grant access to servers, or to the one that `link` is about. `None` where there can be no such
    /// link.
    #[must_use]
    pub fn log_in_to_connect(&self, link: Option<&str>) -> Option<String> {
        let purpose = Purpose::Connect(link);
        Purpose::of(&purpose.text()).is_ok().then(|| self.0.login_for(purpose))
    }

    /// The page where somebody logs in to decide about calls that wait, or about the one with this handle. `None` where that can be none's.
    #[must_use]
    pub fn log_in_to_approve(&self, handle: Option<&str>) -> Option<String> {
        let purpose = Purpose::Approve(handle);
        Purpose::of(&purpose.text()).is_ok().then(|| self.0.login_for(purpose))
    }

    /// Where a form with [`Visitor::log_out_fields`] is sent.
    #[must_use]
    pub fn log_out_url(&self) -> String {
        self.0.url("logout")
    }
}

impl Visitor {
    /// Who it is: the same as by a token that the server would give them.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// What they are called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What stands for this login, and no other: it ends with it. It opens nothing.
    #[must_use]
    pub fn session(&self) -> String {
        self.browser.derived("session", "")
    }

    /// What a form about `subject` has to carry, so that no other page can send it.
    #[must_use]
    pub fn form_token(&self, subject: &str) -> String {
        self.browser.form_token(subject)
    }

    /// Whether a form about `subject` came from a page that this very browser was shown.
    #[must_use]
    pub fn sent(&self, subject: &str, token: Option<&str>) -> bool {
        self.browser.check_form(subject, token).is_ok()
    }

    /// The fields of a form that logs out, after which somebody else can log in for the same `link`.
    #[must_use]
    pub fn log_out_fields(&self, link: Option<&str>) -> [(&'static str, String); 2] {
        self.log_out_for(Purpose::Connect(link))
    }

    /// The same, after which somebody else can log in to decide about calls, or about the one with this handle.
    #[must_use]
    pub fn log_out_to_approve_fields(&self, handle: Option<&str>) -> [(&'static str, String); 2] {
        self.log_out_for(Purpose::Approve(handle))
    }

    fn log_out_for(&self, purpose: Purpose<'_>) -> [(&'static str, String); 2] {
        [("request", purpose.text()), ("form_token", self.browser.form_token("logout"))]
    }
}

impl fmt::Debug for Visitor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Visitor").field("principal", &self.principal.id()).finish_non_exhaustive()
    }
}

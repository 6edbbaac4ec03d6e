//! Approvers who have shown their key a while ago.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sallyport_identity::api_keys::ApiKeys;
use sallyport_protocol::CallerToken;
use sha2::{Digest as _, Sha256};

/// For how long a key need not be shown again: some decisions one after the other, not a browser that somebody left.
pub(super) const LASTS: Duration = Duration::from_secs(15 * 60);
/// Browsers at once at one tenant; who came first makes room.
const MOST: usize = 1000;

/// The browsers, by the digest of their cookie.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<[u8; 32], Begun>>);

struct Begun {
    /// The tenant whose pages it was shown to. It is nobody else's to see, nor to ask their issuer about.
    tenant: Option<Arc<str>>,
    credential: Arc<CallerToken>,
    since: Instant,
}

/// One browser's.
pub(super) struct Session {
    /// What was shown.
    pub(super) credential: Arc<CallerToken>,
    cookie: String,
}

impl Sessions {
    /// Begins one at the pages of a tenant, and gives its cookie; `None` where the system has no random numbers.
    pub(super) fn begin(&self, tenant: Option<Arc<str>>, credential: Arc<CallerToken>) -> Option<String> {
        let (cookie, _) = ApiKeys::make()?; // 256 random bits, as of a key
        let cookie = cookie.expose().to_owned();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, begun| begun.since.elapsed() < LASTS);
        let own = || all.iter().filter(|(_, begun)| begun.tenant == tenant);
        if own().count() >= MOST {
            let oldest = own().min_by_key(|(_, begun)| begun.since).map(|(digest, _)| *digest);
            oldest.map(|digest| all.remove(&digest));
        }
        all.insert(digest(&cookie), Begun { tenant, credential, since: Instant::now() });
        Some(cookie)
    }

    /// The one with this cookie, where it began at the pages of the same tenant.
    pub(super) fn of(&self, tenant: Option<&str>, cookie: Option<&str>) -> Option<Session> {
        let cookie = cookie?;
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = all.get(&digest(cookie)).filter(|begun| begun.since.elapsed() < LASTS && begun.tenant.as_deref() == tenant)?;
        Some(Session { credential: begun.credential.clone(), cookie: cookie.to_owned() })
    }
}

impl Session {
    /// What the form about `handle` carries, and nobody else can know.
    pub(super) fn form_token(&self, handle: &str) -> String {
        let token = Sha256::new().chain_update("approval\0").chain_update(&self.cookie).chain_update("\0").chain_update(handle).finalize();
        token.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn digest(cookie: &str) -> [u8; 32] {
    Sha256::digest(cookie).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    fn key() -> Arc<CallerToken> {
        Arc::new(CallerToken::new("key".to_owned()))
    }

    #[test]
    fn a_session_is_of_the_tenant_it_began_at() {
        let (sessions, acme) = (Sessions::default(), Some(Arc::from("acme")));
        let (theirs, own) = (sessions.begin(acme, key()).unwrap(), sessions.begin(None, key()).unwrap());
        let is_known = |tenant, cookie: &str| sessions.of(tenant, Some(cookie)).is_some();
        assert!(is_known(Some("acme"), &theirs) && is_known(None, &own));
        assert!(!is_known(Some("umbrella"), &theirs) && !is_known(None, &theirs) && !is_known(Some("acme"), &own));
    }

    #[test]
    fn who_comes_often_makes_no_other_tenants_approver_sign_in_again() {
        let sessions = Sessions::default();
        let own = sessions.begin(None, key()).unwrap();
        let first = sessions.begin(Some("acme".into()), key()).unwrap();
        for _ in 0..MOST {
            sessions.begin(Some("acme".into()), key()).unwrap();
        }
        assert!(sessions.of(None, Some(&own)).is_some() && sessions.of(Some("acme"), Some(&first)).is_none());
    }
}

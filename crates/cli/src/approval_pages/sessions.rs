//! Approvers who have shown their key a while ago.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sallyport_identity::api_keys::ApiKeys;
use sallyport_protocol::CallerToken;
use sha2::{Digest as _, Sha256};

/// For how long a key need not be shown again: some decisions one after the other, not a browser that somebody left.
pub(super) const LASTS: Duration = Duration::from_secs(15 * 60);
/// Browsers at once; who came first makes room.
const MOST: usize = 1000;

/// The browsers, by the digest of their cookie.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<[u8; 32], Begun>>);

struct Begun {
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
    /// Begins one, and gives its cookie; `None` where the system has no random numbers.
    pub(super) fn begin(&self, credential: Arc<CallerToken>) -> Option<String> {
        let (cookie, _) = ApiKeys::make()?; // 256 random bits, as of a key
        let cookie = cookie.expose().to_owned();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, begun| begun.since.elapsed() < LASTS);
        if all.len() >= MOST {
            let oldest = all.iter().min_by_key(|(_, begun)| begun.since).map(|(digest, _)| *digest);
            oldest.map(|digest| all.remove(&digest));
        }
        all.insert(digest(&cookie), Begun { credential, since: Instant::now() });
        Some(cookie)
    }

    /// The one with this cookie.
    pub(super) fn of(&self, cookie: Option<&str>) -> Option<Session> {
        let cookie = cookie?;
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = all.get(&digest(cookie)).filter(|begun| begun.since.elapsed() < LASTS)?;
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

//! The server's keys as the gateway's own resource server asks for them: at hand, in this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use sallyport_protocol::BoxFuture;
use sallyport_store::{Store, StoreError, token_grant, user};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::problem::Problem;
use super::token::EPOCH;
use super::{AuthorizationServer, Server, accounts, keys};
use crate::resource_server::key::{Algorithm, VerifyingKey};
use crate::resource_server::key_source::{KeySet, KeySource};

/// For how long it is believed that nothing was taken back: that long after `sallyport user disable` a token may still be taken. A look costs
/// some 50 µs, for all who call meanwhile together.
const BELIEVED: Duration = Duration::from_secs(1);

/// Between two looks for a key that nobody knows: each opens all key pairs, and who makes up names of keys needs no credential.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

impl KeySource for AuthorizationServer {
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Arc<VerifyingKey>> {
        self.0.known.load().find(id, algorithm)
    }

    fn refresh(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut looked = self.0.looked_for_keys.lock().await;
            if looked.is_some_and(|at| at.elapsed() < BETWEEN_LOOKS) {
                return;
            }
            *looked = Some(Instant::now());
            let _ = self.0.learn_keys().await; // the log has it, and what is known stays known
        })
    }

    fn is_revoked<'a>(&'a self, claims: &'a Map<String, Value>) -> BoxFuture<'a, bool> {
        // Where the store cannot be read nobody knows, and the token is not taken.
        Box::pin(async move { self.0.is_taken_back(claims).await.unwrap_or(true) })
    }

    fn withdrawals(&self) -> Option<u64> {
        self.0.withdrawals.known()
    }

    fn look_for_withdrawals(&self) -> BoxFuture<'_, Option<u64>> {
        Box::pin(self.0.withdrawals.look(&self.0.store))
    }
}

/// How often something was taken back, by now or a moment ago: by whichever process, the command line's too.
#[derive(Default)]
pub(super) struct Withdrawals {
    known: ArcSwapOption<(u64, Instant)>,
    /// Held while one looks, so that others wait for what comes of it.
    looking: Mutex<()>,
}

impl Withdrawals {
    fn known(&self) -> Option<u64> {
        let known = self.known.load();
        let (count, at) = **known.as_ref()?;
        (at.elapsed() < BELIEVED).then_some(count)
    }

    async fn look(&self, store: &Store) -> Option<u64> {
        let _turn = self.looking.lock().await;
        if let Some(count) = self.known() {
            return Some(count);
        }
        let at = Instant::now();
        let found = store.read(token_grant::withdrawals).await;
        let tell = |error: &StoreError| {
            tracing::error!(hint = error.hint(), "it cannot be found out which tokens were taken back: {error}");
        };
        let count = found.inspect_err(tell).ok()?;
        self.known.store(Some(Arc::new((count, at))));
        Some(count)
    }
}

impl Server {
    /// Whether a token of ours was taken back since: by itself, with its family, or with everything in its user's name.
    pub(super) async fn is_taken_back(&self, claims: &Map<String, Value>) -> Result<bool, StoreError> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (jti, family, subject) = (text("jti"), text("sid"), text("sub"));
        let epoch = claims.get(EPOCH).and_then(Value::as_i64).unwrap_or_default();
        let is_programs = subject == text("client_id"); // in its own name: there is no user
        let look = self.store.read(move |tables| {
            let is_revoked = token_grant::is_revoked(tables, &jti, &family)?;
            Ok(is_revoked || !is_programs && !accounts::stands(user::find(tables, &subject)?.as_ref(), &subject, epoch))
        });
        look.await
    }

    pub(super) async fn learn_keys(&self) -> Result<(), Problem> {
        let published = keys::published(&self.store, (self.clock)()).await?;
        let entries = published["keys"].as_array().into_iter().flatten();
        let known = entries.filter_map(|key| VerifyingKey::from_jwk(&serde_json::from_value(key.clone()).ok()?));
        self.known.store(Arc::new(KeySet::new(known.collect())));
        Ok(())
    }
}

//! The server's keys as the gateway's own resource server asks for them: at hand, in this process.

use std::sync::Arc;

use sallyport_protocol::BoxFuture;
use sallyport_store::token_grant;
use serde_json::{Map, Value};

use super::problem::Problem;
use super::{AuthorizationServer, Server, keys};
use crate::resource_server::key::{Algorithm, VerifyingKey};
use crate::resource_server::key_source::{KeySet, KeySource};

impl KeySource for AuthorizationServer {
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Arc<VerifyingKey>> {
        self.0.known.load().find(id, algorithm)
    }

    fn refresh(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let _ = self.0.learn_keys().await; // the log has it, and what is known stays known
        })
    }

    fn is_revoked<'a>(&'a self, claims: &'a Map<String, Value>) -> BoxFuture<'a, bool> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (jti, grant) = (text("jti"), text("sid"));
        // Where the store cannot be read nobody knows, and the token is not taken.
        Box::pin(async move { self.0.store.read(move |tables| token_grant::is_revoked(tables, &jti, &grant)).await.unwrap_or(true) })
    }
}

impl Server {
    pub(super) async fn learn_keys(&self) -> Result<(), Problem> {
        let published = keys::published(&self.store, (self.clock)()).await?;
        let entries = published["keys"].as_array().into_iter().flatten();
        let known = entries.filter_map(|key| VerifyingKey::from_jwk(&serde_json::from_value(key.clone()).ok()?));
        self.known.store(Arc::new(KeySet::new(known.collect())));
        Ok(())
    }
}

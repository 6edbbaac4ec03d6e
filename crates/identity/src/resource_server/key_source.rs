//! Where the keys of a trusted issuer come from.

use std::fmt;
use std::sync::Arc;

use sallyport_protocol::BoxFuture;
use serde_json::{Map, Value};

use super::key::{Algorithm, VerifyingKey};

/// The keys of one issuer. The embedded authorization server has its own at hand; those of others are fetched and kept.
///
/// A token is verified with what [`find`](Self::find) gives. Where that is nothing, [`refresh`](Self::refresh) is awaited once, and
/// `find` asked again: so a key that was rotated in is known with its first token.
pub trait KeySource: fmt::Debug + Send + Sync {
    /// The key that a token's header names, of those that are known now. Without a name (`kid`) it is the only key of that algorithm.
    /// Takes no lock that is held while anything is awaited.
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Arc<VerifyingKey>>;

    /// Looks for newer keys, unless that was done a moment ago. What is known stays known where nobody answers.
    fn refresh(&self) -> BoxFuture<'_, ()>;

    /// Whether a token that one of the keys has verified was taken back since. Only the embedded authorization server knows, without asking
    /// anybody; tokens of others are short-lived instead.
    fn is_revoked<'a>(&'a self, _claims: &'a Map<String, Value>) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(false))
    }

    /// How often the issuer has taken something back, as far as that is known without waiting: what was verified at one count stands as long
    /// as it stays. `None` where it was not [looked for](Self::look_for_withdrawals) a moment ago. Takes no lock that is held while anything
    /// is awaited.
    fn withdrawals(&self) -> Option<u64> {
        Some(0)
    }

    /// Looks for that, unless it was done a moment ago; `None` where it cannot be known, and so nothing is believed.
    fn look_for_withdrawals(&self) -> BoxFuture<'_, Option<u64>> {
        Box::pin(std::future::ready(self.withdrawals()))
    }
}

/// Keys that are known, by whatever way they came.
#[derive(Debug, Default)]
pub struct KeySet(Vec<Arc<VerifyingKey>>);

impl KeySet {
    /// A set of these keys.
    #[must_use]
    pub fn new(keys: Vec<VerifyingKey>) -> Self {
        Self(keys.into_iter().map(Arc::new).collect())
    }

    /// As [`KeySource::find`].
    #[must_use]
    pub fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Arc<VerifyingKey>> {
        let mut fitting = self.0.iter().filter(|key| key.algorithm() == algorithm && (id.is_none() || key.id() == id));
        let found = fitting.next()?;
        // Two keys that answer to one name: trying both would let the weaker speak for the other.
        fitting.next().is_none().then(|| Arc::clone(found))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

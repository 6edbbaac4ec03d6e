//! From what a caller shows to who it is.

use std::fmt;

use sallyport_policy::Principal;
use sallyport_protocol::{CallerToken, Peer};
use sallyport_secrets::Secret;

use crate::key::{InvalidKey, Key, Problem};

/// Everyone who may call.
#[derive(Debug)]
pub struct Identity {
    keys: Vec<Key>,
    local_user: Principal,
}

impl Identity {
    /// Accepts the holders of these named keys. Only digests are kept; the keys themselves are overwritten here.
    ///
    /// # Errors
    /// Every key that is weak, could not be sent in a header, or is there twice.
    pub fn new(keys: Vec<(String, Secret)>) -> Result<Self, Vec<InvalidKey>> {
        let mut accepted: Vec<Key> = Vec::with_capacity(keys.len());
        let mut errors = Vec::new();
        for (name, secret) in keys {
            match Key::new(&name, &secret) {
                Ok(key) => match conflict(&accepted, &key) {
                    None => accepted.push(key),
                    Some(problem) => errors.push(InvalidKey { name, problem }),
                },
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Self { keys: accepted, local_user: Principal::local_user() }) } else { Err(errors) }
    }

    /// Whether callers over the network need a key.
    #[must_use]
    pub fn needs_key(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Who this caller is.
    ///
    /// * Over stdio it is the local user: whoever launches the gateway has the rights of its user, reads its
    ///   configuration and has no place to show a key.
    /// * With keys configured, every request has to show one of them, from wherever it comes.
    /// * Without keys, loopback is the local user, and nobody else gets in.
    ///
    /// # Errors
    /// When the caller is nobody of these.
    pub fn authenticate(&self, credential: Option<&CallerToken>, peer: Peer) -> Result<Principal, Unauthenticated> {
        match (peer, credential) {
            (Peer::Stdio, _) => Ok(self.local_user.clone()),
            (Peer::Loopback, _) if self.keys.is_empty() => Ok(self.local_user.clone()),
            (Peer::Remote(_), _) if self.keys.is_empty() => Err(Unauthenticated::NotLocal),
            (_, None) => Err(Unauthenticated::NoKey),
            (_, Some(token)) => self.holder(token).cloned().ok_or(Unauthenticated::UnknownKey),
        }
    }

    /// The principal whose key it is. Every key is compared in full, so that time tells nothing.
    fn holder(&self, token: &CallerToken) -> Option<&Principal> {
        let digest = token.digest();
        let mut found = None;
        for key in &self.keys {
            if equal(&key.digest, &digest) {
                found = Some(&key.principal);
            }
        }
        found
    }
}

/// Compares without stopping at the first difference.
fn equal(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn conflict(accepted: &[Key], new: &Key) -> Option<Problem> {
    if accepted.iter().any(|key| key.principal == new.principal) {
        return Some(Problem::SameName);
    }
    accepted.iter().any(|key| key.digest == new.digest).then_some(Problem::SameKey)
}

/// Why a caller was not let in. Every text may be shown to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unauthenticated {
    /// It showed no key where one is needed.
    NoKey,
    /// The key it showed is none of ours.
    UnknownKey,
    /// No keys are configured, which serves this machine alone.
    NotLocal,
}

impl Unauthenticated {
    /// The name in audit records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::UnknownKey => "unknown_key",
            Self::NotLocal => "not_local",
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::NoKey => "send the header `Authorization: Bearer KEY`",
            Self::UnknownKey => "ask whoever runs the gateway for a key",
            Self::NotLocal => "whoever runs the gateway has to configure `keys`",
        }
    }
}

impl fmt::Display for Unauthenticated {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NoKey => "the request has no bearer key",
            Self::UnknownKey => "the bearer key is not known",
            Self::NotLocal => "the gateway serves only its own machine",
        })
    }
}

impl std::error::Error for Unauthenticated {}

#[cfg(test)]
mod tests;

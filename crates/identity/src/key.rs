//! Bearer keys as the gateway keeps them: a name and a digest.

use std::fmt;
use std::sync::Arc;

use sallyport_policy::Principal;
use sallyport_secrets::Secret;
use sha2::{Digest, Sha256};

use crate::resource_server::Verified;

/// Fewest bytes of a key. 16 random bytes cannot be guessed over a network; 16 characters are the least that can hold
/// nearly as much.
const SHORTEST: usize = 16;
/// Most bytes of a key: what fits into a request's header beside everything else.
const LONGEST: usize = 4096;

/// One accepted key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) digest: [u8; 32],
    pub(crate) holder: Arc<Verified>,
}

impl Key {
    pub(crate) fn new(tenant: &str, name: &str, secret: &Secret) -> Result<Self, InvalidKey> {
        let invalid = |problem| InvalidKey { name: name.to_owned(), problem };
        let bytes = secret.expose().as_bytes();
        if bytes.len() < SHORTEST {
            return Err(invalid(Problem::TooShort));
        }
        if bytes.len() > LONGEST {
            return Err(invalid(Problem::TooLong));
        }
        if !bytes.iter().all(u8::is_ascii_graphic) {
            return Err(invalid(Problem::NotAHeaderValue));
        }
        Ok(Self { digest: Sha256::digest(bytes).into(), holder: Verified::everywhere(Principal::key(name).of_tenant(tenant)) })
    }
}

/// A configured key that cannot be used. It says nothing of the key but its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidKey {
    pub(crate) name: String,
    pub(crate) problem: Problem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    TooShort,
    TooLong,
    NotAHeaderValue,
    SameName,
    SameKey,
}

impl InvalidKey {
    /// The name of the key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self.problem {
            Problem::SameName => "name each key once",
            Problem::SameKey => "give every caller a key of its own, so that it can be taken back alone",
            _ => "make one with `openssl rand -hex 32`",
        }
    }
}

impl fmt::Display for InvalidKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "key `{}` ", self.name)?;
        match self.problem {
            Problem::TooShort => write!(formatter, "is shorter than {SHORTEST} bytes"),
            Problem::TooLong => write!(formatter, "is longer than {LONGEST} bytes"),
            Problem::NotAHeaderValue => formatter.write_str("has space or characters outside ASCII, so no request could carry it"),
            Problem::SameName => formatter.write_str("is configured twice"),
            Problem::SameKey => formatter.write_str("equals another key"),
        }
    }
}

impl std::error::Error for InvalidKey {}

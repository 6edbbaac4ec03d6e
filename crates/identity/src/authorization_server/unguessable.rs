//! Codes, cookies, ids and secrets that nobody can guess, and how they are kept: by digest.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use sha2::{Digest as _, Sha256};

use super::problem::Problem;

/// 256 random bits.
pub(super) fn bytes() -> Result<[u8; 32], Problem> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Problem::internal("the system gives no random numbers"))?;
    Ok(bytes)
}

/// 256 random bits, as 43 characters that fit into URLs, cookies and forms.
pub(super) fn text() -> Result<String, Problem> {
    Ok(encode(&bytes()?))
}

/// 128 random bits: names of things that are no secrets, and are given out once.
pub(super) fn id() -> Result<String, Problem> {
    let bytes = bytes()?;
    Ok(encode(bytes.first_chunk::<16>().unwrap_or(&[0; 16])))
}

/// Base64url without padding (RFC 7515 §2).
pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The reverse of [`encode`].
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// By what a secret with so many random bits is found again: it needs no salt and no slow function.
pub(super) fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// Compares without stopping at the first difference.
pub(super) fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

//! Signed statements of a client about itself (RFC 7523): `private_key_jwt`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

/// For how long a statement holds, in seconds: it is used at once, by a machine whose clock may be somewhat off.
const HOLDS: u64 = 120;

/// A private key that statements are signed with.
pub(crate) enum SigningKey {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

impl SigningKey {
    /// Reads a key in PEM: P-256, Ed25519 (PKCS #8) or RSA.
    pub(crate) fn of_pem(pem: &str) -> Option<Self> {
        let random = SystemRandom::new();
        match PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()? {
            PrivateKeyDer::Pkcs8(key) => {
                let der = key.secret_pkcs8_der();
                let p256 = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random).map(Self::Es256);
                p256.ok()
                    .or_else(|| Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Self::EdDsa).ok())
                    .or_else(|| RsaKeyPair::from_pkcs8(der).map(Self::Rs256).ok())
            }
            PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()).map(Self::Rs256).ok(),
            _ => None,
        }
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
            Self::Rs256(_) => "RS256",
        }
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Es256(key) => key.sign(&random, message).ok().map(|signature| signature.as_ref().to_vec()),
            Self::EdDsa(key) => Some(key.sign(message).as_ref().to_vec()),
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok().map(|()| signature)
            }
        }
    }

    /// The statement of `client`, for `audience` alone, at `now` (seconds since 1970).
    pub(crate) fn assertion(&self, client: &str, audience: &str, now: u64) -> Option<String> {
        let header = json!({ "alg": self.algorithm(), "typ": "JWT" });
        let claims = json!({ "iss": client, "sub": client, "aud": audience, "iat": now, "exp": now + HOLDS, "jti": unguessable()? });
        let text = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let signature = self.sign(text.as_bytes())?;
        Some(format!("{text}.{}", BASE64.encode(signature)))
    }
}

/// 256 bits that nobody can guess, as text; nothing where the system has no random numbers.
pub(crate) fn unguessable() -> Option<String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(BASE64.encode(bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use ring::signature::{ED25519, KeyPair as _, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_statement_can_be_checked_with_the_public_key() {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let public = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap().public_key().as_ref().to_vec();
        let lines = base64::engine::general_purpose::STANDARD.encode(pkcs8.as_ref());
        let key = SigningKey::of_pem(&format!("-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----\n")).unwrap();
        let statement = key.assertion("me", "https://as.example", 1_000).unwrap();
        let (text, signature) = statement.rsplit_once('.').unwrap();
        UnparsedPublicKey::new(&ED25519, public).verify(text.as_bytes(), &BASE64.decode(signature).unwrap()).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&BASE64.decode(text.split_once('.').unwrap().1).unwrap()).unwrap();
        assert_eq!((&claims["iss"], &claims["aud"], &claims["exp"]), (&json!("me"), &json!("https://as.example"), &json!(1_120)));
        assert_ne!(statement, key.assertion("me", "https://as.example", 1_000).unwrap(), "each is used once");
        assert!(SigningKey::of_pem("no key").is_none());
    }
}

//! Public keys that tokens are signed with, and the one algorithm that each is for (RFC 7517, RFC 7518, RFC 8037).

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

/// How tokens may be signed. There is no symmetric one and no `none`: a public key can then never be taken for a shared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, schemars::JsonSchema)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, keys of 2048 to 8192 bits.
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA over P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// The algorithm that a header or a key calls so. Ed25519 has a second name (RFC 9864).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// A public key with what it is for. The key says which algorithm a signature has to be of; a token's header can only agree.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    id: Option<Arc<str>>,
    material: Material,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256 { point: [u8; 65] },
    Ed25519([u8; 32]),
}

/// A key as a key set holds it (RFC 7517 §4). Private members are not even read.
#[derive(Debug, Deserialize)]
pub struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl VerifyingKey {
    /// The key of a set's entry; `None` where it is for something else than verifying with one of [`Algorithm`].
    #[must_use]
    pub fn from_jwk(jwk: &Jwk) -> Option<Self> {
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Material::Rsa { modulus: unsigned(&jwk.n)?, exponent: unsigned(&jwk.e)? },
            ("EC", Some("P-256")) => Material::P256 { point: uncompressed(&bytes(&jwk.x)?, &bytes(&jwk.y)?)? },
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes(&jwk.x)?.try_into().ok()?),
            _ => return None,
        };
        let key = Self { id: jwk.kid.as_deref().map(Into::into), material };
        jwk.alg.as_deref().is_none_or(|name| Algorithm::from_name(name) == Some(key.algorithm())).then_some(key)
    }

    /// An Ed25519 key called `id` (`kid`).
    #[must_use]
    pub fn ed25519(id: &str, public: [u8; 32]) -> Self {
        Self { id: Some(id.into()), material: Material::Ed25519(public) }
    }

    /// What a token's header calls it (`kid`).
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The one algorithm that it is for.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Rsa { .. } => Algorithm::Rs256,
            Material::P256 { .. } => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// Whether `signature` over `message` was made with the other half of this key.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match &self.material {
            Material::Rsa { modulus: n, exponent: e } => {
                RsaPublicKeyComponents { n, e }.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            Material::P256 { point } => UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(message, signature),
            Material::Ed25519(public) => UnparsedPublicKey::new(&signature::ED25519, public).verify(message, signature),
        };
        verified.is_ok()
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("VerifyingKey").field("id", &self.id).field("algorithm", &self.algorithm()).finish_non_exhaustive()
    }
}

fn bytes(text: &Option<String>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.as_deref()?).ok()
}

/// A number without leading zeros, as ring wants it; some issuers write one.
fn unsigned(text: &Option<String>) -> Option<Vec<u8>> {
    let bytes = bytes(text)?;
    let first = bytes.iter().position(|byte| *byte != 0)?;
    bytes.get(first..).map(<[u8]>::to_vec)
}

/// A point of P-256 as SEC 1 §2.3.3 writes it.
fn uncompressed(x: &[u8], y: &[u8]) -> Option<[u8; 65]> {
    let mut point = [4; 65];
    point.get_mut(1..33)?.copy_from_slice(<&[u8; 32]>::try_from(x).ok()?);
    point.get_mut(33..)?.copy_from_slice(<&[u8; 32]>::try_from(y).ok()?);
    Some(point)
}

//! What an image consists of, as manifests and indexes say it (OCI image specification; Docker's version 2 says the same).

use serde::Deserialize;

use crate::error::Error;

/// Manifests and configurations are some kilobytes; the specification has registries take 4 MiB.
pub(crate) const TEXT_BYTES: u64 = 4 * 1024 * 1024;
/// What a build makes: container engines stop at 127.
pub(super) const MOST_LAYERS: usize = 127;
/// An index may name an index, as those of several platforms do.
pub(crate) const DEEPEST: usize = 3;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: &str = "amd64";
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: &str = "arm64";

/// What is named by its digest.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Descriptor {
    pub(crate) digest: String,
    /// Bytes. Always there in what a registry serves.
    pub(crate) size: Option<u64>,
    platform: Option<Platform>,
}

/// The kind of machine that something is for.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Platform {
    pub(super) architecture: String,
    pub(super) os: String,
}

impl Platform {
    pub(super) fn is_this(&self) -> bool {
        self.os == "linux" && self.architecture == ARCHITECTURE
    }
}

/// A manifest, or an index in the place of one.
#[derive(Debug)]
pub(crate) enum Manifest {
    Index(Index),
    Image { config: Descriptor, layers: Vec<Descriptor> },
}

/// Images for several platforms.
#[derive(Debug)]
pub(crate) struct Index {
    manifests: Vec<Descriptor>,
}

/// Whatever may lie in the place of a manifest.
#[derive(Deserialize)]
struct Document {
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

impl Manifest {
    /// Reads one.
    ///
    /// # Errors
    /// Where it is neither, or both: others would run something else under the same digest.
    pub(crate) fn read(text: &[u8]) -> Result<Self, Error> {
        let document: Document =
            serde_json::from_slice(text).map_err(|error| Error::new(format!("its manifest is not understood: {error}")))?;
        match document {
            Document { manifests: Some(manifests), config: None, layers: None } => Ok(Self::Index(Index { manifests })),
            Document { manifests: None, config: Some(config), layers: Some(layers) } if layers.len() <= MOST_LAYERS => {
                Ok(Self::Image { config, layers })
            }
            Document { manifests: None, config: Some(_), layers: Some(layers) } => {
                Err(Error::new(format!("it has {} layers, and no build makes more than {MOST_LAYERS}", layers.len())))
            }
            _ => Err(Error::new("its manifest is none of an image")),
        }
    }
}

impl Index {
    pub(super) fn read(text: &[u8]) -> Result<Self, Error> {
        match Manifest::read(text)? {
            Manifest::Index(index) => Ok(index),
            Manifest::Image { .. } => Err(Error::new("it has a manifest in the place of an index")),
        }
    }

    /// The one for this machine; one that stands alone need not say what it is for.
    pub(crate) fn choose(&self) -> Result<&Descriptor, Error> {
        let fits = |found: &&Descriptor| found.platform.as_ref().is_some_and(Platform::is_this);
        let chosen = match self.manifests.as_slice() {
            [only] if only.platform.is_none() => Some(only),
            several => several.iter().find(fits),
        };
        chosen.ok_or_else(nothing_for_this_machine)
    }
}

pub(super) fn nothing_for_this_machine() -> Error {
    Error::new(format!("it has nothing for linux on {ARCHITECTURE}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use serde_json::{Value, json};

    use super::*;

    fn read(document: &Value) -> Result<Manifest, Error> {
        Manifest::read(document.to_string().as_bytes())
    }

    fn chosen(manifests: &Value) -> Result<String, Error> {
        let index = Index::read(json!({ "manifests": manifests }).to_string().as_bytes())?;
        index.choose().map(|chosen| chosen.digest.clone())
    }

    #[test]
    fn an_index_leads_to_what_is_for_this_machine() {
        let of = |digest: &str, os: &str, architecture: &str| json!({ "digest": digest, "platform": { "os": os, "architecture": architecture } });
        let this = of("this", "linux", ARCHITECTURE);
        let (other, attestation) = (of("other", "linux", "s390x"), of("attestation", "unknown", "unknown"));
        assert_eq!(chosen(&json!([other, attestation, this])).unwrap(), "this");
        assert_eq!(chosen(&json!([{ "digest": "alone" }])).unwrap(), "alone");
        for nothing in [json!([]), json!([other]), json!([other, attestation]), json!([{ "digest": "a" }, { "digest": "b" }])] {
            assert!(chosen(&nothing).unwrap_err().to_string().contains("nothing for linux"), "{nothing}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let (config, layers) = (json!({ "digest": "c" }), json!([{ "digest": "l", "size": 1 }]));
        assert!(matches!(read(&json!({ "config": config, "layers": layers })).unwrap(), Manifest::Image { .. }));
        for document in [
            json!({ "config": config, "layers": layers, "manifests": [] }),
            json!({ "config": config, "manifests": [] }),
            json!({ "layers": layers }),
            json!({}),
            json!({ "fsLayers": [], "history": [] }),
        ] {
            assert!(read(&document).unwrap_err().to_string().contains("none of an image"), "{document}");
        }
        let many = vec![json!({ "digest": "l" }); MOST_LAYERS + 1];
        assert!(read(&json!({ "config": config, "layers": many })).unwrap_err().to_string().contains("128 layers"));
    }
}

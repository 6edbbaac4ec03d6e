//! What lies beside an image in its registry and says who built it.
//!
//! Bundles of sigstore's refer to the image by its digest. The registry lists them (distribution specification 1.1, "listing referrers");
//! where it does not know how, whoever put them there has kept the list under a tag that is made of the digest. Before version 3 cosign
//! had two more tags of that kind. A registry that has none of that has nothing to show, which `update` tells where there was something.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::timeout;

use super::Error;
use super::pull::other_files;
use super::registry::{ANYTHING, MANIFESTS, Registry, body};
use crate::install::provenance::Provenance;
use crate::install::provenance::image::{self, Form, Image, LARGEST, Layer};
use crate::install::reference::is_digest;
use crate::oci::digest_of;

/// Files of the registry that are looked at, two for each bundle; builds make a bundle for each kind of statement.
const MOST: usize = 32;

/// Bytes of a list, as many as registries take of one.
const LONGEST_LIST: usize = 4 * 1024 * 1024;

/// For how long all that may take: what is only additional must not hold up an installation.
const LIMIT: Duration = Duration::from_secs(60);

/// How what bundles are begins, whatever their version.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";

/// Where a bundle tells in a list what its statement is.
const KIND: &str = "dev.sigstore.bundle.predicateType";

/// cosign's own tags, and what lies there.
const COSIGN: [(&str, Form); 2] = [("att", Form::Attestation), ("sig", Form::Signature)];

/// A list of what refers to an image.
#[derive(Deserialize)]
struct Referrers {
    manifests: Vec<Part>,
}

/// What holds an attestation, or several.
#[derive(Deserialize)]
struct Holder {
    layers: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    digest: String,
    size: usize,
    artifact_type: Option<String>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// Finds out what the registry shows of who built an image.
///
/// # Errors
/// When something there is of another image, not signed by who it says, or not what its digest says.
pub(super) async fn provenance(registry: &Registry, image: &Image<'_>) -> Result<Provenance, Error> {
    let mut search = Search { registry, image, left: MOST, found: Provenance::default() };
    match timeout(LIMIT, search.all()).await {
        Ok(done) => done?,
        Err(_) => {
            tracing::warn!(image = image.name, "what its registry shows of who built it was not there within {LIMIT:?}");
            search.found.announce(image.name, "(not there in time)");
        }
    }
    Ok(search.found)
}

struct Search<'a> {
    registry: &'a Registry,
    image: &'a Image<'a>,
    /// How many more are looked at.
    left: usize,
    found: Provenance,
}

impl Search<'_> {
    async fn all(&mut self) -> Result<(), Error> {
        let tag = self.image.digest.replacen(':', "-", 1);
        for referrer in self.referrers(&tag).await?.iter().filter(|referrer| referrer.is_bundle()) {
            self.bundle(referrer).await?;
        }
        for (end, form) in COSIGN {
            if let Some(text) = self.text(&format!("manifests/{tag}.{end}"), MANIFESTS, LONGEST_LIST).await? {
                self.layers(&text, form).await?;
            }
        }
        Ok(())
    }

    /// The registry's own list, or the one under the tag.
    async fn referrers(&self, tag: &str) -> Result<Vec<Part>, Error> {
        for path in [format!("referrers/{}", self.image.digest), format!("manifests/{tag}")] {
            let text = self.text(&path, MANIFESTS, LONGEST_LIST).await?;
            // Registries that are no such thing at that address answer with a page.
            if let Some(Referrers { manifests }) = text.and_then(|text| serde_json::from_slice(&text).ok()) {
                return Ok(manifests);
            }
        }
        Ok(Vec::new())
    }

    async fn bundle(&mut self, referrer: &Part) -> Result<(), Error> {
        let Some(text) = self.part("manifests", referrer).await? else { return Ok(()) };
        let Holder { layers } = read(&text)?;
        let first = layers.first().ok_or_else(|| Error::new("what refers to it in the registry holds nothing"))?;
        match self.part("blobs", first).await? {
            Some(bundle) => image::check(&mut self.found, self.image, &bundle),
            None => Ok(()),
        }
    }

    async fn layers(&mut self, text: &[u8], form: Form) -> Result<(), Error> {
        let Holder { layers } = read(text)?;
        for part in &layers {
            let Some(text) = self.part("blobs", part).await? else { continue };
            let annotations = part.annotations.clone().unwrap_or_default();
            image::check_layer(&mut self.found, self.image, &Layer { form, text: &text, annotations: &annotations })?;
        }
        Ok(())
    }

    /// What has this digest. `None`, and noted, where it is not had: there are too many, it is too large, or not there.
    async fn part(&mut self, kind: &str, part: &Part) -> Result<Option<Vec<u8>>, Error> {
        if !is_digest(&part.digest) {
            return Err(other_files(&format!("what it calls {}, which is no digest by sha256", part.digest.escape_debug())));
        }
        let text = match self.left.checked_sub(1) {
            Some(left) if part.size <= LARGEST => {
                self.left = left;
                self.text(&format!("{kind}/{}", part.digest), if kind == "blobs" { ANYTHING } else { MANIFESTS }, part.size).await?
            }
            _ => None,
        };
        match &text {
            None => self.found.announce(self.image.name, part.kind()),
            Some(text) if digest_of(text) == part.digest => {}
            Some(text) => return Err(other_files(&format!("{} in the place of {}", digest_of(text), part.digest))),
        }
        Ok(text)
    }

    /// What lies at a path, of `most` bytes at most. `None` where the registry does not give it.
    async fn text(&self, path: &str, accept: &'static str, most: usize) -> Result<Option<Vec<u8>>, Error> {
        match self.registry.get(path, accept).await {
            Ok(response) => body(response, most).await.map(Some),
            Err(error) => {
                tracing::debug!(image = self.image.name, path, "nothing there of who built it: {error}");
                Ok(None)
            }
        }
    }
}

impl Part {
    fn is_bundle(&self) -> bool {
        self.artifact_type.as_deref().is_some_and(|kind| kind.starts_with(BUNDLE))
    }

    /// What it says that it is.
    fn kind(&self) -> &str {
        let said = self.annotations.as_ref().and_then(|annotations| annotations.get(KIND));
        said.map_or("(kind not told)", String::as_str)
    }
}

fn read(text: &[u8]) -> Result<Holder, Error> {
    serde_json::from_slice(text).map_err(|error| Error::new(format!("what refers to it in the registry is not understood: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use serde_json::{Value, json};

    use super::*;
    use crate::install::provenance::image::tests::{BUILDER, Recorded, attestation};
    use crate::install::reference::Reference;

    const ARTIFACT: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

    /// What a registry answers at its paths; 404 where there is nothing.
    #[derive(Clone, Default)]
    struct Answers(BTreeMap<String, Vec<u8>>);

    impl Answers {
        fn with(mut self, path: &str, text: impl Into<Vec<u8>>) -> Self {
            self.0.insert(format!("/v2/x/{path}"), text.into());
            self
        }

        /// The same with a bundle, and what refers to the image with it.
        fn with_bundle(self, bundle: &[u8]) -> (Self, Value) {
            let blob = json!({ "digest": digest_of(bundle), "size": bundle.len() });
            let holder = json!({ "artifactType": ARTIFACT, "layers": [blob] }).to_string();
            let referrer = json!({
                "digest": digest_of(holder.as_bytes()), "size": holder.len(), "artifactType": ARTIFACT,
                "annotations": { KIND: "https://slsa.dev/provenance/v1" },
            });
            let answers = self.with(&format!("blobs/{}", digest_of(bundle)), bundle);
            (answers.with(&format!("manifests/{}", digest_of(holder.as_bytes())), holder), referrer)
        }

        fn serve(self) -> String {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let host = listener.local_addr().unwrap().to_string();
            thread::spawn(move || listener.incoming().flatten().for_each(|stream| self.answer(stream)));
            host
        }

        fn answer(&self, mut stream: TcpStream) {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let text = first.split(' ').nth(1).and_then(|path| self.0.get(path));
            let (status, text) = text.map_or((404, &b""[..]), |text| (200, text));
            // No length: it ends where the connection does.
            let _ = stream.write_all(format!("HTTP/1.1 {status} X\r\nconnection: close\r\n\r\n").as_bytes());
            let mut more = stream.write_all(text);
            while text == ENDLESS && more.is_ok() {
                more = stream.write_all(&[b' '; 4096]);
            }
        }
    }

    const ENDLESS: &[u8] = b"[";

    /// What a registry with these answers shows of the recorded image.
    async fn shown(answers: Answers) -> Result<Provenance, String> {
        let reference = Reference::read(&format!("{}/x", answers.serve())).unwrap();
        let registry = Registry::of(&reference).await.unwrap();
        let (manifest, digest) = (attestation().manifest, image_digest());
        let image = Image { name: "r.example/x", digest: &digest, manifest: manifest.as_bytes() };
        provenance(&registry, &image).await.map_err(|error| error.to_string())
    }

    fn image_digest() -> String {
        digest_of(attestation().manifest.as_bytes())
    }

    fn referrers() -> String {
        format!("referrers/{}", image_digest())
    }

    fn tag(end: &str) -> String {
        format!("manifests/{}{end}", image_digest().replace(':', "-"))
    }

    fn list(referrers: &[Value]) -> String {
        json!({ "manifests": referrers }).to_string()
    }

    fn is_built(found: &Provenance) -> bool {
        found.builders.iter().eq([BUILDER]) && found.announced.is_empty()
    }

    #[tokio::test]
    async fn bundles_are_found_where_the_registry_lists_them_or_under_a_tag() {
        let (answers, referrer) = Answers::default().with_bundle(attestation().bundle().as_bytes());
        let other = json!({ "digest": image_digest(), "size": 1, "artifactType": "application/spdx+json" });
        let listed = list(&[other, referrer]);
        assert!(is_built(&shown(answers.clone().with(&referrers(), &*listed)).await.unwrap()));
        assert!(is_built(&shown(answers.clone().with(&tag(""), &*listed)).await.unwrap()));
        // A page for people, in the place of a list.
        assert!(is_built(&shown(answers.with(&referrers(), "<html>").with(&tag(""), &*listed)).await.unwrap()));
        assert!(shown(Answers::default()).await.unwrap().is_silent());
    }

    #[tokio::test]
    async fn what_cosign_left_under_tags_of_its_own_is_found() {
        let Recorded { text, annotations, .. } = attestation();
        let holder = json!({ "layers": [{ "digest": digest_of(text.as_bytes()), "size": text.len(), "annotations": annotations }] });
        let answers = Answers::default().with(&format!("blobs/{}", digest_of(text.as_bytes())), text.clone());
        assert!(is_built(&shown(answers.clone().with(&tag(".att"), holder.to_string())).await.unwrap()));
        let told = shown(answers.with(&tag(".sig"), holder.to_string())).await.unwrap_err();
        assert!(told.contains("is of something else") || told.contains("cannot be read"), "{told}");
    }

    #[tokio::test]
    async fn what_is_not_what_its_digest_says_is_refused() {
        let bundle = attestation().bundle();
        let (answers, referrer) = Answers::default().with_bundle(bundle.as_bytes());
        let answers = answers.with(&referrers(), list(&[referrer]));
        let blob = format!("blobs/{}", digest_of(bundle.as_bytes()));
        let (cut, longer) = (bundle.split_at(100).0.to_owned(), bundle.clone() + " ");
        for (text, expected) in [(&*cut, "in the place of"), (&*longer, "has more than"), ("[", "has more than")] {
            let told = shown(answers.clone().with(&blob, text)).await.unwrap_err();
            assert!(told.contains(expected), "{told}");
        }
        let told = shown(Answers::default().with(&referrers(), ENDLESS)).await.unwrap_err();
        assert!(told.contains("has more than 4194304 bytes"), "{told}");
        let climbing = json!({ "digest": "sha256:../../x", "size": 1, "artifactType": ARTIFACT });
        assert!(shown(Answers::default().with(&referrers(), list(&[climbing]))).await.unwrap_err().contains("no digest by sha256"));
    }

    #[tokio::test]
    async fn what_is_too_much_too_large_or_not_there_is_noted_and_not_looked_at() {
        let (answers, referrer) = Answers::default().with_bundle(attestation().bundle().as_bytes());
        let announced = ["r.example/x https://slsa.dev/provenance/v1".to_owned()];
        let found = shown(answers.clone().with(&referrers(), list(&vec![referrer.clone(); 1000]))).await.unwrap();
        assert!(found.builders.iter().eq([BUILDER]) && found.announced.iter().eq(&announced), "{found:?}");
        let mut large = referrer.clone();
        large["size"] = json!(LARGEST + 1);
        assert!(shown(answers.with(&referrers(), list(&[large]))).await.unwrap().announced.iter().eq(&announced));
        assert!(shown(Answers::default().with(&referrers(), list(&[referrer]))).await.unwrap().announced.iter().eq(&announced));
    }
}

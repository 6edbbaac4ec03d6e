//! Fetches an image into a folder, in OCI layout.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::registry::{ANYTHING, MANIFESTS, Registry, body, failed};
use super::{Error, attached};
use crate::install::locked::hex;
use crate::install::provenance::Provenance;
use crate::install::provenance::image::Image;
use crate::install::reference::Reference;
use crate::install::step::Job;
use crate::oci::manifest::{DEEPEST, Descriptor, Manifest, TEXT_BYTES};
use crate::oci::{blob, digest_of};

/// All layers of one image, packed: as much as they may have unpacked.
const MOST_BYTES: u64 = 16 * 1024 * 1024 * 1024;

/// Pieces of a blob that wait to be written: a disk that is slower than the network holds it up.
const WAITING: usize = 64;

const MB: u64 = 1_000_000;

/// One image on its way.
pub(super) struct Pull<'a> {
    job: &'a Job<'a>,
    registry: Registry,
    reference: &'a Reference,
    /// What is here already: manifests that were looked up, layers that stand in an image twice.
    layout: PathBuf,
}

impl<'a> Pull<'a> {
    pub(super) async fn begin(job: &'a Job<'a>, reference: &'a Reference) -> Result<Self, Error> {
        let layout = job.tmp.join("image");
        let blobs = layout.join("blobs/sha256");
        let made = fs::create_dir_all(&blobs);
        made.map_err(|cause| Error::io(format_args!("folder {} cannot be made", blobs.display()), &cause))?;
        Ok(Self { job, registry: Registry::of(reference).await?, reference, layout })
    }

    /// The digest that the tag stands for now, and what its registry has to show of who built that.
    pub(super) async fn look_up(&self) -> Result<(String, Provenance), Error> {
        let (digest, manifest) = self.manifest(self.reference.wanted(), self.reference.digest.as_deref()).await?;
        (self.job.progress)(&format!("asking who built {}", self.reference));
        let name = self.reference.name();
        let provenance = attached::provenance(&self.registry, &Image { name: &name, digest: &digest, manifest: &manifest }).await?;
        Ok((digest, provenance))
    }

    /// Everything that `digest` names, for this machine. Gives the layout's folder.
    pub(super) async fn whole(self, digest: &str) -> Result<PathBuf, Error> {
        let (config, layers) = self.parts(digest).await?;
        let all: Vec<&Descriptor> = [&config].into_iter().chain(&layers).collect();
        let sizes = all.iter().try_fold(0u64, |sum, part| sum.checked_add(part.size?).filter(|sum| *sum <= MOST_BYTES));
        let whole = sizes.ok_or_else(|| Error::new("its manifest does not say how large it is, or it has more than 16 GiB"))?;
        if config.size.is_some_and(|size| size > TEXT_BYTES) {
            return Err(Error::new(format!("its configuration has more than {TEXT_BYTES} bytes")));
        }
        let mut here = 0;
        for (number, part) in all.iter().enumerate() {
            let (number, reference) = (number + 1, self.reference);
            let (done, of, parts) = (here / MB, whole.div_ceil(MB), all.len());
            (self.job.progress)(&format!("fetching {reference}: part {number} of {parts}, {done} of {of} MB"));
            self.blob(part).await?;
            here += part.size.unwrap_or_default();
        }
        let index = serde_json::json!({ "schemaVersion": 2, "manifests": [{ "digest": digest }] });
        self.write("index.json", index.to_string().as_bytes())?;
        Ok(self.layout)
    }

    /// The configuration and the layers.
    async fn parts(&self, digest: &str) -> Result<(Descriptor, Vec<Descriptor>), Error> {
        let mut digest = digest.to_owned();
        for _ in 0..DEEPEST {
            let (_, text) = self.manifest(&digest, Some(&digest)).await?;
            match Manifest::read(&text)? {
                Manifest::Image { config, layers } => return Ok((config, layers)),
                Manifest::Index(index) => digest = index.choose()?.digest.clone(),
            }
        }
        Err(Error::new("its index names indexes within each other"))
    }

    /// A manifest or index, with its digest, which must be `expected` where that is given.
    async fn manifest(&self, wanted: &str, expected: Option<&str>) -> Result<(String, Vec<u8>), Error> {
        if let Some(digest) = expected
            && let Ok(text) = fs::read(self.layout.join(blob(digest)?))
        {
            return Ok((digest.to_owned(), text)); // its digest was looked at when it was written
        }
        let most = usize::try_from(TEXT_BYTES).unwrap_or(usize::MAX);
        let text = body(self.registry.get(&format!("manifests/{wanted}"), MANIFESTS).await?, most).await?;
        let digest = digest_of(&text);
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            return Err(other_files(&format!("a manifest of {digest} in the place of {expected}")));
        }
        self.write(&blob(&digest)?, &text)?;
        Ok((digest, text))
    }

    fn write(&self, name: &str, text: &[u8]) -> Result<(), Error> {
        let file = self.layout.join(name);
        fs::write(&file, text).map_err(|cause| Error::io(format_args!("{} cannot be written", file.display()), &cause))
    }

    /// One blob, which has its name only once it is known to be what it should be.
    async fn blob(&self, part: &Descriptor) -> Result<(), Error> {
        let (digest, size) = (&part.digest, part.size.unwrap_or_default());
        let file = self.layout.join(blob(digest)?);
        if file.exists() {
            return Ok(());
        }
        let mut response = self.registry.get(&format!("blobs/{digest}"), ANYTHING).await?;
        let (send, receive) = mpsc::channel(WAITING);
        let draft = self.layout.join("draft");
        let writing = tokio::task::spawn_blocking({
            let draft = draft.clone();
            move || write_all(receive, &draft)
        });
        let (mut left, url) = (size, response.url().clone());
        while let Some(piece) = response.chunk().await.map_err(|error| failed(&url, error))? {
            let rest = u64::try_from(piece.len()).ok().and_then(|length| left.checked_sub(length));
            left = rest.ok_or_else(|| other_files(&format!("more than the {size} bytes of {digest}")))?;
            if send.send(piece).await.is_err() {
                break; // the disk is full: the other side says why
            }
        }
        drop(send);
        let written = writing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let found = written.map_err(|cause| {
            Error::io(format_args!("{} cannot be written", draft.display()), &cause)
                .with_hint("make room on the disk that holds the packages, or set XDG_CACHE_HOME to a folder on another one")
        })?;
        if left > 0 {
            return Err(other_files(&format!("{} bytes of {digest}, which has {size}", size - left)));
        }
        if found != *digest {
            return Err(other_files(&format!("a blob of {found} in the place of {digest}")));
        }
        fs::rename(&draft, &file).map_err(|cause| Error::io(format_args!("{} cannot be written", file.display()), &cause))
    }
}

/// Writes what arrives, and gives its digest.
fn write_all(mut pieces: mpsc::Receiver<Bytes>, file: &Path) -> io::Result<String> {
    let mut file = File::create(file)?;
    let mut digest = Sha256::new();
    while let Some(piece) = pieces.blocking_recv() {
        digest.update(&piece);
        file.write_all(&piece)?;
    }
    Ok(format!("sha256:{}", hex(digest.finalize().iter())))
}

pub(super) fn other_files(what: &str) -> Error {
    Error::new(format!("the registry serves {what}"))
        .with_hint("do not trust it before you know why; a proxy on the way may have broken it, too")
}

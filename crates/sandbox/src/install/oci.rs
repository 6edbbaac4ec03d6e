//! Images of container registries.
//!
//! No package manager does this, and no process either: what comes from the registry is read by parsers of our own, bounded, and the
//! layers are unpacked by the code that unpacks images on disk. First the tag is looked up, which gives a digest; then all that this digest
//! names is fetched into scratch space, in OCI layout, each file verified while it is written, and unpacked from there. Who built it is
//! asked when it is looked up, and stands in the lock.

mod attached;
mod challenge;
mod credentials;
mod pull;
mod reach;
mod registry;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::timeout_at;

use super::locked::{Artefact, Locked, contradicts};
use super::reference::{Reference, is_digest};
use super::step::Job;
use super::store::{Notes, Place};
use super::{Error, Package, Start};
use crate::oci::{ENTRYPOINT, installed};
use pull::Pull;

/// What the tag stands for now.
pub(super) async fn look_up(job: &Job<'_>) -> Result<Locked, Error> {
    let reference = reference(job.package)?;
    let (digest, provenance) = in_time(job, async { Pull::begin(job, &reference).await?.look_up().await }).await?;
    let version = reference.version(&digest);
    Ok(Locked {
        source: job.package.source,
        requirements: job.package.requirements.clone(),
        version: version.clone(),
        scripts: false,
        provenance,
        trees: BTreeMap::new(),
        artefacts: vec![Artefact { name: reference.name(), version, digests: BTreeSet::from([digest]) }],
        plan: None,
    })
}

/// Fetches and unpacks exactly what is locked.
pub(super) async fn fill(job: &Job<'_>, locked: &Locked, tree: &Path) -> Result<Notes, Error> {
    let reference = reference(job.package)?;
    let digest = match locked.artefacts.as_slice() {
        [Artefact { name, digests, .. }] if *name == reference.name() && digests.len() == 1 => digests.first(),
        _ => None,
    };
    let digest = digest.filter(|digest| is_digest(digest)).ok_or_else(|| contradicts("it is not of one image of this name"))?;
    is_what_is_named(job.package, locked)?;
    let layout = in_time(job, async { Pull::begin(job, &reference).await?.whole(digest).await }).await?;
    (job.progress)(&format!("unpacking {reference}"));
    in_time(job, unpack(layout, tree.to_owned())).await?;
    Ok(Notes::default())
}

/// Refuses an image other than the one that the configuration names by its digest, whatever is locked.
pub(super) fn is_what_is_named(package: &Package, locked: &Locked) -> Result<(), Error> {
    let Some(named) = reference(package)?.digest else { return Ok(()) };
    let is_it = locked.artefacts.iter().all(|artefact| artefact.digests.iter().eq([&named]));
    if is_it { Ok(()) } else { Err(contradicts("it is of another digest than the configuration names")) }
}

/// What the image itself starts, or a program in it.
pub(super) fn start(place: &Place, package: &Package) -> Result<Start, Error> {
    if package.program.is_none() && !installed::starts_something(&place.tree())? {
        return Err(Error::new("says nothing of what it starts").with_hint("name the program: `oci:IMAGE#/path/of/program`"));
    }
    let command = package.program.clone().unwrap_or_else(|| ENTRYPOINT.to_owned());
    Ok(Start { command: command.into(), args: package.args.clone() })
}

fn reference(package: &Package) -> Result<Reference, Error> {
    let named = package.requirement();
    Reference::read(named).ok_or_else(|| Error::new(format!("{} names no image of a registry", named.escape_debug())))
}

async fn in_time<T>(job: &Job<'_>, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = |_| Err(Error::new(format!("it was not there within {:?}", job.limit)));
    timeout_at(job.deadline, work).await.unwrap_or_else(late)
}

/// Unpacks on a thread of its own, which stops when nobody waits for it any more.
async fn unpack(layout: PathBuf, tree: PathBuf) -> Result<(), Error> {
    struct Stop(Arc<AtomicBool>);
    impl Drop for Stop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = Stop(Arc::default());
    let asked = stop.0.clone();
    let unpacked = tokio::task::spawn_blocking(move || installed::unpack(&layout, &tree, &asked)).await;
    Ok(unpacked.map_err(|_| Error::new("unpacking failed, which is a fault of ours"))??)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use super::*;
    use crate::install::Provenance;

    #[test]
    fn a_digest_in_the_configuration_is_not_what_a_lock_makes_of_it() {
        let (named, other) = (format!("sha256:{}", "a".repeat(64)), format!("sha256:{}", "b".repeat(64)));
        let package = |text: String| Package {
            source: crate::install::Source::Oci,
            requirements: vec![text],
            program: None,
            args: Vec::new(),
            tools: None,
            scripts: false,
        };
        let locked = |digest: &str| Locked {
            source: crate::install::Source::Oci,
            requirements: Vec::new(),
            version: "1".to_owned(),
            scripts: false,
            provenance: Provenance::default(),
            trees: BTreeMap::new(),
            artefacts: vec![Artefact { name: "r.example/x".into(), version: "1".into(), digests: BTreeSet::from([digest.to_owned()]) }],
            plan: None,
        };
        let pinned = package(format!("r.example/x:1@{named}"));
        assert!(is_what_is_named(&pinned, &locked(&named)).is_ok() && is_what_is_named(&pinned, &locked(&other)).is_err());
        assert!(is_what_is_named(&package("r.example/x:1".to_owned()), &locked(&other)).is_ok());
    }
}

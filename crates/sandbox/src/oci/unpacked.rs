//! An image that programs can be run from: what it says of its own program, and the folder with its files.

use std::path::{Path, PathBuf};

use super::image::Image;
use super::{folders, installed, layer};
use crate::error::Error;
use crate::policy::Target;
use crate::profile::{Profile, Program};

pub(crate) struct Unpacked {
    pub(super) image: Image,
    /// All layers in one; nobody writes there any more.
    pub(crate) root: PathBuf,
}

impl Unpacked {
    /// One from disk: unpacked into the private cache, unless that was done before.
    ///
    /// # Errors
    /// Where it is no image for this machine, is not what its digests or `digest` say, or has more than an image may have.
    pub(crate) fn from_disk(path: &Path, digest: Option<&str>) -> Result<Self, Error> {
        let image = Image::open(path, digest)?;
        let root = layer::unpacked(&image, &folders()?.cache.join("images"))?;
        Ok(Self { image, root })
    }

    /// One of a registry, by its folder in the store.
    ///
    /// # Errors
    /// Where it is not there.
    pub(crate) fn installed(tree: &Path) -> Result<Self, Error> {
        Ok(Self { image: installed::open(tree)?, root: installed::root(tree) })
    }

    /// What is executed inside, with which variables, and where.
    ///
    /// # Errors
    /// Where neither the configuration nor the image says what is executed.
    pub(crate) fn target(&self, profile: &Profile, program: &Program) -> Result<Target, Error> {
        self.image.target(profile, program)
    }
}

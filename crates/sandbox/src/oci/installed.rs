//! Images that were installed: unpacked into a folder of the store, and started from there.
//!
//! ```text
//! TREE/root         what the layers come to
//!      image.json   what the image says about its program
//! ```

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::image::Image;
use super::layer;
use crate::error::Error;
use crate::profile::Program;

/// The unpacked layers.
pub(super) fn root(tree: &Path) -> PathBuf {
    tree.join("root")
}

fn note(tree: &Path) -> PathBuf {
    tree.join("image.json")
}

/// Unpacks the image in `layout` into the empty folder `tree`, until `stop` says that nobody wants it any more.
///
/// # Errors
/// Where it is not what its digests say, or has more than an image may have.
pub(crate) fn unpack(layout: &Path, tree: &Path, stop: &AtomicBool) -> Result<(), Error> {
    let image = Image::open(layout, None)?;
    let (root, note) = (root(tree), note(tree));
    let made = fs::create_dir(&root).and_then(|()| fs::set_permissions(&root, fs::Permissions::from_mode(0o755)));
    made.map_err(|cause| Error::io(format_args!("{} cannot be made", root.display()), &cause))?;
    layer::fill(&image, &root, stop)?;
    let written = serde_json::to_vec(&image.start).map_err(Into::into).and_then(|text| fs::write(&note, text));
    written.map_err(|cause| Error::io(format_args!("{} cannot be written", note.display()), &cause))
}

/// The image that was unpacked there.
///
/// # Errors
/// Where it is not there.
pub(super) fn open(tree: &Path) -> Result<Image, Error> {
    let note = note(tree);
    let read = fs::read(&note).and_then(|text| Ok(serde_json::from_slice(&text)?));
    let start = read.map_err(|cause| Error::io(format_args!("{} cannot be read", note.display()), &cause))?;
    Ok(Image::installed(start))
}

/// Whether there is anything that the image starts by itself.
///
/// # Errors
/// Where it is not there.
pub(crate) fn starts_something(tree: &Path) -> Result<bool, Error> {
    Ok(!open(tree)?.command(&Program::new("", super::ENTRYPOINT)).is_empty())
}

//! Images where no container is run.

use std::path::Path;

use super::locked::Locked;
use super::step::Job;
use super::store::{Notes, Place};
use super::{Error, Package, Start};

pub(super) fn check_user() -> Result<(), Error> {
    Err(Error::new("images are run on linux alone"))
}

pub(super) async fn look_up(_: &Job<'_>) -> Result<Locked, Error> {
    check_user().and(Err(Error::new("")))
}

pub(super) async fn fill(_: &Job<'_>, _: &Locked, _: &Path) -> Result<Notes, Error> {
    check_user().map(|()| Notes::default())
}

pub(super) fn start(_: &Place, package: &Package) -> Result<Start, Error> {
    check_user().map(|()| Start { command: package.program.clone().unwrap_or_default().into(), args: package.args.clone() })
}

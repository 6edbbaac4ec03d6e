//! Images where no container is run.

use std::path::Path;

use super::locked::Locked;
use super::step::Job;
use super::store::{Notes, Place};
use super::{Error, Package, Start};

fn nowhere() -> Result<(), Error> {
    Err(Error::new("images are run on linux alone"))
}

pub(super) async fn look_up(_: &Job<'_>) -> Result<Locked, Error> {
    nowhere().and(Err(Error::new("")))
}

pub(super) async fn fill(_: &Job<'_>, _: &Locked, _: &Path) -> Result<Notes, Error> {
    nowhere().map(|()| Notes::default())
}

pub(super) fn is_what_is_named(_: &Package, _: &Locked) -> Result<(), Error> {
    nowhere()
}

pub(super) fn start(_: &Place, package: &Package) -> Result<Start, Error> {
    nowhere().map(|()| Start { command: package.program.clone().unwrap_or_default().into(), args: package.args.clone() })
}

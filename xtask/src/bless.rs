//! `cargo xtask bless`: the generated reference pages and snapshots, written anew from the code.

use crate::repository::{Outcome, Repository};
use crate::step;

/// Runs the unit tests with `SALLYPORT_BLESS=1`, which lets the ones that compare a generated page write it instead; and those
/// of the matrix and of the attacks that do so too.
pub(crate) fn run(repository: &Repository) -> Outcome {
    step::run("reference pages and snapshots", || {
        bless(repository, &["--workspace", "--lib", "--bins"])?;
        bless(repository, &["--package=sallyport", "--test=revisions", "the_page"])?;
        bless(repository, &["--package=sallyport", "--test=isolation", "the_page"])
    })
}

fn bless(repository: &Repository, which: &[&str]) -> Outcome {
    let mut tests = repository.cargo();
    step::execute(tests.args(["test", "--quiet"]).args(which).env("SALLYPORT_BLESS", "1").env("INSTA_UPDATE", "always"))
}

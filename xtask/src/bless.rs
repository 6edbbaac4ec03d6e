//! `cargo xtask bless`: the generated reference pages and snapshots, written anew from the code.

use crate::repository::{Outcome, Repository};
use crate::step;

/// Runs the unit tests with `SALLYPORT_BLESS=1`, which lets the ones that compare a generated page write it instead.
pub(crate) fn run(repository: &Repository) -> Outcome {
    step::run("reference pages and snapshots", || {
        step::execute(
            repository
                .cargo()
                .args(["test", "--quiet", "--workspace", "--lib", "--bins"])
                .env("SALLYPORT_BLESS", "1")
                .env("INSTA_UPDATE", "always"),
        )
    })
}

//! The attack suite: a hostile program tries from inside a sandbox what [`ROWS`] list, and the host looks at what came of it.
//!
//! It ships with the product, so that everybody can run it on the machine that counts: his own. What the hostile program says is
//! not enough for an attack to be stopped: nothing outside may have changed, nobody who listens may have been reached, another
//! server must still answer, and the canary, a text that lies where no sandbox sees it, must show up nowhere.

mod row;

#[cfg(target_os = "linux")]
mod arena;
#[cfg(target_os = "linux")]
mod contender;
#[cfg(target_os = "linux")]
mod flood;
#[cfg(target_os = "linux")]
mod heart;
#[cfg(target_os = "linux")]
mod inside;
#[cfg(target_os = "linux")]
mod judge;
#[cfg(all(target_os = "linux", feature = "wasm"))]
mod module;
#[cfg(target_os = "linux")]
mod monitor;
#[cfg(target_os = "linux")]
mod pace;
#[cfg(target_os = "linux")]
mod terrain;
#[cfg(target_os = "linux")]
mod wire;

use std::path::Path;

pub use row::{Outcome, ROWS, Row};
use serde::Serialize;

use crate::backend::Pending;
use crate::instance::Stdout;

#[cfg(target_os = "linux")]
pub(crate) use inside::run as hostile;
#[cfg(target_os = "linux")]
pub use judge::run;

/// The first argument that makes this binary the hostile program.
#[cfg(target_os = "linux")]
pub(crate) const HOSTILE_ARGUMENT: &str = "__sandbox_attack";

/// Tries nothing: there is no sandbox to try it in.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub async fn run(
    _host: &crate::Host,
    _selection: &crate::Selection,
    _gateway: &dyn Gateway,
    _race: std::time::Duration,
    _tell: &mut dyn FnMut(&Row),
) -> Result<Vec<Verdict>, crate::Error> {
    Err(crate::backends::none::unsupported("of the attacks"))
}

/// What became of one attack.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The row's number.
    pub row: u8,
    /// The row's name.
    pub name: &'static str,
    /// What became of it.
    pub outcome: Outcome,
    /// The layer that must stop it.
    pub layer: &'static str,
    /// What was tried and what stopped it; for an attack that is open what it got, else why it is not stopped.
    pub detail: String,
}

/// Code of the gateway that is attacked together with the boundary, and that this crate does not know.
pub trait Gateway: Send + Sync {
    /// Reads a file as a server built into the gateway would: `path` below `root`, which a hostile program may write meanwhile.
    ///
    /// # Errors
    /// What keeps it from doing so.
    fn read<'a>(&'a self, root: &'a Path, path: &'a Path) -> Pending<'a, Result<Vec<u8>, String>>;

    /// Takes the lines that a program writes to its stdout, of which none may be longer than `longest` bytes, until their end.
    fn listen<'a>(&'a self, stdout: Stdout, longest: usize) -> Pending<'a, Heard>;
}

/// What was heard of a program's stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Lines that were taken.
    pub lines: usize,
    /// The most bytes of a line that were kept.
    pub longest: usize,
    /// Lines that were refused for their length.
    pub refused: usize,
}

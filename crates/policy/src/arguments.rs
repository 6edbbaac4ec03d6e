//! What a call is made with, looked at by what it means: a statement, a path, an address; never as text to be matched.
//!
//! A rule for an argument looks at a call in addition to the rules for the tool: whatever else allows the tool, a call whose argument
//! does not meet its rule is denied. At list time there are no arguments yet, and the tool is shown.

mod guard;
mod kinds;
mod object;
mod path;
mod recorded;
mod rule;
mod sql;
mod strict;
mod url;

pub(crate) use guard::ArgumentGuard;
pub use kinds::{ArgumentKind, Kinds};
pub use path::PathRule;
pub(crate) use recorded::Known;
pub use recorded::Recorded;
pub use rule::{ArgumentRule, NumberRule};
pub use sql::{Dialect, Kind as StatementKind, SqlGuard, SqlRule, SqlStatement};
pub use url::UrlRule;

/// The arguments of a call, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arguments<'a> {
    /// There are none yet, or they have been decided upon before: a list, or what follows a call that was let through.
    #[default]
    Unknown,
    /// The JSON text of a call's arguments.
    Given(&'a str),
    /// What the record of a call tells of them: see [`Policy::replay`](crate::Policy::replay).
    Recorded(&'a Recorded),
}

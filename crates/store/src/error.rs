//! Why something could not be kept or found.

use std::fmt;
use std::path::Path;

use rusqlite::ErrorCode;

/// A store that could not be opened, read or written.
#[derive(Debug)]
pub struct StoreError {
    message: String,
    hint: Option<String>,
    cause: Option<rusqlite::Error>,
}

impl StoreError {
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()), cause: None }
    }

    /// The failure of a question to the store at `path`.
    pub(crate) fn of(path: &Path, cause: rusqlite::Error) -> Self {
        let (what, hint) = match cause.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                ("is held by another process", Some("try again; if it stays so, see who has the file open"))
            }
            Some(ErrorCode::DiskFull) => ("has no room left on its disk", Some("make room, then try again: nothing that was kept is lost")),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                ("cannot be written", Some("the file and its folder have to belong to the user who runs the gateway"))
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                ("is damaged, or is no store", Some("put a copy of it back, or move it away: users, keys and grants in it are then gone"))
            }
            _ => ("failed", None),
        };
        Self { message: format!("the store {} {what}", path.display()), hint: hint.map(str::to_owned), cause: Some(cause) }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether the write was refused because what it would keep is there already.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.cause.as_ref().and_then(rusqlite::Error::sqlite_error_code) == Some(ErrorCode::ConstraintViolation)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)?;
        self.cause.iter().try_for_each(|cause| write!(out, ": {cause}"))
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as _)
    }
}

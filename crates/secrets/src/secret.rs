//! The value that must not be seen.

use zeroize::Zeroizing;

/// A secret value.
///
/// Deliberately without `Debug`, `Display`, `Serialize`, `Clone` and `PartialEq`: the only way to the text is
/// [`expose`](Self::expose), so that a search for that name finds every use. The memory is overwritten on drop.
#[expect(missing_debug_implementations, reason = "a secret must not reach a log")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes over `value`; the caller keeps no copy of its own.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The text itself, for the one place that has to send it, set it or compare it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

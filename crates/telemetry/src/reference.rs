//! Reference pages under `docs/reference/` that are made from the code.

use std::path::Path;

/// Fails when the page in the repository is not `expected`; writes it instead if `SALLYPORT_BLESS` is set.
pub(crate) fn check(name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
    if std::env::var_os("SALLYPORT_BLESS").is_some() {
        std::fs::write(&path, expected).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/reference/{name} is stale; make it anew with SALLYPORT_BLESS=1 cargo test -p sallyport-telemetry");
}

//! The AppArmor profile for this binary, where it lies.

use std::path::Path;

use crate::output::{self, Failure};

/// As it is packaged, for the usual places.
const PROFILE: &str = include_str!("../../../../packaging/apparmor/sallyport");

/// The places in it.
const USUAL_PLACES: &str = "/usr/{,local/}bin/sallyport";

/// Prints it.
pub(super) fn print() -> Result<(), Failure> {
    let binary = std::env::current_exe().map_err(|error| Failure::new(format!("this binary cannot be found: {error}")))?;
    output::line(profile(&binary)?.trim_end())
}

fn profile(binary: &Path) -> Result<String, Failure> {
    // In quotes anything may stand in a path but quotes; some characters would be patterns.
    let plain = binary.to_str().filter(|path| !path.contains(['"', '\\', '*', '?', '[', ']', '{', '}', '^', '@', '\n']));
    match plain {
        Some(path) => Ok(PROFILE.replace(USUAL_PLACES, &format!("\"{path}\""))),
        None => Err(Failure::new(format!("no AppArmor profile can name the path {}", binary.display()))
            .hint("install the binary as /usr/local/bin/sallyport")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_the_binary_where_it_lies() {
        let text = profile(Path::new("/home/me/.cargo/bin/sallyport")).unwrap_or_default();
        assert!(text.contains("\nprofile sallyport \"/home/me/.cargo/bin/sallyport\" flags=(unconfined) {\n  userns,\n"), "{text}");
        assert!(profile(Path::new("/home/me/*/sallyport")).is_err());
        assert!(PROFILE.contains(USUAL_PLACES));
    }
}

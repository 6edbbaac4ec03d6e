//! Requirements that leave no choice of a version.

/// Whether `version` is the one that a requirement names behind `separator`, where it names one: a lock that says another would run what
/// nobody asked for. A range, a tag, or what a registry may write in another way is taken as it is locked.
pub(super) fn fits(requirement: &str, separator: &str, version: &str) -> bool {
    let wanted = requirement.rsplit_once(separator).map(|(_, wanted)| wanted.strip_prefix('=').unwrap_or(wanted));
    wanted.is_none_or(|wanted| !is_version(wanted) || wanted == version)
}

/// Three numbers, and a pre-release behind `-`.
fn is_version(text: &str) -> bool {
    let (numbers, _) = text.split_once('-').unwrap_or((text, ""));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    numbers.split('.').count() == 3 && numbers.split('.').all(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_version_alone_fits_a_requirement_of_one() {
        for (requirement, separator, fitting, other) in [
            ("a@2.0.0", "@", "2.0.0", Some("1.0.0")),
            ("@s/a@2.0.0-rc.1", "@", "2.0.0-rc.1", Some("2.0.0")),
            ("x@npm:a@2.0.0", "@", "2.0.0", Some("2.0.1")),
            ("a==2.0.0", "==", "2.0.0", Some("2.0.1")),
            ("a@=2.0.0", "@", "2.0.0", Some("2.0.1")),
            ("a@^2.0.0", "@", "2.1.0", None),
            ("a@2", "@", "2.1.0", None),
            ("a@latest", "@", "1.0.0", None),
            ("@s/a", "@", "1.0.0", None),
            ("a", "@", "1.0.0", None),
            ("a==2.0.0; python_version > '3'", "==", "2.0.0", None),
        ] {
            assert!(fits(requirement, separator, fitting), "{requirement}");
            assert!(other.is_none_or(|other| !fits(requirement, separator, other)), "{requirement}");
        }
    }
}

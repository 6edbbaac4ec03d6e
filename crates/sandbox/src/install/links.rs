//! Links out of what was installed. What lies round the end of a link that a program's `#!` line names is shown to the program: code of a
//! package that runs while it is installed must not choose what that is.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::Error;
use super::desk::off_the_runtime;
use super::tree;

/// What every program sees anyway; builds link to the Python and the compilers there.
const SEEN_BY_ALL: &[&str] = &["/usr", "/lib", "/lib64", "/bin", "/sbin", "/nix/store"];

/// Links of a tree that lead out of it, with where they lead.
pub(super) type Leaving = Vec<(PathBuf, PathBuf)>;

/// Those that are there, for example in an environment of Python before anything was installed into it.
pub(super) async fn leaving(tree: &Path) -> Result<Leaving, Error> {
    let folder = tree.to_path_buf();
    let found = off_the_runtime(move || look(&folder)).await;
    found.map_err(|cause| Error::io(format_args!("{} cannot be read", tree.display()), &cause))
}

/// Refuses a tree that has others than those that were there `before`.
pub(super) async fn refuse_others(tree: &Path, before: &Leaving) -> Result<(), Error> {
    let now = leaving(tree).await?;
    let Some((link, target)) = now.iter().find(|link| !before.contains(link)) else { return Ok(()) };
    let (link, target) = (link.display().to_string(), target.display().to_string());
    Err(Error::new(format!("it has left the link {} to {}, which is outside of it", link.escape_debug(), target.escape_debug()))
        .with_hint("a package has no use for that: do not trust it before you know why"))
}

fn look(tree: &Path) -> io::Result<Leaving> {
    let mut found = Leaving::new();
    for link in tree::links(tree)? {
        let target = fs::read_link(tree.join(&link))?;
        if !stays(tree, &link, &target) {
            found.push((link, target));
        }
    }
    Ok(found)
}

/// Whether a link ends in the tree, or where everybody may look, whatever other links of the tree there are, and whatever is there at its end
/// now: that may be made later.
fn stays(tree: &Path, link: &Path, target: &Path) -> bool {
    let mut depth = link.components().count().saturating_sub(1);
    let mut goes_up = true;
    for part in target.components() {
        match part {
            Component::RootDir => {
                let climbs = target.components().any(|part| part == Component::ParentDir);
                return !climbs && SEEN_BY_ALL.iter().map(Path::new).chain([tree]).any(|folder| target.starts_with(folder));
            }
            // After a name, which may be another link, nobody knows where `..` leads.
            Component::ParentDir if goes_up && depth > 0 => depth -= 1,
            Component::Normal(_) => goes_up = false,
            Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_in_the_tree_or_leads_to_the_system() {
        for (link, target, expected) in [
            ("bin/python", "python3", true),
            ("bin/python", "./python3", true),
            ("bin/python3", "/usr/bin/python3", true),
            ("node_modules/.bin/a", "../a/cli.js", true),
            ("lib64", "lib", true),
            ("bin/a", "/store/tree/bin/b", true),
            ("bin/python3", "/home/user/project/.venv/bin/python", false),
            ("bin/a", "/store/tree/../other/bin/b", false),
            ("bin/a", "/store/treetop/b", false),
            ("bin/a", "/usr/../home/user/b", false),
            ("bin/a", "../../b", false),
            ("a", "..", false),
            ("a", "../b", false),
            ("bin/a", "linked/../../b", false),
            ("bin/a", "linked/../b", false),
        ] {
            assert_eq!(stays(Path::new("/store/tree"), Path::new(link), Path::new(target)), expected, "{link} → {target}");
        }
    }
}

//! What a search leaves out: git's own folder, and what `.gitignore` files name (gitignore(5), the files in the
//! folders alone). Build output and installed packages drown every other match.

use std::io::Read;
use std::path::Path;

use cap_std::fs::Dir;
use globset::{GlobBuilder, GlobMatcher};

use super::root::{Root, open_regular};

/// Bytes of a `.gitignore` that are read: real ones have a few kilobytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Rules of one file at most, each a small automaton tried on every name.
const MAX_RULES: usize = 1000;

/// The rules in force where a walk stands: one list a folder on the way down.
#[derive(Debug)]
pub(super) struct Ignored {
    all_seen: bool,
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    /// How much of a path below the root belongs to the folder itself.
    prefix: usize,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    glob: GlobMatcher,
    /// `!`: seen after all.
    seen: bool,
    folders_only: bool,
    /// Meant from the folder of the file on, not for a name anywhere below.
    anchored: bool,
}

impl Ignored {
    /// Rules that hide nothing where `all_seen`.
    pub(super) fn new(all_seen: bool) -> Self {
        Self { all_seen, levels: Vec::new() }
    }

    /// Takes in the rules of the folders above `start`, from the root on.
    pub(super) fn enter_above(&mut self, root: &Root, start: &Path) {
        let mut above: Vec<&Path> = start.ancestors().skip(1).collect();
        above.reverse();
        for path in above {
            let open = if path.as_os_str().is_empty() { root.folder().try_clone() } else { root.folder().open_dir(path) };
            if let Ok(folder) = open {
                self.enter(&folder, path.to_string_lossy().len());
            }
        }
    }

    /// Goes into a folder whose path below the root has `prefix` bytes.
    pub(super) fn enter(&mut self, folder: &Dir, prefix: usize) {
        let rules = if self.all_seen { Vec::new() } else { read_rules(folder) };
        self.levels.push(Level { prefix, rules });
    }

    /// Leaves the folder that was entered last.
    pub(super) fn leave(&mut self) {
        self.levels.pop();
    }

    /// Whether `path`, below the root, is left out. The innermost file decides, and in it the last rule that fits.
    pub(super) fn hides(&self, path: &str, is_folder: bool) -> bool {
        if self.all_seen {
            return false;
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        if name == ".git" {
            return true;
        }
        let decisive = self.levels.iter().rev().find_map(|level| {
            let below = path.get(level.prefix..).unwrap_or(path).trim_start_matches('/');
            level.rules.iter().rev().find(|rule| rule.fits(below, name, is_folder))
        });
        decisive.is_some_and(|rule| !rule.seen)
    }
}

impl Rule {
    fn parse(line: &str) -> Option<Self> {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') || line.len() > 1024 {
            return None;
        }
        let (seen, line) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest));
        let (folders_only, line) = line.strip_suffix('/').map_or((false, line), |rest| (true, rest));
        let anchored = line.contains('/');
        let pattern = line.strip_prefix('/').unwrap_or(line);
        let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build().ok()?;
        Some(Self { glob: glob.compile_matcher(), seen, folders_only, anchored })
    }

    fn fits(&self, below: &str, name: &str, is_folder: bool) -> bool {
        (is_folder || !self.folders_only) && self.glob.is_match(if self.anchored { below } else { name })
    }
}

fn read_rules(folder: &Dir) -> Vec<Rule> {
    let Ok((file, _)) = open_regular(folder, Path::new(".gitignore"), false) else { return Vec::new() };
    let mut text = Vec::new();
    match file.take(MAX_FILE_BYTES).read_to_end(&mut text) {
        Ok(_) => String::from_utf8_lossy(&text).lines().filter_map(Rule::parse).take(MAX_RULES).collect(),
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn hides(rules: &[&str], path: &str, is_folder: bool) -> bool {
        let rules = rules.iter().filter_map(|line| Rule::parse(line)).collect();
        Ignored { all_seen: false, levels: vec![Level { prefix: 0, rules }] }.hides(path, is_folder)
    }

    #[test]
    fn rules_mean_what_git_means() {
        assert!(hides(&["*.log"], "a/b/c.log", false));
        assert!(hides(&["target/"], "x/target", true));
        assert!(!hides(&["target/"], "x/target", false), "a file of that name");
        assert!(hides(&["/target"], "target", true));
        assert!(!hides(&["/target"], "x/target", true));
        assert!(hides(&["docs/*.txt"], "docs/a.txt", false));
        assert!(!hides(&["docs/*.txt"], "docs/x/a.txt", false));
        assert!(hides(&["a/**/z"], "a/b/c/z", false));
        assert!(!hides(&["*.log", "!keep.log"], "keep.log", false));
        assert!(!hides(&["# *.log", ""], "a.log", false));
        assert!(hides(&[], "x/.git", true));
    }

    #[test]
    fn the_innermost_file_decides() {
        let level = |prefix, line| Level { prefix, rules: vec![Rule::parse(line).unwrap()] };
        let ignored = Ignored { all_seen: false, levels: vec![level(0, "*.o"), level(3, "!/a.o")] };
        assert!(!ignored.hides("src/a.o", false));
        assert!(ignored.hides("src/b.o", false));
    }
}

//! Files and folders: few entries for many paths.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::private::{holds_secrets, holds_too_much, is_obeyed};
use super::{Kept, MOST, MOST_WARNINGS, Proposal, Warning};
use crate::learn::record::{Record, Refused, Want};

/// So many entries of one folder are the folder: fewer may be just those.
const ENOUGH: usize = 4;

/// Files that libraries look for wherever they run, and do without.
const DONE_WITHOUT: &[&str] =
    &["/etc/host.conf", "/etc/gai.conf", "/etc/locale.alias", "/etc/ld.so.preload", "/etc/inputrc", "/etc/mailcap", "/etc/machine-id"];

/// Of which no server has anything to change.
const SYSTEM: &[&str] = &["/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/boot"];

/// Files and folders that tools look for in the folder where they are and then in all folders around it.
const SEARCHED_UPWARDS: &[&str] = &[
    "package.json",
    "node_modules",
    "tsconfig.json",
    "pyproject.toml",
    "pyvenv.cfg",
    "pnpm-workspace.yaml",
    ".git",
    ".npmrc",
    ".env",
    ".hg",
];

pub(super) fn propose(record: &Record, home: Option<&Path>, kept: &Kept, proposal: &mut Proposal) {
    let mut wanted = Wanted::default();
    for (path, refused) in &record.refused {
        if is_noise(path, refused, record) {
            continue;
        }
        let places = std::iter::once(path).chain(&refused.leads_to);
        if let Some(warning) = places.into_iter().find_map(|place| sorted_out(place, refused, home, kept)) {
            proposal.warnings.push(warning);
            continue;
        }
        let kind = if refused.want >= Want::Write { &mut wanted.write } else { &mut wanted.read };
        kind.insert(path.clone(), refused.folder || refused.want == Want::Entries);
    }
    proposal.warnings.sort_by_key(|warning| !warning.is_grave);
    proposal.warnings.truncate(MOST_WARNINGS);
    let write = grouped(wanted.write, home);
    let covered = |path: &Path| write.iter().any(|written| path.starts_with(written));
    wanted.read.retain(|path, _| !covered(path));
    let read = grouped(wanted.read, home);
    (proposal.read, proposal.write) = (within(read, "read", proposal), within(write, "write", proposal));
}

/// Paths that may be proposed, and whether each is a folder.
#[derive(Default)]
struct Wanted {
    read: BTreeMap<PathBuf, bool>,
    write: BTreeMap<PathBuf, bool>,
}

/// What programs look for as a matter of course, and do not need.
fn is_noise(path: &Path, refused: &Refused, record: &Record) -> bool {
    let reads = refused.want < Want::Write;
    let searched = path.file_name().is_some_and(|name| SEARCHED_UPWARDS.iter().any(|searched| name == *searched));
    let around_root = || path.parent().is_some_and(|folder| record.roots.iter().any(|root| root.starts_with(folder)));
    // Whoever looks for a file somewhere, looks for the folders around it on the way.
    let on_the_way = || {
        let after = record.refused.range::<Path, _>((std::ops::Bound::Excluded(path), std::ops::Bound::Unbounded));
        refused.folder && after.take_while(|(other, _)| other.starts_with(path)).next().is_some()
    };
    let looked = refused.want == Want::Look;
    (reads && (DONE_WITHOUT.iter().any(|done| path == Path::new(done)) || searched && around_root()))
        || (looked && (path.starts_with("/etc") || on_the_way()))
}

/// Why a path is not proposed, if it is not.
fn sorted_out(path: &Path, refused: &Refused, home: Option<&Path>, kept: &Kept) -> Option<Warning> {
    let subject = path.display();
    if path.to_str().is_none() {
        return Some(Warning::new(subject, "not UTF-8, so that no configuration can name it"));
    }
    if refused.want >= Want::Write && kept.rules.iter().any(|kept| kept == path) {
        return Some(Warning::grave(subject, "the gateway goes by it: a server must not change its own rules"));
    }
    if kept.secrets.iter().any(|kept| kept == path) {
        return Some(Warning::grave(
            subject,
            "a secret of the gateway: not proposed, name it in `read` yourself if this server is to have it",
        ));
    }
    if kept.folders.iter().any(|kept| path.starts_with(kept)) {
        return Some(Warning::grave(subject, "in a folder that Sallyport keeps for itself: not proposed"));
    }
    if refused.want >= Want::Write && is_obeyed(path) {
        return Some(Warning::grave(subject, "is run or obeyed outside of the sandbox: not proposed to be written"));
    }
    if refused.want >= Want::Write && SYSTEM.iter().any(|system| path.starts_with(system)) {
        return Some(Warning::new(subject, "belongs to the system: not proposed to be written"));
    }
    if holds_secrets(path, home) {
        return Some(Warning::grave(subject, "may hold secrets: not proposed, name it yourself if this server is to have them"));
    }
    if holds_too_much(path, home) && (refused.folder || refused.want == Want::Entries) {
        return Some(Warning::new(subject, "holds far more than one server needs: name what it works with in there"));
    }
    None
}

/// The same files by fewer entries: a folder in the place of many of its entries, nothing that lies in another one.
fn grouped(wanted: BTreeMap<PathBuf, bool>, home: Option<&Path>) -> BTreeSet<PathBuf> {
    let mut entries: BTreeMap<PathBuf, bool> = wanted;
    loop {
        drop_inner(&mut entries);
        let mut folders: BTreeMap<&Path, usize> = BTreeMap::new();
        entries.keys().filter_map(|path| path.parent()).for_each(|folder| *folders.entry(folder).or_default() += 1);
        let full = |(folder, count): &(&Path, usize)| *count >= ENOUGH && !holds_too_much(folder, home) && !holds_secrets(folder, home);
        // The innermost first: what they become may fill the ones around them.
        let next = folders.into_iter().filter(full).max_by_key(|(folder, _)| folder.components().count());
        let Some((folder, _)) = next else { return entries.into_keys().collect() };
        let folder = folder.to_path_buf();
        entries.insert(folder, true);
    }
}

/// Leaves out what lies in a folder that is there itself.
fn drop_inner(entries: &mut BTreeMap<PathBuf, bool>) {
    let folders: BTreeSet<PathBuf> = entries.iter().filter(|(_, folder)| **folder).map(|(path, _)| path.clone()).collect();
    entries.retain(|path, _| !path.ancestors().skip(1).any(|around| folders.contains(around)));
}

/// No more than somebody reads; says how many are left out.
fn within(entries: BTreeSet<PathBuf>, key: &str, proposal: &mut Proposal) -> Vec<PathBuf> {
    if let Some(more) = entries.len().checked_sub(MOST).filter(|more| *more > 0) {
        let why = format!("too scattered for a list: name in `{key}` the folders that they have in common");
        proposal.warnings.push(Warning::new(format_args!("{more} more paths"), why));
    }
    entries.into_iter().take(MOST).collect()
}

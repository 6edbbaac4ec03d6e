//! A server must not change its own rules: where it may write the folder of the configuration, the file itself is kept from it. Nor what
//! the gateway and other servers run and go by: where it may write what is round Sallyport's own folders, those are kept from it, too.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sallyport_telemetry::state_folder::{Folders, private_folder};

use crate::plan::{ServerPlan, Source, StdioPlan};
use crate::upstream::health::Outage;

/// The file to show read-only, if the program could write it otherwise.
///
/// # Errors
/// Where that would not hold: the file is itself a root to write, or found by a link that the program could replace.
pub(crate) fn to_keep(plan: &StdioPlan) -> Result<Option<PathBuf>, Outage> {
    let Some(file) = plan.configuration.as_ref().filter(|_| !plan.sandbox.is_none()) else { return Ok(None) };
    let roots: Vec<PathBuf> = plan.write.iter().filter_map(|root| root.canonicalize().ok()).collect();
    let is_written = |path: &Path| roots.iter().any(|root| path.starts_with(root));
    let is_link = |place: &&Path| {
        place.is_symlink() && place.parent().and_then(|above| above.canonicalize().ok()).is_some_and(|above| is_written(&above))
    };
    if let Some(link) = file.ancestors().find(is_link) {
        return Err(refused(format!("it may write the folder of {}, a link that leads to this configuration", link.display())));
    }
    match file.canonicalize().ok().filter(|file| is_written(file)) {
        Some(file) if roots.contains(&file) => Err(refused(format!("it may write {}, which is this configuration", file.display()))),
        kept => Ok(kept),
    }
}

/// The lock file, if the program could write it: it says what *other* servers run. One that is not there is made, so that it can be kept.
pub(crate) fn lock_to_keep(plan: &StdioPlan) -> Option<PathBuf> {
    let lock = plan.lock.as_ref().filter(|_| !plan.sandbox.is_none())?;
    let folder = lock.parent()?.canonicalize().ok()?;
    let written = plan.write.iter().filter_map(|root| root.canonicalize().ok()).any(|root| folder.starts_with(root));
    if written && !lock.exists() {
        // Where it cannot be made, the program cannot make it either.
        let _made = std::fs::File::create_new(lock);
    }
    lock.canonicalize().ok().filter(|_| written)
}

/// Sallyport's own folders (installed packages, state, configuration) as entries of the deny-write list, where they lie in what the
/// program may write. One that is not there yet is made: the gateway must be able to use it while the program runs.
///
/// # Errors
/// Where that would not hold: the program may write one of them, or what is in it, by name.
pub(crate) fn folders_to_keep(plan: &StdioPlan, folders: &Folders) -> Result<Vec<String>, Outage> {
    let mut entries = Vec::new();
    if plan.sandbox.is_none() {
        return Ok(entries);
    }
    for root in plan.write.iter().filter_map(|root| root.canonicalize().ok()) {
        for folder in folders.all() {
            if folder.canonicalize().is_ok_and(|folder| root.starts_with(folder)) {
                return Err(refused(format!("it may write {}, where Sallyport keeps its own files", root.display())));
            }
            for entry in ways(folder, &root) {
                private_folder(folder).map_err(|error| Outage { hint: Some(error.hint()), ..Outage::new(error.to_string()) })?;
                let entry = entry.to_str().ok_or_else(|| refused(format!("it may write {}, whose name is not text", folder.display())))?;
                entries.push(format!("{entry}?")); // it is there, and other roots are left alone
            }
        }
    }
    entries.sort();
    entries.dedup();
    Ok(entries)
}

/// The paths from `root` that lead to a folder, by its name and by each link on the way: those are kept as well.
fn ways<'a>(folder: &'a Path, root: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
    folder.ancestors().filter_map(move |above| {
        let real = above.canonicalize().ok()?;
        let (start, rest) = (real.strip_prefix(root).ok()?, folder.strip_prefix(above).ok()?);
        Some(if rest.as_os_str().is_empty() { start.to_owned() } else { start.join(rest) })
    })
}

/// What tells a file from another one in its place.
pub(crate) type Identity = (u64, u64);

/// The identity of the file that is kept from a server.
pub(crate) fn identity(plan: &ServerPlan) -> Option<Identity> {
    let Source::Stdio(plan) = &plan.source else { return None };
    let file = to_keep(plan).ok()??;
    let found = std::fs::metadata(file).ok()?;
    Some((found.dev(), found.ino()))
}

fn refused(why: String) -> Outage {
    let hint = "it could change its own rules: leave that out of `write`".to_owned();
    Outage { hint: Some(hint), ..Outage::new(why) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::fs::symlink;

    use super::*;

    fn plan(configuration: PathBuf, write: &Path) -> StdioPlan {
        StdioPlan {
            program: "server".into(),
            arguments: Vec::new(),
            scripts: false,
            lock: None,
            environment: <_>::default(),
            folder: None,
            configuration: Some(configuration),
            sandbox: <_>::default(),
            read: Vec::new(),
            write: vec![write.to_owned()],
            deny_write: Vec::new(),
            network: Default::default(),
            seccomp: sallyport_sandbox::SystemCalls::default(),
            limits: <_>::default(),
            standby: <_>::default(),
        }
    }

    #[test]
    fn the_file_is_kept_where_its_folder_is_written_however_it_is_named() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().canonicalize().unwrap();
        let (project, outside) = (folder.join("project"), folder.join("outside"));
        for folder in [&project, &outside] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join("rules"), "").unwrap();
        }
        symlink("project", folder.join("link")).unwrap();
        assert_eq!(to_keep(&plan(project.join("rules"), &project)).unwrap(), Some(project.join("rules")));
        assert_eq!(to_keep(&plan(project.join("rules"), &folder.join("link"))).unwrap(), Some(project.join("rules")));
        assert_eq!(to_keep(&plan(folder.join("link/rules"), &project)).unwrap(), Some(project.join("rules")));
        assert_eq!(to_keep(&plan(project.join("rules"), &outside)).unwrap(), None);
    }

    #[test]
    fn the_lock_is_kept_even_where_there_is_none_yet() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().canonicalize().unwrap();
        let (project, outside) = (folder.join("project"), folder.join("outside"));
        [&project, &outside].into_iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
        let lock = project.join("sallyport.lock");
        let with_lock = |write: &Path| StdioPlan { lock: Some(lock.clone()), ..plan(project.join("rules"), write) };
        assert_eq!(lock_to_keep(&with_lock(&outside)), None);
        assert!(!lock.exists());
        assert_eq!(lock_to_keep(&with_lock(&project)), Some(lock.clone()));
        assert_eq!(std::fs::read_to_string(&lock).unwrap(), "");
    }

    #[test]
    fn own_folders_are_kept_by_every_name_and_none_is_a_root_to_write() {
        let temporary = tempfile::tempdir().unwrap();
        let home = temporary.path().canonicalize().unwrap();
        std::fs::create_dir_all(home.join("disk/cache")).unwrap();
        symlink("disk/cache", home.join(".cache")).unwrap();
        let folders = Folders {
            state: home.join(".local/state/sallyport"),
            cache: home.join(".cache/sallyport"),
            config: home.join(".config/sallyport"),
        };
        let kept = |write: &Path| folders_to_keep(&plan(home.join("rules"), write), &folders);
        std::fs::create_dir(home.join("project")).unwrap();
        assert_eq!(kept(&home.join("project")).unwrap(), Vec::<String>::new());
        assert!(!folders.state.exists());
        let all = [".cache/sallyport?", ".config/sallyport?", ".local/state/sallyport?", "disk/cache/sallyport?"];
        assert_eq!(kept(&home).unwrap(), all);
        assert!(folders.state.is_dir());
        assert_eq!(kept(&home.join("disk")).unwrap(), ["cache/sallyport?"]);
        std::fs::create_dir(folders.cache.join("packages")).unwrap();
        for inside in [folders.cache.join("packages"), folders.config.clone()] {
            assert!(kept(&inside).unwrap_err().why.contains("its own files"));
        }
    }

    #[test]
    fn what_could_be_replaced_all_the_same_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().canonicalize().unwrap();
        std::fs::write(folder.join("rules"), "").unwrap();
        std::fs::create_dir(folder.join("project")).unwrap();
        symlink("../rules", folder.join("project/rules")).unwrap();
        for plan in [plan(folder.join("project/rules"), &folder.join("project")), plan(folder.join("rules"), &folder.join("rules"))] {
            assert!(to_keep(&plan).unwrap_err().hint.unwrap().contains("its own rules"));
        }
    }
}

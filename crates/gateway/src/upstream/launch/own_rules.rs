//! A server must not change its own rules: where it may write the folder of one of the gateway's own files, the file itself is kept from
//! it. Nor what the gateway and other servers run and go by: where it may write what is round Sallyport's own folders, those are kept
//! from it, too. And secrets that lie in what it sees are not its to read, nor is anything in those folders.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sallyport_sandbox::{Profile, Program, hidden_in_view};
use sallyport_servers::{BuiltInConfig, git};
use sallyport_telemetry::state_folder::{Folders, private_folder};

use super::values::filled_in;
use crate::plan::{Part, ServerPlan, Source, StdioPlan, Template};
use crate::upstream::health::Outage;

/// The gateway's own files to show read-only, since the program could write them otherwise. A lock that is not there is made, so that it
/// can be kept.
///
/// # Errors
/// Where that would not hold: a file is itself a root to write, or found by a link that the program could replace.
pub(crate) fn to_keep(plan: &StdioPlan) -> Result<Vec<PathBuf>, Outage> {
    if plan.sandbox.is_none() || plan.write.is_empty() {
        return Ok(Vec::new());
    }
    let roots: Vec<PathBuf> = plan.write.iter().filter_map(|root| root.canonicalize().ok()).collect();
    plan.own.locks.iter().for_each(|lock| make(lock, &roots));
    let kept = plan.own.all().filter_map(|file| kept(file, &roots).transpose());
    kept.collect()
}

/// What is not to be read by the program: the files of all secrets but those that its own `read` names, and Sallyport's own folders.
///
/// # Errors
/// As [`folders_to_close`].
pub(crate) fn to_hide(plan: &StdioPlan, folders: &Folders) -> Result<Vec<PathBuf>, Outage> {
    if plan.sandbox.is_none() {
        return Ok(Vec::new());
    }
    let named: Vec<PathBuf> = plan.read.iter().filter_map(|root| root.canonicalize().ok()).collect();
    let secrets = plan.own.secrets.iter().filter_map(|file| file.canonicalize().ok()).filter(|file| !named.contains(file));
    let roots = plan.read.iter().chain(&plan.write).map(PathBuf::as_path);
    // Also those that lie in no root: an argument or the program's own package may show what is round them.
    Ok(secrets.chain(folders_to_close(roots, false, folders)?).collect())
}

/// Sallyport's own folders, by their real places; `below_alone` are those that lie in one of `roots`. One in there that does not exist yet is
/// made: what is put into it later is kept as well. Of the user's configuration only the secrets are, where a root lies in there: then it is
/// somebody's project. What a root names is not in the list: that is the user's own word.
///
/// # Errors
/// When a root is itself the folder of the gateway's state, or of what it runs.
fn folders_to_close<'a>(roots: impl Iterator<Item = &'a Path>, below_alone: bool, folders: &Folders) -> Result<Vec<PathBuf>, Outage> {
    let roots: Vec<PathBuf> = roots.filter_map(|root| root.canonicalize().ok()).collect();
    let config = real(&folders.config);
    let is_project = roots.iter().any(|path| path.starts_with(&config));
    let mut closed = Vec::new();
    for folder in folders.all() {
        let folder = if is_project && folder == folders.config { folders.secrets_folder() } else { folder.to_owned() };
        let place = real(&folder);
        if folder != folders.secrets_folder() && roots.contains(&place) {
            return Err(Outage {
                hint: Some("name what it needs in there, or keep the project elsewhere".to_owned()),
                ..Outage::new(format!("it may read {}, where Sallyport keeps its own files", place.display()))
            });
        }
        let is_below = roots.iter().any(|root| place != *root && place.starts_with(root));
        if roots.contains(&place) || (below_alone && !is_below) {
            continue;
        }
        if is_below && !place.exists() {
            // Where it cannot be made, nothing will lie there.
            let _made = private_folder(&folder);
        }
        closed.extend(place.canonicalize());
    }
    Ok(closed)
}

/// Where a folder is or would be, links on the way followed.
fn real(folder: &Path) -> PathBuf {
    let there = |above: &Path| Some(above.canonicalize().ok()?.join(folder.strip_prefix(above).ok()?));
    let place = folder.ancestors().find_map(there).unwrap_or_else(|| folder.to_owned());
    place.components().collect() // joined with nothing, it would end in `/`
}

/// Closes Sallyport's own folders to callers of a built-in.
///
/// # Errors
/// As [`folders_to_close`], and where it may write in one of them.
pub(crate) fn close_to_built_in(config: &mut BuiltInConfig, folders: &Folders) -> Result<(), Outage> {
    // Of a repository all is in reach, whichever folder in it is named. Where there is none, nothing is opened.
    let (root, list) = match &*config {
        BuiltInConfig::Filesystem(filesystem) => (Some(filesystem.root.clone()), filesystem.deny_write.clone()),
        BuiltInConfig::Git(git) => (git::repository_of(&git.root), Vec::new()),
        BuiltInConfig::Database(_) => (None, Vec::new()),
    };
    let Some(root) = root else { return Ok(()) };
    if config.writes() {
        let root = root.canonicalize().unwrap_or_else(|_| root.clone());
        refuse_inside(&root, folders)?;
        let home = std::env::var_os("HOME").and_then(|home| PathBuf::from(home).canonicalize().ok());
        denied_in(&root, home.as_deref(), &list).for_each(|entry| config.deny_write(entry));
    }
    folders_to_close(std::iter::once(&*root), true, folders)?.into_iter().for_each(|folder| config.close(folder));
    Ok(())
}

/// A deny-write list as it is below `root`: entries of the user's home only where that lies in there.
fn denied_in<'a>(root: &'a Path, home: Option<&'a Path>, list: &'a [String]) -> impl Iterator<Item = PathBuf> + 'a {
    list.iter().map(|entry| entry.trim_end_matches('?')).filter_map(move |entry| match entry.strip_prefix("~/") {
        Some(of_home) => home?.strip_prefix(root).ok().map(|home| home.join(of_home)),
        None => Some(entry.into()),
    })
}

fn refuse_inside(root: &Path, folders: &Folders) -> Result<(), Outage> {
    match folders.all().into_iter().any(|folder| folder.canonicalize().is_ok_and(|folder| root.starts_with(folder))) {
        true => Err(refused(format!("it may write {}, where Sallyport keeps its own files", root.display()))),
        false => Ok(()),
    }
}

/// Makes a file that the program could make otherwise. Where that fails, the program cannot make it either.
fn make(file: &Path, roots: &[PathBuf]) {
    let folder = file.parent().and_then(|folder| folder.canonicalize().ok());
    if folder.is_some_and(|folder| is_written(&folder, roots)) {
        let _made = File::create_new(file);
    }
}

/// Where a file is to be kept, if it lies in what the program may write.
fn kept(file: &Path, roots: &[PathBuf]) -> Result<Option<PathBuf>, Outage> {
    let is_link = |place: &&Path| {
        place.is_symlink() && place.parent().and_then(|above| above.canonicalize().ok()).is_some_and(|above| is_written(&above, roots))
    };
    if let Some(link) = file.ancestors().find(is_link) {
        return Err(refused(format!(
            "it may write the folder of {}, a link that leads to {}, which the gateway goes by",
            link.display(),
            file.display()
        )));
    }
    match file.canonicalize().ok().filter(|file| is_written(file, roots)) {
        Some(file) if roots.contains(&file) => Err(refused(format!("it may write {}, which the gateway goes by", file.display()))),
        kept => Ok(kept),
    }
}

fn is_written(path: &Path, roots: &[PathBuf]) -> bool {
    roots.iter().any(|root| path.starts_with(root))
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
        refuse_inside(&root, folders)?;
        for folder in folders.all() {
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

/// What of the gateway's own files a server is started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The files and folders that are kept from it, to be written or read, each with what tells it from another one in its place.
    covered: Vec<(PathBuf, Option<(u64, u64)>)>,
    /// The files of secrets that are in what it is given, each with what tells it from what was in it before: its age and length.
    given: Vec<(PathBuf, SystemTime, u64)>,
}

impl Kept {
    /// Whether a server that was started with this can go on where things are `now` so. A secret that is not there at this moment is no
    /// other one.
    pub(crate) fn holds(&self, now: &Self) -> bool {
        self.covered == now.covered && now.given.iter().all(|file| self.given.contains(file))
    }
}

/// What a server is started with now.
pub(crate) fn kept_from(plan: &ServerPlan, folders: &Folders) -> Kept {
    let Source::Stdio(plan) = &plan.source else { return Kept::default() };
    let identity = |file: &Path| std::fs::metadata(file).ok().map(|found| (found.dev(), found.ino()));
    let covered = to_keep(plan).unwrap_or_default().into_iter().chain(hidden(plan, folders));
    Kept { covered: covered.map(|file| (file.clone(), identity(&file))).collect(), given: given(plan) }
}

fn given(plan: &StdioPlan) -> Vec<(PathBuf, SystemTime, u64)> {
    let parts = plan.arguments.iter().chain(plan.environment.values()).flat_map(Template::parts);
    let files = parts.filter_map(|part| match part {
        // Each that a plan names in a `file:` is among these.
        Part::Secret(reference) => plan.own.secrets.get(Path::new(reference.locator())),
        Part::Text(_) => None,
    });
    files
        .filter_map(|file| std::fs::metadata(file).ok().and_then(|found| Some((file.clone(), found.modified().ok()?, found.len()))))
        .collect()
}

/// The files of secrets that are covered in what the program sees. One of a package is looked at as it is written: what is installed holds
/// none.
fn hidden(plan: &StdioPlan, folders: &Folders) -> Vec<PathBuf> {
    let hidden = to_hide(plan, folders).unwrap_or_default();
    if hidden.is_empty() {
        return hidden;
    }
    let profile =
        Profile { read: plan.read.clone(), write: plan.write.clone(), hidden, network: plan.network.clone(), ..Profile::default() };
    let mut program = Program::new("", &plan.program);
    program.args = plan.arguments.iter().filter_map(|argument| filled_in(argument).ok()).collect();
    program.env =
        plan.environment.get("PATH").and_then(|path| Some(("PATH".to_owned(), filled_in(path).ok()?.into()))).into_iter().collect();
    program.cwd.clone_from(&plan.folder);
    hidden_in_view(&profile, &program)
}

fn refused(why: String) -> Outage {
    let hint = "it could change its own rules: leave that out of `write`".to_owned();
    Outage { hint: Some(hint), ..Outage::new(why) }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::fs::symlink;

    use super::*;
    use crate::own_files::OwnFiles;
    use crate::plan::Template;

    pub(in crate::upstream::launch) fn plan(configuration: PathBuf, write: &Path) -> StdioPlan {
        StdioPlan {
            program: "server".into(),
            arguments: Vec::new(),
            scripts: false,
            lock: None,
            environment: <_>::default(),
            folder: None,
            own: OwnFiles { rules: [configuration].into(), ..OwnFiles::default() }.into(),
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
        assert_eq!(to_keep(&plan(project.join("rules"), &project)).unwrap(), [project.join("rules")]);
        assert_eq!(to_keep(&plan(project.join("rules"), &folder.join("link"))).unwrap(), [project.join("rules")]);
        assert_eq!(to_keep(&plan(folder.join("link/rules"), &project)).unwrap(), [project.join("rules")]);
        assert_eq!(to_keep(&plan(project.join("rules"), &outside)).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn locks_are_kept_even_where_there_is_none_yet_those_of_tenants_too() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().canonicalize().unwrap();
        let (project, outside) = (folder.join("project"), folder.join("outside"));
        [&project, &outside].into_iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
        let locks = [project.join("sallyport.acme.lock"), project.join("sallyport.lock")];
        let own = OwnFiles { locks: locks.clone().into(), ..OwnFiles::default() };
        let with_locks = |write: &Path| StdioPlan { own: own.clone().into(), ..plan(project.join("rules"), write) };
        assert_eq!(to_keep(&with_locks(&outside)).unwrap(), Vec::<PathBuf>::new());
        assert!(!locks[0].exists());
        assert_eq!(to_keep(&with_locks(&project)).unwrap(), locks);
        assert!(locks.iter().all(|lock| std::fs::read_to_string(lock).unwrap().is_empty()));
    }

    #[test]
    fn policies_and_secrets_are_kept_as_the_configuration_is() {
        let temporary = tempfile::tempdir().unwrap();
        let project = temporary.path().canonicalize().unwrap();
        std::fs::create_dir(project.join("policies")).unwrap();
        let (policy, secret) = (project.join("policies/main.cedar"), project.join("token"));
        [&policy, &secret].into_iter().for_each(|file| std::fs::write(file, "").unwrap());
        let own = OwnFiles { rules: [policy.clone()].into(), secrets: [secret.clone()].into(), ..OwnFiles::default() };
        let plan = |write: &Path| StdioPlan { own: own.clone().into(), ..plan(project.join("rules"), write) };
        assert_eq!(to_keep(&plan(&project)).unwrap(), [policy.clone(), secret]);
        assert_eq!(to_keep(&plan(&project.join("policies"))).unwrap(), std::slice::from_ref(&policy));
        assert!(to_keep(&plan(&policy)).unwrap_err().why.contains("main.cedar"));
    }

    #[test]
    fn secrets_are_hidden_but_for_those_that_are_named() {
        let temporary = tempfile::tempdir().unwrap();
        let project = temporary.path().canonicalize().unwrap();
        let (own, others) = (project.join("own"), project.join("others"));
        [&own, &others].into_iter().for_each(|file| std::fs::write(file, "").unwrap());
        let files = OwnFiles { secrets: [own.clone(), others.clone(), project.join("missing")].into(), ..OwnFiles::default() };
        let read = |read: &[&Path]| StdioPlan {
            own: files.clone().into(),
            read: read.iter().map(|root| (*root).to_owned()).collect(),
            ..plan(project.join("rules"), &project)
        };
        let elsewhere = tempfile::tempdir().unwrap();
        let folders = folders(elsewhere.path());
        assert_eq!(to_hide(&read(&[&project]), &folders).unwrap(), [others.clone(), own.clone()]);
        assert_eq!(to_hide(&read(&[&project, &own]), &folders).unwrap(), [others]);
    }

    fn folders(home: &Path) -> Folders {
        Folders { state: home.join(".local/state/sallyport"), cache: home.join(".cache/sallyport"), config: home.join(".config/sallyport") }
    }

    #[test]
    fn own_folders_are_hidden_below_a_root_which_itself_stays() {
        let temporary = tempfile::tempdir().unwrap();
        let home = temporary.path().canonicalize().unwrap();
        std::fs::create_dir_all(home.join("disk/cache")).unwrap();
        symlink("disk/cache", home.join(".cache")).unwrap();
        std::fs::create_dir(home.join("project")).unwrap();
        let folders = folders(&home);
        let hidden = |configuration: &str, read: &[&Path]| {
            let read = read.iter().map(|root| (*root).to_owned()).collect();
            to_hide(&StdioPlan { read, write: Vec::new(), ..plan(home.join(configuration), &home) }, &folders)
        };
        assert_eq!(hidden("project/rules", &[&home.join("project")]).unwrap(), Vec::<PathBuf>::new());
        assert!(!folders.state.exists());
        let (state, cache) = (folders.state.clone(), home.join("disk/cache/sallyport"));
        assert_eq!(hidden("project/rules", &[&home]).unwrap(), [state.clone(), cache.clone(), folders.config.clone()]);
        assert!(state.is_dir() && cache.is_dir(), "what comes later is hidden as well");
        let all = [state.clone(), cache.clone(), folders.config.clone()];
        assert_eq!(hidden("project/rules", &[&home.join("project")]).unwrap(), all, "an argument may show what is round them");
        // The user's configuration is hidden also from those who are in it; where it is itself a project, the secrets are.
        assert_eq!(hidden(".config/sallyport/sallyport.toml", &[&home]).unwrap(), all);
        let secrets = folders.secrets_folder();
        std::fs::create_dir(&secrets).unwrap();
        assert_eq!(hidden(".config/sallyport/sallyport.toml", &[&folders.config]).unwrap(), [state.clone(), cache, secrets.clone()]);
        let below = |root: &Path| folders_to_close(std::iter::once(root), true, &folders).unwrap();
        assert_eq!(below(&folders.config), [secrets]);
        // What is named in there is the user's own word; the whole is not.
        std::fs::create_dir(state.join("audit")).unwrap();
        assert_eq!(below(&state.join("audit")), Vec::<PathBuf>::new());
        for whole in [&state, &home.join(".cache/sallyport")] {
            assert!(hidden("project/rules", &[whole]).unwrap_err().why.contains("its own files"));
        }
    }

    #[test]
    fn own_folders_are_closed_to_a_repository_whichever_folder_of_it_is_named() {
        let temporary = tempfile::tempdir().unwrap();
        let home = temporary.path().canonicalize().unwrap();
        for folder in ["project", ".git/objects", ".git/refs"] {
            std::fs::create_dir_all(home.join(folder)).unwrap();
        }
        std::fs::write(home.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
        let folders = folders(&home);
        let close = |root: &Path, write| {
            let mut config = BuiltInConfig::Git(git::Config { root: root.to_owned(), write, ..git::Config::default() });
            close_to_built_in(&mut config, &folders).map(|()| match config {
                BuiltInConfig::Git(git) => git.closed,
                _ => Vec::new(),
            })
        };
        let all = [folders.state.clone(), folders.cache.clone(), folders.config.clone()];
        assert_eq!(close(&home, false).unwrap(), all);
        assert_eq!(close(&home.join("project"), true).unwrap(), all);
        std::fs::rename(home.join(".git"), folders.state.join(".git")).unwrap();
        assert_eq!(close(&home.join("project"), true).unwrap(), Vec::<PathBuf>::new(), "there is no repository");
        assert!(close(&folders.state, true).unwrap_err().why.contains("its own files"));
    }

    #[test]
    fn a_secret_in_the_folder_that_a_program_comes_with_is_kept_from_it_too() {
        let temporary = tempfile::tempdir_in("/var/tmp").unwrap();
        let project = temporary.path().canonicalize().unwrap();
        for folder in ["tool/bin", "elsewhere"] {
            std::fs::create_dir_all(project.join(folder)).unwrap();
        }
        let (inside, outside) = (project.join("tool/token"), project.join("elsewhere/token"));
        for file in [project.join("tool/bin/server"), project.join("tool/package.json"), inside.clone(), outside.clone()] {
            std::fs::write(file, "#!/bin/sh\n").unwrap();
        }
        let own = OwnFiles { secrets: [inside.clone(), outside].into(), ..OwnFiles::default() };
        let program = |program: &str, argument: &str| StdioPlan {
            own: own.clone().into(),
            program: program.into(),
            arguments: vec![Template::text(argument)],
            write: Vec::new(),
            ..plan(project.join("rules"), &project)
        };
        let script = project.join("tool/bin/server").display().to_string();
        let elsewhere = tempfile::tempdir().unwrap();
        let hidden = |plan| hidden(&plan, &folders(elsewhere.path()));
        assert_eq!(hidden(program(&script, "run")), std::slice::from_ref(&inside));
        assert_eq!(hidden(program("sh", &script)), [inside]);
        assert_eq!(hidden(program("sh", "run")), Vec::<PathBuf>::new());
    }

    #[test]
    fn own_folders_are_kept_by_every_name_and_none_is_a_root_to_write() {
        let temporary = tempfile::tempdir().unwrap();
        let home = temporary.path().canonicalize().unwrap();
        std::fs::create_dir_all(home.join("disk/cache")).unwrap();
        symlink("disk/cache", home.join(".cache")).unwrap();
        let folders = folders(&home);
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

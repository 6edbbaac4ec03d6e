//! `cargo xtask peers`: the public MCP clients and servers of the tests, installed from npm and PyPI at pinned versions; and what else the tests
//! need of other people's programs.

use std::fs;
use std::path::Path;

use crate::repository::{Outcome, Repository};
use crate::step;

/// The Python environments: mcp 1.x and 2.x cannot live in one, and uv is a program of its own.
const PYTHON_ENVIRONMENTS: [&str; 3] = ["pypi-mcp-1", "pypi-mcp-2", "uv"];

/// Installs whatever is missing or out of date; does nothing otherwise.
pub(crate) fn install(repository: &Repository) -> Outcome {
    system_packages(repository)?;
    apparmor(repository)?;
    npm(repository)?;
    PYTHON_ENVIRONMENTS.iter().try_for_each(|name| python(repository, name))
}

/// Node with npm, Python's venv module, a browser, PostgreSQL, what microVMs are run and looked at with, container runtimes, and a registry of
/// images with what fills it, from Debian's packages where they are missing and we may install them.
fn system_packages(repository: &Repository) -> Outcome {
    let wanted = [
        ("npm", step::answers("npm", &["--version"])),
        ("git", step::answers("git", &["--version"])),
        ("chromium", step::answers("chromium", &["--version"])),
        ("python3-venv", step::answers("python3", &["-c", "import venv, ensurepip"])),
        ("qemu-system-x86", step::answers("qemu-system-x86_64", &["--version"])),
        ("erofs-utils", step::answers("fsck.erofs", &["-V"])),
        ("cpio", step::answers("cpio", &["--version"])),
        ("runc", step::answers("runc", &["--version"])),
        ("crun", step::answers("crun", &["--version"])),
        ("runsc", step::answers("runsc", &["--version"])),
        ("docker-registry", step::answers("docker-registry", &["--version"])),
        ("skopeo", step::answers("skopeo", &["--version"])),
        ("postgresql", step::answers("sh", &["-c", "ls /usr/lib/postgresql/*/bin/initdb"])),
    ];
    let missing: Vec<&str> = wanted.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !step::answers("sh", &["-c", "test \"$(id -u)\" = 0 && command -v apt-get"]) {
        return Err(format!("the tests' peers need {}: install them and run this again", missing.join(", ")));
    }
    step::run(&format!("Debian packages {}", missing.join(", ")), || {
        step::execute(repository.command("apt-get").args(["update", "--quiet=2"]))?;
        step::execute(
            repository
                .command("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(["install", "--yes", "--quiet=2", "--no-install-recommends"])
                .args(&missing),
        )
    })
}

/// The release of Debian whose AppArmor knows rules about user namespaces, as Ubuntu's does; that of the one before refuses them.
const APPARMOR_FROM: &str = "trixie";

/// What of it is unpacked: the parser, and the C library that it is linked with.
const APPARMOR_PACKAGES: [&str; 2] = ["apparmor", "libc6"];

/// Runs what was unpacked beside it on this system, whose own C library may be older.
const APPARMOR_PARSER: &str = "#!/bin/sh\nroot=$(dirname \"$0\")/root\nlibraries=$(dirname \"$root\"/usr/lib/*/libc.so.6)\n\
    exec \"$libraries\"/ld-linux-*.so.* --library-path \"$libraries\" \"$root/usr/sbin/apparmor_parser\" --base \"$root/etc/apparmor.d\" \"$@\"\n";

/// AppArmor's parser, unpacked and not installed: on most machines of the tests it would be the one of another release.
fn apparmor(repository: &Repository) -> Outcome {
    let target = std::path::absolute(repository.peers().join("apparmor")).map_err(|error| format!("no folder for peers: {error}"))?;
    let wanted = format!("{APPARMOR_FROM} {}\n{APPARMOR_PARSER}", APPARMOR_PACKAGES.join(" "));
    let mark = Mark::at(&target);
    if mark.says(&wanted) {
        return Ok(());
    }
    step::run("AppArmor's parser", || {
        mark.clear();
        let (lists, packages) = (target.join("lists"), target.join("packages"));
        for folder in [lists.join("partial"), packages.clone()] {
            make_folder(&folder)?;
        }
        let sources = target.join("sources.list");
        let keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
        write(&sources, &format!("deb [signed-by={keys}] http://deb.debian.org/debian {APPARMOR_FROM} main\n"))?;
        // Lists of its own: the system's know another release.
        let options = [
            format!("Dir::Etc::SourceList={}", sources.display()),
            "Dir::Etc::SourceParts=-".to_owned(),
            format!("Dir::State::Lists={}", lists.display()),
            "Dir::Cache::pkgcache=".to_owned(),
            "Dir::Cache::srcpkgcache=".to_owned(),
            "APT::Sandbox::User=".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        ];
        let apt = |arguments: &[&str]| {
            let mut command = repository.command("apt-get");
            for option in &options {
                command.args(["--option", option]);
            }
            step::execute(command.arg("--quiet=2").args(arguments).current_dir(&packages))
        };
        apt(&["update"])?;
        apt(&[&["download"], APPARMOR_PACKAGES.as_slice()].concat())?;
        for package in fs::read_dir(&packages).into_iter().flatten().flatten() {
            step::execute(repository.command("dpkg-deb").arg("--extract").arg(package.path()).arg(target.join("root")))?;
        }
        let parser = target.join("apparmor_parser");
        write(&parser, APPARMOR_PARSER)?;
        step::execute(repository.command("chmod").arg("+x").arg(&parser))?;
        mark.set(&wanted)
    })
}

/// The npm packages, Node 22 among them, exactly as `peers/npm/package-lock.json` pins them; no install scripts run.
pub(crate) fn npm(repository: &Repository) -> Outcome {
    let (source, target) = (repository.path("peers/npm"), repository.peers().join("npm"));
    let pinned = read(&source.join("package-lock.json"))?;
    let mark = Mark::at(&target);
    if mark.says(&pinned) {
        return Ok(());
    }
    step::run("npm peers", || {
        mark.clear();
        make_folder(&target)?;
        for name in ["package.json", "package-lock.json"] {
            fs::copy(source.join(name), target.join(name))
                .map_err(|error| format!("could not copy {name} to {}: {error}", target.display()))?;
        }
        step::execute(repository.command("npm").current_dir(&target).args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ]))?;
        mark.set(&pinned)
    })
}

/// One Python virtual environment with the packages of `peers/<name>/requirements.txt`.
fn python(repository: &Repository, name: &str) -> Outcome {
    let requirements = repository.path("peers").join(name).join("requirements.txt");
    let target = repository.peers().join(name);
    let pinned = read(&requirements)?;
    let mark = Mark::at(&target);
    if mark.says(&pinned) {
        return Ok(());
    }
    step::run(&format!("{name} peers"), || {
        mark.clear();
        step::execute(repository.command("python3").args(["-m", "venv", "--clear"]).arg(&target))?;
        step::execute(
            repository
                .command(target.join("bin/pip"))
                .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
                .arg(&requirements),
        )?;
        mark.set(&pinned)
    })
}

/// A file beside an installation that holds what it was installed from, written last.
struct Mark(std::path::PathBuf);

impl Mark {
    fn at(folder: &Path) -> Self {
        Self(folder.join(".installed-from"))
    }

    fn says(&self, pinned: &str) -> bool {
        fs::read_to_string(&self.0).is_ok_and(|installed| installed == pinned)
    }

    /// An installation that is about to change must not look complete if this task is interrupted.
    fn clear(&self) {
        let _absent_is_as_good = fs::remove_file(&self.0);
    }

    fn set(&self, pinned: &str) -> Outcome {
        write(&self.0, pinned)
    }
}

fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).map_err(|error| format!("could not write {}: {error}", path.display()))
}

fn read(path: &Path) -> Outcome<String> {
    fs::read_to_string(path).map_err(|error| format!("could not read {}: {error}", path.display()))
}

fn make_folder(path: &Path) -> Outcome {
    fs::create_dir_all(path).map_err(|error| format!("could not make {}: {error}", path.display()))
}

//! Makes what machines start from, once for all servers: an unpacked kernel and its drivers, from the distribution's packages or from files
//! that the user names.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::kernel;
use crate::error::Error;

/// The package whose newest version brings Debian's kernel, with every driver that is needed. That for virtual machines, which is smaller, has no
/// 9p.
const PACKAGE: &str = "linux-image-amd64";

/// The drivers, in the order in which they need each other, and whether a kernel may have them built in.
const MODULES: &[&str] = &["virtio_ring", "virtio", "virtio_mmio", "virtio_console", "virtio_blk", "crc32c-intel", "libcrc32c", "erofs"];

/// What more it takes to write to folders of the host, in the order in which they need each other. The first two are part of others in some
/// kernels.
const WRITING: &[&str] = &["netfs", "fscache", "9pnet", "9pnet_virtio", "9p"];
const NEEDED_TO_WRITE: &[&str] = &["9pnet", "9pnet_virtio", "9p"];

/// Where the kernel comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Debian's package, fetched with `apt-get download`: no root is needed.
    Package,
    /// A kernel (ELF or bzImage), and the folder with its modules: `/lib/modules/RELEASE`.
    Files {
        /// The kernel.
        kernel: PathBuf,
        /// The folder in which its modules are searched for.
        modules: PathBuf,
    },
    /// A folder into which a kernel's package was unpacked, with `boot` and `lib/modules` in it.
    Folder(PathBuf),
}

/// What was prepared; lies beside it as `guest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// The kernel's release, as far as its file's name says.
    pub kernel: String,
    /// SHA-256 of the unpacked kernel, in hexadecimal.
    pub kernel_sha256: String,
    /// The drivers in their order; what the kernel has built in is not among them.
    pub modules: Vec<String>,
    /// Whether a program may write to folders of the host: the kernel has 9p.
    #[serde(default)]
    pub writes: bool,
    /// The command line with which it is started.
    pub command_line: String,
}

pub(super) const KERNEL: &str = "vmlinux";
pub(super) const RECORD: &str = "guest.json";

/// Prepares into `folder`, in place of what is there; says on the way what is being done.
///
/// # Errors
/// When the kernel cannot be had, is none, or lacks a driver. What was there stays then.
pub fn prepare(source: &Source, folder: &Path, progress: &dyn Fn(&str)) -> Result<Prepared, Error> {
    super::embedded_init()?;
    let parent = folder.parent().unwrap_or(folder);
    fs::create_dir_all(parent).map_err(|cause| failed(format_args!("folder {} cannot be made", parent.display()), &cause))?;
    let work = Work::new(parent)?;
    let (image, modules) = match source {
        Source::Package => found_in(&fetched(&work, progress)?)?,
        Source::Folder(folder) => found_in(folder)?,
        Source::Files { kernel, modules } => (kernel.clone(), modules.clone()),
    };
    progress("unpacking the kernel");
    let kernel = kernel::unpack(&image)?;
    let made = work.folder("made")?;
    let write = |name: &str, bytes: &[u8]| {
        fs::write(made.join(name), bytes).map_err(|cause| failed(format_args!("{name} cannot be written"), &cause))
    };
    write(KERNEL, &kernel)?;
    let mut names = Vec::new();
    let writes = NEEDED_TO_WRITE.iter().all(|name| find(&modules, name, 0).is_some() || is_built_in(&modules, name));
    let writing = WRITING.iter().filter(|name| writes && find(&modules, name, 0).is_some());
    for name in MODULES.iter().chain(writing) {
        if let Some(module) = module(&modules, name)? {
            write(&format!("{name}.ko"), &module)?;
            names.push((*name).to_owned());
        }
    }
    let prepared = Prepared {
        kernel: release(&image),
        kernel_sha256: hexadecimal(&Sha256::digest(&kernel)),
        modules: names,
        writes,
        command_line: super::qemu::COMMAND_LINE.to_owned(),
    };
    write(RECORD, &serde_json::to_vec_pretty(&prepared).map_err(|error| Error::new(error.to_string()))?)?;
    super::launch::initramfs(&made, &prepared)?;
    put_in_place(&work, &made, folder)?;
    Ok(prepared)
}

/// What was prepared, if anything.
///
/// # Errors
/// When nothing was, or when it cannot be read.
pub fn prepared(folder: &Path) -> Result<Prepared, Error> {
    let hint = "run `sallyport microvm prepare` once";
    let bytes = fs::read(folder.join(RECORD)).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => Error::new("no kernel is prepared for microVMs").with_hint(hint),
        _ => failed(format_args!("{} cannot be read", folder.join(RECORD).display()), &cause),
    })?;
    serde_json::from_slice(&bytes).map_err(|error| Error::new(format!("{RECORD} is damaged: {error}")).with_hint(hint))
}

pub(super) fn failed(what: impl fmt::Display, cause: &io::Error) -> Error {
    Error::io(what, cause)
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A folder that is gone when this is dropped.
struct Work(PathBuf);

impl Work {
    fn new(parent: &Path) -> Result<Self, Error> {
        let path = parent.join(format!("preparing-{}", std::process::id()));
        let _of_one_that_was_killed = fs::remove_dir_all(&path);
        fs::create_dir(&path).map_err(|cause| failed(format_args!("folder {} cannot be made", path.display()), &cause))?;
        Ok(Self(path))
    }

    fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.0.join(name);
        fs::create_dir(&path).map_err(|cause| failed(format_args!("folder {} cannot be made", path.display()), &cause))?;
        Ok(path)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _left_for_the_next = fs::remove_dir_all(&self.0);
    }
}

/// Two moves: between them there is nothing, and who starts just then is told to prepare.
fn put_in_place(work: &Work, made: &Path, folder: &Path) -> Result<(), Error> {
    if folder.exists() {
        fs::rename(folder, work.0.join("before")).map_err(|cause| failed("what was prepared before cannot be moved away", &cause))?;
    }
    fs::rename(made, folder).map_err(|cause| failed(format_args!("{} cannot be put in place", folder.display()), &cause))
}

/// Fetches Debian's kernel and unpacks it.
fn fetched(work: &Work, progress: &dyn Fn(&str)) -> Result<PathBuf, Error> {
    let place = work.folder("package")?;
    progress("asking apt for the newest kernel");
    let shown = run(&place, "apt-cache", &["show", "--no-all-versions", PACKAGE])?;
    let newest = depends(&shown).unwrap_or_else(|| PACKAGE.to_owned());
    progress(&format!("fetching {newest}"));
    run(&place, "apt-get", &["download", "--quiet=2", &newest])?;
    let archive = fs::read_dir(&place)
        .map_err(|cause| failed("the package cannot be found", &cause))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension() == Some(OsStr::new("deb")))
        .ok_or_else(|| Error::new(format!("apt-get fetched no package {newest}")).with_hint(ELSEWHERE))?;
    progress(&format!("unpacking {newest}"));
    run(&place, "dpkg-deb", &["--extract", &archive.to_string_lossy(), "unpacked"])?;
    Ok(place.join("unpacked"))
}

/// The kernel's package, of which the other one only says that it is the newest.
fn depends(shown: &str) -> Option<String> {
    let line = shown.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    line.split(',').map(str::trim).find_map(|one| one.split(' ').next().filter(|name| name.starts_with("linux-image-"))).map(str::to_owned)
}

const ELSEWHERE: &str = "on Debian and Ubuntu run `apt-get update` (as root) and try again; elsewhere give a kernel: \
                         `sallyport microvm prepare --kernel /boot/vmlinuz-RELEASE --modules /lib/modules/RELEASE`";

/// Runs one of the distribution's programs as the user who asked for it.
fn run(place: &Path, program: &str, args: &[&str]) -> Result<String, Error> {
    let output = Command::new(program)
        .args(args)
        .current_dir(place)
        .stdin(Stdio::null())
        .output()
        .map_err(|cause| failed(format_args!("{program} cannot be started"), &cause).with_hint(ELSEWHERE))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it did not say why");
    Err(Error::new(format!("{program} {} failed: {last}", args.first().unwrap_or(&""))).with_hint(ELSEWHERE))
}

/// The newest kernel in a folder into which a package was unpacked, and its modules.
fn found_in(folder: &Path) -> Result<(PathBuf, PathBuf), Error> {
    let missing =
        |what: &str| Error::new(format!("there is no {what} in {}", folder.display())).with_hint("give `--kernel` and `--modules`");
    let newest = |place: &str, prefix: &str| {
        let entries = fs::read_dir(folder.join(place)).ok()?.flatten().map(|entry| entry.path());
        entries.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))).max()
    };
    let kernel = newest("boot", "vmlinu").ok_or_else(|| missing("boot/vmlinuz-*"))?;
    let modules = folder.join("lib/modules").join(release(&kernel));
    let modules =
        Some(modules).filter(|path| path.is_dir()).or_else(|| newest("usr/lib/modules", "")).or_else(|| newest("lib/modules", ""));
    Ok((kernel, modules.ok_or_else(|| missing("lib/modules"))?))
}

fn release(kernel: &Path) -> String {
    let name = kernel.file_name().unwrap_or_default().to_string_lossy();
    name.split_once('-').map_or_else(|| name.to_string(), |(_, release)| release.to_owned())
}

/// One driver, unpacked; `None` where the kernel has it built in.
fn module(folder: &Path, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let unreadable = |path: &Path, cause: &io::Error| failed(format_args!("module {} cannot be read", path.display()), cause);
    let Some(path) = find(folder, name, 0) else {
        // The processor's own way to a checksum is faster, no more.
        if is_built_in(folder, name) || name == "crc32c-intel" || (name == "libcrc32c" && !needs_libcrc32c(folder)) {
            return Ok(None);
        }
        return Err(Error::new(format!("the kernel has no driver {name} in {}", folder.display()))
            .with_hint("use a kernel with virtio-mmio, virtio-console, virtio-blk and erofs, as Debian's kernels have them"));
    };
    let packed = fs::read(&path).map_err(|cause| unreadable(&path, &cause))?;
    let program = match path.extension().and_then(OsStr::to_str) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return Ok(Some(packed)),
    };
    let output = Command::new(program).args(["--decompress", "--stdout"]).arg(&path).stdin(Stdio::null()).output();
    let output = output.map_err(|cause| {
        failed(format_args!("{program}, which unpacks modules, cannot be started"), &cause)
            .with_hint(format!("install it, for example `apt-get install {program}{}`", if program == "xz" { "-utils" } else { "" }))
    })?;
    match output.status.success() {
        true => Ok(Some(output.stdout)),
        false => Err(Error::new(format!("{program} could not unpack {}", path.display()))),
    }
}

fn is_built_in(folder: &Path, name: &str) -> bool {
    let built_in = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
    built_in.lines().any(|line| line.rsplit('/').next() == Some(&format!("{name}.ko")))
}

/// Kernels from 6.16 on have no such module any more.
fn needs_libcrc32c(folder: &Path) -> bool {
    let needs = fs::read_to_string(folder.join("modules.dep")).unwrap_or_default();
    needs.lines().any(|line| line.contains("/erofs.ko") && line.contains("libcrc32c"))
}

/// The file of one module; folders of modules are a few levels deep.
fn find(folder: &Path, name: &str, depth: u8) -> Option<PathBuf> {
    const DEEPEST: u8 = 10;
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let found = entry.file_name().to_string_lossy().replace('_', "-");
        let is_it = |end: &str| found == format!("{}.ko{end}", name.replace('_', "-"));
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => folders.push(entry.path()),
            Ok(kind) if kind.is_file() && ["", ".xz", ".zst"].into_iter().any(is_it) => return Some(entry.path()),
            _ => {}
        }
    }
    if depth == DEEPEST { None } else { folders.iter().find_map(|below| find(below, name, depth + 1)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_what_the_other_package_depends_on() {
        let shown = "Package: linux-image-cloud-amd64\nDepends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)\nSize: 1\n";
        assert_eq!(depends(shown).as_deref(), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(depends("Package: linux-image-virtual\n"), None);
    }

    #[test]
    fn a_release_is_in_the_kernels_name() {
        assert_eq!(release(Path::new("/boot/vmlinuz-6.1.0-56-cloud-amd64")), "6.1.0-56-cloud-amd64");
        assert_eq!(release(Path::new("vmlinux")), "vmlinux");
    }
}

//! Unpacks the layers of an image into one folder, once for all servers that use it.
//!
//! What a layer says is hostile: its paths are followed inside the folder alone, its devices, owners and privilege bits are left out, its
//! size is bounded, and what it unpacks to must have the digest that the image's configuration names. Everything becomes readable for
//! everybody, because the folder is shown read-only to programs of any id, and an image holds no secrets.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::read::MultiGzDecoder;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, chmodat, fchmod, linkat, mkdirat, openat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use sallyport_telemetry::state_folder::private_folder;
use sha2::{Digest, Sha256};
use tar::{Archive, Entry, EntryType};

use super::image::{Image, hex};
use super::names::LongNames;
use crate::error::Error;
use crate::scoped;
use crate::turn;

/// Larger images are those with models in them, which belong into a folder to read.
const MOST_BYTES: u64 = 16 * 1024 * 1024 * 1024;
const MOST_ENTRIES: u64 = 1_000_000;
/// Bytes of the paths of all entries, which are held while a layer is unpacked: real images have some ten MiB.
const MOST_NAMES: usize = 256 * 1024 * 1024;
/// Folders in folders, from the host's root on: programs that go down into deeper ones run out of stack or descriptors.
const MOST_LEVELS: usize = 256;

/// The prefix of a name that stands for what a layer takes away, and of all that a folder had before.
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The folder with the image unpacked; done now if nobody did it before.
pub(super) fn unpacked(image: &Image, cache: &Path) -> Result<PathBuf, Error> {
    let place = cache.join(image.key.replace(':', "-"));
    private_folder(&place).map_err(|error| Error::new(error.to_string()).with_hint(error.hint()))?;
    let (root, complete) = (place.join("root"), place.join("complete"));
    let io = |cause: io::Error| Error::io(format_args!("{} cannot be written", place.display()), &cause);
    let lock = File::create(place.join("lock")).map_err(io)?;
    turn::take(&lock, turn::LONG).map_err(io)?;
    if !complete.exists() {
        if root.exists() {
            fs::remove_dir_all(&root).map_err(io)?; // left by somebody who was killed
        }
        fs::create_dir(&root).and_then(|()| fs::set_permissions(&root, fs::Permissions::from_mode(0o755))).map_err(io)?;
        fill(image, &root, &AtomicBool::new(false)).inspect_err(|_| drop(fs::remove_dir_all(&root)))?;
        File::create(&complete).map_err(io)?;
    }
    Ok(root)
}

/// Unpacks all layers into an empty folder, until `stop` is set.
pub(super) fn fill(image: &Image, root: &Path, stop: &AtomicBool) -> Result<(), Error> {
    let opened = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let opened = opened.map_err(|errno| Error::io(format_args!("{} cannot be opened", root.display()), &errno.into()))?;
    let mut unpack = Unpack { root: opened, bytes: MOST_BYTES, entries: MOST_ENTRIES, made: HashSet::new(), names: MOST_NAMES };
    for (name, digest) in &image.layers {
        let found = image.layer(name).and_then(|layer| unpack.layer(Until { inner: layer, stop }));
        let found = found.map_err(|cause| Error::io(format_args!("layer {name} cannot be unpacked"), &cause))?;
        if found != *digest {
            return Err(Error::new(format!("layer {name} does not unpack to the digest {digest}")));
        }
    }
    Ok(())
}

struct Unpack {
    root: OwnedFd,
    bytes: u64,
    entries: u64,
    /// What the present layer has made: an opaque folder loses what lies below, not these.
    made: HashSet<PathBuf>,
    /// Room for the paths in `made`, of all layers.
    names: usize,
}

impl Unpack {
    /// Unpacks one layer, and gives the digest of what it unpacked.
    fn layer(&mut self, packed: impl Read) -> io::Result<String> {
        self.made.clear();
        let mut stream = Counted { inner: unpacker(packed)?, digest: Sha256::new(), left: self.bytes };
        let mut archive = Archive::new(&mut stream);
        let mut names = LongNames::default();
        for entry in archive.entries()?.raw(true) {
            self.entries = self.entries.checked_sub(1).ok_or_else(|| too_large("entries"))?;
            let mut entry = entry?;
            if !names.hear(&mut entry)? {
                self.entry(&mut entry, &std::mem::take(&mut names))?;
            }
        }
        io::copy(&mut stream, &mut io::sink())?; // what follows the last entry has its part in the digest
        self.bytes = stream.left;
        Ok(format!("sha256:{}", hex(&stream.digest.finalize())))
    }

    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>, names: &LongNames) -> io::Result<()> {
        let path = inside(&names.path(entry))?;
        let (Some(name), Some(above)) = (path.file_name(), path.parent()) else { return Ok(()) };
        self.names = self.names.checked_sub(path.as_os_str().len()).ok_or_else(|| too_large("bytes of names"))?;
        let parent = self.folder(above)?;
        if name.as_bytes() == OPAQUE {
            return self.empty(&parent, above);
        }
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            return remove(&parent, OsStr::from_bytes(hidden));
        }
        match entry.header().entry_type() {
            EntryType::Directory => make_folder(&parent, name)?,
            EntryType::Regular | EntryType::Continuous => write_file(&parent, name, entry)?,
            EntryType::Symlink => {
                remove(&parent, name)?;
                symlinkat(names.link(entry)?.as_os_str(), &parent, name)?;
            }
            EntryType::Link => {
                let target = inside(&names.link(entry)?)?;
                self.link(&target, &parent, name)?;
            }
            EntryType::GNUSparse => return Err(io::Error::other("it has a sparse file, which no engine writes")),
            _ => return Ok(()), // devices and pipes: the container has its own, or none
        }
        self.made.insert(path);
        Ok(())
    }

    /// The folder at this path, made where it is missing. Links on the way lead nowhere outside.
    fn folder(&mut self, path: &Path) -> io::Result<OwnedFd> {
        match self.open(path) {
            Err(Errno::NOENT) => {}
            found => return not_too_deep(found?),
        }
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Err(io::ErrorKind::InvalidData.into()) };
        self.entries = self.entries.checked_sub(1).ok_or_else(|| too_large("entries"))?;
        make_folder(&self.folder(above)?, name)?;
        not_too_deep(self.open(path)?)
    }

    fn open(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        scoped::open(&self.root, path, OFlags::PATH | OFlags::DIRECTORY, resolve)
    }

    fn link(&self, target: &Path, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
        let (Some(above), Some(existing)) = (target.parent(), target.file_name()) else { return Err(io::ErrorKind::InvalidData.into()) };
        let source = self.open(above)?;
        if FileType::from_raw_mode(statat(&source, existing, AtFlags::SYMLINK_NOFOLLOW)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("a hard link to what is no file"));
        }
        remove(parent, name)?;
        Ok(linkat(&source, existing, parent, name, AtFlags::empty())?)
    }

    /// Takes away what lower layers have put into a folder.
    fn empty(&self, folder: &OwnedFd, path: &Path) -> io::Result<()> {
        for entry in fs::read_dir(through(folder, OsStr::new("")))? {
            let name = entry?.file_name();
            if !self.made.contains(&path.join(&name)) {
                remove(folder, &name)?;
            }
        }
        Ok(())
    }
}

/// A folder that has room for more. Links lead on from where paths end: what is made through them is not as deep as its path is long.
fn not_too_deep(folder: OwnedFd) -> io::Result<OwnedFd> {
    let whole = fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd())).map_err(|_| too_large("levels of folders"))?;
    if whole.components().count() > MOST_LEVELS { Err(too_large("levels of folders")) } else { Ok(folder) }
}

/// The path below the root; one that climbs is refused.
fn inside(path: &Path) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(io::Error::other("a path that climbs")),
        }
    }
    Ok(clean)
}

/// A path for functions that take no descriptor; the folder itself is held.
fn through(folder: &OwnedFd, name: &OsStr) -> PathBuf {
    let mut path = OsString::from(format!("/proc/self/fd/{}/", folder.as_raw_fd()));
    path.push(name);
    path.into()
}

/// Removes whatever has this name; nothing is followed.
fn remove(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    if name.is_empty() || name == "." || name == ".." {
        return Err(io::ErrorKind::InvalidData.into());
    }
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
        Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => fs::remove_dir_all(through(parent, name)),
        Ok(_) => Ok(unlinkat(parent, name, AtFlags::empty())?),
    }
}

/// A folder stays as it is where there is one already.
fn make_folder(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let found = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map(|found| FileType::from_raw_mode(found.st_mode));
    if found == Ok(FileType::Directory) {
        return Ok(());
    }
    remove(parent, name)?;
    let mode = Mode::from_raw_mode(0o755);
    mkdirat(parent, name, mode)?;
    Ok(chmodat(parent, name, mode, AtFlags::empty())?) // whatever the umask is
}

fn write_file<R: Read>(parent: &OwnedFd, name: &OsStr, entry: &mut Entry<'_, R>) -> io::Result<()> {
    remove(parent, name)?;
    let mode = if entry.header().mode()? & 0o111 == 0 { 0o444 } else { 0o555 };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(parent, name, flags, Mode::RUSR)?;
    fchmod(&file, Mode::from_raw_mode(mode))?;
    io::copy(entry, &mut File::from(file))?;
    Ok(())
}

/// A layer as a plain archive.
fn unpacker<'a>(packed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut start = Vec::new();
    let mut packed = BufReader::new(packed);
    packed.by_ref().take(4).read_to_end(&mut start)?;
    let whole = io::Cursor::new(start.clone()).chain(packed);
    if start.starts_with(&ZSTD) {
        return Err(io::Error::other("it is packed by zstd; save the image with gzip or uncompressed layers"));
    }
    Ok(if start.starts_with(&GZIP) { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) })
}

/// Reads nothing more once `stop` is set.
struct Until<'a, R> {
    inner: R,
    stop: &'a AtomicBool,
}

impl<R: Read> Read for Until<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(io::Error::other("nobody waits for it any more")),
            false => self.inner.read(buffer),
        }
    }
}

/// Takes the digest of what is read, and ends what is too large.
struct Counted<R> {
    inner: R,
    digest: Sha256,
    left: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = u64::try_from(read).ok().and_then(|read| self.left.checked_sub(read)).ok_or_else(|| too_large("bytes"))?;
        self.digest.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

fn too_large(what: &str) -> io::Error {
    io::Error::other(format!("the image has too many {what}"))
}

#[cfg(test)]
mod tests;

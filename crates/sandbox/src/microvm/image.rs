//! The disk of a machine: everything that the program may see, as a read-only erofs file system that exists only while it is read. Folders,
//! names and links are laid out here; the blocks of files are taken from the host's own files when the machine asks for them. So nothing is
//! copied, whatever the size of what is shown, and what is not asked for is never read. Where the root is a container image, its files are those
//! of the folder in which it was unpacked, and what is shown of the host lies over them.
//!
//! The format is that of the kernel's `fs/erofs/erofs_fs.h`, with nothing packed.

mod layout;
mod tree;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, openat2};

use crate::error::Error;
use crate::policy::{Network, View};

pub(super) const BLOCK: u64 = 4096;

/// Files that are kept open; a program reads from few at a time.
const OPEN_FILES: usize = 64;

/// A container image below what is shown.
#[derive(Clone, Copy)]
pub(super) struct Lower<'a> {
    /// The folder in which it is unpacked.
    pub(super) root: &'a Path,
    /// Where its program starts; made where the image does not have it, as a container runtime would.
    pub(super) start: &'a Path,
}

/// One disk.
#[derive(Debug)]
pub(super) struct Image {
    /// The blocks before those of the files.
    metadata: Vec<u8>,
    /// In the order of their blocks.
    files: Vec<Extent>,
    size: u64,
}

/// The blocks of one file of the host.
#[derive(Debug)]
struct Extent {
    start: u64,
    size: u64,
    path: PathBuf,
    /// Device and inode, as they were when the disk was laid out.
    identity: (u64, u64),
}

impl Image {
    /// Lays out what `view` shows, over the image if there is one, and where names are asked for. Takes the time of a look at each file.
    pub(super) fn of(view: &View, lower: Option<Lower<'_>>, network: &Network) -> Result<Self, Error> {
        layout::lay_out(tree::Tree::of(view, lower, network)?)
    }

    /// In bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }
}

/// Reads one disk, with the host's files that it needs.
pub(super) struct Reader<'a> {
    image: &'a Image,
    open: Vec<(usize, File)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(image: &'a Image) -> Self {
        Self { image, open: Vec::new() }
    }

    /// Fills `buffer` from `offset` on. What lies behind a file's end, up to the next block, is zero.
    pub(super) fn read(&mut self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        if end > self.image.size {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        while !buffer.is_empty() {
            let read = self.read_some(offset, buffer)?;
            offset += read as u64;
            buffer = buffer.split_at_mut_checked(read).ok_or(io::ErrorKind::InvalidData)?.1;
        }
        Ok(())
    }

    /// At least one byte, all from one place.
    fn read_some(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let place = usize::try_from(offset).unwrap_or(usize::MAX);
        if let Some(rest) = self.image.metadata.get(place..).filter(|rest| !rest.is_empty()) {
            let count = rest.len().min(buffer.len());
            buffer.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            return Ok(count);
        }
        let position = self.image.files.partition_point(|file| file.start <= offset).checked_sub(1).ok_or(io::ErrorKind::NotFound)?;
        let extent = self.image.files.get(position).ok_or(io::ErrorKind::NotFound)?;
        let (start, size) = (extent.start, extent.size);
        let within = offset - start;
        let rest = size.next_multiple_of(BLOCK).checked_sub(within).filter(|rest| *rest > 0).ok_or(io::ErrorKind::NotFound)?;
        let count = buffer.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
        let buffer = buffer.get_mut(..count).ok_or(io::ErrorKind::InvalidData)?;
        buffer.fill(0);
        let of_file = usize::try_from(size.saturating_sub(within)).unwrap_or(usize::MAX).min(count);
        if let Some(mut wanted) = buffer.get_mut(..of_file).filter(|wanted| !wanted.is_empty()) {
            let file = self.file(position)?;
            let mut at = within;
            // A file that became shorter reads as zero from there on.
            while !wanted.is_empty() {
                let read = file.read_at(wanted, at)?;
                if read == 0 {
                    break;
                }
                at += read as u64;
                wanted = wanted.split_at_mut_checked(read).ok_or(io::ErrorKind::InvalidData)?.1;
            }
        }
        Ok(count)
    }

    /// The file itself: neither a link nor another file that took its name since.
    fn file(&mut self, position: usize) -> io::Result<&File> {
        if let Some(known) = self.open.iter().position(|(open, _)| *open == position) {
            return self.open.get(known).map(|(_, file)| file).ok_or_else(|| io::ErrorKind::NotFound.into());
        }
        let extent = self.image.files.get(position).ok_or(io::ErrorKind::NotFound)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = openat2(CWD, &extent.path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS)?;
        let found = fstat(&file)?;
        if (found.st_dev, found.st_ino) != extent.identity {
            return Err(io::Error::other("the file was replaced"));
        }
        if self.open.len() == OPEN_FILES {
            self.open.remove(0);
        }
        self.open.push((position, File::from(file)));
        self.open.last().map(|(_, file)| file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[cfg(test)]
mod tests;

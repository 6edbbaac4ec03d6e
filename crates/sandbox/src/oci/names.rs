//! The names that an archive tells in entries of their own, before the entry that they belong to: in the way of GNU and in that of POSIX.
//! Whoever made the archive says how long they are, so they are read here, with a bound, and not by the archive's reader.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tar::{Entry, EntryType, PaxExtensions};

/// A path has 4 KiB at most; what else is told of a file there (attributes, times) takes some kilobytes.
const MOST_BYTES: u64 = 256 * 1024;

/// The names for the entry that comes next.
#[derive(Default)]
pub(super) struct LongNames {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl LongNames {
    /// Takes an entry that tells names; whether it was one.
    pub(super) fn hear<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> io::Result<bool> {
        match entry.header().entry_type() {
            EntryType::GNULongName => self.path = Some(until_nul(read(entry)?)),
            EntryType::GNULongLink => self.link = Some(until_nul(read(entry)?)),
            EntryType::XHeader => self.posix(&read(entry)?)?,
            EntryType::XGlobalHeader => {} // of the archive as a whole: times, comments
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn posix(&mut self, told: &[u8]) -> io::Result<()> {
        for record in PaxExtensions::new(told) {
            let record = record?;
            match record.key_bytes() {
                b"path" => self.path = Some(record.value_bytes().to_vec()),
                b"linkpath" => self.link = Some(record.value_bytes().to_vec()),
                b"size" => return Err(io::Error::other("a file of 8 GiB and more")),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn path<'a, R: Read>(&'a self, entry: &'a Entry<'_, R>) -> Cow<'a, Path> {
        match &self.path {
            Some(path) => Cow::Borrowed(Path::new(OsStr::from_bytes(path))),
            None => of(entry.path_bytes()),
        }
    }

    pub(super) fn link<'a, R: Read>(&'a self, entry: &'a Entry<'_, R>) -> io::Result<Cow<'a, Path>> {
        match &self.link {
            Some(link) => Ok(Cow::Borrowed(Path::new(OsStr::from_bytes(link)))),
            None => entry.link_name_bytes().map(of).ok_or_else(|| io::ErrorKind::InvalidData.into()),
        }
    }
}

fn of(bytes: Cow<'_, [u8]>) -> Cow<'_, Path> {
    Cow::Owned(Path::new(OsStr::from_bytes(&bytes)).to_owned())
}

fn read<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Vec<u8>> {
    if entry.size() > MOST_BYTES {
        return Err(io::Error::other("a name in it is too long"));
    }
    let mut told = Vec::new();
    entry.take(MOST_BYTES).read_to_end(&mut told)?;
    Ok(told)
}

fn until_nul(mut name: Vec<u8>) -> Vec<u8> {
    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
    name
}

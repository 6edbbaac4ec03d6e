//! What a request needs of a program's files, noted after a rehearsal and fetched in one go when the program is woken. Left to the program,
//! each page would be read from disk when it is first missed, one after the other.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::io::Errno;
use rustix::param::page_size;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::memory::{self, Mapping};
use crate::sys;

/// Pages looked at in one process: those of 4 GiB. What a hostile program maps beyond is fetched when it is missed.
const MOST_PAGES: usize = 1 << 20;

/// Pages looked at in one call, 8 bytes each.
const AT_ONCE: usize = 8192;

/// In an entry of `/proc/PID/pagemap`: the page is in memory, and it is of a file (or shared).
const PRESENT: u64 = 1 << 63;
const OF_FILE: u64 = 1 << 61;

/// Pages of stopped processes, by descriptors that never mean another one.
pub(super) struct Ahead(Vec<(OwnedFd, Vec<Range<usize>>)>);

impl Ahead {
    /// Notes which pages of files everything below `init` has in memory. `None`: nothing that could be fetched.
    ///
    /// # Errors
    /// This process may not look, or not advise the kernel; before Linux 5.18 nobody can.
    pub(super) fn note(init: u32) -> io::Result<Option<Self>> {
        let mut noted = Vec::new();
        for process in memory::descendants(init) {
            match note_one(process) {
                Ok((_, pages)) if pages.is_empty() => {}
                Ok(process) => noted.push(process),
                // Ended meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(Self(noted)).filter(|noted| !noted.0.is_empty()))
    }

    /// Has the kernel fetch them, beside the program that goes on meanwhile.
    pub(super) fn fetch_beside(self) {
        let fetch = move || {
            for (process, pages) in &self.0 {
                // What it does not fetch, the program does.
                let _as_far_as_it_goes = sys::fetch(process.as_fd(), pages);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("sandbox-fetch".to_owned()).spawn(fetch) {
            tracing::debug!(%error, "a woken program fetches its pages by itself");
        }
    }
}

fn note_one(process: u32) -> io::Result<(OwnedFd, Vec<Range<usize>>)> {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    let process_fd = pidfd_open(pid, PidfdFlags::empty())?;
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let pagemap = File::open(format!("/proc/{process}/pagemap"))?;
    let mut pages = Vec::new();
    let mut left = MOST_PAGES;
    for mapping in maps.lines().filter_map(memory::mapping).filter(|mapping| mapping.is_file) {
        left = left.saturating_sub(mapping.range.len() / page_size());
        if left == 0 {
            break;
        }
        present(&pagemap, &mapping, &mut pages)?;
    }
    // They are there, so this does nothing but tell whether it can be done.
    sys::fetch(process_fd.as_fd(), &pages)?;
    Ok((process_fd, pages))
}

/// Appends the pages of a mapping that are in memory, neighbours as one.
fn present(pagemap: &File, mapping: &Mapping, pages: &mut Vec<Range<usize>>) -> io::Result<()> {
    let mut entries = vec![0; AT_ONCE * size_of::<u64>()];
    let mut from = mapping.range.start;
    while from < mapping.range.end {
        let count = ((mapping.range.end - from) / page_size()).min(AT_ONCE);
        let Some(wanted) = entries.get_mut(..count * size_of::<u64>()) else { break };
        pagemap.read_exact_at(wanted, (from / page_size() * size_of::<u64>()) as u64)?;
        for (index, entry) in wanted.as_chunks().0.iter().enumerate() {
            if u64::from_ne_bytes(*entry) & (PRESENT | OF_FILE) == PRESENT | OF_FILE {
                append(pages, from + index * page_size());
            }
        }
        from += count * page_size();
    }
    Ok(())
}

fn append(pages: &mut Vec<Range<usize>>, page: usize) {
    match pages.last_mut() {
        Some(last) if last.end == page => last.end += page_size(),
        _ => pages.push(page..page + page_size()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn pages_of_this_very_program_are_found_and_neighbours_are_one_range() {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let pagemap = File::open("/proc/self/pagemap").unwrap();
        let here = pages_of_this_very_program_are_found_and_neighbours_are_one_range as fn() as usize;
        let own = maps.lines().filter_map(memory::mapping).find(|mapping| mapping.range.contains(&here)).unwrap();
        assert!(own.is_file);
        let mut pages = Vec::new();
        present(&pagemap, &own, &mut pages).unwrap();
        assert!(pages.iter().any(|pages| pages.contains(&here)), "the page that runs");
        assert!(pages.windows(2).all(|pair| pair[0].end < pair[1].start), "in order, and none beside the next");
        assert!(pages.iter().all(|pages| pages.start >= own.range.start && pages.end <= own.range.end));
    }
}

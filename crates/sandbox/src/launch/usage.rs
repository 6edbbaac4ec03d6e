//! How much memory the processes of a program use together, where no control group adds it up.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use super::memory;

/// What the links of descriptors, and the names of mappings, of files in memory (`memfd_create`) begin with.
const FILE_IN_MEMORY: &str = "/memfd:";

/// Bytes of one of the blocks in which the kernel says how large a file is.
const BLOCK: u64 = 512;

/// What files in memory hold, in bytes, by their inodes.
type Files = BTreeMap<u64, u64>;

/// How many places for descriptors one look goes through: at most a tenth of a second of work, and all of them of most programs.
const MOST_PLACES: u32 = 16 * 1024;

/// The memory of a program, looked at again and again. Descriptors are dear to look at: a program that has very many of them open has them
/// looked at in turns, so that it costs no more than others.
#[derive(Default)]
pub(super) struct Usage {
    /// What was found since the turn began.
    files: Files,
    /// Where the turn goes on: the process and its descriptor. At the beginning none.
    next: Option<(u32, u32)>,
}

/// Whether processes use more than `limit` bytes together, with the files in memory that they have open and their page tables. Resident pages, which are read at
/// once, count a page that several share for each of them: only where these are too many it is worth to look at each process's part of them.
fn sum_is_above(processes: &[u32], files: &Files, limit: u64) -> bool {
    let beneath = files.values().sum::<u64>() + processes.iter().map(|process| tables(*process)).sum::<u64>();
    memory::resident(processes) + beneath > limit && processes.iter().map(|process| beside(*process, files)).sum::<u64>() + beneath > limit
}

impl Usage {
    /// Looks again: whether the processes use more than `limit` bytes together.
    pub(super) fn is_above(&mut self, mut processes: Vec<u32>, limit: u64) -> bool {
        processes.sort_unstable();
        let is_of_now = self.look_on(&processes, MOST_PLACES);
        if !sum_is_above(&processes, &self.files, limit) {
            return false;
        }
        is_of_now || self.is_still_above(&processes, limit)
    }

    /// The same by one look at all of them: what was found some looks ago may be open elsewhere by now, or nowhere. Then the turn begins anew, so
    /// that this costs no more than the turn did.
    fn is_still_above(&mut self, processes: &[u32], limit: u64) -> bool {
        self.next = None;
        self.look_on(processes, u32::MAX);
        sum_is_above(processes, &self.files, limit)
    }

    /// Looks at the next `most` places for descriptors, in the order of `processes`. Whether these were all.
    fn look_on(&mut self, processes: &[u32], most: u32) -> bool {
        let begins = self.next.is_none();
        if begins {
            self.files.clear();
        }
        let (first, descriptor) = self.next.take().unwrap_or_default();
        let mut left = most;
        for process in processes.iter().copied().filter(|process| *process >= first) {
            let (from, all) = (if process == first { descriptor } else { 0 }, places(process));
            let to = all.min(from.saturating_add(left));
            self.files.extend((from..to).filter_map(|descriptor| file_in_memory((process, descriptor))));
            if to < all {
                self.next = Some((process, to));
                return false;
            }
            left = left.saturating_sub(to.saturating_sub(from));
        }
        begins
    }
}

/// How many descriptors a process has had room for.
fn places(process: u32) -> u32 {
    let status = status(process);
    status.lines().find_map(|line| line.strip_prefix("FDSize:")?.trim().parse().ok()).unwrap_or(0)
}

/// The file in memory at a descriptor, if there is one. What is open in several places is one file.
fn file_in_memory((process, descriptor): (u32, u32)) -> Option<(u64, u64)> {
    let path = format!("/proc/{process}/fd/{descriptor}");
    let is_one = fs::read_link(&path).is_ok_and(|to| to.as_os_str().as_bytes().starts_with(FILE_IN_MEMORY.as_bytes()));
    let found = is_one.then(|| fs::metadata(&path).ok()).flatten()?;
    Some((found.ino(), found.blocks() * BLOCK))
}

/// The tables by which a process finds its pages. They can be far larger than these: one for each two megabytes that it has only read in.
fn tables(process: u32) -> u64 {
    sum_of_tables(&status(process))
}

fn sum_of_tables(status: &str) -> u64 {
    ["VmPTE:", "VmPMD:"].iter().filter_map(|name| status.lines().find_map(|line| kilobytes(line, name))).sum::<u64>() * 1024
}

fn status(process: u32) -> String {
    fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default()
}

/// A process's memory in bytes, of pages that several share its part, without those of `files`.
fn beside(process: u32, files: &Files) -> u64 {
    let Some(all) = proportional(process) else { return memory::resident(&[process]) };
    let mapped = |_| mapped(&fs::read_to_string(format!("/proc/{process}/smaps")).unwrap_or_default(), files);
    all.saturating_sub(files.first_key_value().map_or(0, mapped))
}

/// A process's memory in bytes, of pages that several share its part; with what of it lies in swap.
fn proportional(process: u32) -> Option<u64> {
    sum(&fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?)
}

fn sum(rollup: &str) -> Option<u64> {
    let kilobytes = |name: &str| rollup.lines().find_map(|line| kilobytes(line, name));
    Some((kilobytes("Pss:")? + kilobytes("SwapPss:").unwrap_or(0)) * 1024)
}

/// What of `files` a process has mapped, in the same measure. Each mapping begins with a line of its place, its inode and its name.
fn mapped(smaps: &str, files: &Files) -> u64 {
    let (mut is_one, mut found) = (false, 0);
    for line in smaps.lines() {
        let mut fields = line.split_ascii_whitespace();
        if !fields.next().is_some_and(|first| first.ends_with(':')) {
            let inode = fields.nth(3).and_then(|inode| inode.parse().ok());
            is_one = inode.is_some_and(|inode: u64| files.contains_key(&inode))
                && fields.next().is_some_and(|name| name.starts_with(FILE_IN_MEMORY));
        } else if is_one {
            found += kilobytes(line, "Pss:").or_else(|| kilobytes(line, "SwapPss:")).unwrap_or(0);
        }
    }
    found * 1024
}

fn kilobytes(line: &str, name: &str) -> Option<u64> {
    line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "a test stops at the first surprise")]

    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn memory_is_the_part_that_is_a_process_own_and_what_lies_in_swap() {
        let rollup =
            "55d0-7ffc ---p 00000000 00:00 0 [rollup]\nRss:  9000 kB\nPss:  4096 kB\nPss_Anon: 77 kB\nSwap: 3 kB\nSwapPss:  1024 kB\n";
        assert_eq!(sum(rollup), Some(5 * MIB));
        assert_eq!(sum("Pss: 2048 kB\n"), Some(2 * MIB), "a kernel without swap");
        assert_eq!(sum(""), None);
    }

    #[test]
    fn what_is_mapped_of_open_files_is_told_apart() {
        let smaps = "7f00-7f10 rw-s 00000000 00:01 7 /memfd:one (deleted)\nRss: 9 kB\nPss: 1024 kB\nSwapPss: 1024 kB\nVmFlags: rd wr\n\
            7f20-7f30 rw-s 00000000 00:01 8 /memfd:closed (deleted)\nPss: 1024 kB\n\
            7f40-7f50 rw-p 00000000 fe:00 7 /usr/lib/x\nPss: 1024 kB\n7f60-7f70 rw-p 00000000 00:00 0 \nPss: 1024 kB\n";
        let files = Files::from([(7, 0)]);
        assert_eq!(mapped(smaps, &files), 2 * MIB);
        assert_eq!(mapped("", &files), 0);
    }

    #[test]
    fn page_tables_are_told_by_one_name_or_two() {
        assert_eq!(sum_of_tables("VmRSS:\t 9 kB\nVmPTE:\t    1024 kB\nVmPMD:\t  1024 kB\nVmSwap: 1 kB\n"), 2 * MIB);
        assert_eq!(sum_of_tables("VmPTE: 1024 kB\n"), MIB);
        assert_eq!(sum_of_tables(""), 0, "a process that has ended");
    }

    #[test]
    fn this_very_process_uses_more_than_nothing() {
        let own = vec![std::process::id()];
        assert!(Usage::default().is_above(own.clone(), 0));
        assert!(!Usage::default().is_above(own, 1 << 40));
        assert!(!Usage::default().is_above(Vec::new(), 0));
    }

    fn in_memory(bytes: usize) -> fs::File {
        let file = fs::File::from(rustix::fs::memfd_create("counted", rustix::fs::MemfdFlags::CLOEXEC).expect("a file in memory"));
        std::io::Write::write_all(&mut &file, &vec![1; bytes]).expect("it is written");
        file
    }

    fn inode(file: &fs::File) -> u64 {
        file.metadata().expect("it is open").ino()
    }

    #[test]
    fn a_file_in_memory_counts_once_whether_it_is_mapped_or_not() {
        let file = in_memory(4 << 20);
        let twin = file.try_clone();
        let mut usage = Usage::default();
        assert!(usage.look_on(&[std::process::id()], MOST_PLACES), "one look is enough");
        assert_eq!(usage.files.get(&inode(&file)).copied(), Some(4 * MIB));
        drop(twin);
    }

    #[test]
    fn a_look_goes_through_no_more_places_than_it_may_and_the_next_one_goes_on() {
        let own = [std::process::id()];
        let file = in_memory(1 << 20);
        let mut usage = Usage::default();
        let all = places(own[0]);
        for look in 1..all {
            assert!(!usage.look_on(&own, 1), "none is of the whole turn");
            assert_eq!(usage.next, Some((own[0], look)));
        }
        assert!(usage.files.contains_key(&inode(&file)));
        assert!(!usage.look_on(&own, 1) && usage.next.is_none(), "the turn has ended");
        assert!(usage.files.contains_key(&inode(&file)), "its end is looked at with all that it found");
        usage.look_on(&own, 1);
        assert!(!usage.files.contains_key(&inode(&file)), "the next one begins with nothing");
    }

    #[test]
    fn what_was_closed_in_the_course_of_a_turn_is_held_against_nobody() {
        let own = [std::process::id()];
        let file = in_memory(64 << 20);
        let number = inode(&file);
        let mut usage = Usage::default();
        usage.look_on(&own, places(own[0]).saturating_sub(1));
        assert!(usage.files.contains_key(&number) && sum_is_above(&[], &usage.files, 60 * MIB));
        let elsewhere = file.try_clone();
        drop(file);
        assert!(usage.is_still_above(&own, 60 * MIB), "it is open at another place");
        drop(elsewhere);
        assert!(usage.files.contains_key(&number));
        usage.is_still_above(&own, 60 * MIB);
        assert!(usage.next.is_none() && !usage.files.contains_key(&number), "a turn begins anew");
    }
}

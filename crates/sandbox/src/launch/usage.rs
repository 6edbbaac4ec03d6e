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

/// Files in memory by their inodes, with the bytes that they hold.
type Files = BTreeMap<u64, u64>;

/// Whether processes use more than `limit` bytes together, with the files in memory that they have open. Resident pages, which are read at
/// once, count a page that several share for each of them: only where these are too many it is worth to look at each process's part of them.
pub(super) fn is_above(processes: &[u32], limit: u64) -> bool {
    let files = open_files(processes);
    let in_files: u64 = files.values().sum();
    memory::resident(processes) + in_files > limit
        && processes.iter().map(|process| beside(*process, &files)).sum::<u64>() + in_files > limit
}

/// What is open in several processes is one file.
fn open_files(processes: &[u32]) -> Files {
    let folders = processes.iter().filter_map(|process| fs::read_dir(format!("/proc/{process}/fd")).ok());
    let is_one =
        |path: &std::path::Path| fs::read_link(path).is_ok_and(|to| to.as_os_str().as_bytes().starts_with(FILE_IN_MEMORY.as_bytes()));
    let links = folders.flatten().flatten().map(|entry| entry.path()).filter(|path| is_one(path));
    links.filter_map(|path| fs::metadata(path).ok()).map(|found| (found.ino(), found.blocks() * BLOCK)).collect()
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
        assert_eq!(mapped(smaps, &Files::from([(7, 0)])), 2 * MIB);
        assert_eq!(mapped("", &Files::from([(7, 0)])), 0);
    }

    #[test]
    fn this_very_process_uses_more_than_nothing() {
        let own = [std::process::id()];
        assert!(is_above(&own, 0));
        assert!(!is_above(&own, 1 << 40));
        assert!(!is_above(&[], 0));
    }

    #[test]
    fn a_file_in_memory_counts_once_whether_it_is_mapped_or_not() {
        let own = [std::process::id()];
        let before = open_files(&own);
        let file = fs::File::from(rustix::fs::memfd_create("counted", rustix::fs::MemfdFlags::CLOEXEC).expect("a file in memory"));
        std::io::Write::write_all(&mut &file, &vec![1; 4 << 20]).expect("it is written");
        let twin = file.try_clone();
        let files: Files = open_files(&own).into_iter().filter(|(inode, _)| !before.contains_key(inode)).collect();
        assert_eq!(files.values().sum::<u64>(), 4 * MIB);
        drop((file, twin));
    }
}

//! Gives back the memory of a program that is stopped: page by page the kernel writes to swap, or drops, what it can.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::param::page_size;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::cgroup;
use crate::instance::GivenBack;
use crate::sys;

/// Gives back the memory of every process below `init`, as long as `go_on` says so.
pub(super) fn give_back(init: u32, go_on: &dyn Fn() -> bool) -> io::Result<GivenBack> {
    let inside = descendants(init);
    let before = resident(&inside);
    for process in &inside {
        match page_out(*process, go_on) {
            // Ended meanwhile: its memory is back anyway.
            Err(error) if error == Errno::SRCH => {}
            outcome => outcome?,
        }
    }
    Ok(GivenBack { before, after: resident(&inside) })
}

/// The same for the group in `folder` that holds all of them, where this process may not ask it of other processes. Takes what only their
/// reading has brought into memory, too.
pub(super) fn reclaim(init: u32, folder: &Path, go_on: &dyn Fn() -> bool) -> io::Result<GivenBack> {
    let inside = descendants(init);
    let before = resident(&inside);
    cgroup::reclaim(folder, go_on)?;
    Ok(GivenBack { before, after: resident(&inside) })
}

fn page_out(process: u32, go_on: &dyn Fn() -> bool) -> Result<(), Errno> {
    // Should the number be another process's by now, that one only has to fetch its pages again.
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    let process_fd = pidfd_open(pid, PidfdFlags::empty())?;
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::SRCH))?;
    for mapping in maps.lines().filter_map(mapping) {
        if !go_on() {
            break;
        }
        match sys::page_out(process_fd.as_fd(), mapping.range) {
            // Locked memory, device memory: stays.
            Ok(()) | Err(Errno::INVAL | Errno::NOMEM) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A part of a process's memory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) range: Range<usize>,
    /// Its pages come from a file.
    pub(super) is_file: bool,
}

/// One line of `/proc/PID/maps`; `None` for what is only reserved and for the kernel's own.
pub(super) fn mapping(line: &str) -> Option<Mapping> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let is_reserved = fields.next()?.starts_with("---");
    let is_file = fields.nth(2)? != "0";
    let is_the_kernels = fields.next().is_some_and(|name| name.starts_with("[v"));
    let address = |text| usize::from_str_radix(text, 16).ok();
    (!is_reserved && !is_the_kernels).then_some(Mapping { range: address(start)?..address(end)?, is_file })
}

/// Everything that descends from `ancestor`: whoever loses its parent is handed to the namespace's init.
pub(super) fn descendants(ancestor: u32) -> Vec<u32> {
    let mut found = children(ancestor);
    let mut next = 0;
    while let Some(process) = found.get(next) {
        let below = children(*process);
        found.extend(below);
        next += 1;
    }
    found
}

/// The children of all threads of a process.
fn children(process: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Bytes that are resident, summed.
pub(super) fn resident(processes: &[u32]) -> u64 {
    let pages = processes.iter().filter_map(|process| {
        let counts = fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
        counts.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
    });
    pages.sum::<u64>() * u64::try_from(page_size()).unwrap_or(u64::MAX)
}

/// Major faults of all threads, summed.
pub(super) fn fetched(processes: &[u32]) -> u64 {
    let faults = processes.iter().filter_map(|process| major_faults(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?));
    faults.sum()
}

/// The twelfth field of `/proc/PID/stat`. The second is the program's name, which may look like fields.
fn major_faults(stat: &str) -> Option<u64> {
    stat.rsplit_once(") ")?.1.split(' ').nth(9)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_faults_are_found_behind_any_name() {
        assert_eq!(major_faults("7 (a) S 1 2) T 1 7 7 0 -1 4194304 120 0 34 0 5 6 0 0 20 0"), Some(34));
        assert_eq!(major_faults(""), None);
    }

    #[test]
    fn only_memory_that_can_be_paged_out_is_taken() {
        let found = |line| mapping(line).map(|found| (found.range, found.is_file));
        assert_eq!(found("55d0-55e0 r-xp 00000000 fe:00 12 /usr/bin/cat"), Some((0x55d0..0x55e0, true)));
        assert_eq!(found("7f00-7f10 rw-p 00000000 00:00 0 "), Some((0x7f00..0x7f10, false)));
        assert_eq!(found("7ffc-7ffd rw-p 00000000 00:00 0 [stack]"), Some((0x7ffc..0x7ffd, false)));
        for line in
            ["1000-2000 ---p 00000000 00:00 0", "1000-2000 r-xp 00000000 00:00 0 [vdso]", "1000-2000 r--p 00000000 00:00 0 [vvar]", ""]
        {
            assert_eq!(mapping(line), None, "{line}");
        }
    }
}

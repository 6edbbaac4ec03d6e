//! More of the machine than there may be.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::super::row::SOCKETS;
use super::{Attack, Stopped, Tried, in_child, raw, report_fault};
use crate::profile::Limits;

/// What a bomb is made of ends by itself, should it not be stopped: soon, but after it was looked at.
const LIFETIME: Duration = Duration::from_secs(20);

/// As many processes as the bomb tries: far beyond the limit of its sandbox, and nothing to a whole machine.
const BOMB: usize = 200;

/// The limits of the sandbox for bombs.
pub(in crate::attack) fn small() -> Limits {
    Limits { memory_mb: 256, processes: 40, ..Limits::default() }
}

pub(super) fn fork_bomb(attack: &Attack<'_>) {
    let most = usize::try_from(attack.given.processes).unwrap_or(usize::MAX);
    attack.attempt(&format!("more than {} processes", small().processes), || {
        let (mut ran, say) = std::io::pipe()?;
        for number in 0..BOMB {
            let begun = raw::start(|| {
                // If nobody hears it, the sandbox is ending.
                let _unheard = (&say).write_all(b"x");
                std::thread::sleep(LIFETIME);
            });
            match begun {
                Ok(_) => {}
                Err(errno) if number < most => return Err(errno.into()),
                Err(_) => return Ok(format!("{number} processes")),
            }
        }
        // A kernel of the sandbox's own may promise processes for which the host then has no threads.
        ran.read_exact(&mut [0; BOMB])?;
        Ok(format!("{BOMB} processes"))
    });
}

/// As many sandboxes are filled one after the other: a limit of the whole ends each.
pub(in crate::attack) const MEMORY_BOMBS: usize = 4;

/// What is filled is held for so long: a watchdog that takes a control group's place looks once a second.
const HELD: Duration = Duration::from_secs(5);

pub(super) fn memory_bombs(attack: &Attack<'_>, part: usize) {
    let wanted = usize::try_from(small().memory_mb).unwrap_or(0) * (3 << 20);
    match part {
        0 => memory_bomb(attack, wanted),
        1 => attack.attempt(FILES_IN_MEMORY, || fill_files_in_memory(wanted)),
        2 => attack.attempt(SEGMENTS, || fill_segments(wanted)),
        _ => attack.attempt(SOCKETS, || fill_sockets(wanted)),
    }
}

const FILES_IN_MEMORY: &str = "three times the memory in files that nobody has mapped";
const SEGMENTS: &str = "three times the memory in segments that nobody has attached";

/// Each as large as a file may be.
fn fill_files_in_memory(wanted: usize) -> Tried {
    let largest = (small().file_mb as usize) << 20;
    let (mut files, block) = (Vec::new(), vec![1; 1 << 20]);
    for _ in 0..wanted.div_ceil(largest) {
        let mut file = File::from(rustix::fs::memfd_create("bomb", rustix::fs::MemfdFlags::CLOEXEC)?);
        for _ in 0..largest / block.len() {
            file.write_all(&block)?;
        }
        files.push(file);
    }
    std::thread::sleep(HELD);
    Ok(format!("{} files", files.len()))
}

fn fill_segments(wanted: usize) -> Tried {
    const BYTES: usize = 16 << 20;
    let segments = (0..wanted / BYTES).map(|_| raw::Segment::fill(BYTES)).collect::<Result<Vec<_>, _>>()?;
    std::thread::sleep(HELD);
    Ok(format!("{} segments", segments.len()))
}

/// By several processes, since each has few descriptors, until there is as much or nothing goes in any more.
fn fill_sockets(wanted: usize) -> Tried {
    const PROCESSES: usize = 8;
    let (mut filled, say) = std::io::pipe()?;
    for _ in 0..PROCESSES {
        raw::start(|| {
            let bytes = fill_pairs(wanted / PROCESSES);
            // If nobody hears it, the sandbox is ending.
            let _unheard = (&say).write_all(&bytes.to_ne_bytes());
            std::thread::sleep(LIFETIME);
        })?;
    }
    let mut all = 0;
    for _ in 0..PROCESSES {
        let mut bytes = [0; size_of::<usize>()];
        filled.read_exact(&mut bytes)?;
        all += usize::from_ne_bytes(bytes);
    }
    std::thread::sleep(HELD);
    match all > (small().memory_mb as usize) << 20 {
        true => Ok(format!("{} MiB", all >> 20)),
        false => Err(Stopped::by(format!("no room for more than {} MiB", all >> 20))),
    }
}

/// Fills pairs of sockets that nobody reads from, and leaves them open.
fn fill_pairs(wanted: usize) -> usize {
    let (block, mut all) = (vec![1; 64 << 10], 0);
    while all < wanted {
        let Ok((mut one, other)) = std::os::unix::net::UnixStream::pair() else { break };
        // Where the kernel grants no more, it is as large as it is.
        let _as_large_as_it_may_be = rustix::net::sockopt::set_socket_send_buffer_size(&one, 16 << 20);
        if one.set_nonblocking(true).is_err() {
            break;
        }
        while let Ok(written) = one.write(&block) {
            all += written;
        }
        std::mem::forget((one, other));
    }
    all
}

fn memory_bomb(attack: &Attack<'_>, wanted: usize) {
    attack.attempt("three times the memory", || {
        in_child(|| {
            let mut memory: Vec<u8> = Vec::new();
            memory.try_reserve_exact(wanted).map_err(|_| Stopped::by("ENOMEM"))?;
            memory.resize(wanted, 1);
            std::hint::black_box(&memory);
            Ok(())
        })
    });
}

/// As many as a large machine has.
const SPINNERS: usize = 16;

pub(super) fn spin(attack: &Attack<'_>) {
    // How that goes the host sees, by what the other server answers meanwhile.
    attack.attempt("busy processes", || {
        for _ in 0..SPINNERS {
            raw::start(|| {
                let start = Instant::now();
                while start.elapsed() < LIFETIME {
                    std::hint::spin_loop();
                }
            })?;
        }
        Err(Stopped::by("the other server answers"))
    });
}

pub(super) fn fill(attack: &Attack<'_>) {
    for (folder, megabytes) in [("/tmp", Limits::default().tmp_mb), ("/dev/shm", Limits::default().shm_mb)] {
        attack.attempt(&format!("bytes of {folder}"), || fill_with_bytes(Path::new(folder), megabytes));
        attack.attempt(&format!("inodes of {folder}"), || fill_with_files(Path::new(folder)));
    }
    let file = attack.given.writable.join("endless");
    let megabytes = Limits::default().file_mb;
    attack.attempt("an endless file", || {
        raw::ignore(Signal::XFSZ);
        File::create(&file)?.set_len((u64::from(megabytes) << 20) + 1)?;
        Ok(format!("more than {megabytes} MiB"))
    });
    if file.exists() {
        report_fault("the endless file goes", fs::remove_file(&file));
    }
}

/// Half as much again as there may be.
fn fill_with_bytes(folder: &Path, megabytes: u32) -> Tried {
    let path = folder.join("fill");
    let write = || {
        let (mut file, block) = (File::create(&path)?, vec![b'x'; 1 << 20]);
        for _ in 0..megabytes + megabytes / 2 {
            file.write_all(&block)?;
        }
        Ok(())
    };
    let written: std::io::Result<()> = write();
    fs::remove_file(&path)?;
    written?;
    Ok(format!("more than {megabytes} MiB"))
}

fn fill_with_files(folder: &Path) -> Tried {
    const FILES: u32 = 20_000;
    let own = folder.join("files");
    fs::create_dir(&own)?;
    let made = (0..FILES).try_for_each(|number| File::create(own.join(number.to_string())).map(drop));
    fs::remove_dir_all(&own)?;
    made?;
    Ok(format!("{FILES} files"))
}

/// Half as much again as the log and the one before it may hold.
pub(in crate::attack) const FLOOD_BYTES: usize = 3 << 20;

pub(super) fn flood(attack: &Attack<'_>) {
    attack.attempt("stderr", || {
        let mut stderr = std::io::stderr().lock();
        let line = [&[b'x'; 4095][..], b"\n"].concat();
        for _ in 0..FLOOD_BYTES / line.len() {
            stderr.write_all(&line)?;
        }
        Err(Stopped::by("its log is bounded"))
    });
}

/// Far beyond what may be written within a minute where this is tried.
pub(in crate::attack) const STDOUT_BYTES: usize = 32 << 20;

/// To whoever listens, not to the suite: what comes of it the host sees.
pub(super) fn flood_stdout(lines: bool) {
    let block = [&[b'x'; 4095][..], if lines { b"\n" } else { b"x" }].concat();
    let mut stdout = std::io::stdout().lock();
    for _ in 0..STDOUT_BYTES / block.len() {
        if stdout.write_all(&block).is_err() {
            break; // nobody listens any more
        }
    }
    raw::end(0)
}

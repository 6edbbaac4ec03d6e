//! The first file system of a machine, as a cpio archive in the kernel's format: the init, the drivers, and folders to mount on. Not
//! packed: unpacking would be done in each cold boot.

/// Builds an archive.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;

impl Archive {
    pub(super) fn folder(mut self, path: &str) -> Self {
        self.entry(path, FOLDER, &[]);
        self
    }

    pub(super) fn file(mut self, path: &str, content: &[u8]) -> Self {
        self.entry(path, FILE, content);
        self
    }

    pub(super) fn program(mut self, path: &str, content: &[u8]) -> Self {
        self.entry(path, PROGRAM, content);
        self
    }

    pub(super) fn done(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    /// A header of numbers in hexadecimal, the name, the content; each padded to four bytes.
    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX); // the caller's files are a few megabytes
        let name = u32::try_from(path.len() + 1).unwrap_or(u32::MAX);
        let links = 1 + u32::from(mode == FOLDER);
        let numbers = [self.entries, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name, 0];
        self.bytes.extend(b"070701");
        for number in numbers {
            self.bytes.extend(format!("{number:08x}").bytes());
        }
        self.bytes.extend(path.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn cpio_reads_it() {
        let archive = Archive::default().folder("m").file("m/x.ko", b"12345").program("init", b"#!").done();
        let mut cpio = Command::new("cpio")
            .args(["--list", "--verbose", "--numeric-uid-gid"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(&archive).unwrap();
        let listed = String::from_utf8(cpio.wait_with_output().unwrap().stdout).unwrap();
        let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
        let seen: Vec<(&str, &str, &str)> = lines.iter().map(|line| (line[0], line[4], line[8])).collect();
        assert_eq!(seen, [("drwxr-xr-x", "0", "m"), ("-rw-r--r--", "5", "m/x.ko"), ("-rwxr-xr-x", "2", "init")]);
    }
}

//! A virtio port, found by its name: the number of its device moves with the other devices.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Ports come up within milliseconds of their driver; an emulated processor takes longer.
const PORT_LIMIT: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Opens the port called `name`.
pub(crate) fn open(name: &str) -> io::Result<File> {
    let begun = Instant::now();
    loop {
        if let Some(device) = find(name) {
            return File::options().read(true).write(true).open(device);
        }
        if begun.elapsed() > PORT_LIMIT {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("no port {name}")));
        }
        sleep(LOOK_AGAIN);
    }
}

fn find(name: &str) -> Option<PathBuf> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?.flatten();
    let named = |port: &fs::DirEntry| fs::read_to_string(port.path().join("name")).is_ok_and(|found| found.trim_end() == name);
    let device = PathBuf::from("/dev").join(ports.into_iter().find(named)?.file_name());
    device.exists().then_some(device)
}

/// Reads what there is. Nothing to read means that nobody listens at the other end, not that there is an end: waits for somebody.
pub(crate) fn read(mut port: &File, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match port.read(buffer) {
            Ok(0) => sleep(LOOK_AGAIN),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

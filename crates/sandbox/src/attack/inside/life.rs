//! To live on when it is over. Whoever lives shows it by a file that grows.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process, setsid};

use super::{Attack, Stopped, raw};

/// The row after which the program does not listen any more.
pub(super) const NEVER_ENDS: u8 = 34;

/// Should nothing stop it, it stops.
const LIFETIME: Duration = Duration::from_secs(20);

const BEAT: Duration = Duration::from_millis(10);

/// The file of the heart, in the writable folder.
pub(in crate::attack) const HEART: &str = "heart";

pub(super) fn outlive(attack: &Attack<'_>) {
    let heart = attack.given.writable.join(HEART);
    attack.attempt("a daemon in a session of its own", || {
        raw::start(|| {
            let _no_session = setsid();
            let _no_daemon = raw::start(|| beat(heart));
        })?;
        Err(Stopped::by("ended with the sandbox"))
    });
}

pub(super) fn cling(attack: &Attack<'_>) {
    let heart = attack.given.writable.join(HEART);
    attack.attempt("processes that ignore, and one that stopped", || {
        raw::ignore(Signal::TERM);
        raw::ignore(Signal::HUP);
        raw::start(|| beat(heart))?;
        raw::start(|| {
            let _stopped = kill_process(getpid(), Signal::STOP);
        })?;
        Err(Stopped::by("killed"))
    });
}

fn beat(heart: PathBuf) {
    raw::ignore(Signal::TERM);
    raw::ignore(Signal::HUP);
    let start = Instant::now();
    while start.elapsed() < LIFETIME {
        let written = File::options().create(true).append(true).open(&heart).and_then(|mut file| file.write_all(b"."));
        if written.is_err() {
            return;
        }
        std::thread::sleep(BEAT);
    }
}

/// Listens to nobody any more.
pub(super) fn stay() {
    std::thread::sleep(LIFETIME);
}

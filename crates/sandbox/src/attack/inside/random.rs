//! Random numbers: two machines that were copied from one must not draw the same.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::{self, Read};

use ring::rand::{SecureRandom, SystemRandom};

use super::say;
use crate::attack::wire::Answer;

/// Says one number of each kind that programs use. What cannot be drawn is said as the error, which two of a kind would share.
pub(super) fn draw() {
    tell("getrandom", drawn(|bytes| SystemRandom::new().fill(bytes).map_err(|_| io::ErrorKind::Other.into())));
    tell("/dev/urandom", drawn(|bytes| File::open("/dev/urandom")?.read_exact(bytes)));
    for file in ["/proc/sys/kernel/random/uuid", "/proc/sys/kernel/random/boot_id"] {
        tell(file, fs::read_to_string(file).map(|text| text.trim().to_owned()));
    }
    tell("keys of a table", Ok(format!("{:x}", RandomState::new().hash_one(0))));
    let on_the_stack = 0_u8;
    tell("the place of the stack", Ok(format!("{:p}", &raw const on_the_stack)));
}

fn drawn(fill: impl FnOnce(&mut [u8]) -> io::Result<()>) -> io::Result<String> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

fn tell(from: &str, number: io::Result<String>) {
    let number = number.unwrap_or_else(|error| error.to_string());
    say(&Answer::Drawn { from: from.to_owned(), number });
}

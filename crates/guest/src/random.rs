//! New randomness and the time, for a machine that may be one of several copies: until then they would all draw the same numbers.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Ioctl, NoArg, Opcode, Setter, ioctl, opcode};
use rustix::time::{ClockId, Timespec, clock_settime};
use sallyport_guest::SEED;

/// random(4)'s `RNDADDENTROPY`, which takes a `struct rand_pool_info` and says in its number that this is two integers.
const ADD: Opcode = opcode::write::<[i32; 2]>(b'R', 0x03);
/// random(4)'s `RNDRESEEDCRNG`.
const RESEED: Opcode = opcode::none(b'R', 0x07);

/// `struct rand_pool_info`.
#[repr(C)]
struct Added {
    bits: i32,
    bytes: i32,
    seed: [u8; SEED],
}

/// Mixes the seed in, and has everything that is drawn from now on depend on it.
pub(crate) fn renew(seed: [u8; SEED]) -> io::Result<()> {
    let pool = File::options().write(true).open("/dev/urandom")?;
    let bytes = i32::try_from(SEED).map_err(|_| io::ErrorKind::InvalidInput)?;
    let added = Added { bits: bytes * 8, bytes, seed };
    // SAFETY: the kernel reads two integers and as many bytes behind them as the second one says, which is all of `seed`; `repr(C)` puts them
    // there without a gap. It writes nothing.
    unsafe { control(&pool, Setter::<ADD, Added>::new(added)) }?;
    // SAFETY: this request takes no argument.
    unsafe { control(&pool, NoArg::<RESEED>::new()) }
}

/// # Safety
/// The request must be what its number says.
unsafe fn control(pool: &File, request: impl Ioctl<Output = ()>) -> io::Result<()> {
    // SAFETY: the caller's promise.
    Ok(unsafe { ioctl(pool.as_fd(), request) }?)
}

/// If it cannot be set, it stays as it is.
pub(crate) fn set_clock(nanoseconds: u64) {
    const SECOND: u64 = 1_000_000_000;
    if let (Ok(tv_sec), Ok(tv_nsec)) = (i64::try_from(nanoseconds / SECOND), i64::try_from(nanoseconds % SECOND)) {
        let _unset = clock_settime(ClockId::Realtime, Timespec { tv_sec, tv_nsec });
    }
}

//! PID 1 of a microVM: mounts what the gateway shows, starts one program as an unprivileged user, carries its stdio and its
//! connections over virtio ports, and tells how it ended. The machine ends with it.
#![deny(unsafe_code)]

#[cfg(target_os = "linux")]
mod control;
#[cfg(target_os = "linux")]
mod machine;
#[cfg(target_os = "linux")]
mod port;
#[cfg(target_os = "linux")]
mod program;
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "two requests of random(4) that no library wraps")]
mod random;
#[cfg(target_os = "linux")]
mod step;
#[cfg(target_os = "linux")]
mod way_out;

/// Whatever happens, the machine ends: a kernel without its PID 1 stops.
#[cfg(target_os = "linux")]
fn main() {
    if let Ok(mut control) = machine::boot() {
        let failed = program::run(&mut control);
        control.tell(&failed);
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {}

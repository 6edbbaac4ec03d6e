//! A machine of its own for a program: real kernels are booted, on an emulated processor, so there are few of these tests and each shows
//! several things.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod support;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use sallyport_sandbox::{Exit, Host, Instance, Limits, Network, Profile, Program, Running, Selection, microvm};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// The kernel of these tests, fetched once for all of them.
fn guest() -> PathBuf {
    let peers = std::env::var_os("SALLYPORT_PEERS").map_or_else(|| PathBuf::from("../../.peers"), PathBuf::from);
    std::fs::create_dir_all(&peers).unwrap();
    let guest = std::path::absolute(peers.join("microvm")).unwrap();
    let lock = std::fs::File::create(peers.join("microvm.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    if microvm::prepared(&guest).is_err() {
        microvm::prepare(&microvm::Source::Package, &guest, &|doing| eprintln!("{doing}")).unwrap();
    }
    guest
}

fn selection() -> Selection {
    serde_json::from_value(serde_json::json!({ "microvm": { "guest": guest() } })).unwrap()
}

fn profile() -> Profile {
    Profile { limits: Limits { memory_mb: 256, ..Limits::default() }, ..Profile::default() }
}

async fn start(command: &[&str], profile: &Profile) -> Instance<Running> {
    let host = Host::with_launcher(env!("CARGO_BIN_EXE_sallyport-launcher"));
    let mut program = Program::new("test", command[0]);
    program.args = command[1..].iter().map(|word| (*word).to_owned()).collect();
    let begun = Instant::now();
    let instance = selection().build(&host).unwrap().launch(profile, &program).await.unwrap_or_else(|error| panic!("{error}; {:?}", error.hint()));
    eprintln!("started after {:?}: {}", begun.elapsed(), instance.in_force());
    instance
}

#[tokio::test]
async fn a_program_runs() {
    let instance = start(&["/bin/sh", "-c", "read line; echo got $line; id; uname -r; cat /proc/self/status | grep -E 'Cap|NoNew'; ls -la / /dev; echo oops >&2; exit 7"], &profile()).await;
    let (mut stdin, mut stdout) = instance.take_io().unwrap();
    stdin.write_all(b"hello\n").await.unwrap();
    drop(stdin);
    let mut said = String::new();
    stdout.read_to_string(&mut said).await.unwrap();
    println!("{said}");
    assert_eq!(instance.wait().await, Exit::Code(7));
    println!("{:?}", instance.stderr_tail());
}

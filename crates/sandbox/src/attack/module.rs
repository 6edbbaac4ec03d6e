//! The attacks on the back-end `wasm`. There the hostile program is a WebAssembly program for each attempt: what it tries is what WASI lets
//! a program ask for. Of what WASI has no word for, an engine refuses the program that wants it.

mod wat;

use std::fs;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::arena::{Arena, random};
use super::heart::Heart;
use super::inside::{FLOOD_BYTES, HEART, STDOUT_BYTES, SWAPPED, small};
use super::judge::{END_WITHIN, Findings, GIVEN_VARIABLE, GRACE, PINGS, log_is_too_long};
use super::terrain::HOSTILE;
use super::wire::{Attempt, CameOfIt};
use super::{Gateway, Row, Verdict, flood};
use crate::backend::Backend;
use crate::error::Error;
use crate::instance::{Exit, Instance, Running};
use crate::profile::{DENY_WRITE, EnvText, Limits, Profile, Program};

/// A program may say so much.
const MOST_BYTES: u64 = 1 << 20;

/// Every attempt is over at once, on a machine that is busy within this.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(60);

/// Files of the user and of the host, by paths that begin at the root.
const OF_HOST: [&str; 8] = [
    "/etc/shadow",
    "/etc/passwd",
    "/etc/hostname",
    "/sys/kernel/notes",
    "/var/log/dpkg.log",
    "../../../../../../../../etc/passwd",
    "/./etc/passwd",
    "//etc/passwd",
];

/// Who takes part.
pub(super) struct Guests<'a> {
    pub(super) arena: &'a Arena,
    pub(super) backend: &'a dyn Backend,
    pub(super) gateway: &'a dyn Gateway,
}

impl Guests<'_> {
    pub(super) async fn verdict(&self, row: &'static Row) -> Result<Verdict, Error> {
        if !row.is_tried(self.backend.name()) {
            return Ok(Verdict::untried(row, self.backend.name()));
        }
        let mut findings = Findings::default();
        self.try_row(row.number, &mut findings).await?;
        self.look_for_the_canary(&mut findings);
        findings.open.extend(self.arena.effects());
        Ok(findings.verdict(row, self.backend.name()))
    }

    async fn try_row(&self, row: u8, findings: &mut Findings) -> Result<(), Error> {
        self.act(row, findings).await?;
        for (name, body, texts) in self.attempts(row) {
            self.attempt(&name, &body, (&texts.0, &texts.1), findings).await?;
        }
        for call in calls(row) {
            self.want(call, findings).await?;
        }
        Ok(())
    }

    /// What a row consists of beside single attempts.
    async fn act(&self, row: u8, findings: &mut Findings) -> Result<(), Error> {
        match row {
            1 => self.control(findings).await?,
            18 => self.attempt("three times the memory", &wat::grow(small().memory_mb * 48), ("", ""), findings).await?,
            19 => self.spin(findings).await?,
            20 => {
                let bytes = (u64::from(Limits::default().file_mb) << 20) + 1;
                self.attempt("an endless file", &wat::file_of(bytes), ("endless", ""), findings).await?;
                let _not_made = fs::remove_file(self.arena.path("writable/endless"));
            }
            21 => {
                let ended = self.run(&wat::program(&wat::flood(2, FLOOD_BYTES / 4096), "", "")).await?;
                findings.stopped.push(format!("stderr: it {}, and its log is bounded", ended.exit));
                findings.open.extend(log_is_too_long(self.arena));
                self.flood_stdout(findings).await?;
            }
            31 => self.lead_astray(findings).await?,
            32 => self.must_refuse_a_list(findings).await?,
            33 | 34 => self.must_fall_silent(findings).await?,
            _ => {}
        }
        Ok(())
    }

    /// Single attempts: a name, an expression, and the two texts that it is about.
    fn attempts(&self, row: u8) -> Vec<(String, String, (String, String))> {
        let look = |path: &str| (path.to_owned(), wat::LOOK.to_owned(), (path.to_owned(), String::new()));
        let with = |name: &str, body: String, first: &str, second: &str| (name.to_owned(), body, (first.to_owned(), second.to_owned()));
        let canary = self.arena.path("outside/canary").to_string_lossy().into_owned();
        match row {
            1 => {
                let home = std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned());
                let keys = [".ssh/id_ed25519", ".aws/credentials", ".netrc", ".bash_history"].map(|file| look(&format!("{home}/{file}")));
                let own = [
                    with("canary file", wat::LOOK.to_owned(), &canary, ""),
                    with("canary through ..", wat::LOOK.to_owned(), "../outside/canary", ""),
                    with("a link to the canary", wat::symlink(), &canary, "link"),
                    with("the same by a path that climbs", wat::symlink_and_look(), "../outside/canary", "climbing"),
                    with("hard link to the canary", wat::hard_link(), "../outside/canary", "hard-link"),
                ];
                [own.to_vec(), keys.to_vec()].concat()
            }
            2 => OF_HOST.map(look).to_vec(),
            3 => ["/proc/self/environ", "/proc/1/environ", "/proc/self/status"].map(look).to_vec(),
            4 => ["/proc/self/root/etc/passwd", "/proc/self/cwd", "/proc/self/fd/0"].map(look).to_vec(),
            5 => vec![with("variables that were not named", wat::more_variables_than(1), "", "")],
            6 => vec![with("memory beyond its own", wat::BEYOND.to_owned(), "", ""), look("/proc/self/mem")],
            7 => vec![with("a signal", wat::RAISE.to_owned(), "", "")],
            8 | 9 | 14 | 15 => vec![with("a connection from any descriptor", wat::ACCEPT.to_owned(), "", ""), look("/run/docker.sock")],
            26 => ["/dev/kvm", "/dev/mem", "/dev/null", "/dev/tty"].map(look).to_vec(),
            30 => vec![
                with("a new file in the readable folder", wat::new_file_to_read(), "planted", ""),
                with("write into the readable folder's file", wat::write_what_is_to_be_read(), "file", ""),
                with("hard link out of the readable folder", wat::hard_link(), "file", "linked"),
                with("a new file above the writable folder", wat::new_file(), "../planted", ""),
                with("a new folder above it", wat::new_folder(), "../outside/planted", ""),
            ],
            35 => vec![with("other descriptors", wat::DESCRIPTORS.to_owned(), "", "")],
            39 => ["/etc/ssl/private/ssl-cert-snakeoil.key", "/proc/keys", "/proc/1/cmdline"].map(look).to_vec(),
            41 => ["/tmp", "/dev/shm"].map(look).to_vec(),
            _ => Vec::new(),
        }
    }

    async fn attempt(&self, name: &str, body: &str, texts: (&str, &str), findings: &mut Findings) -> Result<(), Error> {
        let ended = self.run(&wat::program(body, texts.0, texts.1)).await?;
        findings.hear(Attempt { name: name.to_owned(), came_of_it: ended.came_of_it() });
        findings.said(&ended.said, &self.arena.canary);
        Ok(())
    }

    /// An attack that is stopped says little where nothing can be read at all.
    async fn control(&self, findings: &mut Findings) -> Result<(), Error> {
        let ended = self.run(&wat::program(wat::LOOK, "file", "")).await?;
        match ended.said.as_str() {
            "text" => findings.stopped.push("control: the file to read is read, as it should be".to_owned()),
            _ => findings.open.push(format!("the file to read is not read, so nothing is known: it {}", ended.exit)),
        }
        Ok(())
    }

    /// A program that wants a call which is not WASI's is not even started.
    async fn want(&self, (module, call): (&str, &str), findings: &mut Findings) -> Result<(), Error> {
        let file = self.compiled(&wat::wanting(module, call))?;
        let came_of_it = match self.backend.launch(&self.profile(), &self.program(&file)).await {
            Err(_) => CameOfIt::Stopped("no such call".to_owned()),
            Ok(instance) => match instance.wait().await {
                Exit::Code(0) => CameOfIt::Got("called".to_owned()),
                _ => CameOfIt::Stopped("no such call".to_owned()),
            },
        };
        findings.hear(Attempt { name: call.to_owned(), came_of_it });
        Ok(())
    }

    /// Its memory is zeros: a line without end.
    async fn flood_stdout(&self, findings: &mut Findings) -> Result<(), Error> {
        let file = self.compiled(&wat::program(&wat::flood(1, STDOUT_BYTES / 4096), "", ""))?;
        let profile = Profile { limits: flood::limits(), ..self.profile() };
        let instance = self.backend.launch(&profile, &self.program(&file)).await?;
        let (_stdin, stdout) = instance.take_io().ok_or_else(|| Error::new("the stdio of a hostile program is taken"))?;
        flood::hear(instance, stdout, false, self.gateway, findings).await;
        Ok(())
    }

    /// Others run to their end beside those that never do, and those end when they are told to.
    async fn spin(&self, findings: &mut Findings) -> Result<(), Error> {
        let spinning = self.compiled(&wat::program(wat::SPIN, "", ""))?;
        let first = self.backend.launch(&self.profile(), &self.program(&spinning)).await?;
        let second = self.backend.launch(&self.profile(), &self.program(&spinning)).await?;
        for _ in 0..PINGS {
            if self.run(&wat::program(wat::NOTHING, "", "")).await?.exit != Exit::Code(0) {
                findings.open.push("another program does not run any more".to_owned());
            }
        }
        for spinning in [first, second] {
            spinning.kill();
            match timeout(END_WITHIN, spinning.wait()).await {
                Ok(exit) => findings.stopped.push(format!("a program that never ends: it {exit}")),
                Err(_) => findings.open.push(format!("it did not end within {END_WITHIN:?}")),
            }
        }
        Ok(())
    }

    /// A link where the gateway expects a folder.
    async fn lead_astray(&self, findings: &mut Findings) -> Result<(), Error> {
        self.run(&wat::program(&wat::symlink(), "../outside", SWAPPED)).await?;
        let path = std::path::Path::new(SWAPPED).join("canary");
        match self.gateway.read(&self.arena.path("writable"), &path).await {
            Ok(text) if String::from_utf8_lossy(&text).contains(&self.arena.canary) => {
                findings.open.push("the gateway read the canary".to_owned());
            }
            Ok(_) => findings.stopped.push("a link in the place of a folder: something else was read".to_owned()),
            Err(why) => findings.stopped.push(format!("a link in the place of a folder: {why}")),
        }
        let _not_planted = fs::remove_file(self.arena.path("writable").join(SWAPPED));
        Ok(())
    }

    /// Nothing can be taken out of a folder that is to be written: a list of that is refused.
    async fn must_refuse_a_list(&self, findings: &mut Findings) -> Result<(), Error> {
        let file = self.compiled(&wat::program(wat::NOTHING, "", ""))?;
        let deny_write = DENY_WRITE.iter().map(|entry| (*entry).to_owned()).collect();
        match self.backend.launch(&Profile { deny_write, ..self.profile() }, &self.program(&file)).await {
            Err(refused) => findings.stopped.push(format!("a folder to write with such names in it: {refused}")),
            Ok(_) => findings.open.push("a folder to write with such names in it is given".to_owned()),
        }
        Ok(())
    }

    /// Whoever writes without end has no say in when it ends.
    async fn must_fall_silent(&self, findings: &mut Findings) -> Result<(), Error> {
        let heart = Heart::of(self.arena);
        let file = self.compiled(&wat::program(&wat::beat(), HEART, ""))?;
        let instance = self.backend.launch(&self.profile(), &self.program(&file)).await?;
        if !heart.begins().await {
            findings.open.push("nobody wrote, so nothing is known".to_owned());
        }
        match timeout(END_WITHIN, instance.stop(GRACE)).await {
            Ok(exit) => findings.stopped.push(format!("a program that writes for ever: it {exit}")),
            Err(_) => findings.open.push(format!("it did not end within {END_WITHIN:?}")),
        }
        if !heart.stands_still().await {
            findings.open.push("somebody still writes".to_owned());
        }
        Ok(())
    }

    async fn run(&self, text: &str) -> Result<Ended, Error> {
        let file = self.compiled(text)?;
        let instance = self.backend.launch(&self.profile(), &self.program(&file)).await?;
        let ended = timeout(ATTEMPT_LIMIT, hear(&instance)).await;
        ended.map_err(|_| Error::new(format!("an attempt did not come to an end within {ATTEMPT_LIMIT:?}")))
    }

    fn compiled(&self, text: &str) -> Result<std::path::PathBuf, Error> {
        let unprepared = |why: String| Error::new(format!("an attempt cannot be prepared: {why}"));
        let bytes = ::wat::parse_str(text).map_err(|error| unprepared(error.to_string()))?;
        let name = random().map_err(|error| unprepared(error.to_string()))?;
        let file = self.arena.path(&format!("{name}.wasm"));
        fs::write(&file, bytes).map_err(|error| unprepared(error.to_string()))?;
        Ok(file)
    }

    fn program(&self, file: &std::path::Path) -> Program {
        let mut program = Program::new(HOSTILE, file.to_string_lossy());
        program.env.insert(GIVEN_VARIABLE.to_owned(), EnvText::from("given"));
        program.log = Some(self.arena.path("hostile.log"));
        program
    }

    fn profile(&self) -> Profile {
        Profile { read: vec![self.arena.path("readable")], write: vec![self.arena.path("writable")], limits: small(), ..Profile::default() }
    }

    fn look_for_the_canary(&self, findings: &mut Findings) {
        let log = fs::read_to_string(self.arena.path("hostile.log")).unwrap_or_default();
        findings.said(&log, &self.arena.canary);
    }
}

/// Calls that belong to a row and that are not WASI's.
fn calls(row: u8) -> Vec<(&'static str, &'static str)> {
    let of_kernel = |names: &[&'static str]| names.iter().map(|name| ("env", *name)).collect();
    match row {
        6 => of_kernel(&["ptrace", "process_vm_readv", "pidfd_getfd", "memory"]),
        7 => of_kernel(&["kill"]),
        8 | 9 => vec![("env", "connect"), ("wasi_snapshot_preview1", "sock_open"), ("wasi_snapshot_preview1", "sock_connect")],
        14..=16 => of_kernel(&["socket"]),
        17 => vec![("env", "fork"), ("env", "clone"), ("wasi", "thread-spawn"), ("wasi_snapshot_preview1", "proc_spawn")],
        22 => of_kernel(&["io_uring_setup"]),
        23 => of_kernel(&["keyctl", "add_key"]),
        24 => of_kernel(&["unshare", "clone3"]),
        25 => of_kernel(&["mount", "chroot", "setns"]),
        26 => of_kernel(&["mknod"]),
        27 => of_kernel(&["ioctl"]),
        28 => of_kernel(&["syscall"]),
        29 => of_kernel(&["bpf", "perf_event_open", "kexec_load"]),
        30 => of_kernel(&["chmod", "setuid", "execve"]),
        33 => of_kernel(&["daemon", "setsid"]),
        40 => of_kernel(&["memfd_create", "execveat"]),
        _ => Vec::new(),
    }
}

/// What became of one program.
struct Ended {
    exit: Exit,
    said: String,
}

async fn hear(instance: &Instance<Running>) -> Ended {
    let mut said = Vec::new();
    if let Some((stdin, stdout)) = instance.take_io() {
        drop(stdin);
        // Whatever cannot be read was not said.
        let _cut = stdout.take(MOST_BYTES).read_to_end(&mut said).await;
    }
    Ended { exit: instance.wait().await, said: String::from_utf8_lossy(&said).into_owned() }
}

impl Ended {
    fn came_of_it(&self) -> CameOfIt {
        match self.exit {
            Exit::Code(0) => CameOfIt::Got(if self.said.is_empty() { "succeeded".to_owned() } else { self.said.clone() }),
            Exit::Code(error) => CameOfIt::Stopped(name_of(error)),
            Exit::Signal(_) => CameOfIt::Stopped("the program is ended".to_owned()),
        }
    }
}

/// WASI's errors.
fn name_of(error: i32) -> String {
    let name = match error {
        2 => "EACCES",
        8 => "EBADF",
        28 => "EINVAL",
        29 => "EIO",
        44 => "ENOENT",
        48 => "ENOMEM",
        52 => "ENOSYS",
        54 => "ENOTDIR",
        57 => "ENOTSOCK",
        58 => "ENOTSUP",
        63 => "EPERM",
        69 => "EROFS",
        75 => "EXDEV",
        76 => "ENOTCAPABLE",
        _ => return format!("error {error}"),
    };
    name.to_owned()
}

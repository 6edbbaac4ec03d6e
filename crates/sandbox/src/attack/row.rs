//! The attacks, a row each: what is tried, which layer must stop it, and where it is tried.

use serde::Serialize;

/// What became of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Each attempt met an error, and nothing outside has changed.
    Stopped,
    /// An attempt got something, or it cannot be said that none did.
    Open,
    /// There is nothing here that could be attacked in this way.
    NotApplicable,
    /// It is known to be possible, and documented.
    Accepted,
}

impl Outcome {
    /// The word for it, as in the JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Open => "open",
            Self::NotApplicable => "not_applicable",
            Self::Accepted => "accepted",
        }
    }
}

/// One attack.
#[derive(Debug)]
pub struct Row {
    /// Its number, from 1.
    pub number: u8,
    /// Its name.
    pub name: &'static str,
    /// What the hostile program tries.
    pub tries: &'static str,
    /// Which layer must stop it.
    pub layer: &'static str,
    /// In which sandboxes it is tried, one after the other.
    pub(super) stages: &'static [Stage],
    /// Where something else than [`Outcome::Stopped`] is expected.
    exceptions: &'static [Exception],
}

/// What a back-end does about an attack, where that is not to stop it.
#[derive(Debug)]
struct Exception {
    /// The back-end's name, or [`EVERY`].
    backend: &'static str,
    outcome: Outcome,
    reason: &'static str,
    /// The attempts that may get something; all others are stopped. One without a name stands for all.
    attempts: &'static [&'static str],
    /// Only where no control group holds the memory: where one does, the attack is stopped.
    without_group: bool,
}

/// The sandbox in which an attack is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// A folder to read and one to write, no network.
    Quiet,
    /// The same with a few destinations.
    Connected,
    /// The same as the first, with little memory and few processes.
    Small,
}

/// Stands for all back-ends.
const EVERY: &str = "";

impl Row {
    /// What is expected of a back-end, and why, where that is not to stop the attack.
    #[must_use]
    pub fn expected(&self, backend: &str) -> (Outcome, Option<&'static str>) {
        let known = self.exceptions.iter().find(|exception| exception.backend == backend || exception.backend == EVERY);
        known.map_or((Outcome::Stopped, None), |exception| (exception.outcome, Some(exception.reason)))
    }

    /// Whether that is what is expected of a back-end, wherever it is attacked.
    #[must_use]
    pub fn expects(&self, backend: &str, outcome: Outcome) -> bool {
        let known = self.exceptions.iter().find(|exception| exception.backend == backend || exception.backend == EVERY);
        outcome == self.expected(backend).0 || (outcome == Outcome::Stopped && known.is_some_and(|exception| exception.without_group))
    }

    /// Whether the back-end is known to let this attempt through; `has_group`: where a control group holds the memory.
    pub(super) fn is_known(&self, backend: &str, attempt: &str, has_group: bool) -> bool {
        let of_it = |exception: &&Exception| [backend, EVERY].contains(&exception.backend);
        let known = self.exceptions.iter().find(of_it).filter(|exception| !(exception.without_group && has_group));
        let known = known.map(|exception| exception.attempts);
        known.is_some_and(|attempts| attempts.contains(&attempt) || attempts == ANY)
    }

    /// Whether the attack is made at all.
    pub(super) fn is_tried(&self, backend: &str) -> bool {
        let exception = self.exceptions.iter().find(|exception| [backend, EVERY].contains(&exception.backend));
        let is_left_out = exception.is_some_and(|exception| exception.attempts.is_empty() && exception.outcome == Outcome::NotApplicable);
        !self.stages.is_empty() && !is_left_out
    }
}

const fn row(
    number: u8,
    name: &'static str,
    tries: &'static str,
    layer: &'static str,
    stages: &'static [Stage],
    exceptions: &'static [Exception],
) -> Row {
    Row { number, name, tries, layer, stages, exceptions }
}

/// Some attempts of the row are known to get something.
const fn open(backend: &'static str, reason: &'static str, attempts: &'static [&'static str]) -> Exception {
    Exception { backend, outcome: Outcome::Open, reason, attempts, without_group: false }
}

/// The same where no control group holds the memory.
const fn open_without_group(backend: &'static str, reason: &'static str, attempts: &'static [&'static str]) -> Exception {
    Exception { backend, outcome: Outcome::Open, reason, attempts, without_group: true }
}

/// The row is not tried.
const fn none(backend: &'static str, reason: &'static str) -> Exception {
    Exception { backend, outcome: Outcome::NotApplicable, reason, attempts: &[], without_group: false }
}

/// Some attempts get something that is no harm to anybody: what they reach is the program's own.
const fn own(backend: &'static str, reason: &'static str, attempts: &'static [&'static str]) -> Exception {
    Exception { backend, outcome: Outcome::NotApplicable, reason, attempts, without_group: false }
}

const fn accepted(backend: &'static str, reason: &'static str) -> Exception {
    Exception { backend, outcome: Outcome::Accepted, reason, attempts: ANY, without_group: false }
}

/// Every attempt of a row.
const ANY: &[&str] = &[""];

const OWN_MACHINE: &str = "the kernel and the processes that it reaches are those of the machine of its own";
const OWN_KERNEL: &str = "gVisor's kernel answers, which nobody else uses, and the processes that it knows are the sandbox's own";
const OWN_NETWORK: &str = "it may listen in the network of its own, into which nobody comes";
const NO_WAY_OUT: &str = "no destination can be named";
const MEMORY: &str = "what runs that way has no more rights than what wrote it; runtimes with a JIT do as much";
const NO_MACHINE: &str = "there is no virtual machine";
const NOT_CLONED: &str = "nothing is cloned";
/// The only attempt at memory that nothing but a control group holds.
pub(super) const SOCKETS: &str = "more than the memory in full sockets";
const UNCOUNTED: &str = "where the gateway has no control group, nothing counts what waits in sockets";
const CLOSED: &[Exception] = &[none("landlock", NO_WAY_OUT), none("gvisor", NO_WAY_OUT), none("wasm", NO_WAY_OUT)];
const MACHINE: &[Exception] = &[own("microvm", OWN_MACHINE, ANY), own("gvisor", OWN_KERNEL, ANY)];

const QUIET: &[Stage] = &[Stage::Quiet];
const CONNECTED: &[Stage] = &[Stage::Connected];
const BOTH: &[Stage] = &[Stage::Quiet, Stage::Connected];
const SMALL: &[Stage] = &[Stage::Small];

/// All attacks, in the order of their numbers.
pub const ROWS: &[Row] = &[
    row(
        1,
        "the user's files",
        "read a file in the user's home, its keys and profiles, also through links and `..`",
        "private root",
        QUIET,
        &[open("landlock", "of a file that it may not open it sees the size and the owner", &["size of the canary file"])],
    ),
    row(
        2,
        "the host's settings",
        "read /etc/shadow, the host's users and name, its logs and /sys",
        "private root with its own /etc",
        QUIET,
        &[
            open("landlock", "the host's name is the machine's for every program on it", &["name of the host"]),
            own("gvisor", OWN_KERNEL, &["/sys"]),
        ],
    ),
    row(
        3,
        "environments of others",
        "read /proc/PID/environ of whatever is there",
        "pid namespace, procfs without others",
        QUIET,
        &[open("landlock", "it sees which processes there are, and nothing more of them", &["that the gateway is there"])],
    ),
    row(
        4,
        "ways back to the host's root",
        "look through /proc/1/root, /proc/1/cwd and open folders",
        "private root, descriptors",
        QUIET,
        &[],
    ),
    row(5, "secrets in the environment", "find a variable that was not named for this server", "environment built per server", QUIET, &[]),
    row(
        6,
        "other processes' memory",
        "ptrace, read memory of, and take descriptors from init, the gateway and another server",
        "seccomp, pid namespace",
        QUIET,
        MACHINE,
    ),
    row(
        7,
        "signals",
        "signal init, the gateway, another server, and everybody",
        "pid namespace, Landlock scope",
        QUIET,
        &[own("microvm", OWN_MACHINE, &["CONT to init"])],
    ),
    row(
        8,
        "the host's loopback",
        "connect to a port of the host at 127.0.0.1, ::1 and 0.0.0.0",
        "network namespace, Landlock",
        BOTH,
        &[
            own("oci", OWN_NETWORK, &["listen at the loopback"]),
            own("gvisor", OWN_NETWORK, &["listen at the loopback"]),
            own("microvm", OWN_NETWORK, &["listen at the loopback"]),
        ],
    ),
    row(
        9,
        "cloud metadata",
        "connect to the metadata addresses of clouds, by address and by name",
        "network namespace, dial check",
        BOTH,
        &[],
    ),
    row(10, "DNS tunnelling", "ask for names that carry data", "DNS answerer that knows allowed names only", CONNECTED, CLOSED),
    row(
        11,
        "rebinding",
        "connect to an allowed name that resolves to a private address",
        "dial check on the resolved address",
        CONNECTED,
        CLOSED,
    ),
    row(
        12,
        "host-name tricks",
        "ask the proxy for names with NUL, `@`, dots, other notations of an address, and broken lines",
        "the one strict type for names",
        CONNECTED,
        CLOSED,
    ),
    row(
        13,
        "domain fronting",
        "ask TLS or plain HTTP for another name than the one connected to, or for none",
        "check of the TLS server name and of HTTP's host",
        CONNECTED,
        CLOSED,
    ),
    row(14, "abstract sockets of the host", "connect to an abstract unix socket", "network namespace, Landlock scope", QUIET, &[]),
    row(
        15,
        "sockets of the host's services",
        "connect to the docker, D-Bus, X11 and ssh-agent sockets, to one in the user's home, and to those in folders that are shown",
        "private root, built environment, seccomp",
        QUIET,
        &[],
    ),
    row(
        16,
        "rare socket families",
        "open vsock, packet, raw, crypto, netfilter and bluetooth sockets, and SCTP, DCCP and other rare protocols",
        "seccomp",
        QUIET,
        &[
            own("gvisor", OWN_KERNEL, &["kernel objects", "kernel objects, with a flag"]),
            own(
                "microvm",
                OWN_MACHINE,
                &[
                    "kernel objects",
                    "kernel objects, with a flag",
                    "generic netlink",
                    "generic netlink, with a flag",
                    "DCCP",
                    "DCCP, with a flag",
                    "SCTP",
                    "SCTP, with a flag",
                    "UDP-Lite",
                    "UDP-Lite, with a flag",
                    "multipath TCP",
                    "multipath TCP, with a flag",
                ],
            ),
        ],
    ),
    row(
        17,
        "fork bomb",
        "start processes until that fails; another server must answer meanwhile, about as soon as before",
        "processes limit",
        SMALL,
        &[],
    ),
    row(
        18,
        "memory bomb",
        "take and use more memory than there may be, also in files, segments and sockets that are in nobody's mapping",
        "memory limit, file size limit, settings of the ipc namespace",
        SMALL,
        &[open_without_group("os", UNCOUNTED, &[SOCKETS]), open_without_group("landlock", UNCOUNTED, &[SOCKETS])],
    ),
    row(
        19,
        "CPU spin",
        "keep every processor busy; another server must answer meanwhile, about as soon as before",
        "the kernel's scheduler",
        QUIET,
        &[],
    ),
    row(
        20,
        "filling disks",
        "fill /tmp and /dev/shm, their inodes, and one endless file",
        "sized tmpfs, file size limit",
        QUIET,
        &[
            open("wasm", "the engine does not know a largest file: what it writes is bounded by the disk alone", &["an endless file"]),
            open(
                "gvisor",
                "its `/tmp` knows no most files: how many there are is bounded by the memory limit",
                &["inodes of /tmp", "inodes of /dev/shm"],
            ),
        ],
    ),
    row(
        21,
        "floods",
        "write to stderr and stdout without end, and a line without end to stdout",
        "bounded log, output limit, the gateway's framing",
        QUIET,
        &[],
    ),
    row(22, "io_uring", "set up, enter and register a ring", "seccomp", QUIET, MACHINE),
    row(23, "kernel keyrings", "read, add and request keys", "seccomp", QUIET, &[own("microvm", OWN_MACHINE, ANY)]),
    row(24, "nested namespaces", "unshare, clone and clone3 with every namespace flag", "seccomp", QUIET, MACHINE),
    row(
        25,
        "mounts",
        "mount, unmount, move, open trees, chroot, pivot_root, setns",
        "seccomp, no capabilities",
        QUIET,
        &[own("microvm", OWN_MACHINE, &["fsconfig", "setns"]), own("gvisor", OWN_KERNEL, &["setns"])],
    ),
    row(
        26,
        "devices",
        "open disks, /dev/kvm, /dev/mem, terminals, and make device nodes",
        "own /dev, nodev, seccomp",
        QUIET,
        &[own("gvisor", OWN_KERNEL, &["/dev/fuse", "/dev/net/tun", "/dev/ptmx", "device node in /tmp", "device node in /dev/shm"])],
    ),
    row(27, "input into the terminal", "TIOCSTI and TIOCLINUX, also with high bits set", "own session, seccomp", QUIET, MACHINE),
    row(28, "other call conventions", "calls of 32-bit x86, x32 numbers, numbers that nobody knows", "seccomp allow-list", QUIET, MACHINE),
    row(
        29,
        "kernel surface",
        "bpf, perf, huge pages, userfaultfd, handles, modules, kexec, clocks, swap, personality",
        "seccomp",
        QUIET,
        MACHINE,
    ),
    row(
        30,
        "gaining privileges",
        "set-uid bits, running from a writable folder, becoming root, writing what may only be read",
        "no_new_privs, noexec and read-only mounts",
        QUIET,
        &[own("microvm", OWN_MACHINE, &["capabilities and filters"]), own("gvisor", OWN_KERNEL, &["capabilities and filters"])],
    ),
    row(
        31,
        "races with the gateway's file code",
        "swap a folder for a link to the user's files while the gateway reads through it",
        "the gateway's file code",
        QUIET,
        &[],
    ),
    row(
        32,
        "code that runs on the host later",
        "write git hooks and settings, editor and agent settings, .envrc; also in the place of moved folders",
        "deny-write list",
        QUIET,
        &[],
    ),
    row(33, "outliving the sandbox", "leave a daemon behind", "pid namespace, parent-death signal", QUIET, &[]),
    row(34, "refusing to end", "ignore SIGTERM and the end of stdin, and stop", "kill of the pid namespace's init", QUIET, &[]),
    row(35, "inherited descriptors", "find an open descriptor of the gateway", "close_range", QUIET, &[]),
    row(
        36,
        "the kernel itself, side channels",
        "an unknown fault of the kernel or the processor",
        "none: `microvm` narrows it",
        &[],
        &[accepted(EVERY, "cannot be tried: every program here shares a kernel or a processor with the host")],
    ),
    row(
        37,
        "the virtual machine's monitor",
        "reach QEMU's ports; and from the place of a QEMU that was broken: all of the above, another machine's memory and sockets, the kernel of all",
        "QEMU in the `os` sandbox, and its own filter",
        QUIET,
        &[
            none("os", NO_MACHINE),
            none("none", NO_MACHINE),
            none("landlock", NO_MACHINE),
            none("oci", NO_MACHINE),
            none("gvisor", NO_MACHINE),
            none("wasm", NO_MACHINE),
        ],
    ),
    row(
        38,
        "clones that think alike",
        "find the same random bytes in two clones",
        "reseed after restore",
        QUIET,
        &[
            none("os", NOT_CLONED),
            none("none", NOT_CLONED),
            none("landlock", NOT_CLONED),
            none("oci", NOT_CLONED),
            none("gvisor", NOT_CLONED),
            none("wasm", NOT_CLONED),
        ],
    ),
    row(
        39,
        "files of the host's root",
        "read private TLS keys, /proc/keys and the command line of init; have any id but the one inside",
        "uid drop, certificates alone mounted",
        QUIET,
        &[],
    ),
    row(
        40,
        "running from memory",
        "memfd_create and execution around noexec",
        "none: the program runs under the same filter",
        QUIET,
        &[
            accepted("os", MEMORY),
            accepted("landlock", MEMORY),
            accepted("oci", MEMORY),
            accepted("gvisor", MEMORY),
            accepted("microvm", MEMORY),
        ],
    ),
    row(
        41,
        "another server's sandbox",
        "find files, shared memory, sockets and processes of another server",
        "one set of namespaces and one uid for each server",
        QUIET,
        &[],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_sockets_are_known_only_where_no_group_holds_the_memory() {
        for row in ROWS.iter().filter(|row| row.number == 18) {
            for backend in ["os", "landlock"] {
                assert!(row.is_known(backend, SOCKETS, false) && !row.is_known(backend, SOCKETS, true));
                assert!(!row.is_known(backend, "three times the memory", false));
            }
        }
    }

    #[test]
    fn rows_are_numbered_and_only_two_may_be_accepted() {
        for (row, number) in ROWS.iter().zip(1..) {
            assert_eq!(row.number, number);
            for backend in crate::BackendConfig::NAMES.iter().chain(&["gvisor"]) {
                let (outcome, reason) = row.expected(backend);
                assert_eq!(reason.is_none(), outcome == Outcome::Stopped, "{number}");
                assert!(outcome != Outcome::Accepted || [36, 40].contains(&number), "{number}");
            }
        }
        assert_eq!(ROWS.len(), 41);
    }
}

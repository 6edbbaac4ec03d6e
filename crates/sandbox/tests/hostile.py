"""A hostile program: tries to get out of the boundary round it, and prints what it got.

Called with a JSON object (canary file, canary text, host ports, the gateway's pid, a writable root). Prints one JSON object:
the name of each attack with how it was stopped ("EPERM", "ENOENT", "SIGSYS", ...) or with "OPEN: what it got".
"""

import ctypes
import errno
import json
import mmap
import os
import platform
import signal
import socket
import struct
import sys

GIVEN = json.loads(sys.argv[1])
LIBC = ctypes.CDLL(None, use_errno=True)
RESULTS = {}
X86 = platform.machine() == "x86_64"
# number of a call: x86_64, aarch64 (None: not there)
CALLS = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "kcmp": (312, 272), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "unshare": (272, 97), "setns": (308, 268), "clone": (56, 220),
    "clone3": (435, 435), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "fsopen": (430, 430), "open_tree": (428, 428), "move_mount": (429, 429), "mount_setattr": (442, 442),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264), "init_module": (175, 105), "finit_module": (313, 273), "kexec_load": (246, 104),
    "reboot": (169, 142), "swapon": (167, 224), "syslog": (103, 116), "settimeofday": (164, 170), "acct": (163, 89),
    "clock_settime": (227, 112), "personality": (135, 92), "modify_ldt": (154, None), "iopl": (172, None),
    "mbind": (237, 235), "move_pages": (279, 239), "fanotify_init": (300, 262), "vmsplice": (316, 75),
    "process_madvise": (440, 440), "quotactl": (179, 60), "memfd_secret": (447, 447), "unknown": (999, 999),
}


class Stopped(Exception):
    """The attack failed, and how."""


def attack(name):
    def run(function):
        try:
            got = function()
            RESULTS[name] = "OPEN: %s" % (got,)
        except Stopped as how:
            RESULTS[name] = str(how)
        except OSError as error:
            RESULTS[name] = errno.errorcode.get(error.errno, str(error.errno))
    return run


def call(name, *arguments):
    number = CALLS[name][0 if X86 else 1]
    if number is None:
        raise Stopped("not of this machine")
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result = LIBC.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def read(path, most=4096):
    with open(path, "rb") as file:
        return file.read(most)


def in_child(function):
    """Runs it in a child; gives how that one ended."""
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise Stopped(signal.Signals(os.WTERMSIG(status)).name)
    if os.WEXITSTATUS(status) != 0:
        raise Stopped("failed")
    return "succeeded"


# 1, 2, 15: files of the host
attack("canary file")(lambda: read(GIVEN["canary"]))
attack("canary folder")(lambda: os.listdir(os.path.dirname(GIVEN["canary"])))
attack("etc shadow")(lambda: read("/etc/shadow"))
attack("etc hostname")(lambda: read("/etc/hostname"))
attack("root's home")(lambda: os.listdir("/root/.ssh"))
attack("private keys")(lambda: os.listdir("/etc/ssl/private"))
attack("var log")(lambda: os.listdir("/var/log"))
attack("sys")(lambda: os.listdir("/sys"))


@attack("users of the host")
def _():
    names = [line.split(":")[0] for line in open("/etc/passwd")]
    if names == ["mcp"]:
        raise Stopped("one user")
    return names


@attack("unix socket of the host")
def _():
    socket.socket(socket.AF_UNIX).connect(GIVEN["socket"])


# 3, 4, 39: other processes
@attack("environ of other processes")
def _():
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                found.append(read("/proc/%s/environ" % entry))
            except OSError:
                pass
    if not found:
        raise Stopped("none")
    return found


attack("environ of init")(lambda: read("/proc/1/environ"))
attack("command line of init")(lambda: read("/proc/1/cmdline"))
attack("root of init")(lambda: os.listdir("/proc/1/root"))
attack("folder of init")(lambda: os.listdir("/proc/1/cwd"))


@attack("processes of the host")
def _():
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    if pids == [os.getpid()]:
        raise Stopped("only itself")
    return pids


@attack("keys of the host's root")
def _():
    lines = [line.split() for line in open("/proc/keys")]
    roots = [line for line in lines if line[5] == "0"]
    if not roots:
        raise Stopped("none")
    return roots


# 5, 35: inheritance
@attack("inherited environment")
def _():
    if sorted(os.environ) == ["GIVEN", "HOME", "LANG", "PATH"]:
        raise Stopped("only what was named")
    return sorted(os.environ)


@attack("inherited descriptors")
def _():
    own = os.open("/proc/self/fd", os.O_RDONLY)
    others = []
    for name in os.listdir(own):
        try:
            if int(name) > 2 and int(name) != own:
                others.append(os.readlink("/proc/self/fd/%s" % name))
        except OSError:
            pass
    os.close(own)
    others = [other for other in others if not other.startswith("/proc/")]
    if not others:
        raise Stopped("only 0 to 2")
    return others


# 6, 7: reaching into processes
attack("ptrace init")(lambda: call("ptrace", 16, 1, 0, 0))
attack("ptrace self")(lambda: in_child(lambda: call("ptrace", 0, 0, 0, 0)))
attack("read memory of init")(lambda: call("process_vm_readv", 1, 0, 0, 0, 0, 0))
attack("take a descriptor of init")(lambda: call("pidfd_getfd", call("pidfd_open", 1, 0), 0, 0))
attack("kcmp")(lambda: call("kcmp", 1, os.getpid(), 0, 0, 0))
attack("kill init")(lambda: os.kill(1, signal.SIGKILL))
attack("stop init")(lambda: os.kill(1, signal.SIGSTOP))
attack("kill the gateway")(lambda: os.kill(GIVEN["gateway"], signal.SIGKILL))


# 8, 9, 14, 16: network
def connect(family, address):
    peer = socket.socket(family, socket.SOCK_STREAM)
    peer.settimeout(2)
    peer.connect(address)
    return "connected"


attack("host's loopback")(lambda: connect(socket.AF_INET, ("127.0.0.1", GIVEN["port"])))
attack("host's loopback, v6")(lambda: connect(socket.AF_INET6, ("::1", GIVEN["port"])))
attack("metadata address")(lambda: connect(socket.AF_INET, ("169.254.169.254", 80)))
attack("metadata address, v6")(lambda: connect(socket.AF_INET6, ("fd00:ec2::254", 80)))
attack("internet")(lambda: connect(socket.AF_INET, ("1.1.1.1", 443)))
attack("udp")(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("1.1.1.1", 53)))
attack("abstract socket")(lambda: connect(socket.AF_UNIX, "\0" + GIVEN["abstract"]))
attack("listen")(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).bind(("127.0.0.1", 0)))
attack("raw socket")(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attack("raw socket with flags")(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 1))
attack("packet socket")(lambda: socket.socket(17, socket.SOCK_RAW, 0))
attack("vsock")(lambda: socket.socket(40, socket.SOCK_STREAM))
attack("crypto socket")(lambda: socket.socket(38, socket.SOCK_SEQPACKET))
attack("netfilter netlink")(lambda: socket.socket(16, socket.SOCK_RAW, 12))
attack("audit netlink")(lambda: socket.socket(16, socket.SOCK_RAW, 9))
attack("bluetooth")(lambda: socket.socket(31, socket.SOCK_RAW, 1))


# 20: filling memory-backed and real files
def fill(path, megabytes):
    block = b"x" * (1 << 20)
    try:
        with open(path, "wb") as file:
            for _ in range(megabytes):
                file.write(block)
    finally:
        if os.path.exists(path):
            os.unlink(path)
    return "%d MiB" % megabytes


signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
attack("fill /tmp")(lambda: fill("/tmp/fill", 80))
attack("fill /dev/shm")(lambda: fill("/dev/shm/fill", 80))
attack("huge file")(lambda: os.truncate(os.open(GIVEN["writable"] + "/huge", os.O_CREAT | os.O_WRONLY), 1 << 40))


@attack("inodes of /tmp")
def _():
    made = 0
    try:
        for made in range(20000):
            os.close(os.open("/tmp/i%d" % made, os.O_CREAT | os.O_WRONLY))
    finally:
        for number in range(made + 1):
            try:
                os.unlink("/tmp/i%d" % number)
            except OSError:
                pass
    return made


# 22 to 25, 29: kernel surface
BUFFER = ctypes.create_string_buffer(4096)
for name, arguments in {
    "io_uring_setup": (8, BUFFER), "io_uring_enter": (0, 0, 0, 0, 0), "keyctl": (0, -3, 0), "add_key": (b"user", b"x", b"x", 1, -3),
    "request_key": (b"user", b"x", 0, 0), "setns": (0, 0), "clone3": (BUFFER, 88), "umount2": (b"/tmp", 2),
    "pivot_root": (b"/tmp", b"/tmp"), "chroot": (b"/tmp",), "fsopen": (b"tmpfs", 0), "open_tree": (-100, b"/usr", 1),
    "move_mount": (-100, b"/usr", -100, b"/tmp", 0), "mount_setattr": (-100, b"/usr", 0, BUFFER, 32),
    "mount": (b"none", b"/tmp", b"tmpfs", 0, 0), "bpf": (0, BUFFER, 64), "perf_event_open": (BUFFER, 0, -1, -1, 0),
    "userfaultfd": (1,), "open_by_handle_at": (0, BUFFER, 0), "name_to_handle_at": (-100, b"/usr", BUFFER, BUFFER, 0),
    "init_module": (BUFFER, 1, b""), "finit_module": (0, b"", 0), "kexec_load": (0, 0, 0, 0), "reboot": (0, 0, 0, 0),
    "swapon": (b"/tmp/x", 0), "syslog": (3, BUFFER, 100), "settimeofday": (BUFFER, 0), "clock_settime": (0, BUFFER),
    "acct": (0,), "personality": (0x0040000,), "modify_ldt": (0, BUFFER, 10), "iopl": (3,), "mbind": (0, 0, 0, 0, 0, 0),
    "move_pages": (0, 0, 0, 0, 0, 0), "fanotify_init": (0, 0), "vmsplice": (1, 0, 0, 0), "process_madvise": (0, 0, 0, 0, 0),
    "quotactl": (0, 0, 0, 0), "memfd_secret": (0,), "unknown": (),
}.items():
    attack(name)(lambda name=name, arguments=arguments: call(name, *arguments))
for flag in (0x10000000, 0x20000, 0x20000000, 0x40000000, 0x08000000, 0x04000000, 0x02000000):
    attack("unshare %#x" % flag)(lambda flag=flag: call("unshare", flag))
    attack("clone %#x" % flag)(lambda flag=flag: call("clone", flag | signal.SIGCHLD, 0, 0, 0, 0))

# 26: devices
for device in ("kvm", "vda", "sda", "fuse", "net/tun", "kmsg", "mem", "port", "tty", "ptmx", "console"):
    attack("device " + device)(lambda device=device: os.open("/dev/" + device, os.O_RDONLY))
attack("mknod device")(lambda: os.mknod("/tmp/null", 0o666 | 0o020000, os.makedev(1, 3)))
attack("mknod in the root")(lambda: os.mknod(GIVEN["writable"] + "/null", 0o666 | 0o020000, os.makedev(1, 3)))


# 27: a terminal's input
def ioctl(request):
    if LIBC.ioctl(0, ctypes.c_ulong(request), b"x") < 0:
        raise OSError(ctypes.get_errno(), "ioctl")


attack("TIOCSTI")(lambda: ioctl(0x5412))
attack("TIOCSTI with high bits")(lambda: ioctl(0xF00000005412))
attack("TIOCLINUX")(lambda: ioctl(0x541C))


# 28: calls made in another way
def machine_code(code):
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return ctypes.CFUNCTYPE(ctypes.c_int)(address)()


if X86:
    # mov eax, 20 (getpid of i386); int 0x80; ret
    attack("int 0x80")(lambda: in_child(lambda: machine_code(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")))

    def x32():
        if LIBC.syscall(ctypes.c_long(0x40000000 + 39)) < 0:
            raise OSError(ctypes.get_errno(), "x32")

    attack("x32 numbers")(lambda: in_child(x32))


# 30: files that run, or that give more rights
def copy_and_run(folder):
    path = folder + "/copy"
    with open("/usr/bin/env", "rb") as source, open(path, "wb") as target:
        target.write(source.read())
    os.chmod(path, 0o755)
    os.execv(path, [path])


attack("run from /tmp")(lambda: in_child(lambda: copy_and_run("/tmp")))
attack("run from the writable root")(lambda: in_child(lambda: copy_and_run(GIVEN["writable"])))


@attack("set-uid bit")
def _():
    path = GIVEN["writable"] + "/suid"
    open(path, "w").close()
    os.chmod(path, 0o4755)


@attack("set-uid bit of a new file")
def _():
    os.open(GIVEN["writable"] + "/born-suid", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o4755)


@attack("set-gid bit of a new file without a name")
def _():
    os.open(GIVEN["writable"], os.O_TMPFILE | os.O_WRONLY, 0o2755)


@attack("set-gid bit by descriptor")
def _():
    file = os.open(GIVEN["writable"] + "/sgid", os.O_CREAT | os.O_WRONLY)
    os.fchmod(file, 0o2755)


attack("write its own interpreter")(lambda: open(os.path.realpath(sys.executable), "ab"))
attack("write into the system")(lambda: open("/usr/planted", "w"))
attack("write into etc")(lambda: open("/etc/planted", "w"))
attack("write into the root")(lambda: open("/planted", "w"))
attack("write into the readable root")(lambda: open(GIVEN["readable"] + "/planted", "w"))
attack("become root")(lambda: os.setuid(0))
attack("hard link out of the readable root")(lambda: os.link(GIVEN["readable"] + "/file", GIVEN["writable"] + "/link"))
attack("follow a planted link")(
    lambda: (os.symlink(GIVEN["canary"], GIVEN["writable"] + "/canary"), read(GIVEN["writable"] + "/canary"))
)
attack("the host through ..")(lambda: read(GIVEN["writable"] + "/../../../../../.." + GIVEN["canary"]))
attack("change owner")(lambda: os.chown(GIVEN["writable"], 0, 0))
attack("sysctl")(lambda: open("/proc/sys/kernel/hostname", "w").write("x"))


@attack("privileges")
def _():
    status = dict(line.rstrip("\n").split(":\t", 1) for line in open("/proc/self/status") if ":\t" in line)
    wrong = [key for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") if int(status[key], 16)]
    wrong += [key for key, value in (("NoNewPrivs", "1"), ("Seccomp", "2")) if status[key] != value]
    if not wrong and os.getuid() == os.geteuid() != 0 and os.getgroups() in ([], [os.getgid()]):
        raise Stopped("none")
    return wrong


# 33: outlive the sandbox
@attack("daemon")
def _():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            for number in range(3):
                os.close(number)
            import time
            time.sleep(600)
        os._exit(0)
    os.wait()
    raise Stopped("left for the test to see")


print(json.dumps(RESULTS))

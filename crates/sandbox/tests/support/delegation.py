"""What an init does on a kernel whose only control groups are those of version 2: mounts, and groups as systemd delegates them."""
import os, subprocess

GROUPS = "/sys/fs/cgroup"
CONTROLLERS = ["memory", "pids", "cpu"]


def boot(**programs):
    """Everything that is mounted, and these programs in /run, where every user reaches them."""
    kinds = {"/proc": "proc", "/sys": "sysfs", GROUPS: "cgroup2", "/dev": "devtmpfs", "/tmp": "tmpfs", "/run": "tmpfs", "/var/tmp": "tmpfs"}
    for place, kind in kinds.items():
        subprocess.run(["mount", "-t", kind, "none", place], check=True)
    for name, file in programs.items():
        open("/run/" + name, "w").close()
        subprocess.run(["mount", "--bind", file, "/run/" + name], check=True)


def read(*path):
    with open(os.path.join(*path)) as file:
        return file.read().strip()


def write(text, *path):
    with open(os.path.join(*path), "w") as file:
        file.write(text)


def control(group, sign, controllers):
    write(" ".join(sign + controller for controller in controllers), group, "cgroup.subtree_control")


def delegated(name, uid, controllers=CONTROLLERS):
    """A new group in a slice of root's, as `Delegate=yes` makes it."""
    slice = os.path.join(GROUPS, name + ".slice")
    group = os.path.join(slice, name + ".scope")
    os.makedirs(group)
    control(GROUPS, "+", CONTROLLERS)
    control(slice, "+", controllers)
    for file in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
        os.chown(os.path.join(group, file), uid, uid)
    return group


def start(group, uid, command, **environment):
    """A program of this user's in this group."""
    def enter():
        write("0", group, "cgroup.procs")
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    pipe = subprocess.PIPE
    return subprocess.Popen(command, preexec_fn=enter, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd="/tmp", env={**os.environ, **environment})


def ended(process):
    stdout, stderr = process.communicate()
    return {"code": process.returncode, "stdout": stdout.strip(), "stderr": stderr.strip()}

"""PID 1 of a kernel whose only control groups are those of version 2. Does what systemd would do, and runs gateways in groups of their own.

groups.py LAUNCHER TESTS USER: the launcher, the tests beside this file, an ordinary user's number. Prints a line of JSON for each thing
that was tried.
"""
import json, os, sys, time, traceback

sys.path.append(os.path.join(os.path.dirname(__file__), "support"))
from delegation import CONTROLLERS, GROUPS, boot, control, delegated, ended, read, start, write

LAUNCHER, TESTS, USER = sys.argv[1], sys.argv[2], int(sys.argv[3])
LIMITS = ["memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.weight", "cpu.max"]
# Children that hold 40 MiB each, none of which is too large alone, and a parent that waits.
HOARD = "import os,time\nfor child in range(4):\n  if os.fork() == 0:\n    held = bytearray(40 << 20)\n    time.sleep(600)\ntime.sleep(600)"
FORK = "import subprocess,sys\nchildren = []\ntry:\n  while True: children.append(subprocess.Popen(['sleep', '600']))\nexcept OSError: sys.exit(3)"
BUSY = "import time\nend = time.time() + 1\nwhile time.time() < end: pass\nprint(time.process_time())"
LOOK = "print(open('/proc/self/cgroup').read().strip(), flush=True)\nimport time; time.sleep(600)"


def gateway(group, uid, options, script):
    return start(group, uid, ["/run/launcher", *options, "--", "/usr/bin/python3", "-c", script])


def ran(*arguments):
    return ended(gateway(*arguments))


def below(group):
    """Groups in this one by the last part of their names: a number for a program's, `gateway` for the gateway's own."""
    return {entry.name.split(".", 4)[-1]: entry.path for entry in os.scandir(group) if entry.is_dir()}


def is_inhabited(group):
    return "populated 1" in read(group, "cgroup.events")


def limits(layers):
    return next(iter(json.loads(read(layers))["layers"]["limits"].values()))


def while_it_runs(group, uid):
    layers = os.path.join("/tmp", os.path.basename(group))
    process = gateway(group, uid, ["--memory", "120", "--processes", "20", "--cpus", "1.5", "--layers", layers], LOOK)
    seen = process.stdout.readline().strip()
    if not seen:
        return {"failed": ended(process)}
    folders = below(group)
    program = next(path for name, path in folders.items() if name.isdecimal() and is_inhabited(path))
    found = {
        "seen": seen,
        "told": limits(layers),
        "groups": sorted(folders),
        "in the group itself": read(group, "cgroup.procs"),
        "gateway is in its leaf": str(process.pid) in read(folders["gateway"], "cgroup.procs").split(),
        "set": {name: read(program, name) for name in LIMITS if os.path.exists(os.path.join(program, name))},
    }
    process.kill()
    process.communicate()
    deadline = time.time() + 10
    while is_inhabited(group) and time.time() < deadline:
        time.sleep(0.01)
    return {**found, "killed": {"inhabited": is_inhabited(group), "left": sorted(below(group))}}


def the_next_clears(group, uid):
    # Nobody comes into a group that hands controllers on: whoever manages it takes them back first.
    control(group, "-", CONTROLLERS)
    return {**ran(group, uid, [], "print('ran')"), "left": sorted(below(group))}


def beyond(group, uid, options, script):
    return {**ran(group, uid, options, script), "left": sorted(below(group))}


def beside_another(group, uid):
    other = start(group, uid, ["sleep", "600"])
    layers = os.path.join("/tmp", os.path.basename(group))
    found = {**ran(group, uid, ["--layers", layers], "print('ran')"), "told": limits(layers), "left": sorted(below(group))}
    other.kill()
    other.communicate()
    return found


def without_all(group, uid):
    layers = os.path.join("/tmp", os.path.basename(group))
    return {**ran(group, uid, ["--layers", layers], "print('ran')"), "told": limits(layers)}


def tests(group, uid, name):
    # A page counts for the group that it was first read for.
    write("1", "/proc/sys/vm/drop_caches")
    return ended(start(group, uid, ["/run/tests", "--exact", name]))


def tries():
    for caller, uid in (("root", 0), ("user", USER)):
        def group(name, *arguments):
            return delegated(f"{caller}-{name}", *(arguments or (uid,)))
        first = group("first")
        yield caller, "runs", lambda: while_it_runs(first, uid)
        yield caller, "next", lambda: the_next_clears(first, uid)
        yield caller, "memory", lambda: beyond(group("memory"), uid, ["--memory", "120"], HOARD)
        yield caller, "processes", lambda: beyond(group("processes"), uid, ["--processes", "20"], FORK)
        yield caller, "processor", lambda: beyond(group("processor"), uid, ["--cpus", "0.5"], BUSY)
        yield caller, "given back", lambda: tests(group("memory-back"), uid, "memory_is_given_back_where_something_can")
        yield caller, "weight", lambda: tests(group("weight"), uid, "a_processor_is_shared_out_by_weight")
        yield caller, "beside another", lambda: beside_another(group("shared"), uid)
        yield caller, "without the processor", lambda: without_all(group("some", uid, ["memory", "pids"]), uid)
    yield "root", "in the first group", lambda: without_all(GROUPS, 0)
    yield "user", "in somebody else's", lambda: without_all(delegated("foreign", 0), USER)


boot(launcher=LAUNCHER, tests=TESTS)
for caller, what, attempt in tries():
    try:
        found = attempt()
    except Exception:
        found = {"error": traceback.format_exc()}
    print(json.dumps({"caller": caller, "what": what, "found": found}), flush=True)

"""PID 1 of a kernel that tells how long programs wait for memory (`psi=1`). Runs a gateway whose one server is idle, and has a program wait.

pressure.py SUPPORT SALLYPORT SERVER: the folder of what this shares with other tests, the program, a server's script. Prints one line of JSON.
"""
import fcntl, json, os, re, shutil, socket, struct, sys, time, traceback, urllib.request

SUPPORT, SALLYPORT, SERVER = sys.argv[1:]
sys.path.append(SUPPORT)
from delegation import boot, delegated, ended, read, start, write

HOME, PROJECT, ADDRESS = "/tmp/home", "/tmp/project", "127.0.0.1:7420"
PLACES = {"HOME": HOME, "XDG_RUNTIME_DIR": HOME, **{f"XDG_{kind}_HOME": HOME for kind in ("CONFIG", "STATE", "CACHE", "DATA")}}
CONFIGURATION = """
[servers.idle]
command = ["python3", "idle_server.py"]
standby = { freeze_after = "1s", reclaim_after = "24h" }
timeouts = { connect = "120s" }
"""
# What it takes beyond its group's share it gets, but has to wait for, as the kernel finds nothing there that could be given back. To fill the
# machine instead makes all programs wait, this one and the gateway too, for longer than a test may take.
HOARD = "held = []\nwhile True: held.append(bytearray(1 << 20))"
SHARE_MB = 32
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def sallyport(group, *arguments):
    return start(group, 0, ["/run/sallyport", "--config", PROJECT + "/sallyport.toml", *arguments], **PLACES)


def state():
    """How far down the server is; nothing while there is no gateway."""
    try:
        figures = urllib.request.urlopen(f"http://{ADDRESS}/metrics").read().decode()
    except OSError:
        return None
    found = re.search(r'^sallyport_standby\{server="idle",state="(\w+)"\} 1', figures, re.MULTILINE)
    return found and found[1]


def pressure():
    return float(re.match(r"some avg10=(\S+)", read("/proc/pressure/memory"))[1])


def until(*wanted):
    deadline = time.time() + 120
    while state() not in wanted:
        if time.time() > deadline:
            raise TimeoutError(f"it is {state()} and not {wanted[-1]}; the memory pressure is {pressure()}")
        time.sleep(0.2)


def call(group):
    return ended(sallyport(group, "call", "idle__count"))


def tries(found):
    callers, hoarders = delegated("callers", 0), delegated("hoarders", 0)
    until("awake", "frozen")
    found["first"] = call(callers)
    until("frozen")
    found["before"] = pressure()
    write(str(SHARE_MB << 20), hoarders, "memory.high")
    hoarder = start(hoarders, 0, ["/usr/bin/python3", "-c", HOARD])
    until("reclaimed")
    found["after"] = pressure()
    hoarder.kill()
    hoarder.communicate()
    found["second"] = call(callers)


boot(sallyport=SALLYPORT)
os.mkdir(HOME)
os.mkdir(PROJECT)
shutil.copy(SERVER, PROJECT)
write(CONFIGURATION, PROJECT, "sallyport.toml")
with socket.socket() as anything:
    fcntl.ioctl(anything, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))
gateway, found = sallyport(delegated("gateway", 0), "--listen", ADDRESS, "up"), {}
try:
    tries(found)
except Exception:
    found["error"] = traceback.format_exc()
gateway.terminate()
print(json.dumps({**found, "gateway": ended(gateway)}), flush=True)

"""PID 1 of a kernel whose only control groups are those of version 2. Asks `sallyport doctor` in groups of its own and in others.

groups.py SUPPORT SALLYPORT USER: the folder of what this shares with other tests, the program, an ordinary user's number. Prints a line
of JSON for each time.
"""
import json, os, sys, traceback

SUPPORT, SALLYPORT, USER = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.path.append(SUPPORT)
from delegation import boot, delegated, ended, start, write


def doctor(name, uid, beside=False):
    home, group = os.path.join("/tmp", name), delegated(name, uid)
    os.mkdir(home)
    os.chown(home, uid, uid)
    places = {f"XDG_{kind}_HOME": home for kind in ("CONFIG", "STATE", "CACHE", "DATA")}
    other = start(group, uid, ["sleep", "600"]) if beside else None
    found = ended(start(group, uid, ["/run/sallyport", "doctor", "--json"], HOME=home, XDG_RUNTIME_DIR=home, **places))
    if other:
        other.kill()
        other.communicate()
    findings = json.loads(found["stdout"]) if found["stdout"] else found["stderr"]
    return {"code": found["code"], "findings": findings}


def without_user_namespaces():
    write("0", "/proc/sys/kernel/unprivileged_userns_clone")
    return doctor("restricted", USER)


boot(sallyport=SALLYPORT)
for what, attempt in {
    "root": lambda: doctor("root", 0),
    "user": lambda: doctor("user", USER),
    "beside another": lambda: doctor("shared", USER, beside=True),
    "restricted": without_user_namespaces,
}.items():
    try:
        found = attempt()
    except Exception:
        found = {"error": traceback.format_exc()}
    print(json.dumps({"what": what, "found": found}), flush=True)

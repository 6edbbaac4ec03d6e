"""A small MCP server of the legacy era that misbehaves as it is told: by its tools, and by its arguments.

Arguments: exit (at once), probe-shy (ends at an unknown first request), slow-list (the second tools/list takes for ever), or a port of
127.0.0.1 to connect to.
"""

import json
import os
import signal
import socket
import sys
import time

MODE = sys.argv[1] if len(sys.argv) > 1 else ""
TOOLS = ["echo", "pid", "environment", "die", "leave", "hang", "work", "babble", "malformed", "huge", "close", "deafen", "grow", "stop", "connect"]
DEAF = []
lists = 0


def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def text(value):
    return {"content": [{"type": "text", "text": value}]}


def call(name, arguments, token):
    if name == "pid":
        return text(str(os.getpid()))
    if name == "environment":
        return text(" ".join(sorted(os.environ)))
    if name == "die":
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    if name == "leave":
        sys.stderr.write("disk is full\n")
        sys.stderr.flush()
        os._exit(7)
    if name == "hang":
        time.sleep(3600)
    if name == "work":
        for step in range(1, 6):
            time.sleep(0.3)
            say({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": step}})
    if name == "babble":
        print("Server is running!\n{not json}\n[1, 2]", flush=True)
    if name == "malformed":
        return {"content": "not a list"}
    if name == "huge":
        sys.stdout.write("x" * (100 * 1024 * 1024) + "\n")
        sys.stdout.flush()
    if name == "close":
        os.close(1)
        time.sleep(3600)
    if name == "deafen":
        os.close(0)
        DEAF.append(True)
    if name == "grow":
        TOOLS.append("grown")
        say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    if name == "connect":
        try:
            socket.getaddrinfo("elsewhere.test", 80)
        except socket.gaierror:
            with socket.create_connection(("127.0.0.1", int(MODE)), 10) as stream:
                stream.sendall(b"hi")
                return text(stream.recv(100).decode())
    if name == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    return text(json.dumps(arguments))


def answer(method, params):
    global lists
    if method == "initialize":
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "misbehaving", "version": "1"},
        }
    if method == "ping":
        return {}
    if method == "tools/list":
        lists += 1
        if MODE == "slow-list" and lists > 1:
            time.sleep(3600)
        return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]}
    if method == "tools/call":
        token = params.get("_meta", {}).get("progressToken")
        return call(params["name"], params.get("arguments", {}), token)
    return None


if MODE == "exit":
    sys.stderr.write("no configuration found\n")
    sys.exit(3)
for line in iter(sys.stdin.readline, ""):
    request = json.loads(line)
    if "id" not in request:
        continue
    result = answer(request["method"], request.get("params", {}))
    if result is not None:
        say({"jsonrpc": "2.0", "id": request["id"], "result": result})
    elif MODE == "probe-shy":
        sys.exit(1)
    else:
        say({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32601, "message": "no such method"}})
    if DEAF:
        time.sleep(3600)

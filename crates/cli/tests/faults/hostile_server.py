#!/usr/bin/env python3
"""A stdio MCP server that misbehaves on demand. Standard library only.

    hostile_server.py [FAULT]

Without FAULT it starts well; its tools then misbehave when called. FAULT makes it misbehave from the start:

    exits         exits at once, every time
    slow_list     answers the first tools/list at once and the later ones after an hour
    never_lists   never answers tools/list
    deaf          closes its stdin after the handshake and goes on running
    babbles       writes lines that are no messages, from the start
"""

import json
import os
import signal
import sys
import time

FAULT = sys.argv[1] if len(sys.argv) > 1 else "none"
HOUR = 3600

TOOLS = {
    "ping": "answers at once",
    "pid": "tells its process id",
    "count": "tells how many calls it was asked so far, this one included",
    "sleep": "answers after `seconds`",
    "die": "kills itself in the call",
    "stop": "stops itself in the call (SIGSTOP)",
    "babble": "writes lines that are no messages, then answers",
    "hoard": "starts children that hold 40 MB each, and waits",
    "torrent": "writes short messages that nobody asked for, without end",
    "flood": "writes a line of `megabytes`, then answers",
    "close_stdin": "closes its stdin and does not answer",
    "no_content": "answers with a result that is none: content is missing",
    "wrong_content": "answers with a result that is none: content is a number",
    "not_an_object": "answers with a result that is none: a string",
    "not_json": "answers with a line that is no JSON, then nothing",
    "wrong_id": "answers to a request that nobody made, then nothing",
    "fork": "leaves a grandchild behind that outlives it",
    "large": "answers with a text of `kilobytes`",
    "open": "opens all files that it may, and fails: `keeps` them or not, by a result or an `error`",
    "ask": "asks its caller something, and answers with what the caller did",
}


def write(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def send(message):
    write(json.dumps({"jsonrpc": "2.0", **message}))


def text(words):
    return {"content": [{"type": "text", "text": words}]}


class Server:
    def __init__(self):
        self.lists = 0
        self.calls = 0
        self.files = []
        self.asking = None

    def initialize(self, params):
        return {
            "protocolVersion": params.get("protocolVersion", "2025-11-25"),
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "hostile", "version": "1.0.0"},
        }

    def list_tools(self):
        self.lists += 1
        if FAULT == "never_lists" or (FAULT == "slow_list" and self.lists > 1):
            time.sleep(HOUR)
        schema = {"type": "object"}
        return {"tools": [{"name": name, "description": does, "inputSchema": schema} for name, does in TOOLS.items()]}

    def call(self, request, name, arguments):
        """The answer's result, or None where none is to be sent."""
        self.calls += 1
        if name == "ping":
            return text("pong")
        if name == "pid":
            return text(str(os.getpid()))
        if name == "count":
            return text(str(self.calls))
        if name == "sleep":
            time.sleep(arguments.get("seconds", HOUR))
            return text("slept")
        if name == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
            return text("went on")
        if name == "babble":
            babble()
            return text("babbled")
        if name == "hoard":
            for _ in range(5):
                if os.fork() == 0:
                    held = bytearray(40_000_000)
                    time.sleep(HOUR)
            time.sleep(HOUR)
        if name == "torrent":
            while True:
                send({"method": "notifications/message", "params": {"level": "info", "data": "x" * 1000}})
        if name == "flood":
            write("x" * (arguments.get("megabytes", 100) * 1_000_000))
            return text("flooded")
        if name == "close_stdin":
            os.close(0)
            time.sleep(HOUR)
        if name == "no_content":
            return {"unexpected": True}
        if name == "wrong_content":
            return {"content": 7}
        if name == "not_an_object":
            return "a string"
        if name == "not_json":
            write('{"jsonrpc": "2.0", "id": ' + json.dumps(request) + ', "result": {')
            return None
        if name == "wrong_id":
            send({"id": "nobody asked this", "result": text("lost")})
            return None
        if name == "fork":
            if os.fork() == 0:
                time.sleep(HOUR)
            return text("forked")
        if name == "large":
            return text("x" * (arguments.get("kilobytes", 1000) * 1000))
        if name == "ask":
            self.asking = request
            schema = {"type": "object", "properties": {}}
            send({"id": "asked", "method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": schema}})
            return None
        if name == "open":
            return self.open(request, arguments)
        raise KeyError(name)

    def open(self, request, arguments):
        try:
            while True:
                self.files.append(open("/dev/null"))
        except OSError as refused:
            words = os.strerror(refused.errno)
        if not arguments.get("keeps"):
            self.files.clear()
        if arguments.get("error"):
            send({"id": request, "error": {"code": -32000, "message": words}})
            return None
        return {**text(words), "isError": True}

    def handle(self, message):
        method, request, params = message.get("method"), message.get("id"), message.get("params") or {}
        if request is None:
            if method == "notifications/initialized" and FAULT == "deaf":
                os.close(0)
                time.sleep(HOUR)
            return
        if method is None:
            send({"id": self.asking, "result": text(message.get("result", {}).get("action", "nothing"))})
        elif method == "initialize":
            send({"id": request, "result": self.initialize(params)})
        elif method == "ping":
            send({"id": request, "result": {}})
        elif method == "tools/list":
            send({"id": request, "result": self.list_tools()})
        elif method == "tools/call":
            result = self.call(request, params["name"], params.get("arguments") or {})
            if result is not None:
                send({"id": request, "result": result})
        else:
            send({"id": request, "error": {"code": -32601, "message": "Method not found"}})


def babble():
    for line in ("starting up ...", "[1, 2", '"a string"', "{}", "\x1b[31mred\x1b[0m", "\u00ff" * 100):
        write(line)


def main():
    if FAULT == "exits":
        sys.exit(1)
    if FAULT == "babbles":
        babble()
    server = Server()
    # Not `for line in sys.stdin`: closing descriptor 0 must take effect at once.
    pending = b""
    while chunk := os.read(0, 65536):
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                server.handle(json.loads(line))


main()

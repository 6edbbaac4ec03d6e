#!/usr/bin/env python3
"""A stdio MCP server with a life of its own between requests. Standard library only.

A thread counts ten times a second; with the argument `spin` a child process spins. Its tools tell of both; `task` hands out a task that is never over.
"""

import json
import os
import sys
import threading
import time

TOOLS = ["count", "ticks", "sleep", "task"]
HEAP = [bytes(4096) for _ in range(2048)]


class Server:
    def __init__(self):
        self.calls = 0
        self.ticks = 0

    def tick(self):
        while True:
            time.sleep(0.1)
            self.ticks += 1

    def call(self, name, arguments):
        self.calls += 1
        if name == "sleep":
            time.sleep(arguments["seconds"])
        if name == "task":
            return {"task": {"taskId": "t", "status": "working", "ttl": 60000}}
        words = self.ticks if name == "ticks" else self.calls
        return {"content": [{"type": "text", "text": str(words)}]}

    def answer(self, method, params):
        if method == "initialize":
            capabilities = {"tools": {}, "resources": {"subscribe": True}, "tasks": {"requests": {"tools": {"call": {}}}}}
            version = params.get("protocolVersion", "2025-11-25")
            return {"protocolVersion": version, "capabilities": capabilities, "serverInfo": {"name": "idle", "version": "1"}}
        if method == "tools/list":
            execution = {"taskSupport": "optional"}
            return {"tools": [{"name": name, "inputSchema": {"type": "object"}, "execution": execution} for name in TOOLS]}
        if method == "tools/call":
            return self.call(params["name"], params.get("arguments") or {})
        if method == "resources/list":
            return {"resources": [{"uri": "idle:news", "name": "news"}]}
        if method in ("ping", "resources/subscribe", "resources/unsubscribe"):
            return {}
        return None


def main():
    if "spin" in sys.argv and os.fork() == 0:
        while True:
            pass
    server = Server()
    threading.Thread(target=server.tick, daemon=True).start()
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        result = server.answer(message["method"], message.get("params") or {})
        outcome = {"result": result} if result is not None else {"error": {"code": -32601, "message": "Method not found"}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **outcome}), flush=True)
    os._exit(0)


main()

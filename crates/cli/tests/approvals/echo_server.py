#!/usr/bin/env python3
"""A stdio MCP server of revision 2026-07-28 whose one tool answers with all that came with its call. Standard library only.

For a client that takes tasks it makes a task, which answers with all that came with the question for it.
"""

import json
import sys

REVISION = "2026-07-28"
TASKS = "io.modelcontextprotocol/tasks"
LISTED = {"ttlMs": 60000, "cacheScope": "public"}
TASK = {"taskId": "t", "createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z", "ttlMs": 60000, "pollIntervalMs": 100}


def echo(params):
    return {"resultType": "complete", "content": [{"type": "text", "text": json.dumps(params)}]}


def answer(method, params):
    if method == "server/discover":
        return {"supportedVersions": [REVISION], "capabilities": {"tools": {}, "extensions": {TASKS: {}}}}
    if method == "tools/list":
        return {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}], **LISTED}
    if method == "tools/call":
        client = params["_meta"]["io.modelcontextprotocol/clientCapabilities"]
        return {"resultType": "task", "status": "working", **TASK} if TASKS in client.get("extensions", {}) else echo(params)
    if method == "tasks/get":
        return {"status": "completed", "result": echo(params), **TASK}
    return None


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    result = answer(message["method"], message.get("params") or {})
    if result is None:
        outcome = {"error": {"code": -32601, "message": "Method not found"}}
    else:
        server = {"io.modelcontextprotocol/serverInfo": {"name": "echo", "version": "1"}}
        outcome = {"result": {"resultType": "complete", **result, "_meta": server}}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **outcome}), flush=True)

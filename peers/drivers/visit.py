"""What the two Python drivers share: visits come in on stdin, one JSON document a line, and each is answered on stdout
with one line. See ../README.md for the shape of both."""

import json
import sys

import anyio

CLIENT_NAME, CLIENT_VERSION = "sallyport-test-driver", "1.0.0"

# What a person and a model would answer, the same in every driver.
ROOTS = [{"uri": "file:///srv/project", "name": "project"}]
SAMPLE = {
    "model": "test-model",
    "role": "assistant",
    "stopReason": "endTurn",
    "content": {"type": "text", "text": "forty-two"},
}


def elicited(params):
    if getattr(params, "mode", None) == "url":
        return {"action": "accept"}
    return {"action": "accept", "content": {"name": "Ada", "check": True, "integer": 7}}


def plain(model):
    """A result as the JSON it came from: names of the wire, absent fields left out."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def as_error(error):
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    data = getattr(error, "error", None)
    code, message = getattr(data, "code", None), getattr(data, "message", None)
    return {"error": {"code": code, "message": message or f"{type(error).__name__}: {error}"}}


LISTS = {
    "tools/list": ("list_tools", "tools"),
    "prompts/list": ("list_prompts", "prompts"),
    "resources/list": ("list_resources", "resources"),
    "resources/templates/list": ("list_resource_templates", "resourceTemplates"),
}


async def list_all(session, method):
    verb, key = LISTS[method]
    entries, cursor = [], None
    while True:
        page = plain(await getattr(session, verb)(**({} if cursor is None else {"cursor": cursor})))
        entries += page[key]
        cursor = page.get("nextCursor")
        if cursor is None:
            return {"result": {key: entries}}


async def call(session, params):
    """Progress notices are part of a call's outcome: the driver asks for them always."""
    progress = []

    async def on_progress(done, total, message):
        notice = {"progress": done, "total": total, "message": message}
        progress.append({key: value for key, value in notice.items() if value is not None})

    result = await session.call_tool(params["name"], params.get("arguments"), progress_callback=on_progress)
    return {"result": plain(result)} | ({"progress": progress} if progress else {})


async def wait_for(notices, params):
    with anyio.move_on_after(params["seconds"]):
        while True:
            for index, notice in enumerate(notices):
                if notice["method"] == params["method"]:
                    return {"result": notices.pop(index)["params"]}
            await anyio.sleep(0.02)
    raise TimeoutError(f"no {params['method']} within {params['seconds']} s")


async def take(session, notices, types, step):
    method, params = step["method"], step.get("params", {})
    if method in LISTS:
        return await list_all(session, method)
    if method == "tools/call":
        return await call(session, params)
    if method == "prompts/get":
        return {"result": plain(await session.get_prompt(params["name"], params.get("arguments")))}
    if method == "resources/read":
        return {"result": plain(await session.read_resource(types.uri(params["uri"])))}
    if method == "resources/subscribe":
        return {"result": await types.subscribe(session, params["uri"])}
    if method == "resources/unsubscribe":
        return {"result": await types.unsubscribe(session, params["uri"])}
    if method == "completion/complete":
        argument = params["argument"]
        context = params.get("context", {}).get("arguments")
        return {"result": plain(await session.complete(types.reference(params["ref"]), argument, context))}
    if method == "wait":
        return await wait_for(notices, params)
    raise ValueError(f"the driver has no step {method}")


async def one(visit, connect, types):
    """`connect` is an async context manager that gives (session, notices, connected)."""
    steps = []
    try:
        async with connect(visit) as (session, notices, connected):
            for step in visit["steps"]:
                try:
                    steps.append(await take(session, notices, types, step))
                except Exception as error:
                    steps.append(as_error(error))
            answer = {"connect": {"result": connected()}, "steps": steps}
    except Exception as error:
        if len(steps) < len(visit["steps"]):
            answer = {"connect": as_error(error)}
    return answer


async def serve(connect, types):
    """Serves visits until stdin closes."""
    while line := await anyio.to_thread.run_sync(sys.stdin.readline):
        answer = await one(json.loads(line), connect, types)
        sys.stdout.write(json.dumps(answer, ensure_ascii=False, separators=(",", ":")) + "\n")
        sys.stdout.flush()

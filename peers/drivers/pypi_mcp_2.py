"""Drives PyPI mcp 2.x, which speaks 2026-07-28 as well: `mode` is "auto", "legacy" or a revision to pin."""

from contextlib import asynccontextmanager

import anyio
import mcp_types
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client

import visit


class Types:
    """What this SDK wraps plain values in."""

    uri = staticmethod(str)

    @staticmethod
    def reference(ref):
        prompt = ref["type"] == "ref/prompt"
        return (mcp_types.PromptReference if prompt else mcp_types.ResourceTemplateReference).model_validate(ref)

    # From 2026-07-28 on a subscription is a stream that is held open.
    listening = None

    @classmethod
    async def subscribe(cls, client, uri):
        if client.protocol_version < "2026-07-28":
            return visit.plain(await client.subscribe_resource(uri))
        cls.listening = client.listen(resource_subscriptions=[uri])
        await cls.listening.__aenter__()
        return {}

    @classmethod
    async def unsubscribe(cls, client, uri):
        if client.protocol_version < "2026-07-28":
            return visit.plain(await client.unsubscribe_resource(uri))
        await cls.listening.__aexit__(None, None, None)
        return {}


def server_of(target):
    if "command" in target:
        program, *arguments = target["command"]
        return StdioServerParameters(command=program, args=arguments, env=target.get("env"), cwd=target.get("cwd"))
    return sse_client(target["url"]) if target.get("transport") == "sse" else target["url"]


async def sampled(_context, _params):
    return mcp_types.CreateMessageResult.model_validate(visit.SAMPLE)


async def elicited(_context, params):
    return mcp_types.ElicitResult.model_validate(visit.elicited(params))


async def roots(_context):
    return mcp_types.ListRootsResult.model_validate({"roots": visit.ROOTS})


@asynccontextmanager
async def connect(visited):
    notices = []

    async def noticed(message):
        if isinstance(message, mcp_types.ServerNotification):
            notices.append(visit.plain(message))

    async with Client(
        server_of(visited["target"]),
        mode=visited["mode"],
        sampling_callback=sampled,
        elicitation_callback=elicited,
        list_roots_callback=roots,
        message_handler=noticed,
        client_info=mcp_types.Implementation(name=visit.CLIENT_NAME, version=visit.CLIENT_VERSION),
    ) as client:
        yield client, notices, lambda: {"revision": client.protocol_version, "instructions": client.instructions}


anyio.run(visit.serve, connect, Types)

"""Drives PyPI mcp 1.x: the 2024-11-05 to 2025-11-25 revisions over stdio, Streamable HTTP and HTTP+SSE."""

from contextlib import asynccontextmanager

import anyio
from mcp import ClientSession, StdioServerParameters, types as mcp_types
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from pydantic import AnyUrl

import visit


class Types:
    """What this SDK wraps plain values in."""

    uri = staticmethod(AnyUrl)

    @staticmethod
    def reference(ref):
        prompt = ref["type"] == "ref/prompt"
        return (mcp_types.PromptReference if prompt else mcp_types.ResourceTemplateReference).model_validate(ref)

    @staticmethod
    async def subscribe(session, uri):
        return visit.plain(await session.subscribe_resource(AnyUrl(uri)))

    @staticmethod
    async def unsubscribe(session, uri):
        return visit.plain(await session.unsubscribe_resource(AnyUrl(uri)))


@asynccontextmanager
async def transport_to(target):
    if "command" in target:
        program, *arguments = target["command"]
        parameters = StdioServerParameters(
            command=program, args=arguments, env=target.get("env"), cwd=target.get("cwd")
        )
        async with stdio_client(parameters) as streams:
            yield streams[0], streams[1]
    elif target.get("transport") == "sse":
        async with sse_client(target["url"]) as streams:
            yield streams[0], streams[1]
    else:
        async with streamable_http_client(target["url"]) as streams:
            yield streams[0], streams[1]


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

    async with transport_to(visited["target"]) as (reader, writer):
        async with ClientSession(
            reader,
            writer,
            sampling_callback=sampled,
            elicitation_callback=elicited,
            list_roots_callback=roots,
            message_handler=noticed,
            client_info=mcp_types.Implementation(name=visit.CLIENT_NAME, version=visit.CLIENT_VERSION),
        ) as session:
            initialized = await session.initialize()
            yield session, notices, lambda: {
                "revision": str(initialized.protocolVersion),
                "instructions": initialized.instructions,
            }


anyio.run(visit.serve, connect, Types)

"""Logs PyPI mcp 2.x's own OAuth client in: `login.py URL NAME PASSWORD`. The person is a cookie jar that fills in the forms."""

import html
import json
import re
import sys
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

CALLBACK = "http://localhost:8765/callback"


class Kept:
    """Tokens and registration, in memory."""

    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


def fields(page):
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page.split("</form>")[0])
    return {name: html.unescape(value) for name, value in found}


async def log_in(address, name, password):
    async with httpx2.AsyncClient(follow_redirects=True) as browser:
        login = await browser.get(address)
        form = fields(login.text) | {"name": name, "password": password}
        consent = await browser.post(str(login.url.copy_with(query=None)), data=form)
        form = fields(consent.text) | {"decision": "allow"}
        sent = await browser.post(str(consent.url.copy_with(query=None)), data=form, follow_redirects=False)
        return parse_qs(urlsplit(sent.headers["location"]).query)


async def main(url, name, password):
    kept, answered = Kept(), {}

    async def redirected(address):
        answered.update(await log_in(address, name, password))

    async def called_back():
        part = {key: values[0] for key, values in answered.items()}
        return AuthorizationCodeResult(code=part["code"], state=part.get("state"), iss=part.get("iss"))

    metadata = OAuthClientMetadata(client_name="Python's SDK", redirect_uris=[CALLBACK], grant_types=["authorization_code", "refresh_token"])
    provider = OAuthClientProvider(url, metadata, kept, redirected, called_back)
    async with httpx2.AsyncClient(auth=provider, timeout=30) as http:
        async with Client(streamable_http_client(url, http_client=http)) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
    print(json.dumps({"tools": tools, "iss": answered["iss"][0], "scope": kept.tokens.scope, "refreshes": bool(kept.tokens.refresh_token)}))


anyio.run(main, *sys.argv[1:4])

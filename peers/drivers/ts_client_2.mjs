// Drives npm @modelcontextprotocol/client 2.x, which speaks 2026-07-28 as well: `mode` is "auto", "legacy" or a revision to pin.

import { ANSWERS, CAPABILITIES, CLIENT_INFO, require, serve } from "./visit.mjs";

const { Client, SSEClientTransport, StreamableHTTPClientTransport } = require("@modelcontextprotocol/client");
const { StdioClientTransport } = require("@modelcontextprotocol/client/stdio");

function transportTo({ command, env, cwd, url, transport }) {
  if (command) {
    const [program, ...args] = command;
    return new StdioClientTransport({ command: program, args, env, cwd, stderr: "inherit" });
  }
  const kind = transport === "sse" ? SSEClientTransport : StreamableHTTPClientTransport;
  return new kind(new URL(url));
}

function negotiation(mode) {
  if (mode === "legacy") return {};
  return { versionNegotiation: { mode: mode === "auto" ? "auto" : { pin: mode } } };
}

async function connect({ target, mode }) {
  const client = new Client(CLIENT_INFO, { capabilities: CAPABILITIES, ...negotiation(mode) });
  for (const [method, answer] of Object.entries(ANSWERS)) {
    client.setRequestHandler(method, (request) => answer(request.params));
  }
  const notices = [];
  client.fallbackNotificationHandler = async (notice) => notices.push(notice);
  const transport = transportTo(target);
  await client.connect(transport);
  const close = async () => {
    await transport.terminateSession?.().catch(() => {});
    await client.close();
  };
  return { client, notices, revision: () => client.getNegotiatedProtocolVersion?.() ?? null, close };
}

await serve(connect, (client, params, options) => client.callTool(params, options));

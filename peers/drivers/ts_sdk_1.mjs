// Drives npm @modelcontextprotocol/sdk 1.x: the 2024-11-05 to 2025-11-25 revisions over stdio, Streamable HTTP and HTTP+SSE.

import { ANSWERS, CAPABILITIES, CLIENT_INFO, require, serve } from "./visit.mjs";

const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = require("@modelcontextprotocol/sdk/client/stdio.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");
const { SSEClientTransport } = require("@modelcontextprotocol/sdk/client/sse.js");
const {
  CallToolResultSchema,
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
} = require("@modelcontextprotocol/sdk/types.js");

const QUESTIONS = {
  "roots/list": ListRootsRequestSchema,
  "sampling/createMessage": CreateMessageRequestSchema,
  "elicitation/create": ElicitRequestSchema,
};

function transportTo({ command, env, cwd, url, transport }) {
  if (command) {
    const [program, ...args] = command;
    return new StdioClientTransport({ command: program, args, env, cwd, stderr: "inherit" });
  }
  const kind = transport === "sse" ? SSEClientTransport : StreamableHTTPClientTransport;
  return new kind(new URL(url));
}

async function connect({ target }) {
  const client = new Client(CLIENT_INFO, { capabilities: CAPABILITIES });
  for (const [method, schema] of Object.entries(QUESTIONS)) {
    client.setRequestHandler(schema, (request) => ANSWERS[method](request.params));
  }
  const notices = [];
  client.fallbackNotificationHandler = async (notice) => notices.push(notice);
  const transport = transportTo(target);
  let revision = null;
  const setVersion = transport.setProtocolVersion?.bind(transport);
  transport.setProtocolVersion = (version) => {
    revision = version;
    setVersion?.(version);
  };
  await client.connect(transport);
  const close = async () => {
    await transport.terminateSession?.().catch(() => {});
    await client.close();
  };
  return { client, notices, revision: () => revision, close };
}

await serve(connect, (client, params, options) => client.callTool(params, CallToolResultSchema, options));

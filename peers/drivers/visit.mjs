// What the two TypeScript drivers share: visits come in on stdin, one JSON document a line, and each is answered on
// stdout with one line. See ../README.md for the shape of both.

import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { join } from "node:path";

// The packages lie where `cargo xtask peers` put them, not beside this file, so they are looked up from there.
export const require = createRequire(join(process.env.SALLYPORT_PEERS, "npm", "package.json"));

export const CLIENT_INFO = { name: "sallyport-test-driver", version: "1.0.0" };

export const CAPABILITIES = {
  roots: { listChanged: true },
  sampling: {},
  elicitation: { form: {}, url: {} },
};

// What a person and a model would answer, the same in every driver.
export const ANSWERS = {
  "roots/list": () => ({ roots: [{ uri: "file:///srv/project", name: "project" }] }),
  "sampling/createMessage": () => ({
    model: "test-model",
    role: "assistant",
    stopReason: "endTurn",
    content: { type: "text", text: "forty-two" },
  }),
  "elicitation/create": (params) =>
    params.mode === "url"
      ? { action: "accept" }
      : { action: "accept", content: { name: "Ada", check: true, integer: 7 } },
};

const LISTS = {
  "tools/list": ["listTools", "tools"],
  "prompts/list": ["listPrompts", "prompts"],
  "resources/list": ["listResources", "resources"],
  "resources/templates/list": ["listResourceTemplates", "resourceTemplates"],
};

async function listAll(client, method) {
  const [verb, key] = LISTS[method];
  const entries = [];
  let cursor;
  do {
    const page = await client[verb](cursor === undefined ? {} : { cursor });
    entries.push(...page[key]);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return { result: { [key]: entries } };
}

// Progress notices are part of a call's outcome: the driver asks for them always.
async function call(client, params, callTool) {
  const progress = [];
  const onprogress = (notice) => progress.push(notice);
  const result = await callTool(client, params, { onprogress, timeout: 60_000 });
  return progress.length === 0 ? { result } : { result, progress };
}

async function waitFor(notices, { method, seconds }) {
  const deadline = Date.now() + seconds * 1000;
  while (Date.now() < deadline) {
    const index = notices.findIndex((notice) => notice.method === method);
    if (index >= 0) return { result: notices.splice(index, 1)[0].params };
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`no ${method} within ${seconds} s`);
}

// From 2026-07-28 on a subscription is a stream that is held open.
const isModern = (client) => (client.getNegotiatedProtocolVersion?.() ?? "") >= "2026-07-28";
const subscriptions = new WeakMap();

async function subscribe(client, { uri }) {
  if (!isModern(client)) return client.subscribeResource({ uri });
  subscriptions.set(client, await client.listen({ resourceSubscriptions: [uri] }));
  return {};
}

async function unsubscribe(client, { uri }) {
  if (!isModern(client)) return client.unsubscribeResource({ uri });
  await subscriptions.get(client).close();
  return {};
}

async function take(client, notices, callTool, { method, params }) {
  if (method in LISTS) return listAll(client, method);
  switch (method) {
    case "tools/call":
      return call(client, params, callTool);
    case "prompts/get":
      return { result: await client.getPrompt(params) };
    case "resources/read":
      return { result: await client.readResource(params) };
    case "resources/subscribe":
      return { result: await subscribe(client, params) };
    case "resources/unsubscribe":
      return { result: await unsubscribe(client, params) };
    case "completion/complete":
      return { result: await client.complete(params) };
    case "wait":
      return waitFor(notices, params);
    default:
      throw new Error(`the driver has no step ${method}`);
  }
}

export function asError(error) {
  return { error: { code: error.code ?? null, message: String(error.message ?? error) } };
}

async function visit(visit, connect, callTool) {
  let session;
  try {
    session = await connect(visit);
  } catch (error) {
    return { connect: asError(error) };
  }
  const { client, notices, revision } = session;
  const steps = [];
  for (const step of visit.steps) {
    steps.push(await take(client, notices, callTool, step).catch(asError));
  }
  const connected = { revision: revision(), instructions: client.getInstructions() ?? null };
  await session.close();
  return { connect: { result: connected }, steps };
}

// Serves visits until stdin closes.
export async function serve(connect, callTool) {
  for await (const line of createInterface({ input: process.stdin })) {
    const answer = await visit(JSON.parse(line), connect, callTool);
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  process.exit(0);
}

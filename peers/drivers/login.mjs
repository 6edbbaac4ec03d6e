// A person with a browser, and what they log in with. `node login.mjs sdk URL NAME PASSWORD` logs the TypeScript SDK's own OAuth client in at
// an MCP endpoint, through Debian's Chromium without JavaScript, and prints what it then sees. `node login.mjs suite ISSUER RESOURCE NAME
// PASSWORD PORT` has the conformance suite's `authorization` mode log in, and prints its checks. `node login.mjs provider PAGE LINK NAME` opens a
// page of the gateway, follows the link of its login page to an identity provider, logs in there, and prints what the gateway then shows.
// `node login.mjs approve PAGE NAME PASSWORD` logs in by way of the page about a call, approves it, and prints what was shown.
// `node login.mjs grant PAGE SERVER NAME OTHER PASSWORD` logs in, grants access to a server at which it is called OTHER, and prints what was shown.

import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { CLIENT_INFO, require } from "./visit.mjs";

const { chromium } = require("playwright-core");

/** Opens the address, logs in, agrees, and gives what the pages said. */
async function logIn(address, name, password) {
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  try {
    const page = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
    const complaints = [];
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    await page.goto(String(address));
    await page.getByLabel("Name").fill(name);
    await page.getByLabel("Password").fill("not " + password);
    await page.getByRole("button", { name: "Log in" }).click();
    const wrong = await page.getByRole("alert").innerText();
    await page.getByLabel("Name").fill(name);
    await page.getByLabel("Password").fill(password);
    await page.getByRole("button", { name: "Log in" }).click();
    const consent = await page.locator("main").innerText();
    const colour = await page.getByRole("button", { name: "Allow" }).evaluate((button) => getComputedStyle(button).backgroundColor);
    await page.getByRole("button", { name: "Allow" }).click();
    await page.waitForURL(/[?&](code|error)=/, { timeout: 20_000 });
    return { wrong, consent, colour, complaints: complaints.filter((text) => !text.includes("422")) };
  } finally {
    await browser.close();
  }
}

/** A loopback server that takes one answer, as programs on people's machines do. */
async function callback() {
  let arrived;
  const answer = new Promise((resolve) => (arrived = resolve));
  const server = createServer((request, response) => {
    const url = new URL(request.url, "http://127.0.0.1");
    if (url.pathname === "/callback") arrived(url.searchParams);
    response.end("You can close this page.");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}/callback`, answer, close: () => server.close() };
}

async function sdk([url, name, password]) {
  const { Client, StreamableHTTPClientTransport } = require("@modelcontextprotocol/client");
  const back = await callback();
  const kept = {};
  const provider = {
    redirectUrl: back.url,
    clientMetadata: { client_name: "TypeScript's SDK", redirect_uris: [back.url], grant_types: ["authorization_code", "refresh_token"] },
    state: () => "the state",
    clientInformation: () => kept.client,
    saveClientInformation: (client) => (kept.client = client),
    tokens: () => kept.tokens,
    saveTokens: (tokens) => (kept.tokens = tokens),
    redirectToAuthorization: (address) => (kept.address = address),
    saveCodeVerifier: (verifier) => (kept.verifier = verifier),
    codeVerifier: () => kept.verifier,
    saveDiscoveryState: (state) => (kept.discovery = state),
    discoveryState: () => kept.discovery,
  };
  const transport = () => new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
  const first = transport();
  const refused = await new Client(CLIENT_INFO).connect(first).then(() => "let in", (error) => error.constructor.name);
  const seen = await logIn(kept.address, name, password);
  const answer = await back.answer;
  await first.finishAuth(answer);
  const tools = async () => {
    const client = new Client(CLIENT_INFO);
    await client.connect(transport());
    const listed = (await client.listTools()).tools.map((tool) => tool.name);
    await client.close();
    return listed;
  };
  const listed = await tools();
  const before = kept.tokens.refresh_token;
  kept.tokens = { ...kept.tokens, access_token: kept.tokens.access_token.slice(0, -4) + "AAAA" }; // a broken one: it has to refresh
  const again = await tools();
  back.close();
  return { refused, ...seen, iss: answer.get("iss"), tools: listed, again, rotated: before !== kept.tokens.refresh_token };
}

async function suite([issuer, resource, name, password, port]) {
  const folder = mkdtempSync(join(tmpdir(), "suite-"));
  const program = join(process.env.SALLYPORT_PEERS, "npm/node_modules/@modelcontextprotocol/conformance/dist/index.js");
  // A client without a secret: where a server takes those too, the suite shows none even if it has one.
  const options = ["authorization", "--url", issuer, "--client-id", "suite"];
  const child = spawn(process.execPath, [program, ...options, "--resource", resource, "-p", port, "-o", folder]);
  let said = "";
  let driven;
  const hear = (text) => {
    said += text;
    const address = said.match(/https?:\/\/\S+\/oauth\/authorize\?\S+/);
    if (address && !driven) driven = logIn(address[0], name, password).catch((error) => (said += String(error)));
  };
  child.stdout.on("data", hear);
  child.stderr.on("data", hear);
  const code = await new Promise((resolve) => child.on("close", resolve));
  await driven;
  const files = readdirSync(folder, { recursive: true }).filter((file) => file.endsWith("checks.json"));
  const checks = files.flatMap((file) => JSON.parse(readFileSync(join(folder, file), "utf8")));
  return { code, said, checks: checks.map(({ id, status, errorMessage }) => ({ id, status, errorMessage })) };
}

async function provider([address, link, name]) {
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  try {
    const page = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
    await page.goto(address);
    await page.getByRole("link", { name: link }).click();
    await page.locator("input[name=login]").fill(name);
    await page.locator("input[name=password]").fill("any");
    await page.getByRole("button", { name: "Sign-in" }).click();
    await page.getByRole("button", { name: "Continue" }).click(); // it asks whether it may tell
    await page.waitForURL((url) => url.origin === new URL(address).origin, { timeout: 20_000 });
    const cookies = await page.context().cookies(address);
    const own = cookies.filter((cookie) => cookie.name.startsWith("sallyport-"));
    return { url: page.url(), shown: await page.locator("body").innerText(), cookies: own.map(({ httpOnly, sameSite }) => ({ httpOnly, sameSite })) };
  } finally {
    await browser.close();
  }
}

async function approve([address, name, password]) {
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  try {
    const page = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
    const complaints = [];
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    const shown = async () => page.locator("body").innerText();
    await page.goto(address);
    const before = await shown();
    await page.getByRole("link", { name: "Log in" }).click();
    await page.getByLabel("Name").fill(name);
    await page.getByLabel("Password").fill(password);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.waitForURL(address, { timeout: 20_000 });
    const asked = await shown();
    await page.getByRole("button", { name: "Approve" }).click();
    await page.getByText("It is approved").waitFor({ timeout: 20_000 });
    return { before, asked, after: await shown(), url: page.url(), complaints };
  } finally {
    await browser.close();
  }
}

async function grant([address, server, name, other, password]) {
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  try {
    const page = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
    const complaints = [];
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    const logIn = async (whom) => {
      await page.getByLabel("Name").fill(whom);
      await page.getByLabel("Password").fill(password);
      await page.getByRole("button", { name: "Log in" }).click();
    };
    await page.goto(address);
    await logIn(name);
    const asks = page.waitForResponse((response) => response.url().startsWith(`${address}/`) && response.status() === 200);
    await page.getByRole("button", { name: `Grant access to ${server}` }).click();
    const policy = (await asks).headers()["content-security-policy"];
    await page.getByRole("button", { name: "Go on to log in" }).click();
    await logIn(other);
    await page.getByRole("button", { name: "Allow" }).click();
    await page.getByText(`Access to ${server} is granted`).waitFor({ timeout: 20_000 });
    return { policy, url: page.url(), complaints };
  } finally {
    await browser.close();
  }
}

const [mode, ...words] = process.argv.slice(2);
console.log(JSON.stringify(await { sdk, suite, provider, approve, grant }[mode](words)));
process.exit(0);

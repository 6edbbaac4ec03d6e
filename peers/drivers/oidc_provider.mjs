// A certified authorization server (npm `oidc-provider`) on loopback, for tests.
//
// usage: oidc_provider.mjs '{"port": 1234, "folder": "/where/keys/lie", "resources": {"https://…": "jwt"}, "algorithms": ["RS256"]}'
//
// Its keys lie in FOLDER/keys.json, made where there are none: a test rotates them by putting others there and starting it anew. The
// client `agent` gets tokens in its own name (client_credentials) for any of the resources, as JWT or opaque, as it is written there; the
// client `gateway` may ask about tokens. Those for resources in `tenants` claim the tenant that is written there (`org`). With
// `"login": ["https://…/callback"]` people log in with it, by any name, for the client `web`, which is sent back there; `mallory`'s address is of
// another domain than the others'. With `"shape": {"typ": "JWT", "names": {"scope": "scp"}, "more": {"ver": "2.0"}}` its JWTs are written as another
// product's. Prints `ready` once it listens.
import { createRequire } from "node:module";
import { createServer } from "node:http";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const settings = JSON.parse(process.argv[2]);
const require = createRequire(join(settings.modules, "x.js"));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { default: Provider, errors } = await load("oidc-provider");
const jose = await load("jose");

const file = join(settings.folder, "keys.json");
if (!existsSync(file)) {
  const keys = [];
  for (const alg of settings.algorithms) {
    const options = alg === "EdDSA" ? { extractable: true, crv: "Ed25519" } : { extractable: true };
    const { privateKey } = await jose.generateKeyPair(alg, options);
    keys.push({ ...(await jose.exportJWK(privateKey)), kid: `${alg}-${Date.now()}`, alg, use: "sig" });
  }
  writeFileSync(file, JSON.stringify({ keys }));
}

const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";
const ID_JAG = "urn:ietf:params:oauth:token-type:id-jag";

const issuer = `http://127.0.0.1:${settings.port}`;
const secret = "a-secret-of-at-least-32-characters-for-tests";
const client = (client_id, grant_types) => ({
  client_id,
  client_secret: secret,
  grant_types: client_id === "gateway" ? [...grant_types, EXCHANGE] : grant_types,
  redirect_uris: [],
  response_types: [],
  token_endpoint_auth_method: "client_secret_basic",
});
const server = (resource) => {
  const [format, alg] = settings.resources[resource].split(":");
  return {
    scope: settings.scopes,
    audience: resource,
    accessTokenFormat: format,
    accessTokenTTL: settings.ttl ?? 300,
    ...(format === "jwt" ? { jwt: { sign: { alg: alg ?? settings.algorithms[0] } } } : {}),
  };
};
const web = {
  client_id: "web",
  client_secret: secret,
  grant_types: ["authorization_code"],
  redirect_uris: settings.login ?? [],
  response_types: ["code"],
  token_endpoint_auth_method: "client_secret_basic",
};
const account = (accountId) => ({
  accountId,
  claims: () => ({
    sub: accountId,
    email: `${accountId}@${accountId === "mallory" ? "evil" : "corp"}.example`,
    email_verified: true,
    groups: ["Platform Team", "admin"],
  }),
});
/** Writes an access token as another product does: of this type, with claims called otherwise or left out (`""`), and others. */
const reshape = ({ typ, names, more }) => (ctx, token, jwt) => {
  jwt.header = { typ };
  for (const [ours, theirs] of Object.entries(names)) {
    if (theirs) jwt.payload[theirs] = jwt.payload[ours];
    delete jwt.payload[ours];
  }
  Object.assign(jwt.payload, more);
};
const provider = new Provider(issuer, {
  ...(settings.shape ? { formats: { customizers: { jwt: reshape(settings.shape) } } } : {}),
  extraTokenClaims: (ctx, token) => {
    const tenant = settings.tenants?.[token.resourceServer?.audience];
    return tenant ? { org: tenant } : undefined;
  },
  findAccount: (ctx, id) => account(id),
  claims: { openid: ["sub"], email: ["email", "email_verified"], groups: ["groups"] },
  jwks: JSON.parse(readFileSync(file, "utf8")),
  clients: [client("agent", ["client_credentials"]), client("gateway", []), ...(settings.login ? [web] : [])],
  features: {
    devInteractions: { enabled: Boolean(settings.login) },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (ctx, resource) => {
        if (!(resource in settings.resources)) throw new Error(`no resource ${resource}`);
        return server(resource);
      },
    },
  },
});

// The client `gateway` exchanges (RFC 8693) the token that somebody showed at one of `gateways`: for one for any of the resources, or for an
// identity assertion (ID-JAG) that names the client which `known_as` says it is elsewhere.
const { keys } = JSON.parse(readFileSync(file, "utf8"));

/** The claims of a token of ours that was shown to one of the gateways. */
async function shown(token) {
  const open = keys.map(({ d, p, q, dp, dq, qi, ...key }) => key);
  const wanted = { issuer, audience: settings.gateways ?? [], typ: "at+jwt" };
  return (await jose.jwtVerify(token, jose.createLocalJWKSet({ keys: open }), wanted)).payload;
}

/** An identity assertion for another authorization server (draft-ietf-oauth-identity-assertion-authz-grant). */
async function assertion({ audience, resource, scope }, subject) {
  const [key] = keys;
  return new jose.SignJWT({ client_id: settings.known_as, resource, scope })
    .setProtectedHeader({ alg: key.alg, kid: key.kid, typ: "oauth-id-jag+jwt" })
    .setIssuer(issuer)
    .setSubject(subject)
    .setAudience(audience)
    .setJti(crypto.randomUUID())
    .setIssuedAt()
    .setExpirationTime("2m")
    .sign(await jose.importJWK(key, key.alg));
}

async function exchange(ctx) {
  const { client, params } = ctx.oidc;
  if (params.subject_token_type !== ACCESS_TOKEN) throw new errors.InvalidRequest("the subject is known by access tokens here");
  const claims = await shown(params.subject_token).catch((error) => {
    throw new errors.InvalidRequest(`the subject token is not good: ${error.message}`);
  });
  if (params.requested_token_type === ID_JAG) {
    const access_token = await assertion(params, claims.sub);
    ctx.body = { access_token, issued_token_type: ID_JAG, token_type: "N_A", expires_in: 120 };
    return;
  }
  if (!(params.resource in settings.resources)) throw new errors.InvalidTarget(`no resource ${params.resource}`);
  const resourceServer = new provider.ResourceServer(params.resource, server(params.resource));
  // No more than what was shown is good for.
  const own = (claims.scope ?? "").split(" ");
  const given = (name) => resourceServer.scopes.has(name) && (own.includes("mcp") || own.includes(name));
  const scope = (params.scope ?? "").split(" ").filter(given).join(" ");
  const token = new provider.AccessToken({ client, accountId: claims.sub, gty: "token_exchange", scope });
  token.resourceServer = resourceServer;
  const access_token = await token.save();
  ctx.body = { access_token, issued_token_type: ACCESS_TOKEN, token_type: "Bearer", expires_in: token.expiration, scope };
}
const exchanged = ["subject_token", "subject_token_type", "requested_token_type", "resource", "audience", "scope"];
provider.registerGrantType(EXCHANGE, exchange, exchanged);

createServer(provider.callback()).listen(settings.port, "127.0.0.1", () => {
  console.log("ready");
  // Nobody reads on, and a notice to a closed pipe would end the process.
  console.info = console.warn = () => {};
});

// What `proxy` sends and whose response it returns, which options are defaults, and which tokens are kept.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";
import { HubSpotConnect, HubSpotConnectError } from "../dist/index.js";

const HUBSPOTS = { "hubspot-connect-origin": "hubspot" };

/** @returns a client whose requests are answered by `answer` */
function answered(answer) {
  return new HubSpotConnect({ service: "https://connect.example.com", apiKey: "key", fetch: async (url, init) => answer(new Request(url, init)) });
}

test("HubSpot's responses are returned whatever their status", async () => {
  for (const status of [200, 302, 404, 429, 500]) {
    const client = answered(() => Response.json({ category: "x" }, { status, headers: HUBSPOTS }));
    assert.equal((await client.proxy("c", "/crm/v3/objects/contacts")).status, status);
  }
});

test("a refusal of the service is an error, and so is a response of anything else on the way", async () => {
  const problem = { code: "needs_reauth", title: "Reauthorization required", retryable: false, request_id: "r1" };
  const refused = answered(() => Response.json(problem, { status: 409, headers: { "content-type": "application/problem+json" } }));
  await assert.rejects(refused.proxy("c", "/x"), { name: "HubSpotConnectError", code: "needs_reauth", status: 409, requestId: "r1" });
  // A refused HEAD has no body.
  const head = answered(() => new Response(null, { status: 409, headers: { "x-request-id": "r2" } }));
  await assert.rejects(head.proxy("c", "/x", { method: "HEAD" }), { code: "unexpected_answer", status: 409, requestId: "r2" });
  const gateway = answered(() => new Response("<h1>Bad gateway</h1>", { status: 200 }));
  await assert.rejects(gateway.proxy("c", "/x"), { code: "unexpected_answer", status: 200 });
});

test("a request without a response is an error, and is not sent again", async () => {
  let sent = 0;
  const client = answered(() => { sent += 1; throw new TypeError("fetch failed"); });
  await assert.rejects(client.proxy("c", "/x"), (error) => error instanceof HubSpotConnectError && error.code === "network_error");
  assert.equal(sent, 1);
});

test("what the caller aborts rejects with the caller's reason", async () => {
  const client = new HubSpotConnect({ service: "https://connect.example.com", apiKey: "key", fetch: async (_, { signal }) => signal.throwIfAborted() });
  const reason = new Error("the user left");
  await assert.rejects(client.proxy("c", "/x", { signal: AbortSignal.abort(reason) }), reason);
});

test("json is sent as JSON, under a content type of the caller's where there is one", async () => {
  const client = answered(async (request) => Response.json([request.method, request.headers.get("content-type"), await request.json()], { headers: HUBSPOTS }));
  const init = { method: "POST", json: { properties: {} } };
  assert.deepEqual(await (await client.proxy("c", "/x", init)).json(), ["POST", "application/json", { properties: {} }]);
  const own = { ...init, headers: { "content-type": "application/merge-patch+json" } };
  assert.equal((await (await client.proxy("c", "/x", own)).json())[1], "application/merge-patch+json");
});

test("a path stays as it is, and cannot lead out of the proxy", async () => {
  const client = answered(({ url }) => new Response(new URL(url).href, { headers: HUBSPOTS }));
  const sent = await (await client.proxy("c", "/crm/v3/objects/companies/https%3A%2F%2Fexample.com?idProperty=a%2Fb")).text();
  assert.ok(sent.endsWith("/proxy/crm/v3/objects/companies/https%3A%2F%2Fexample.com?idProperty=a%2Fb"), sent);
  for (const path of ["../connections/c", "/../connections/c", "/x/../../connections/c", "/%2e%2e/connections/c", "..\\connections"]) {
    await assert.rejects(client.proxy("c", path), /must not contain/);
  }
});

/** Serves with `handle` while a client for it is used. @returns the paths that were asked */
async function served(handle, use, options) {
  const asked = [];
  const server = createServer((request, response) => (asked.push(request.url), handle(response))).listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    await use(new HubSpotConnect({ service: `http://127.0.0.1:${server.address().port}`, apiKey: "key", retries: 0, ...options }));
  } finally {
    server.closeAllConnections();
    server.close();
  }
  return asked;
}

test("a redirect is not followed: it is HubSpot's response, or an error", async () => {
  const redirect = (response) => response.writeHead(302, { location: "/elsewhere", ...HUBSPOTS }).end();
  const asked = await served(redirect, async (client) => {
    const response = await client.proxy("c", "/x");
    assert.deepEqual([response.status, response.headers.get("location")], [302, "/elsewhere"]);
    await assert.rejects(client.webhooks.list(), { code: "unexpected_answer", status: 302 });
  });
  assert.equal(asked.length, 2);
});

test("an attempt ends after the timeout", async () => {
  const asked = await served(() => {}, async (client) => {
    await assert.rejects(client.proxy("c", "/x"), { code: "network_error" });
    await assert.rejects(client.webhooks.list(), { code: "network_error", retryable: true });
  }, { timeout: 100 });
  assert.equal(asked.length, 2);
});

test("an option that is undefined is the default", async () => {
  const asked = await served((response) => response.writeHead(503, { "retry-after": "0" }).end(), async (client) => {
    await assert.rejects(client.webhooks.list(), { status: 503 });
  }, { retries: undefined, timeout: undefined, fetch: undefined });
  assert.equal(asked.length, 3);
});

test("a client without an API key is refused, and the option is named", () => {
  assert.throws(() => new HubSpotConnect({ service: "https://connect.example.com", apiKey: undefined }), /`apiKey`/);
});

/** @returns a response whose access token is kept for ten minutes */
function token(access_token) {
  return Response.json({ access_token }, { headers: { "cache-control": "private, max-age=600" } });
}

test("a token whose request was under way when the tokens were forgotten is not kept", async () => {
  const asked = [];
  const client = answered(() => new Promise((resolve) => asked.push(resolve)));
  const early = client.connections.token("c");
  client.connections.forgetToken("c");
  const late = client.connections.token("c");
  asked[1](token("new"));
  assert.equal((await late).access_token, "new");
  asked[0](token("old"));
  assert.equal((await early).access_token, "old");
  assert.equal((await client.connections.token("c")).access_token, "new");
});

test("a token that arrives while the tokens are replaced or ended is not kept", async () => {
  for (const name of ["refresh", "disconnect", "uninstall"]) {
    let finish;
    const tokens = ["old", "new"];
    const client = answered(({ url }) => (url.endsWith("/token") ? token(tokens.shift()) : new Promise((resolve) => { finish = resolve; })));
    const replacing = client.connections[name]("c");
    assert.equal((await client.connections.token("c")).access_token, "old");
    finish(Response.json({}));
    await replacing;
    assert.equal((await client.connections.token("c")).access_token, "new", name);
  }
});

// The whole job against the real service and a simulated HubSpot: SERVICE, API_KEY and ORIGIN name them.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";
import { HubSpotConnect, HubSpotConnectError, verifyWebhook } from "../dist/index.js";
import { connect } from "./person.mjs";

const { SERVICE: service, API_KEY: apiKey, ORIGIN: origin } = process.env;

/** Starts a receiver of webhooks, which keeps each message as it was sent. */
async function listener() {
  const heard = [];
  const server = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    heard.push({ headers: request.headers, body: Buffer.concat(parts) });
    response.writeHead(204).end();
    server.emit("heard");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const next = async (type, secret) => {
    for (;;) {
      const found = heard.map(({ headers, body }) => verifyWebhook(body, headers, secret)).find((event) => event.type === type);
      if (found) return found;
      await once(server, "heard", { signal: AbortSignal.timeout(20_000) });
    }
  };
  return { url: `http://127.0.0.1:${server.address().port}/hook`, heard, next, close: () => server.close() };
}

test("a backend has a user connect, uses the connection, hears of it and ends it", async () => {
  const asked = [];
  const fetch = (url, init) => (asked.push(new URL(url).pathname), globalThis.fetch(url, init));
  const hubspot = new HubSpotConnect({ service, apiKey, fetch });
  const ear = await listener();
  try {
    const webhook = await hubspot.webhooks.create({ url: ear.url });
    assert.match(webhook.secret, /^whsec_/);

    const session = await hubspot.connectSessions.create({ external_user_id: "user_1", metadata: { plan: "pro" } });
    await connect(service, origin, session.token);
    const { status, connection_id: id } = await hubspot.connectSessions.get(session.id);
    assert.equal(status, "connected");

    const created = await ear.next("connection.created", webhook.secret);
    assert.equal(created.data.connection_id, id);
    const [{ body, headers }] = ear.heard;
    assert.throws(() => verifyWebhook(body, headers, "whsec_AAAA"), /No signature matches/);
    assert.throws(() => verifyWebhook(`${body} `, headers, webhook.secret), /No signature matches/);
    assert.throws(() => verifyWebhook(body, headers, webhook.secret, Date.now() + 600_000), /too old/);

    const { data: connections } = await hubspot.connections.list({ external_user_id: "user_1" });
    assert.deepEqual(connections.map((one) => one.id), [id]);
    assert.deepEqual((await hubspot.connections.get(id)).metadata, { plan: "pro" });

    const first = await hubspot.connections.token(id);
    assert.equal(first.token_type, "bearer");
    const before = asked.length;
    const [second, third] = await Promise.all([hubspot.connections.token(id), hubspot.connections.token(id)]);
    assert.deepEqual([second.access_token, third.access_token], [first.access_token, first.access_token]);
    assert.equal(asked.length, before, "a token is kept for as long as the service allows");
    await hubspot.connections.refresh(id);
    await hubspot.connections.token(id);
    assert.equal(asked.length, before + 2, "after a refresh it is requested again");

    const answer = await hubspot.proxy(id, "/crm/v3/objects/contacts?limit=1");
    assert.equal(answer.headers.get("hubspot-connect-origin"), "hubspot");
    assert.equal(answer.status, 200);
    assert.ok(Array.isArray((await answer.json()).results));
    const write = { method: "POST", json: { properties: { email: "ada@example.com" } } };
    const denied = await hubspot.proxy(id, "/crm/v3/objects/contacts", write);
    assert.equal(denied.status, 403, "a refusal of HubSpot is a response");
    await assert.rejects(hubspot.proxy(id, "/oauth/v1/access-tokens/x"), { code: "proxy_path_not_allowed", status: 400 });

    assert.equal((await hubspot.connections.disconnect(id)).connection_id, id);
    const ended = await ear.next("connection.disconnected", webhook.secret);
    assert.equal(ended.data.connection_id, id);
    const gone = (error) => error instanceof HubSpotConnectError && error.code === "connection_not_found";
    await assert.rejects(hubspot.connections.token(id), gone);
    await hubspot.webhooks.delete(webhook.id);
  } finally {
    ear.close();
  }
});

test("a backend looks after its webhooks, sends a link, and uninstalls the app", async () => {
  const hubspot = new HubSpotConnect({ service, apiKey });
  assert.ok((await hubspot.apiKey.get()).scopes.includes("webhooks"));
  assert.deepEqual(await hubspot.installs.list(), { data: [], next_cursor: null });
  const ear = await listener();
  try {
    const { id, secret } = await hubspot.webhooks.create({ url: ear.url, events: ["connection.needs_reauth"] });
    const sent = await hubspot.webhooks.test(id);
    assert.equal((await ear.next("webhook.test", secret)).data.webhook_id, id);
    const { data: deliveries } = await hubspot.webhooks.listDeliveries(id);
    assert.deepEqual(deliveries.map((one) => one.id), [sent.id]);
    assert.equal((await hubspot.webhooks.replayDelivery(id, sent.id)).id, sent.id);
    const rotated = await hubspot.webhooks.rotateSecret(id, 0);
    assert.match(rotated.secret, /^whsec_/);
    assert.notEqual(rotated.secret, secret);
    assert.equal((await hubspot.webhooks.update(id, { enabled: false })).enabled, false);
    assert.equal((await hubspot.webhooks.get(id)).disabled_reason, "by_request");
    assert.deepEqual((await hubspot.webhooks.list()).data.map((one) => one.id), [id]);
    await hubspot.webhooks.delete(id);
  } finally {
    ear.close();
  }

  const link = await hubspot.connectSessions.createLink({ external_user_id: "user_4", requested_by: "Anna Smith" });
  assert.ok(link.link.startsWith(`${service}/`));
  assert.equal((await hubspot.connectSessions.cancel(link.id)).status, "cancelled");

  const read = await hubspot.readTokens.create({ external_user_id: "user_4", expires_in: 60 });
  assert.match(read.token, /^hsc_read_/);

  const session = await hubspot.connectSessions.create({ external_user_id: "user_4" });
  await connect(service, origin, session.token);
  const { connection_id: id } = await hubspot.connectSessions.get(session.id);
  assert.equal((await hubspot.connections.history(id)).data[0].type, "connection.created");
  assert.equal((await hubspot.connections.uninstall(id)).uninstalled, true);
});

test("a POST whose answer was lost is sent again under its name, and done once", async () => {
  const [replayed, idempotencyKey] = [[], crypto.randomUUID()];
  const fetch = async (url, init) => {
    const answer = await globalThis.fetch(url, init);
    replayed.push(answer.headers.get("idempotency-replayed"));
    if (replayed.length === 1) throw new TypeError("the connection broke");
    return answer;
  };
  const hubspot = new HubSpotConnect({ service, apiKey, fetch });
  const made = await hubspot.connectSessions.create({ external_user_id: "user_2" }, { idempotencyKey });
  const again = await hubspot.connectSessions.create({ external_user_id: "user_2" }, { idempotencyKey });
  assert.equal(again.token, made.token);
  assert.deepEqual(replayed, [null, "true", "true"]);
  const other = hubspot.connectSessions.create({ external_user_id: "user_3" }, { idempotencyKey });
  await assert.rejects(other, { code: "idempotency_key_reused" });
});

test("a problem is an error that programs can go by", async () => {
  const wrong = new HubSpotConnect({ service, apiKey: "hsc_key_00000000_wrong" });
  const expected = { name: "HubSpotConnectError", code: "api_key_invalid", status: 401, retryable: false };
  await assert.rejects(wrong.connectSessions.get("0197f3c2-5b1e-4a44-9d0c-3f6b2f1f7a10"), expected);
  const hubspot = new HubSpotConnect({ service, apiKey });
  const odd = hubspot.connectSessions.create({ external_user_id: "user_1", scopes: ["not a scope"] });
  await assert.rejects(odd, { code: "validation_failed", pointer: "/scopes/0" });
  const nobody = new HubSpotConnect({ service: "http://127.0.0.1:9", apiKey, retries: 0 });
  await assert.rejects(nobody.connectSessions.get("x"), { code: "network_error", status: 0, retryable: true });
  assert.throws(() => new HubSpotConnect({ service: "http://connect.example.com", apiKey }), /https/);
});

test("a filter without a value is refused before anything is sent", async () => {
  const asked = [];
  const fetch = async (url) => {
    asked.push(new URL(url).search);
    return Response.json({ data: [], next_cursor: null });
  };
  const { connections, webhooks } = new HubSpotConnect({ service, apiKey, fetch });
  for (const external_user_id of [undefined, null]) {
    const refused = { name: "TypeError", message: "The filter `external_user_id` has no value." };
    await assert.rejects(connections.list({ status: "active", external_user_id }), refused);
  }
  for (const queued_after of [undefined, null]) {
    await assert.rejects(webhooks.replayFailed("x", { queued_after }), { name: "TypeError", message: /`queued_after`/ });
  }
  assert.deepEqual(asked, []);
  await connections.list({ portal_id: 0, cursor: undefined, limit: undefined, order: undefined });
  assert.deepEqual(asked, ["?portal_id=0"]);
});

test("a request is sent again when the service says so", async () => {
  let asked = 0;
  const fetch = async () => {
    asked += 1;
    if (asked === 3) return Response.json({ data: [], next_cursor: null });
    const headers = { "retry-after": "0", "content-type": "application/problem+json" };
    return Response.json({ code: "storage_unavailable", status: 503 }, { status: 503, headers });
  };
  assert.deepEqual(await new HubSpotConnect({ service, apiKey, fetch }).webhooks.list(), { data: [], next_cursor: null });
  assert.equal(asked, 3);
});

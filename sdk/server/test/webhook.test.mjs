// The headers of a webhook, in every form in which frameworks hand them over.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer, request } from "node:http";
import { test } from "node:test";
import { verifyWebhook, WebhookVerificationError } from "../dist/index.js";

const key = Buffer.alloc(32, 7);
const SECRET = `whsec_${key.toString("base64")}`;
const BODY = JSON.stringify({ type: "connection.created", timestamp: "2026-11-21T00:07:38Z", data: {} });
const ID = "msg_1";
const TIMESTAMP = String(Math.floor(Date.now() / 1000));
const SIGNATURE = `v1,${createHmac("sha256", key).update(`${ID}.${TIMESTAMP}.${BODY}`).digest("base64")}`;
const OTHER = `v1,${Buffer.alloc(32).toString("base64")}`;

const lower = { "webhook-id": ID, "webhook-timestamp": TIMESTAMP, "webhook-signature": SIGNATURE };
const mixed = { "Webhook-Id": ID, "WEBHOOK-TIMESTAMP": TIMESTAMP, "Webhook-Signature": SIGNATURE };
const arrays = (headers) => Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]]));

for (const [form, headers] of Object.entries({
  "a plain object": lower,
  "a plain object with names in any case": mixed,
  "arrays": arrays(lower),
  "arrays under names in any case": arrays(mixed),
  "two signatures in an array": { ...mixed, "Webhook-Signature": [OTHER, SIGNATURE] },
  "Headers": new Headers(mixed),
  "the headers of another fetch library": { get: (name) => lower[name.toLowerCase()] ?? null },
})) {
  test(`it takes ${form}`, () => {
    assert.equal(verifyWebhook(BODY, headers, SECRET).type, "connection.created");
  });
}

test("it takes what Node.js has received", async () => {
  const server = createServer(({ headers }, response) => {
    response.end(verifyWebhook(BODY, headers, SECRET).type);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  try {
    const sent = request({ port: server.address().port, host: "127.0.0.1", headers: mixed }).end();
    const [response] = await once(sent, "response");
    assert.equal(String(await response.toArray()), "connection.created");
  } finally {
    server.close();
  }
});

for (const [form, body] of Object.entries({ bytes: Buffer.from(BODY), "an ArrayBuffer": new TextEncoder().encode(BODY).buffer })) {
  test(`it takes the body as ${form}`, () => {
    assert.equal(verifyWebhook(body, lower, SECRET).type, "connection.created");
  });
}

test("one of several secrets has to match", () => {
  const other = `whsec_${Buffer.alloc(32, 8).toString("base64")}`;
  assert.equal(verifyWebhook(BODY, lower, [other, SECRET]).type, "connection.created");
  assert.throws(() => verifyWebhook(BODY, lower, [other]), WebhookVerificationError);
});

test("misuse is explained", () => {
  const misuses = [
    [JSON.parse(BODY), SECRET, /already parsed.*raw body/],
    [undefined, SECRET, /already parsed/],
    [BODY, undefined, /secret is missing.*environment variable/],
    [BODY, [], /secret is missing/],
    [BODY, [SECRET, undefined], /secret is missing/],
    [BODY, "", /secret is empty/],
    [BODY, "whsec_", /secret is empty/],
  ];
  for (const [body, secret, message] of misuses) {
    assert.throws(() => verifyWebhook(body, lower, secret), { name: "TypeError", message });
  }
});

test("a header that is missing, or is there twice with two values, is refused", () => {
  for (const name of Object.keys(lower)) {
    for (const value of [undefined, "", []]) {
      assert.throws(() => verifyWebhook(BODY, { ...lower, [name]: value }, SECRET), WebhookVerificationError);
    }
  }
  for (const twice of [{ "Webhook-Id": "msg_2" }, { "webhook-timestamp": [TIMESTAMP, "1"] }, { "webhook-signature": [OTHER] }]) {
    assert.throws(() => verifyWebhook(BODY, { ...lower, ...twice }, SECRET), WebhookVerificationError);
  }
});

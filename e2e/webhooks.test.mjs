// The official Standard Webhooks packages for JavaScript and Python accept the service's deliveries.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { Webhook } from "standardwebhooks";
import { freePort } from "./applications.mjs";
import { ACME, startDemo } from "./harness.mjs";

const PATIENCE_MS = 15_000;

/** Polls until a value is truthy. */
async function until(what, look) {
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await sleep(50)) {
    const seen = await look();
    if (seen) return seen;
  }
  throw new Error(`not in time: ${what}`);
}

/** Starts a server on this machine that records all posts. */
async function startReceiver() {
  const heard = [];
  const server = http.createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    heard.push({ headers: request.headers, body: Buffer.concat(chunks).toString() });
    response.writeHead(204).end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { heard, host: `127.0.0.1:${server.address().port}`, stop: () => server.close() };
}

/** Starts the service with its own folder and keys. */
async function startService(hubspot, receiver) {
  const program = process.env.SERVICE;
  assert.ok(program, "SERVICE must name the service's binary");
  const folder = await mkdtemp(join(tmpdir(), "webhooks-"));
  const base = `http://127.0.0.1:${await freePort()}`;
  const env = {
    HUBSPOT_CLIENT_ID: "fake-client-id",
    HUBSPOT_CLIENT_SECRET: "fake-client-secret",
    HUBSPOT_AUTHORIZE_URL: `${hubspot}/oauth/authorize`,
    HUBSPOT_API_URL: hubspot,
    ENCRYPTION_KEYS: `${randomBytes(32).toString("base64url")}=`,
    APP_SECRET: randomBytes(32).toString("hex"),
    DATABASE_URL: `sqlite://${join(folder, "service.db")}?mode=rwc`,
    SERVER_ADDR: new URL(base).host,
    PUBLIC_URL: base,
    ADMIN_ADDR: "off",
    WEBHOOK_ALLOWED_HOSTS: receiver.host,
  };
  const child = spawn(program, ["serve"], { env, cwd: folder, stdio: "ignore" });
  const exited = once(child, "exit");
  await until("the service", () => fetch(`${base}/livez`).then((answer) => answer.ok, () => false));
  const run = promisify(execFile);
  const made = await run(program, ["api-keys", "create", "test", "--scope", "webhooks"], { env, cwd: folder });
  const key = made.stdout.trim();
  return {
    base,
    call: async (method, path, body) => {
      const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
      const answer = await fetch(base + path, { method, headers, body: body && JSON.stringify(body) });
      const text = await answer.text();
      assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
      return JSON.parse(text);
    },
    stop: async () => {
      child.kill("SIGTERM");
      await exited;
      await rm(folder, { recursive: true });
    },
  };
}

/** Connects like a user's browser that follows redirects. */
async function connect(base) {
  const cookies = new Map();
  let url = `${base}/auth/hubspot/start`;
  for (let hops = 0; url && hops < 5; hops += 1) {
    const cookie = url.startsWith(base) ? [...cookies].map((pair) => pair.join("=")).join("; ") : "";
    // Not by fetch, which does not send the headers of a navigation.
    const [answer] = await once(http.get(url, { headers: cookie ? { cookie } : {} }), "response");
    answer.resume();
    for (const line of answer.headers["set-cookie"] ?? []) {
      const [, name, value] = line.match(/^([^=]+)=([^;]*)/);
      cookies.set(name, value);
    }
    const next = answer.headers.location;
    url = next && new URL(next, url).href;
  }
}

async function verifiedByPython(secret, { headers, body }) {
  const python = process.env.PYTHON;
  assert.ok(python, "PYTHON must name an interpreter with the packages of requirements.txt");
  const work = promisify(execFile)(python, [join(import.meta.dirname, "verify_webhook.py")]);
  work.child.stdin.end(JSON.stringify({ secret, headers, body }));
  return (await work).stdout.trim();
}

test("the official libraries accept deliveries, and refuse forged, old and wrongly signed ones", async () => {
  const [demo, receiver] = [await startDemo([]), await startReceiver()];
  await demo.setOptions({ auto_consent: { approve: { hub_id: ACME.id } } });
  const service = await startService(demo.hubspot, receiver);
  try {
    const made = await service.call("POST", "/api/hubspot/webhooks", { url: `http://${receiver.host}/hooks` });
    await connect(service.base);
    const message = await until("the event", () => receiver.heard[0]);
    const { secret } = made;
    const event = new Webhook(secret).verify(message.body, message.headers);
    assert.equal(event.type, "connection.created");
    assert.equal(event.data.portal_id, ACME.id);
    assert.equal(event.data.sequence, 1);
    assert.equal(await verifiedByPython(secret, message), "connection.created");

    const changed = (headers, body = message.body) => ({ headers: { ...message.headers, ...headers }, body });
    const old = String(Number(message.headers["webhook-timestamp"]) - 301);
    const forgeries = [
      changed({}, message.body.replace(String(ACME.id), "1")),
      changed({ "webhook-id": "evt_another" }),
      changed({ "webhook-timestamp": old }),
      changed({ "webhook-signature": "v1,AAAA" }),
    ];
    for (const forged of forgeries) {
      assert.throws(() => new Webhook(secret).verify(forged.body, forged.headers));
      assert.match(await verifiedByPython(secret, forged), /^refused: /);
    }

    const rotated = await service.call("POST", `/api/hubspot/webhooks/${made.id}/rotate-secret`, {});
    const tested = await service.call("POST", `/api/hubspot/webhooks/${made.id}/test`);
    const isTested = ({ headers }) => headers["webhook-id"] === tested.id;
    const second = await until("the test event arrives", () => receiver.heard.find(isTested));
    for (const either of [secret, rotated.secret]) {
      assert.equal(new Webhook(either).verify(second.body, second.headers).type, "webhook.test");
      assert.equal(await verifiedByPython(either, second), "webhook.test");
    }
    assert.throws(() => new Webhook(rotated.secret).verify(message.body, message.headers), "it was signed before");
  } finally {
    await service.stop();
    receiver.stop();
    await demo.stop();
  }
});

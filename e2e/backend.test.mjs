// A host's backend, written from docs/backend.md alone: connect session, webhook, token, call, disconnect.
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { Webhook } from "standardwebhooks";
import { ACME, approve, suite, until } from "./harness.mjs";

/** The backend's own server: it receives webhooks, and accepts only signed ones. */
async function backend() {
  const events = [];
  const refused = [];
  const server = http.createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    try {
      events.push(new Webhook(server.secret).verify(body, request.headers));
      response.writeHead(204).end();
    } catch (why) {
      refused.push(why.message);
      response.writeHead(401).end();
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, events, refused, url: `http://127.0.0.1:${server.address().port}/hubspot-events` };
}

suite([], (test) => {
  test("a backend uses a connect session, the popup, a webhook, a token, a call to HubSpot and a disconnect", async (stage) => {
    const { demo } = stage;
    const own = await backend();
    stage.servers.push(own.server);
    const { status, body: endpoint } = await demo.api("POST", "/api/hubspot/webhooks", { url: own.url });
    assert.equal(status, 201, JSON.stringify(endpoint));
    own.server.secret = endpoint.secret;

    // The page requests a session from its backend, and the user consents in the popup.
    const { body: session } = await demo.api("POST", "/api/hubspot/connect-sessions", {
      external_user_id: "user_42", metadata: { plan: "pro" },
    });
    const page = await stage.open(demo.host);
    await page.evaluate(async ([service, token]) => {
      const { HubSpotConnect } = await import(`${service}/static/sdk/hubspot-connect.js`);
      const button = document.createElement("button");
      button.id = "own";
      button.onclick = () => { window.result = new HubSpotConnect({ service }).connect({ connectSession: token }); };
      document.body.append(button);
      button.textContent = "Connect";
    }, [demo.service, session.token]);
    const popup = await stage.popupOf(page, () => page.click("#own"));
    await popup.waitForSelector("#approve");
    await approve(popup, ACME);
    const { connectionId } = await page.evaluate(() => window.result);

    // The backend is notified by a signed webhook.
    const created = await until("the webhook arrives", () => own.events.find(({ type }) => type === "connection.created"));
    assert.equal(created.data.connection_id, connectionId);
    assert.equal(created.data.external_user_id, "user_42");
    assert.deepEqual(own.refused, []);

    // A valid token with the default minimum lifetime.
    const path = `/api/hubspot/connections/${connectionId}`;
    const { status: read, body: lease, headers } = await demo.api("GET", `${path}/token`);
    assert.deepEqual([read, lease.generation, lease.warnings], [200, 1, []]);
    const known = await fetch(`${demo.service}${path}/token`, {
      headers: { authorization: `Bearer ${demo.key}`, "if-none-match": headers.get("etag") },
    });
    assert.equal(known.status, 304);
    const details = await fetch(`${demo.hubspot}/account-info/v3/details`, { headers: { authorization: `Bearer ${lease.access_token}` } });
    assert.equal((await details.json()).portalId, ACME.id);

    // HubSpot's API, without a token in the backend.
    const call = (method, route, body) => fetch(`${demo.service}${path}/proxy${route}`, {
      method,
      headers: { authorization: `Bearer ${demo.key}`, "content-type": "application/json" },
      body: body && JSON.stringify(body),
    });
    const made = await call("POST", "/crm/v3/objects/contacts", { properties: { email: "anna@acme.example" } });
    assert.equal(made.status, 201);
    const { id } = await made.json();
    const list = await (await call("GET", "/crm/v3/objects/contacts?limit=100")).json();
    assert.ok(list.results.some((contact) => contact.id === id));

    // The connection's details, and its end.
    const { body: found } = await demo.api("GET", "/api/hubspot/connections?external_user_id=user_42");
    assert.deepEqual(found.data.map((one) => [one.id, one.status, one.metadata]), [[connectionId, "active", { plan: "pro" }]]);
    const { body: ended } = await demo.api("DELETE", path);
    assert.deepEqual([ended.connection_id, ended.revocation], [connectionId, "done"]);
    assert.equal((await demo.api("GET", `${path}/token`)).status, 404);
    const last = await until("the disconnect event arrives", () => own.events.find(({ type }) => type === "connection.disconnected"));
    assert.equal(last.data.connection_id, connectionId);
    assert.ok(last.data.sequence > created.data.sequence);
  });
});

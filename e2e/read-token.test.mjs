// Read tokens: a host page shows its user's connection after a reload, on another site and without cookies.
import assert from "node:assert/strict";
import { ACME, approve, suite, until } from "./harness.mjs";
import { Hosts } from "./hosts.mjs";

const hosts = await Hosts.serve();

const readToken = async (demo) => (await demo.api("POST", "/api/hubspot/read-tokens", { external_user_id: "user_42" })).body.token;

/** Opens a page of the host with this body. */
async function open(stage, body) {
  stage.sites.add(hosts.origin);
  const page = `<!doctype html><html lang="en"><title>Host</title><link rel="icon" href="data:,">${body}`;
  return stage.open(hosts.origin + hosts.put(page));
}

/** Connects an account for the host's user, and returns the connection's id. */
async function connect(stage) {
  const { service } = stage.demo;
  const { body: session } = await stage.demo.api("POST", "/api/hubspot/connect-sessions", { external_user_id: "user_42" });
  const page = await open(stage, `<button>Connect</button><script type="module">
    import { HubSpotConnect } from "${service}/static/sdk/hubspot-connect.js";
    const hubspot = new HubSpotConnect({ service: "${service}" });
    document.querySelector("button").onclick = async () => { window.result = await hubspot.connect({ connectSession: "${session.token}" }); };
    window.ready = true;
  </script>`);
  await page.waitForFunction(() => window.ready);
  const popup = await stage.popupOf(page, () => page.getByRole("button").click());
  await popup.waitForSelector("#approve");
  await approve(popup, ACME);
  return (await until("connected", () => page.evaluate(() => window.result))).connectionId;
}

suite(hosts.flags, (test) => {
  test("the element shows the connection of its read token's user, and its end", async (stage) => {
    const { demo } = stage;
    const connection = await connect(stage);
    const page = await open(stage, `<script type="module" src="${demo.service}/static/sdk/element.js"></script>
      <hubspot-connect service="${demo.service}" read-token="${await readToken(demo)}"></hubspot-connect>`);
    await page.waitForSelector('hubspot-connect[state="connected"]');
    assert.match(await page.locator("hubspot-connect").textContent() + await page.getByRole("status").textContent(), /acme\.example/);
    assert.equal((await demo.api("DELETE", `/api/hubspot/connections/${connection}`)).status, 200);
    await page.waitForSelector('hubspot-connect[state="idle"]');
  });

  test("status() and watch() fetch another read token when the service refuses one", async (stage) => {
    const { demo } = stage;
    stage.expectProblem(/status of 401/);
    const connection = await connect(stage);
    const page = await open(stage, "");
    const seen = await page.evaluate(async ([service, good]) => {
      const { HubSpotConnect } = await import(`${service}/static/sdk/hubspot-connect.js`);
      const given = ["hsc_read_expired.token", good];
      const hubspot = new HubSpotConnect({ service, readToken: () => given.shift() });
      const refused = await hubspot.status().catch(({ code }) => code);
      const { connections } = await hubspot.status();
      const others = ["hsc_read_expired.token", good];
      const watching = new HubSpotConnect({ service, readToken: async () => others.shift() });
      const watched = await new Promise((done) => watching.watch(({ connections: [one] }) => done(one?.connectionId)));
      return { refused, id: connections[0]?.connectionId, watched };
    }, [demo.service, await readToken(demo)]);
    assert.deepEqual(seen, { refused: "read_token_invalid", id: connection, watched: connection });
  });
});

// The element in a page.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { CONNECTION, launchBrowser, Stage, until, withoutNewApis } from "./stage.mjs";

let browser;
before(async () => { browser = await launchBrowser(); });
after(() => browser?.close());

const page = (attributes = "", scheme = "light dark") => (service) => `<!doctype html><html lang="en" style="color-scheme:${scheme}"><meta name="viewport" content="width=device-width">
<title>Host</title><link rel="icon" href="data:,"><script>
  window.events = [];
  window.states = [];
  addEventListener("statechange", ({ target, detail }) => window.states.push(detail === target.state ? detail : [detail, target.state]));
  for (const name of ["connected", "reconnected", "disconnected", "failed"]) addEventListener(name, ({ detail }) => window.events.push([name, detail.code ?? detail.connectionId ?? detail.hubDomain]));
  // The event of error trackers, in both phases.
  for (const capture of [false, true]) addEventListener("error", (event) => window.events.push(["tracked", event.message]), capture);
  window.onerror = (event) => window.events.push(["onerror", String(event)]);
</script>
<script type="module" src="${service}/static/sdk/element.js"></script>
<hubspot-connect service="${service}" ${attributes}></hubspot-connect>`;

function staged(name, changes, body) {
  test(name, { timeout: 60_000 }, async () => {
    const stage = await Stage.set(browser, { hostPage: page(), ...changes });
    try {
      await body(stage);
      assert.deepEqual(stage.problems, [], "no script error");
    } finally {
      await stage.clear();
    }
  });
}

async function begin(stage) {
  const host = await stage.open("/element");
  const element = host.locator("hubspot-connect");
  const state = (expected) => until(`it is ${expected}`, async () => (await element.getAttribute("state")) === expected);
  await state("idle");
  const press = async () => {
    const popup = await stage.press(host, "hubspot-connect button");
    await popup.waitForSelector("h1");
    return popup;
  };
  return { host, element, state, press };
}

describe("the element", { concurrency: 2 }, () => {
  staged("shows the connection, and that HubSpot has ended it", { hostPage: page('label="Link HubSpot" portal-id="42"') }, async (stage) => {
    const { host, element, state, press } = await begin(stage);
    const button = host.getByRole("button");
    assert.equal(await button.textContent(), "Link HubSpot");
    await press();
    const flow = await stage.flow();
    assert.equal(flow.fields.portal_id, "42");
    await state("waiting");
    assert.match(await host.getByRole("status").innerText(), /^Continue in the popup\.$/);
    // HubSpot has not reported the scopes yet.
    stage.change(flow, { state: { status: "connected", connection: { ...CONNECTION, scopes: null, missing_scopes: [] } } });
    await state("connected");
    assert.equal(await host.getByRole("status").innerText(), "Connected as acme.example (account 1234567).");
    assert.deepEqual(await host.evaluate(() => window.events), [["connected", "c1"]]);
    stage.change(flow, { state: { status: "connected", connection: { ...CONNECTION, status: "needs_reauth" } } });
    await state("needs_reauth");
    assert.deepEqual(await host.evaluate(() => window.states), ["opening", "waiting", "connected", "needs_reauth"]);
    assert.equal(await button.textContent(), "Reconnect");
    assert.deepEqual(await element.evaluate((one) => [...one.shadowRoot.querySelectorAll("[part]")].map((each) => each.getAttribute("part"))), ["button", "status", "error"]);
  });

  staged("shows an error with its support code, and can try again", {}, async (stage) => {
    const { host, state, press } = await begin(stage);
    const popup = await press();
    const flow = await stage.flow();
    stage.change(flow, { state: { status: "failed", error: { code: "user_denied", message: "You did not <b>approve</b>." } } });
    await state("error");
    assert.equal(await host.getByRole("status").innerText(), "You did not <b>approve</b>. (user_denied, flow-1)");
    assert.deepEqual(await host.evaluate(() => window.events), [["failed", "user_denied"]]);
    await popup.close();
    await press();
    await state("waiting");
  });

  staged("shows possible reasons after a long wait, and starts again", { hostPage: page('scopes="crm.objects.contacts.read"') }, async (stage) => {
    await stage.context.addInitScript(() => {
      const later = window.setTimeout;
      window.setTimeout = (call, ms) => later(call, ms === 90_000 ? 1_500 : ms);
    });
    const { host, state, press } = await begin(stage);
    const first = await press();
    await state("stalled");
    const items = await until("the reasons are there", async () => {
      const texts = await host.getByRole("listitem").allInnerTexts();
      return texts.length === 3 && texts;
    });
    assert.match(items.join(), /super admin.*crm\.objects\.contacts\.read.*closed/);
    assert.equal(await host.getByRole("button").textContent(), "Start again");
    await press();
    await stage.flow(2);
    await until("the first popup closes", () => first.isClosed());
    await state("waiting");
    assert.deepEqual(await host.evaluate(() => window.events), [], "starting again is no error");
  });

  staged("shows that the popup may be closed, and the next click opens another", {}, async (stage) => {
    const { host, state, press } = await begin(stage);
    const popup = await press();
    await stage.flow();
    await state("waiting");
    await popup.close();
    const button = host.getByRole("button");
    await host.getByText("If you have closed it, press the button again.").waitFor();
    await state("perhaps_closed");
    assert.ok(await button.isEnabled());
    await press();
    assert.equal(await host.getByRole("status").innerText(), "Continue in the popup.");
    const flow = await stage.flow(2);
    stage.change(flow, { state: { status: "exchanging" } });
    await state("completing");
    assert.equal(await host.getByRole("status").innerText(), "Finishing the connection.");
    stage.change(flow, { state: { status: "connected", connection: CONNECTION } });
    await state("connected");
    assert.deepEqual(await host.evaluate(() => window.events), [["connected", "c1"]], "the earlier request's end is no news");
    assert.deepEqual(await host.evaluate(() => window.states), ["opening", "waiting", "perhaps_closed", "opening", "waiting", "completing", "connected"]);
  });

  for (const [name, attributes, option] of [
    ["portal-id", 'portal-id="abc"', "portalId"], ["portal-id", 'portal-id=""', "portalId"], ["portal-id", 'portal-id="-7"', "portalId"],
    ["portal-id", 'portal-id="7.5"', "portalId"], ["portal-id", 'portal-id="9007199254740992"', "portalId"],
    ["fallback", 'fallback="popup"', "fallback"], ["return-url", 'return-url="https://elsewhere.example/"', "returnUrl"],
  ]) {
    staged(`an invalid ${name} is an error: ${attributes}`, { hostPage: page(attributes) }, async (stage) => {
      const { host, state } = await begin(stage);
      await host.getByRole("button").click();
      await state("error");
      assert.equal(await host.getByRole("status").innerText(), `The option ${option} is invalid. (invalid_option)`);
      assert.deepEqual(await host.evaluate(() => window.events), [["failed", "invalid_option"]]);
      assert.equal(stage.flows.size, 0);
    });
  }

  staged("an invalid service is an error at once, until a valid one is set", { hostPage: () => page()("connect.example.com") }, async (stage) => {
    const host = await stage.open("/element");
    await host.addScriptTag({ type: "module", url: `${stage.service}/static/sdk/element.js` });
    await host.locator("hubspot-connect[state=error]").waitFor();
    await host.getByRole("button").click();
    assert.deepEqual(await host.evaluate(() => window.events.filter(([name]) => name === "failed")), Array(2).fill(["failed", "invalid_option"]));
    await host.evaluate((service) => document.querySelector("hubspot-connect").setAttribute("service", service), stage.service);
    await stage.press(host, "hubspot-connect button");
    await host.locator("hubspot-connect[state=waiting]").waitFor();
  });

  staged("the largest account number is sent unchanged", { hostPage: page('portal-id="9007199254740991"') }, async (stage) => {
    const { press } = await begin(stage);
    await press();
    assert.equal((await stage.flow()).fields.portal_id, "9007199254740991");
  });

  const posts = (stage) => stage.asked.map(({ method, path, headers, body }) => [method, path, headers["content-type"], headers["sec-fetch-site"], JSON.parse(body)]);

  staged("session-url and confirm-url connect an external user without a script", {
    hostPage: page('session-url="/hubspot/session" confirm-url="hubspot/confirm"'),
    routes: { "/hubspot/session": { body: { id: "s1", token: "the-session" } }, "/hubspot/confirm": { status: 204 } },
  }, async (stage) => {
    const { state, press } = await begin(stage);
    await press();
    const flow = await stage.flow();
    assert.equal(flow.fields.connect_session, "the-session");
    stage.change(flow, { state: { status: "exchanging", awaiting_confirmation: true, connect_session_id: "s1" } });
    await until("the host is asked to confirm", () => stage.asked.length === 2);
    assert.deepEqual(posts(stage), [
      ["POST", "/hubspot/session", "application/json", "same-origin", {}],
      ["POST", "/hubspot/confirm", "application/json", "same-origin", { connect_session_id: "s1", connection_id: null, flow: "flow-1" }],
    ]);
    stage.change(flow, { state: { status: "connected", connection: CONNECTION } });
    await state("connected");
  });

  staged("a flow that a reload interrupted is confirmed too", {
    hostPage: page('session-url="/session" confirm-url="/confirm"'), routes: { "/session": { body: { token: "t" } }, "/confirm": {} },
  }, async (stage) => {
    const { host, state, press } = await begin(stage);
    await press();
    const flow = await stage.flow();
    await host.reload();
    await state("perhaps_closed");
    stage.change(flow, { state: { status: "exchanging", awaiting_confirmation: true, connect_session_id: "s1", connection_id: "c1" } });
    await until("the host is asked to confirm", () => stage.asked.length === 2);
    assert.deepEqual(JSON.parse(stage.asked[1].body), { connect_session_id: "s1", connection_id: "c1", flow: "flow-1" });
  });

  for (const [name, attributes, route, code] of [
    ["refuses", 'session-url="/session"', { status: 401 }, "connect_session_failed"],
    ["has no token", 'session-url="/session"', { body: "the-session" }, "connect_session_failed"],
    ["leads to another origin", 'session-url="/session"', { status: 307, headers: { location: "http://127.0.0.1:9/session" } }, "connect_session_failed"],
    ["is empty", 'session-url=""', {}, "invalid_option"],
    ["is empty, for the confirmation", 'confirm-url=""', {}, "invalid_option"],
  ]) {
    staged(`a host's route that ${name} is an error, and nothing is started`, { hostPage: page(attributes), routes: { "/session": route } }, async (stage) => {
      const { host, state } = await begin(stage);
      await host.getByRole("button").click();
      await state("error");
      assert.deepEqual(await host.evaluate(() => window.events), [["failed", code]]);
      assert.equal(stage.flows.size, 0);
    });
  }

  staged("a confirm-url that refuses is an error", {
    hostPage: page('session-url="/session" confirm-url="/confirm"'), routes: { "/session": { body: { token: "t" } }, "/confirm": { status: 403 } },
  }, async (stage) => {
    const { host, state, press } = await begin(stage);
    await press();
    stage.change(await stage.flow(), { state: { status: "exchanging", awaiting_confirmation: true, connect_session_id: "s1" } });
    await state("error");
    assert.deepEqual(await host.evaluate(() => window.events), [["failed", "confirm_failed"]]);
  });

  staged("shows the server-rendered connection, also after an error", { hostPage: page('state="connected" portal-id="1234567" hub-domain="acme.example"') }, async (stage) => {
    const host = await stage.open("/element");
    const status = host.getByRole("status");
    await status.getByText("Connected as acme.example (account 1234567).").waitFor();
    assert.equal(await host.getByRole("button").textContent(), "Reconnect");
    assert.deepEqual(await host.evaluate(() => [window.events, window.states]), [[], []], "nothing has happened");
    await stage.press(host, "hubspot-connect button");
    const flow = await stage.flow();
    assert.equal(flow.fields.portal_id, "1234567");
    stage.change(flow, { state: { status: "failed", error: { code: "user_denied", message: "No." } } });
    await status.getByText("No. (user_denied, flow-1)").waitFor();
    assert.deepEqual(await host.evaluate(() => document.querySelector("hubspot-connect").connection), { portalId: 1234567, hubDomain: "acme.example", status: "active" });
  });

  staged("a server can render that the user has to connect again", { hostPage: page('state="needs_reauth" portal-id="1234567"') }, async (stage) => {
    const host = await stage.open("/element");
    await host.getByText("HubSpot revoked this connection.").waitFor();
    await stage.press(host, "hubspot-connect button");
    stage.change(await stage.flow(), { state: { status: "connected", connection: CONNECTION } });
    await host.getByText("Connected as acme.example (account 1234567).").waitFor();
    assert.deepEqual(await host.evaluate(() => window.events), [["reconnected", "c1"]]);
  });

  staged("states unknown to servers are not read from the page", { hostPage: page('state="waiting"') }, async (stage) => {
    const { host } = await begin(stage);
    assert.equal(await host.getByRole("status").innerText(), "");
  });

  staged("a script can set the connection, before the element is defined and after", {
    hostPage: (service) => page("service-later")(service).replace("<script type", `<hubspot-connect id="early" service="${service}"></hubspot-connect>
      <script>document.querySelector("#early").connection = { portalId: 7, hubDomain: "early.example" };</script><script type`),
  }, async (stage) => {
    const host = await stage.open("/element");
    await host.getByText("Connected as early.example (account 7).").waitFor();
    const set = (value) => host.evaluate((connection) => { document.querySelector("#early").connection = connection; }, value);
    await set({ portalId: 8, hubDomain: null, status: "needs_reauth" });
    await host.getByText("HubSpot revoked this connection.").waitFor();
    await set(null);
    await host.locator("#early[state=idle]").waitFor();
    assert.deepEqual(await host.evaluate(() => window.events), [["disconnected", null]]);
  });

  staged("events report a first account, the same again, another one, and the end", {}, async (stage) => {
    const { host, state, press } = await begin(stage);
    const connect = async (count, connection) => {
      const popup = await press();
      const flow = await stage.flow(count);
      stage.change(flow, { state: { status: "connected", connection } });
      await state("connected");
      await popup.close();
      return flow;
    };
    await connect(1, CONNECTION);
    await connect(2, CONNECTION);
    const flow = await connect(3, { ...CONNECTION, id: "c2", portal_id: 7654321 });
    stage.change(flow, { state: { status: "connected", connection: { ...CONNECTION, id: "c2", portal_id: 7654321, status: "needs_reauth" } } });
    await state("needs_reauth");
    stage.change(flow, { state: { status: "connected", connection: { ...CONNECTION, id: "c2", portal_id: 7654321 } } });
    await state("connected");
    stage.change(flow, { state: { status: "failed", error: { code: "disconnected" } } });
    await state("idle");
    assert.deepEqual(await host.evaluate(() => window.events), [
      ["connected", "c1"], ["reconnected", "c1"], ["connected", "c2"], ["reconnected", "c2"], ["disconnected", "c2"],
    ]);
  });

  staged("the page can replace every text", {
    hostPage: page(`label="Verbinden" label-connected="Neu verbinden" text-popup="Einen Moment…" text-waiting="Weiter im Fenster."
      text-connected="Verbunden: {hubDomain}, {portalId}." text-user_denied="Abgelehnt." session-url="/session"`),
    routes: { "/session": { body: { token: "t" } } },
  }, async (stage) => {
    await stage.context.addInitScript(() => {
      const { fetch } = window;
      window.fetch = async (...given) => {
        if (given[0] === "/session") await new Promise((go) => { window.go = go; });
        return fetch(...given);
      };
    });
    const { host, state } = await begin(stage);
    const status = host.getByRole("status");
    const button = host.getByRole("button");
    assert.equal(await button.textContent(), "Verbinden");
    const popup = await stage.press(host, "hubspot-connect button");
    await popup.getByText("Einen Moment…").waitFor();
    await host.evaluate(() => window.go());
    await popup.waitForSelector("h1");
    await state("waiting");
    assert.equal(await status.innerText(), "Weiter im Fenster.");
    stage.change(await stage.flow(), { state: { status: "connected", connection: CONNECTION } });
    await state("connected");
    assert.deepEqual([await status.innerText(), await button.textContent()], ["Verbunden: acme.example, 1234567.", "Neu verbinden"]);
    await popup.close();
    const second = await stage.press(host, "hubspot-connect button");
    await host.evaluate(() => window.go());
    await second.waitForSelector("h1");
    stage.change(await stage.flow(2), { state: { status: "failed", error: { code: "user_denied", message: "No." } } });
    await state("error");
    assert.equal(await status.innerText(), "Abgelehnt. (user_denied, flow-2)");
  });

  staged("works in the oldest supported browsers", {}, async (stage) => {
    await stage.context.addInitScript(withoutNewApis);
    const { host, state, press } = await begin(stage);
    assert.equal(await host.getByRole("status").getAttribute("aria-live"), "polite");
    assert.equal(await host.getByRole("button").evaluate((button) => getComputedStyle(button).fontWeight), "600");
    const popup = await press();
    await until("the key has come", () => stage.key);
    await state("waiting");
    stage.change(await stage.flow(), { state: { status: "connected", connection: CONNECTION } });
    await state("connected");
    await popup.close();
  });

  staged("resumes a flow that a reload interrupted", {}, async (stage) => {
    const { host, state, press } = await begin(stage);
    await press();
    const flow = await stage.flow();
    await host.reload();
    await state("perhaps_closed");
    await host.getByText("If you have closed it, press the button again.").waitFor();
    stage.change(flow, { state: { status: "connected", connection: CONNECTION } });
    await state("connected");
  });

  staged("works by keyboard, at 320 pixels, in the dark and in forced colours", {}, async (stage) => {
    const { host, state } = await begin(stage);
    await host.setViewportSize({ width: 320, height: 480 });
    await host.keyboard.press("Tab");
    assert.equal(await host.evaluate(() => document.activeElement.localName), "hubspot-connect");
    const [popup] = await Promise.all([host.waitForEvent("popup"), host.keyboard.press("Enter")]);
    await popup.waitForSelector("h1");
    const flow = await stage.flow();
    stage.change(flow, { state: { status: "failed", error: { code: "x".repeat(80), message: "A sentence." } } });
    await state("error");
    assert.ok(await host.evaluate(() => document.documentElement.scrollWidth <= 320), "nothing sticks out");
    const colour = () => host.locator("hubspot-connect").evaluate((one) => getComputedStyle(one.shadowRoot.querySelector("button")).backgroundColor);
    await host.emulateMedia({ colorScheme: "light" });
    assert.equal(await colour(), "rgb(194, 65, 12)");
    await host.emulateMedia({ colorScheme: "dark" });
    assert.equal(await colour(), "rgb(255, 143, 95)");
    await host.emulateMedia({ forcedColors: "active" });
    assert.notEqual(await host.locator("hubspot-connect").evaluate((one) => getComputedStyle(one.shadowRoot.querySelector("button")).borderTopColor), "rgba(0, 0, 0, 0)");
    if (process.env.SHOTS) await host.screenshot({ path: `${process.env.SHOTS}/element.png` });
  });
});

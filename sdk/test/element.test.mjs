// The element, as two lines of HTML.
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
  for (const name of ["connected", "failed"]) addEventListener(name, ({ detail }) => window.events.push([name, detail.code ?? detail.connectionId]));
  // What error trackers listen to, in both phases.
  for (const capture of [false, true]) addEventListener("error", (event) => window.events.push(["tracked", event.message]), capture);
  window.onerror = (event) => window.events.push(["onerror", String(event)]);
</script>
<script type="module" src="${service}/static/sdk/hubspot-connect.js"></script>
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
  staged("connects, says so, and notices that HubSpot has ended the connection", { hostPage: page('label="Link HubSpot" portal-id="42"') }, async (stage) => {
    const { host, element, state, press } = await begin(stage);
    const button = host.getByRole("button");
    assert.equal(await button.textContent(), "Link HubSpot");
    await press();
    const flow = await stage.flow();
    assert.equal(flow.fields.portal_id, "42");
    await state("waiting");
    assert.match(await host.getByRole("status").innerText(), /^Continue in the popup\.$/);
    // HubSpot has not named the scopes yet.
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

  staged("shows an error with its support code, and is ready for another try", {}, async (stage) => {
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

  staged("after a long silence it gives the reasons and begins anew", { hostPage: page('scopes="crm.objects.contacts.read"') }, async (stage) => {
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

  staged("a popup that may be closed: it says so, and the next click opens another", {}, async (stage) => {
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

  staged("an invalid service is an error at once, and a valid one later repairs it", { hostPage: () => page()("connect.example.com") }, async (stage) => {
    const host = await stage.open("/element");
    await host.addScriptTag({ type: "module", url: `${stage.service}/static/sdk/hubspot-connect.js` });
    await host.locator("hubspot-connect[state=error]").waitFor();
    await host.getByRole("button").click();
    assert.deepEqual(await host.evaluate(() => window.events.filter(([name]) => name === "failed")), Array(2).fill(["failed", "invalid_option"]));
    await host.evaluate((service) => document.querySelector("hubspot-connect").setAttribute("service", service), stage.service);
    await stage.press(host, "hubspot-connect button");
    await host.locator("hubspot-connect[state=waiting]").waitFor();
  });

  staged("the largest account number is sent as it stands", { hostPage: page('portal-id="9007199254740991"') }, async (stage) => {
    const { press } = await begin(stage);
    await press();
    assert.equal((await stage.flow()).fields.portal_id, "9007199254740991");
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

  staged("takes up what a reload has interrupted", {}, async (stage) => {
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

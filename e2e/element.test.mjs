// The element: its look in each state, and its use by keyboard and screen reader. Screenshots go to shots/.
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { ACME, approve, suite, until } from "./harness.mjs";
import { Hosts } from "./hosts.mjs";

const hosts = await Hosts.serve();
const SHOTS = new URL("shots/", import.meta.url).pathname;

/** Opens a page with only the element and a color scheme. */
async function open(stage, attributes = "") {
  stage.sites.add(hosts.origin);
  const { service } = stage.demo;
  const host = await stage.open(hosts.origin + hosts.put(`<!doctype html><html lang="en"><title>Host</title><link rel="icon" href="data:,">
    <meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"><body style="font:16px/1.5 system-ui;margin:1rem">
    <script type="module" src="${service}/static/sdk/element.js"></script>
    <p>Before.</p><hubspot-connect service="${service}" ${attributes}></hubspot-connect><p>After.</p>`));
  await host.waitForFunction(() => customElements.get("hubspot-connect"));
  return host;
}

const state = (host, wanted) => host.waitForSelector(`hubspot-connect[state="${wanted}"]`);
const press = (stage, host) => stage.popupOf(host, () => host.getByRole("button").click());

/** Takes screenshots of the element in light mode, in dark mode and on a small phone, and checks the contrast. */
async function portray(host, name) {
  await mkdir(SHOTS, { recursive: true });
  for (const colorScheme of ["light", "dark"]) {
    await host.emulateMedia({ colorScheme });
    await host.setViewportSize({ width: 640, height: 320 });
    await host.screenshot({ path: `${SHOTS}element-${name}-${colorScheme}.png` });
    assert.deepEqual(await host.evaluate(faint), [], `${name} in ${colorScheme}: text that is hard to read`);
  }
  await host.setViewportSize({ width: 320, height: 480 });
  await host.screenshot({ path: `${SHOTS}element-${name}-320.png` });
  const wide = await host.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 320, `${name} is ${wide} px wide on a screen of 320`);
  const height = await host.getByRole("button").evaluate((button) => button.getBoundingClientRect().height);
  assert.ok(height >= 24, `${name}: the button is ${height} px high`);
}

/** Runs in the page: returns the element's texts whose contrast with their background is below 4.5 to 1. */
function faint() {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const light = (rgb) => rgb.slice(0, 3).map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  }).reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  // The value of `Canvas` in Chromium; a canvas element does not know the dark mode.
  const page = matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
  const { shadowRoot } = document.querySelector("hubspot-connect");
  return [...shadowRoot.querySelectorAll("button, [part]")].filter((one) => one.checkVisibility() && one.textContent).filter((one) => {
    const own = rgba(getComputedStyle(one).backgroundColor);
    const [brighter, darker] = [light(rgba(getComputedStyle(one).color)), light(own[3] === 255 ? own : page)].sort((a, b) => b - a);
    return (brighter + 0.05) / (darker + 0.05) < 4.5;
  }).map((one) => one.textContent);
}

suite([...hosts.flags, "--token-seconds", "5"], (test) => {
  test("the element shows idle, waiting and connected", async (stage) => {
    const host = await open(stage);
    await state(host, "idle");
    await portray(host, "idle");
    const popup = await press(stage, host);
    await state(host, "waiting");
    await portray(host, "waiting");
    await approve(popup);
    await state(host, "connected");
    await portray(host, "connected");
  });

  test("the element shows that a new consent is needed", async (stage) => {
    // The state as the service would report it; its cause does not matter to the browser.
    await stage.context.route(/\/api\/hubspot\/status/, async (route) => {
      const response = await route.fetch().catch(() => null);
      const body = response?.status() === 200 ? await response.json() : null;
      if (!body?.connection) return response ? route.fulfill({ response }).catch(() => {}) : route.abort().catch(() => {});
      body.connection.status = "needs_reauth";
      return route.fulfill({ response, json: body }).catch(() => {});
    });
    const host = await open(stage);
    await approve(await press(stage, host));
    await state(host, "needs_reauth");
    await portray(host, "needs-reauth");
  });

  test("a polling page shows a changed connection state", async (stage) => {
    await stage.demo.order({ on: "refresh", fault: { status: { status: 500 } } });
    const host = await open(stage);
    const popup = await press(stage, host);
    await popup.waitForSelector("#approve");
    const verifier = await host.evaluate(() => JSON.parse(Object.values(sessionStorage)[0]).verifier);
    await approve(popup);
    await state(host, "connected");
    const headers = { "hubspot-connect-verifier": verifier };
    const ask = (more) => fetch(`${stage.demo.service}/api/hubspot/status`, { headers: { ...headers, ...more } });
    const first = await ask();
    assert.equal((await first.json()).connection.status, "active");
    await until("the connection is degraded", async () => (await stage.attempt(verifier)).connection.status === "degraded");
    const next = await ask({ "if-none-match": first.headers.get("etag") });
    assert.equal(next.status, 200, "304 says that nothing has changed");
  });

  test("the element shows an error, with a long label", async (stage) => {
    const host = await open(stage, `label="Connect the HubSpot account of your whole organisation to this report"`);
    const popup = await press(stage, host);
    await popup.click("#deny");
    await state(host, "error");
    await portray(host, "error");
  });

  test("the element shows possible reasons after a long wait", async (stage) => {
    const host = await open(stage, `scopes="oauth crm.objects.contacts.read a.very.long.scope.name.that.does.not.fit.into.one.line"`);
    await host.clock.install();
    await host.reload();
    await host.waitForFunction(() => customElements.get("hubspot-connect"));
    const popup = await press(stage, host);
    await popup.waitForSelector("#approve");
    await host.clock.fastForward(91_000);
    await state(host, "stalled");
    await portray(host, "stalled");
  });

  test("two elements of one page share one flow, and both get its token", async (stage) => {
    const host = await open(stage);
    await host.evaluate(() => {
      // Like a second button elsewhere on the page, which exists when the page is loaded.
      sessionStorage.setItem("two", "yes");
    });
    await host.context().addInitScript(() => {
      addEventListener("DOMContentLoaded", () => {
        const [one] = document.querySelectorAll("hubspot-connect");
        if (one && sessionStorage.getItem("two")) one.after(one.cloneNode());
      });
      window.tokens = [];
      addEventListener("connected", ({ detail }) => window.tokens.push(typeof detail.accessToken));
    });
    const popup = await press(stage, host);
    await popup.waitForSelector("#approve");
    await host.reload();
    await host.waitForFunction(() => document.querySelectorAll("hubspot-connect[state=perhaps_closed]").length === 2);
    await approve(popup);
    await until("both have ended", async () => (await host.evaluate(() => window.tokens)).length === 2);
    assert.deepEqual(await host.evaluate(() => window.tokens), ["string", "string"]);
  });

  test("the element works by keyboard, keeps a visible focus and announces changes", async (stage) => {
    const host = await open(stage);
    await state(host, "idle");
    await host.keyboard.press("Tab");
    const outline = () => host.getByRole("button").evaluate((button) => getComputedStyle(button).outlineStyle);
    assert.notEqual(await outline(), "none", "the focus can be seen");
    const announced = () => host.getByRole("status").innerText();
    assert.equal(await announced(), "", "there before it has anything to say, or nothing would be read out");
    const popup = await stage.popupOf(host, () => host.keyboard.press("Enter"));
    await until("the wait is announced", async () => (await announced()) === "Continue in the popup.");
    await popup.waitForSelector("#approve");
    await popup.focus("#approve");
    await popup.keyboard.press("Enter");
    await until("the connection is announced", async () => (await announced()) === `Connected as ${ACME.domain} (account ${ACME.id}).`);
    await host.bringToFront();
    assert.ok(await host.evaluate(() => document.activeElement.matches("hubspot-connect")), "the focus has stayed");
    const again = await stage.popupOf(host, () => host.keyboard.press("Space"));
    await again.click("#deny");
    await until("the error is announced", async () => (await announced()).includes("access was not granted"));
  });
});

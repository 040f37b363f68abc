// The host pages of the matrix in Firefox, which cuts popups off in other ways and denies all storage to frames of
// other sites here. They must get the results that docs/host-pages.md lists for Chromium.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import puppeteer from "puppeteer-core";
import { ACME, startDemo, until } from "./harness.mjs";
import { HUBSPOT, Hosts, OPENER_POLICIES, SANDBOX, sdkScript } from "./hosts.mjs";

const { FIREFOX } = process.env;
const TEST_TIMEOUT_MS = 300_000;
const PATIENCE_MS = 40_000;
/** The number of concurrent browsers, each with one flow: most of it is waiting. */
const LANES = 2;
/** The driver's errors when it has lost the browser, which happens sometimes while windows open and close. */
const DRIVER_TROUBLE = /Protocol error|timed out\. Increase|closed|detached|no such frame/;
const hosts = await Hosts.serve();
const table = await readFile(new URL("../docs/host-pages.md", import.meta.url), "utf8");

const FRAMES = { no: null, yes: {}, "yes, `sandbox` with all five": { sandbox: SANDBOX } };

/** Returns the result of a page in the table: `connected`, or the error's code. */
function expected(cell) {
  const row = table.split("\n").find((line) => line.startsWith(`| ${cell.join(" | ")} | blocked |`));
  return row.split(" | ")[4].replace(/^`(\w+)`.*/, "$1");
}

/** @returns the result of a flow */
async function run(context, demo, { headers, frame, script, redirect = false }) {
  const stage = { demo, sites: new Set() };
  const page = await context.newPage();
  const own = script ? { script } : {};
  await page.goto(frame ? hosts.around(hosts.page(stage, own), { ...frame, headers }) : hosts.page(stage, { headers, ...own }));
  const host = await until("the page is ready", async () => {
    const one = page.frames().at(-1);
    return (await one.evaluate(() => window.ready).catch(() => false)) && one;
  });
  await (await host.waitForSelector("#connect")).click();
  // Firefox gives a window that is cut off another identity, so it is found by its content.
  const approve = async () => {
    for (const popup of (await context.pages()).filter((one) => redirect || one !== page)) {
      const button = await popup.$("#approve").catch(() => null);
      if (!button) continue;
      await popup.evaluate((id) => { document.querySelector(`[name="hub_id"][value="${id}"]`).checked = true; }, ACME.id);
      await button.click();
      return true;
    }
    return false;
  };
  let approved = false;
  const { outcome, connection } = await until("the attempt ends", async () => {
    approved ||= await approve().catch(() => false);
    if (!redirect) return host.evaluate(() => window.result);
    // The page goes away and comes back.
    return approved && page.evaluate(() => window.result ?? window.resumed).catch(() => null);
  }, PATIENCE_MS);
  if (outcome !== "connected") return outcome;
  assert.equal(connection.portalId, ACME.id);
  if (!script) assert.ok(connection.accessToken, "with a token");
  await until("the popup closes", async () => (await context.pages()).length === 1);
  return outcome;
}

/** A browser that is restarted when its driver has lost it. */
class Lane {
  #browser;

  async #launched() {
    this.#browser ??= await puppeteer.launch({
      browser: "firefox", executablePath: FIREFOX, headless: true, protocolTimeout: PATIENCE_MS,
      extraPrefsFirefox: { "network.cookie.cookieBehavior": 1 },
    });
    return this.#browser;
  }

  /** @returns the result of a flow, or its error */
  async run(demo, cell, tries = 3) {
    try {
      const context = await (await this.#launched()).createBrowserContext();
      const outcome = await run(context, demo, cell);
      await context.close();
      return outcome;
    } catch ({ message }) {
      await this.close();
      if (tries > 1 && DRIVER_TROUBLE.test(message)) return this.run(demo, cell, tries - 1);
      return message;
    }
  }

  async close() {
    const browser = this.#browser;
    this.#browser = undefined;
    await browser?.close().catch(() => browser.process()?.kill("SIGKILL"));
  }
}

describe("firefox", { skip: FIREFOX ? false : "FIREFOX names no browser" }, () => {
  const lanes = Array.from({ length: LANES }, () => new Lane());
  let demo;
  before(async () => { demo = await startDemo(hosts.flags); }, { timeout: TEST_TIMEOUT_MS });
  after(async () => {
    for (const lane of lanes) await lane.close();
    await demo?.stop();
  }, { timeout: TEST_TIMEOUT_MS });

  for (const [hubspot, options] of Object.entries(HUBSPOT)) {
    test(`every host page behaves as documented when HubSpot's header is ${hubspot}`, { timeout: TEST_TIMEOUT_MS }, async () => {
      await demo.setOptions({ coop: null, coop_on_redirect_only: false, ...options });
      const cells = Object.keys(FRAMES).flatMap((frame) => OPENER_POLICIES.map((policy) => ({ policy, frame })));
      const queue = cells.values();
      const seen = {};
      await Promise.all(lanes.map(async (lane) => {
        for (const { policy, frame } of queue) {
          const names = [policy ? `\`${policy}\`` : "none", hubspot, frame];
          const headers = policy ? { "cross-origin-opener-policy": policy } : {};
          seen[names.join(" | ")] = [await lane.run(demo, { headers, frame: FRAMES[frame] }), expected(names)];
        }
      }));
      const differ = Object.entries(seen).filter(([, [here, there]]) => here !== there);
      assert.deepEqual(differ, []);
    });
  }

  test("a policy that forbids the form ends a connect session, and no URL contains its token", { timeout: TEST_TIMEOUT_MS }, async () => {
    const script = sdkScript(demo.service, `window.options.connectSession = "the-session";`);
    const headers = { "content-security-policy": "form-action 'self'" };
    assert.equal(await lanes[0].run(demo, { headers, frame: null, script }), "csp_blocked");
  });

  test("a redirect verifies its opener with every Referrer-Policy", { timeout: TEST_TIMEOUT_MS }, async () => {
    await demo.setOptions({ coop: null, coop_on_redirect_only: false });
    const seen = {};
    for (const policy of ["no-referrer", "same-origin"]) {
      const { body: session } = await demo.api("POST", "/api/hubspot/connect-sessions", { external_user_id: "user_42" });
      const script = sdkScript(demo.service, `window.options = { mode: "redirect", connectSession: "${session.token}" };`);
      seen[policy] = await lanes[0].run(demo, { headers: { "referrer-policy": policy }, frame: null, script, redirect: true });
    }
    assert.deepEqual(seen, { "no-referrer": "connected", "same-origin": "connected" });
  });

  test("the popup waits for a session from a function, and starts again for an ended one", { timeout: TEST_TIMEOUT_MS }, async () => {
    await demo.setOptions({ coop: null, coop_on_redirect_only: false });
    const session = async () => (await demo.api("POST", "/api/hubspot/connect-sessions", { external_user_id: "user_42" })).body;
    const ended = await session();
    await demo.api("DELETE", `/api/hubspot/connect-sessions/${ended.id}`);
    const seen = {};
    for (const [page, headers] of Object.entries({
      plain: {},
      "Django's": { "referrer-policy": "same-origin", "cross-origin-opener-policy": "same-origin" },
      "helmet's": { "referrer-policy": "no-referrer", "cross-origin-opener-policy": "same-origin" },
    })) {
      // Longer than a click is valid.
      for (const [name, tokens, pause] of [["open", [], 6_000], ["ended", [ended.token], 3_000]]) {
        const given = JSON.stringify([...tokens, (await session()).token]);
        const script = sdkScript(demo.service, `const tokens = ${given};
          window.options.connectSession = () => new Promise((done) => setTimeout(() => done(tokens.shift()), ${pause}));`);
        seen[`${page}, ${name}`] = await lanes[0].run(demo, { headers, frame: null, script });
      }
    }
    assert.deepEqual(seen, {
      "plain, open": "connected", "plain, ended": "connected",
      // These pages have no handle of a popup that they cut off themselves.
      "Django's, open": "connected", "Django's, ended": "connect_session_ended",
      "helmet's, open": "connected", "helmet's, ended": "connect_session_ended",
    });
  });
});

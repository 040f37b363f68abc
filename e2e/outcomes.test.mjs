// Errors are reported to the page that polls, and no window closes over an error that was not reported.
import assert from "node:assert/strict";
import { approve, closesAfterTwoSeconds, heard, leadTo, suite, timeLastPage, until } from "./harness.mjs";

/** Longer than a window that closes itself would stay. */
const LONG_ENOUGH_MS = 2_800;

const text = (page) => page.innerText("main");

async function staysReadable(page, code) {
  await page.waitForSelector("[data-stays]:visible");
  await page.waitForTimeout(LONG_ENOUGH_MS);
  assert.ok(!page.isClosed(), "the window stays");
  assert.match(await text(page), new RegExp(`Code\\s+${code}\\b`));
  assert.match(await text(page), /Support code\s+[0-9a-f]{16}\b/);
  assert.match(await text(page), /You can close this window/);
  assert.ok(await page.isHidden("[data-closing]"), "it does not announce that it closes");
}

suite([], (test) => {
  test("a denial is reported as user_denied, and the popup closes", async (stage) => {
    const { host, popup } = await stage.startOnHost();
    const times = timeLastPage(popup);
    await popup.click("#deny");
    await closesAfterTwoSeconds(times);
    const [{ origin, data }, ...more] = await heard(host);
    assert.deepEqual(more, []);
    assert.equal(origin, stage.demo.service);
    assert.equal(data.type, "hubspot_auth_error");
    assert.equal(data.version, 1);
    assert.equal(data.error.code, "user_denied");
    assert.equal(await host.textContent("#status"), data.error.message);
    assert.equal(await host.textContent("#account"), "");
    assert.deepEqual(await stage.demo.calls("exchange"), []);
  });

  test("a failure of HubSpot is reported with the code that the popup shows, and the popup closes", async (stage) => {
    await stage.demo.order({ on: "exchange", fault: { status: { status: 500, body: "oops" } } });
    const { host, popup } = await stage.startOnHost();
    const clock = await stage.stopClock();
    await approve(popup);
    const shown = await popup.getAttribute('[data-outcome="error"]', "data-code");
    await popup.getByText("This window closes by itself").waitFor();
    await clock.runFor(1_900);
    await host.title();
    assert.ok(!popup.isClosed(), "it can be read for two seconds");
    await clock.runFor(200);
    await until("the popup closes", () => popup.isClosed());
    const [{ data }, ...more] = await heard(host);
    assert.deepEqual(more, []);
    assert.equal(data.type, "hubspot_auth_error");
    assert.equal(data.error.code, shown);
    assert.match(shown, /^provider_/);
    assert.ok(!JSON.stringify(data).includes("oops"), "HubSpot's own text goes no further");
  });

  test("a key press or a click keeps an error on the screen", async (stage) => {
    const { host, popup } = await stage.startOnHost();
    const clock = await stage.stopClock();
    await popup.click("#deny");
    await popup.getByText("This window closes by itself").waitFor();
    await popup.keyboard.press("Shift");
    await clock.runFor(10_000);
    await staysReadable(popup, "user_denied");

    const second = await stage.popupOf(host, () => host.click("#connect"));
    await second.click("#deny");
    await second.getByText("This window closes by itself").waitFor();
    await second.click("h1");
    await second.waitForSelector("[data-stays]:visible");
    await clock.runFor(10_000);
    assert.match(await text(second), /Code\s+user_denied\b/);
  });

  test("an error without a polling page stays readable", async (stage) => {
    const { demo } = stage;
    const site = await stage.stranger({ "/": `<a rel="noopener" target="_blank" href="${demo.service}/login">go</a>` });
    const start = await stage.open(site);
    const [page] = await Promise.all([stage.context.waitForEvent("page"), start.click("a")]);
    await page.goto(`${demo.service}/auth/hubspot/start`);
    await page.click("#deny");
    assert.equal(await page.evaluate(() => window.opener), null);
    await staysReadable(page, "user_denied");
  });

  test("an error is readable without JavaScript", async (stage) => {
    const page = await stage.open(`${stage.demo.service}/login`);
    await page.click("[data-connect]");
    await page.click("#deny");
    await page.waitForURL(/\/auth\/hubspot\/done/);
    assert.match(await text(page), /Code\s+user_denied\b/);
    assert.match(await text(page), /Support code\s+[0-9a-f]{16}\b/);
    assert.match(await text(page), /You can close this window/);
  }, { javaScriptEnabled: false });

  test("an error that cannot be reported to the opener stays in the popup", async (stage) => {
    // The response belongs to no flow, so there is no page to report it to.
    const { host, popup } = await stage.startOnHost();
    await leadTo(popup, `${stage.demo.service}/auth/hubspot/callback?code=x&state=${"a".repeat(43)}`);
    await staysReadable(popup, "flow_unknown");
    assert.deepEqual(await heard(host), []);
  });

  test("the service's own page gets errors that belong to no flow", async (stage) => {
    const login = await stage.open(`${stage.demo.service}/login`);
    const popup = await stage.popupOf(login, () => login.click("[data-connect]"));
    await popup.waitForSelector("#approve");
    const times = timeLastPage(popup);
    await leadTo(popup, `${stage.demo.service}/auth/hubspot/callback?code=x&state=${"a".repeat(43)}`);
    await login.waitForSelector("[data-connect-error]:visible");
    assert.match(await login.textContent("[data-connect-error]"), /unknown or has been deleted/);
    await closesAfterTwoSeconds(times);
  });

  test("the host page shows no empty result before the outcome", async (stage) => {
    const host = await stage.open(`${stage.demo.host}/plain`);
    assert.ok(await host.isHidden("#result"));
  });
});

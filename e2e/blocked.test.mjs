// Pages without a popup, or without scripts in it.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { ACME, approve, heard, suite, until } from "./harness.mjs";
import { Hosts, ready, resultOf, sdkScript } from "./hosts.mjs";

const hosts = await Hosts.serve();
const AT_ONCE = `settle(hubspot.connect()).then((result) => { window.result = result; });`;

suite(hosts.flags, (test) => {
  test("popups without a click are blocked and reported with an error code", async (stage) => {
    const host = await stage.open(hosts.page(stage, { script: sdkScript(stage.demo.service, AT_ONCE) }));
    assert.equal((await resultOf(host)).outcome, "popup_blocked");
    assert.deepEqual(await stage.flowCookies(), [], "nothing has begun");
    // The next click works.
    const popup = await stage.popupOf(host, () => host.click("#connect"));
    await approve(popup);
    assert.equal((await resultOf(host)).outcome, "connected");
  });

  test("with the fallback the tab itself goes to HubSpot and returns to the same page", async (stage) => {
    await stage.context.addInitScript(() => { window.open = () => null; });
    const address = `${hosts.page(stage)}?view=1`;
    const host = await stage.open(address);
    await ready(host);
    await host.evaluate(() => { window.options = { fallback: "redirect" }; });
    await host.click("#connect");
    await approve(host);
    const { outcome, connection } = await until("resume() has the result", () => host.evaluate(() => window.resumed).catch(() => null));
    assert.equal(outcome, "connected");
    assert.equal(connection.portalId, ACME.id);
    assert.ok(connection.accessToken);
    assert.equal(host.url(), address, "the address is the page's own again");
    assert.equal(await host.evaluate(() => sessionStorage.length), 0, "nothing is left behind");
  });

  test("a denial after the fallback returns with the error", async (stage) => {
    await stage.context.addInitScript(() => { window.open = () => null; });
    const host = await stage.open(hosts.page(stage));
    await ready(host);
    await host.evaluate(() => { window.options = { fallback: "redirect" }; });
    await host.click("#connect");
    await host.click("#deny");
    const { outcome } = await until("resume() has the result", () => host.evaluate(() => window.resumed).catch(() => null));
    assert.equal(outcome, "user_denied");
  });

  test("a popup whose scripts do not load has links, and the page gets the result by polling", async (stage) => {
    stage.expectProblem(/Failed to load resource/);
    await stage.context.route(/\/static\/(launch|popup)\.js$/, (route) => route.abort());
    const host = await stage.open(hosts.page(stage));
    await ready(host);
    const popup = await stage.popupOf(host, () => host.click("#connect"));
    await popup.getByRole("link", { name: "continue to HubSpot" }).click();
    await approve(popup);
    const { outcome, connection } = await resultOf(host);
    assert.equal(outcome, "connected");
    assert.ok(connection.accessToken);
    assert.deepEqual(await heard(host), []);
    assert.equal(await popup.textContent("h1"), "Connected");
  });

  test("without JavaScript the launch page continues by itself if the page is verified", async (stage) => {
    const page = await stage.open(`${hosts.origin}${formPage(stage)}`);
    await page.click("#post");
    await approve(page);
    assert.equal(await page.textContent("h1"), "Connected");
    const answer = await stage.attempt(VERIFIER);
    assert.equal(answer.status, "connected");
    assert.equal(answer.connection.portal_id, ACME.id);
  }, { javaScriptEnabled: false });

  test("without JavaScript a link needs confirmation, and its result is withheld", async (stage) => {
    const page = await stage.open(`${hosts.origin}${formPage(stage)}`);
    await page.click("#link");
    await page.getByRole("heading", { name: "Did you start this?" }).waitFor();
    assert.match(await page.innerText("main"), new RegExp(hosts.origin));
    await page.getByRole("button", { name: "Continue" }).click();
    await approve(page);
    assert.equal(await page.textContent("h1"), "Connected");
    const answer = await stage.attempt(VERIFIER);
    assert.deepEqual([answer.status, answer.withheld, answer.connection], ["awaiting_user", true, undefined]);
  }, { javaScriptEnabled: false });
});

const VERIFIER = randomBytes(32).toString("base64url");
const hash = (text) => createHash("sha256").update(text).digest("base64url");

/** Returns a page that starts by a form or by a link, like pages without scripts. */
function formPage(stage) {
  stage.sites.add(hosts.origin);
  const action = `${stage.demo.service}/auth/hubspot/start`;
  const fields = { origin: hosts.origin, challenge: hash(VERIFIER) };
  const inputs = Object.entries(fields).map(([name, value]) => `<input type="hidden" name="${name}" value="${value}">`).join("");
  return hosts.put(`<!doctype html><title>Host</title><link rel="icon" href="data:,">
    <form method="post" action="${action}">${inputs}<button id="post">Connect</button></form>
    <a id="link" href="${action}?${new URLSearchParams(fields)}">Connect</a>`);
}

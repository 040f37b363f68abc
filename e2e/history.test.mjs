// The browser's history of a flow, and its use to an attacker.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { ACME, approve, suite } from "./harness.mjs";

/** Returns the URLs behind the Back and Forward buttons. */
async function sessionHistory(browser, page) {
  const cdp = await browser.newCDPSession(page);
  const { entries } = await cdp.send("Page.getNavigationHistory");
  return entries.map(({ url }) => url);
}

suite([], (test) => {
  test("the callback and the link in the browser history are useless", async (stage) => {
    const { demo } = stage;
    const { body: session } = await demo.api("POST", "/api/hubspot/connect-sessions", { external_user_id: "user_42", hosted: true });
    const folder = await stage.profile();
    const browser = await stage.browserOf(folder);
    const page = await browser.newPage();
    await page.goto(session.link);
    await page.getByRole("button", { name: "Continue to HubSpot" }).click();
    await page.waitForSelector("#approve");
    await approve(page, ACME);
    await page.getByRole("heading", { name: "Waiting for confirmation" }).waitFor();
    const [{ form: { code } }] = await demo.calls("exchange");
    const behindButtons = await sessionHistory(browser, page);
    const state = new URL(behindButtons.find((url) => url.startsWith(demo.hubspot))).searchParams.get("state");
    const callback = `${demo.service}/auth/hubspot/callback?code=${code}&state=${state}`;
    for (const url of behindButtons) assert.ok(url !== callback && url !== session.link, url);
    await browser.close();

    const database = await readFile(join(folder, "Default", "History"), "latin1");
    for (const url of [callback, session.link]) assert.ok(database.includes(url), `the history lists ${url}`);
    const later = await stage.browserOf(folder);
    const again = await later.newPage();
    await again.goto(session.link);
    await again.getByRole("heading", { name: "This link is no longer valid" }).waitFor();
    stage.expectProblem(/410/);
    await again.goto(callback);
    await again.waitForURL(/auth.hubspot.done/);
    assert.equal((await demo.calls("exchange")).length, 1);
    const { body: held } = await demo.api("GET", `/api/hubspot/connect-sessions/${session.id}`);
    assert.equal(held.status, "awaiting_confirmation");
  });
});

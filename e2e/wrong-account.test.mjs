// Another account than the expected one: the user is asked, in the popup or on the return from a redirect.
import assert from "node:assert/strict";
import { ACME, GLOBEX, approve, suite, until } from "./harness.mjs";
import { Hosts, ready, resultOf } from "./hosts.mjs";

const hosts = await Hosts.serve();

/** Reconnects ACME on a host page and consents for GLOBEX. @returns the page, and the window that asks */
async function asked(stage, headers) {
  await stage.connectInTab(ACME);
  const host = await stage.open(hosts.page(stage, { headers }));
  await ready(host);
  await host.evaluate((portalId) => { window.options = { portalId }; }, ACME.id);
  const popup = await stage.popupOf(host, () => host.click("#connect"));
  await approve(popup, GLOBEX);
  await popup.getByRole("heading", { name: "A different account" }).waitFor();
  return { host, popup };
}

async function connections(stage) {
  const page = await stage.open(`${stage.demo.service}/`);
  const names = await page.locator("[data-connection] [data-name]").allInnerTexts();
  await page.close();
  return names.map((name) => name.trim()).sort();
}

suite(hosts.flags, (test) => {
  test("the popup names the account and changes nothing before the decision", async (stage) => {
    const { host, popup } = await asked(stage);
    const text = await popup.innerText("main");
    for (const word of [ACME.domain, `${ACME.id}`, GLOBEX.domain, `${GLOBEX.id}`]) assert.ok(text.includes(word), `${word}: ${text}`);
    assert.deepEqual(await connections(stage), [ACME.domain]);
    assert.equal(await host.evaluate(() => window.result), undefined);
    await popup.reload();
    await popup.getByRole("heading", { name: "A different account" }).waitFor();
  });

  test("keeping both reports the new account to the page, by keyboard alone", async (stage) => {
    const { host, popup } = await asked(stage);
    const focused = () => popup.evaluate(() => document.activeElement.textContent.trim());
    for (const name of ["Skip to the content", "Keep both accounts"]) {
      await popup.keyboard.press("Tab");
      assert.equal(await focused(), name);
    }
    await popup.keyboard.press("Enter");
    const { outcome, connection } = await resultOf(host);
    assert.deepEqual([outcome, connection.portalId, connection.hubDomain], ["connected", GLOBEX.id, GLOBEX.domain]);
    await until("the popup closes", () => popup.isClosed());
    assert.deepEqual(await connections(stage), [ACME.domain, GLOBEX.domain]);
  });

  test("switching keeps only the new account, here and at HubSpot", async (stage) => {
    const { host, popup } = await asked(stage);
    await popup.getByRole("button", { name: /^Switch/ }).click();
    assert.equal((await resultOf(host)).connection.portalId, GLOBEX.id);
    assert.deepEqual(await connections(stage), [GLOBEX.domain]);
    const grants = await until("HubSpot has got the revocation", async () => {
      const all = await stage.demo.grants();
      return all.length === 1 && all;
    });
    assert.equal(grants[0].hub_id, GLOBEX.id);
  });

  test("going back reports the error code to the page", async (stage) => {
    const { host, popup } = await asked(stage);
    await popup.getByRole("button", { name: /^Go back/ }).click();
    assert.equal((await resultOf(host)).outcome, "wrong_account");
    assert.deepEqual(await connections(stage), [ACME.domain]);
  });

  test("a page that cuts its popup off gets the decision, too", async (stage) => {
    const { host, popup } = await asked(stage, { "cross-origin-opener-policy": "same-origin" });
    await popup.getByRole("button", { name: "Keep both accounts" }).click();
    assert.equal((await resultOf(host)).connection.portalId, GLOBEX.id);
  });

  test("after a redirect the question comes before the return", async (stage) => {
    await stage.connectInTab(ACME);
    const address = hosts.page(stage);
    const host = await stage.open(address);
    await ready(host);
    await host.evaluate((portalId) => { window.options = { portalId, mode: "redirect" }; }, ACME.id);
    await host.click("#connect");
    await approve(host, GLOBEX);
    await host.getByRole("button", { name: "Keep both accounts" }).click();
    const { outcome, connection } = await until("resume() has the result", () => host.evaluate(() => window.resumed).catch(() => null));
    assert.deepEqual([outcome, connection.portalId], ["connected", GLOBEX.id]);
    assert.equal(host.url(), address);
  });

  test("after an unverified redirect the page learns at once that it gets no result", async (stage) => {
    // The page is left by a URL, which has no origin.
    const host = await stage.open(hosts.page(stage, { headers: { "content-security-policy": "form-action 'self'" } }));
    stage.expectProblem(/form-action/);
    await ready(host);
    await host.evaluate(() => { window.options = { mode: "redirect" }; });
    await host.click("#connect");
    await host.getByRole("button", { name: "Continue" }).click();
    await approve(host);
    const { outcome } = await until("resume() has the result", () => host.evaluate(() => window.resumed).catch(() => null));
    assert.equal(outcome, "csp_blocked");
    assert.deepEqual(await connections(stage), [ACME.domain], "the user has the authorized account");
  });
});

// No secret stays in the popup, and no token is handed off twice.
import assert from "node:assert/strict";
import { approve, heard, path, suite, until } from "./harness.mjs";

/** Connects from the host page with a popup that stays, and collects its secrets. */
async function connected(stage) {
  await stage.keepWindowsOpen();
  const { host, popup } = await stage.startOnHost();
  const state = new URL(popup.url()).searchParams.get("state");
  assert.ok(state.length >= 40);
  await approve(popup);
  await until("the popup wants to close", () => popup.evaluate(() => window.wantsToClose).catch(() => false));
  const [{ data }] = await heard(host);
  const [exchange] = await stage.demo.calls("exchange");
  const grants = await stage.demo.grants();
  const secrets = { "access token": data.access_token, code: exchange.form.code, state, "client secret": exchange.form.client_secret };
  for (const [index, grant] of grants.entries()) secrets[`refresh token ${index}`] = grant.refresh_token;
  for (const [name, secret] of Object.entries(secrets)) assert.ok(secret?.length >= 10, name);
  return { host, popup, secrets };
}

function assertFreeOf(secrets, where, text) {
  for (const [name, secret] of Object.entries(secrets)) assert.ok(!text.includes(secret), `the ${name} is in the ${where}`);
}

suite([], (test) => {
  test("after success neither URL nor page, storage, cookies nor session history contain a secret", async (stage) => {
    const { host, popup, secrets } = await connected(stage);
    const { href, html, rest } = await popup.evaluate(async () => ({
      href: location.href,
      html: document.documentElement.outerHTML,
      rest: JSON.stringify([
        { ...sessionStorage }, { ...localStorage }, document.cookie, document.referrer, history.state, window.name,
        Object.keys(window).filter((key) => !(key in Window.prototype)), await caches.keys(), await indexedDB.databases(),
        performance.getEntries().map((entry) => entry.name),
      ]),
    }));
    assert.match(path(href), /^\/auth\/hubspot\/done\?flow=[\w-]+(#_)?$/);
    assertFreeOf(secrets, "address", href);
    assertFreeOf(secrets, "page", html);
    assertFreeOf(secrets, "storage", rest);
    assert.equal(await popup.evaluate(() => document.cookie), "", "no cookie can be read by a script");

    const cdp = await stage.context.newCDPSession(popup);
    const { entries } = await cdp.send("Page.getNavigationHistory");
    const { state, ...others } = secrets;
    assertFreeOf(others, "session history", JSON.stringify(entries));
    // HubSpot's own page, from which the user came, has it in its URL.
    const ours = entries.filter(({ url }) => url.startsWith(stage.demo.service));
    assert.ok(ours.length >= 1);
    assertFreeOf({ state }, "session history", JSON.stringify(ours));

    const { "access token": _, ...never } = secrets;
    assertFreeOf(never, "host page's messages", JSON.stringify(await heard(host)));
    for (const cookie of await stage.context.cookies(stage.demo.service)) {
      assert.ok(cookie.httpOnly && cookie.sameSite === "Lax" && cookie.path === "/", cookie.name);
      assertFreeOf(secrets, "cookies", decodeURIComponent(cookie.value));
    }
  });

  test("Back, Forward and Reload say that the window can be closed and hand off nothing again", async (stage) => {
    stage.expectProblem(/status of 404/);
    const { host, popup } = await connected(stage);
    const flow = await popup.getAttribute("[data-flow]", "data-flow");
    assert.deepEqual(await stage.flowCookies(), [], "the cookie has done its work");
    for (const again of ["reload", "back and forward"]) {
      if (again === "reload") {
        await popup.evaluate(() => location.reload());
      } else {
        await popup.evaluate(() => history.back());
        await popup.waitForSelector("#approve");
        await popup.evaluate(() => history.forward());
      }
      await popup.waitForSelector('[data-outcome="over"]');
      assert.equal(await popup.textContent("h1"), "You can close this window", again);
      assert.equal((await heard(host)).length, 1, again);
    }
    const status = await popup.evaluate((id) => fetch("/auth/hubspot/handoff", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ flow: id }),
    }).then((response) => response.status), flow);
    assert.equal(status, 404);
  });

  test("consenting again after Back exchanges nothing and sends no message", async (stage) => {
    const { host, popup } = await connected(stage);
    await popup.evaluate(() => history.back());
    await popup.waitForSelector("#approve");
    await approve(popup);
    await popup.waitForSelector('[data-outcome="over"]');
    assert.equal(await popup.textContent("h1"), "You can close this window");
    assert.equal((await heard(host)).length, 1);
    assert.equal((await stage.demo.calls("exchange")).length, 1);
  });

  test("a failed callback leaves no code and no state in the URL", async (stage) => {
    await stage.keepWindowsOpen();
    const state = "b".repeat(43);
    for (const query of [`code=SECRETCODE&state=${state}`, "code=SECRETCODE", `state=${state}`, `error=server_error&error_description=SECRETCODE&state=${state}`]) {
      const page = await stage.open(`${stage.demo.service}/auth/hubspot/callback?${query}#code=SECRETCODE`);
      // A code without a state may be a Marketplace install, which the demo accepts: another page appears.
      await page.waitForSelector('[data-outcome="error"], [data-page="install-claim"][data-code]');
      const all = await page.evaluate(() => location.href + document.documentElement.outerHTML);
      assert.ok(!all.includes("SECRETCODE") && !all.includes(state), query);
      await page.close();
    }
  });

  test("of two tabs with the same code one exchanges it, and the other waits for the outcome", async (stage) => {
    const { demo, context } = stage;
    await demo.order({ on: "exchange", times: 1, fault: { delay: 3000 } });
    const page = await stage.open(`${demo.service}/auth/hubspot/start?origin=${encodeURIComponent(demo.service)}`);
    const callback = context.waitForEvent("request", (request) => request.url().includes("/auth/hubspot/callback"));
    await page.click("#approve", { noWaitAfter: true });
    const second = await stage.open();
    await second.goto((await callback).url());
    assert.equal(await second.textContent("h1"), "Finishing the connection");
    await second.waitForSelector('[data-outcome="success"]');
    await page.waitForSelector('[data-outcome="success"]');
    assert.equal((await demo.calls("exchange")).length, 1);
  });
});

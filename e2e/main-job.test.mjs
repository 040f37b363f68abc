// The main use: connect from a page of another site, stay connected, disconnect.
import assert from "node:assert/strict";
import { ACME, GLOBEX, approve, closesAfterTwoSeconds, heard, suite, timeLastPage, until } from "./harness.mjs";

const secondsShown = async (page) => Number((await page.textContent("[data-countdown]")).match(/refresh in (\d+) s/)?.[1] ?? 0);

suite(["--token-seconds", "10"], (test) => {
  test("a page of another site opens a popup and gets the account, the scopes and an access token that works", async (stage) => {
    const { demo } = stage;
    const { host, popup } = await stage.startOnHost();
    const [width, height] = await popup.evaluate(() => [innerWidth, innerHeight]);
    // The browser's own frame is counted in whole pixels of the screen.
    assert.ok(Math.abs(width - 600) <= 2 && Math.abs(height - 700) <= 2, `the popup is ${width} x ${height}`);
    const times = timeLastPage(popup);
    await approve(popup, ACME);
    await host.getByText("Connected.", { exact: true }).waitFor();
    assert.ok(await host.isVisible("#result"));
    assert.equal(await host.textContent("#account"), `${ACME.domain} (${ACME.id})`);
    assert.equal(await host.textContent("#scopes"), "oauth, crm.objects.contacts.read, crm.objects.contacts.write, automation");
    await closesAfterTwoSeconds(times);

    const [message, ...more] = await heard(host);
    assert.deepEqual(more, [], "one message, no more");
    assert.equal(message.origin, demo.service);
    const { data } = message;
    assert.equal(data.type, "hubspot_auth_success");
    assert.equal(data.version, 1);
    assert.equal(data.token_type, "bearer");
    assert.ok((await host.textContent("#token")).startsWith(data.access_token.slice(0, 8)));
    const details = await fetch(`${demo.hubspot}/account-info/v3/details`, { headers: { authorization: `Bearer ${data.access_token}` } });
    assert.equal((await details.json()).portalId, ACME.id);

    const grants = await demo.grants();
    for (const grant of grants) assert.ok(!JSON.stringify(data).includes(grant.refresh_token), "the refresh token stays with the service");
  });

  test("the service's own page counts down to a refresh, and the refresh happens", async (stage) => {
    const { demo } = stage;
    const page = await stage.connectInTab(GLOBEX);
    await page.goto(demo.service);
    assert.equal((await page.textContent("[data-name]")).trim(), GLOBEX.domain);
    assert.equal(await page.getAttribute("[data-connection]", "data-status"), "active");
    const missing = await page.textContent(".chip.missing");
    assert.equal(missing, "automation", "what the account could not grant is shown");

    const first = await secondsShown(page);
    assert.ok(first > 0 && first <= 10, `${first} s until the refresh`);
    await until("the countdown falls", async () => {
      const now = await secondsShown(page);
      return now > 0 && now < first;
    });
    let lowest = first;
    await until("the countdown goes up again", async () => {
      const now = await secondsShown(page);
      lowest = Math.min(lowest, now);
      return now > lowest;
    }, 25_000);
    const refreshes = await demo.calls("refresh");
    assert.ok(refreshes.some(({ hub_id, status }) => hub_id === GLOBEX.id && status === 200), "HubSpot was asked for a new token");
  });

  test("disconnecting asks first, revokes the grant at HubSpot, and returns to the Connect button", async (stage) => {
    const { demo } = stage;
    const before = (await demo.grants()).length;
    const page = await stage.connectInTab(ACME);
    await page.goto(demo.service);
    const card = page.locator("[data-connection]");

    await card.getByRole("button", { name: "Disconnect" }).click();
    const dialog = page.getByRole("dialog");
    assert.match(await dialog.innerText(), new RegExp(`Disconnect ${ACME.domain}\\?`));
    await dialog.getByRole("button", { name: "Keep it" }).click();
    await dialog.waitFor({ state: "hidden" });
    assert.equal(await card.count(), 1);
    assert.deepEqual(await demo.calls("revoke"), []);

    await card.getByRole("button", { name: "Disconnect" }).click();
    await dialog.getByRole("button", { name: "Disconnect" }).click();
    await page.waitForURL(`${demo.service}/login`);
    const [revoke] = await until("HubSpot gets the revocation", () => demo.calls("revoke").then((calls) => calls.length && calls));
    assert.equal(revoke.status, 200);
    assert.equal(revoke.hub_id, ACME.id);
    assert.equal((await demo.grants()).length, before, "the grant is gone");

    const popup = await stage.popupOf(page, () => page.click("[data-connect]"));
    await approve(popup, ACME);
    await page.waitForURL(`${demo.service}/`);
    assert.equal((await page.textContent("[data-name]")).trim(), ACME.domain, "and it can be connected again");
  });

  test("disconnecting one of two accounts keeps the other on the page", async (stage) => {
    const { demo } = stage;
    await stage.connectInTab(ACME);
    const page = await stage.connectInTab(GLOBEX);
    await page.goto(demo.service);
    assert.equal(await page.locator("[data-connection]").count(), 2);
    await page.locator("[data-connection]", { hasText: ACME.domain }).getByRole("button", { name: "Disconnect" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Disconnect" }).click();
    await page.getByText(`${ACME.domain} is disconnected.`).waitFor();
    assert.deepEqual(await page.locator("[data-name]").allInnerTexts(), [GLOBEX.domain]);
    await page.reload();
    assert.deepEqual(await page.locator("[data-name]").allInnerTexts(), [GLOBEX.domain]);
  });

  test("logging out ends every grant, and the old cookie is useless", async (stage) => {
    const { demo, context } = stage;
    await stage.connectInTab(ACME);
    const page = await stage.connectInTab(GLOBEX);
    const saved = await context.cookies(demo.service);
    const session = saved.find(({ name }) => name.endsWith("hsc_sid"));
    assert.ok(session?.httpOnly && session.sameSite === "Lax", "the session is in a cookie that scripts cannot read");

    await page.goto(demo.service);
    await page.getByRole("link", { name: "Log out" }).click();
    assert.match(await page.innerText("main"), /2 HubSpot accounts are connected/);
    await page.getByRole("button", { name: "Disconnect and log out" }).click();
    await page.waitForURL(`${demo.service}/login`);
    const revokes = await until("HubSpot gets both revocations", () => demo.calls("revoke").then((calls) => calls.length === 2 && calls));
    assert.deepEqual(revokes.map(({ hub_id }) => hub_id).sort(), [ACME.id, GLOBEX.id].sort());

    await context.addCookies(saved);
    const status = await page.evaluate(() => fetch("/api/hubspot/status").then((response) => response.json()));
    assert.deepEqual(status, { authenticated: false, connections: [] });
    await page.goto(demo.service);
    assert.equal(page.url(), `${demo.service}/login`);
  });
});

// The default of the service.
suite(["--token-delivery", "handle"], (test) => {
  test("without token delivery, a listener and the SDK get the connection without a token", async (stage) => {
    for (const path of ["/plain", "/"]) {
      const host = await stage.open(`${stage.demo.host}${path}`);
      const popup = await stage.popupOf(host, () => host.getByRole("button", { name: "Connect to HubSpot" }).click());
      await popup.waitForSelector("#approve");
      await approve(popup, ACME);
      await host.waitForSelector("#result");
      assert.equal(await host.textContent("#account"), `${ACME.domain} (${ACME.id})`);
      assert.equal(await host.textContent("#token"), "stays with the service");
    }
  });
});

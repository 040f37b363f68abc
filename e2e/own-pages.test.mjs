// The service's own pages: with a popup, without one, without JavaScript, and with hostile names in them.
import assert from "node:assert/strict";
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { ACME, GLOBEX, approve, closesAfterTwoSeconds, suite, timeLastPage } from "./harness.mjs";

suite([], (test) => {
  test("the login page connects through a popup and goes on to the connection", async (stage) => {
    const { demo } = stage;
    const login = await stage.open(demo.service);
    assert.equal(login.url(), `${demo.service}/login`);
    const popup = await stage.popupOf(login, () => login.click("[data-connect]"));
    const times = timeLastPage(popup);
    const handoff = popup.waitForResponse((response) => response.url().endsWith("/auth/hubspot/handoff"));
    await approve(popup);
    await login.waitForURL(`${demo.service}/`);
    assert.equal((await login.textContent("[data-name]")).trim(), ACME.domain);
    const data = (await (await handoff).json()).message;
    assert.equal(data.type, "hubspot_auth_success");
    assert.ok(!("access_token" in data), "the own page has a session and needs no token");
    await closesAfterTwoSeconds(times);
  });

  test("the login page goes on to the connection when polling is faster than the popup's message", async (stage) => {
    const { demo } = stage;
    const login = await stage.open(`${demo.service}/login`);
    let release;
    const released = new Promise((resume) => { release = resume; });
    // Node's fetch would replace the browser's Sec-Fetch headers.
    const ask = async (request) => {
      const sent = httpRequest(request.url(), { method: request.method(), headers: await request.allHeaders() });
      sent.end(request.postDataBuffer() ?? undefined);
      const [answer] = await once(sent, "response");
      answer.resume();
      return answer;
    };
    // Redirected requests are not routed, so HubSpot sends the browser back by a page.
    await stage.context.route("**/oauth/decide", async (route) => {
      const back = (await ask(route.request())).headers.location;
      await route.fulfill({ contentType: "text/html", body: `<script>location.replace(${JSON.stringify(back)})</script>` });
    });
    await stage.context.route("**/auth/hubspot/callback?*", async (route) => {
      const { statusCode, headers } = await ask(route.request());
      await released;
      await route.fulfill({ status: statusCode, headers: { ...headers, "set-cookie": headers["set-cookie"].join("\n") } });
    });
    const popup = await stage.popupOf(login, () => login.click("[data-connect]"));
    const approved = approve(popup);
    await login.getByText("Connected. One moment…").waitFor();
    // The page has looked for a session and found none.
    await login.waitForResponse((response) => response.url().endsWith("/api/hubspot/status"));
    release();
    await approved;
    await login.waitForURL(`${demo.service}/`);
    assert.equal((await login.textContent("[data-name]")).trim(), ACME.domain);
  });

  test("a second account is connected from the list, and reconnecting one adds no third", async (stage) => {
    const { demo } = stage;
    await stage.connectInTab(ACME);
    const page = await stage.open(demo.service);
    const popup = await stage.popupOf(page, () => page.getByRole("link", { name: "Connect another account" }).click());
    await approve(popup, GLOBEX);
    await page.locator("[data-connection]", { hasText: GLOBEX.domain }).waitFor();
    assert.equal(await page.locator("[data-connection]").count(), 2);

    const again = await stage.popupOf(page, () => page.locator("[data-connection]", { hasText: ACME.domain }).getByRole("link", { name: "Reconnect" }).click());
    await again.waitForSelector("#approve");
    assert.ok(await again.isChecked(`[name="hub_id"][value="${ACME.id}"]`), "the account is preselected");
    const shown = page.waitForEvent("load");
    await again.click("#approve");
    await shown;
    assert.equal(await page.locator("[data-connection]").count(), 2);
  });

  test("without JavaScript the link connects by redirect and logging out works", async (stage) => {
    const { demo } = stage;
    const page = await stage.open(demo.service);
    await page.click("[data-connect]");
    await approve(page, ACME);
    assert.equal(await page.textContent("h1"), "Connected");
    assert.match(await page.innerText("main"), /acme\.example \(account 1234567\) is connected/);
    await page.getByRole("link", { name: "See your connections" }).click();
    assert.equal(page.url(), `${demo.service}/`);
    assert.equal((await page.textContent("[data-name]")).trim(), ACME.domain);
    assert.match(await page.textContent("[data-countdown]"), /refresh in \d+ s/);
    assert.ok(await page.getByRole("button", { name: "Disconnect" }).isHidden(), "no button that does nothing");
    await page.getByRole("link", { name: "Log out" }).click();
    await page.getByRole("button", { name: "Disconnect and log out" }).click();
    assert.equal(page.url(), `${demo.service}/login`);
    assert.equal((await demo.calls("revoke")).length, 1);
  }, { javaScriptEnabled: false });

  test("a click whose popup is blocked connects by redirect", async (stage) => {
    const { demo } = stage;
    await stage.context.addInitScript(() => { window.open = () => null; });
    const page = await stage.open(`${demo.service}/login`);
    await page.click("[data-connect]");
    await approve(page, ACME);
    assert.equal(await page.textContent("h1"), "Connected");
    await page.getByRole("link", { name: "See your connections" }).click();
    assert.equal((await page.textContent("[data-name]")).trim(), ACME.domain);
  });

  test("names with markup are shown as text", async (stage) => {
    const { demo } = stage;
    const { accounts } = await demo.options();
    const nasty = {
      ...accounts[0], hub_id: 666, hub_domain: `"><script>alert(1)</script>`, user: `'><img src=x onerror=alert(2)>@x`,
      time_zone: `{{ 7 * 7 }}<svg onload=alert(3)>`,
    };
    await demo.setOptions({ accounts: [nasty, ...accounts] });
    try {
      const done = await stage.connectInTab({ id: 666 });
      assert.equal(await done.textContent("main strong"), nasty.hub_domain);
      const page = await stage.open(demo.service);
      assert.equal((await page.textContent("[data-name]")).trim(), nasty.hub_domain);
      const text = await page.textContent("[data-connection]");
      assert.ok(text.includes(nasty.user) && text.includes(nasty.time_zone));
      await page.getByRole("button", { name: "Disconnect" }).click();
      assert.equal(await page.textContent("[data-ask-name]"), nasty.hub_domain);
      const { host, popup } = await stage.startOnHost();
      await approve(popup, { id: 666 });
      await host.getByText("Connected.", { exact: true }).waitFor();
      assert.equal(await host.textContent("#account"), `${nasty.hub_domain} (666)`);
      for (const shown of [done, page, host]) {
        assert.equal(await shown.locator("main script, img[src='x'], svg").count(), 0);
      }
    } finally {
      await demo.setOptions({ accounts });
    }
    const query = encodeURIComponent(`"><script>alert(4)</script>`);
    stage.tolerateProblem(/Failed to load resource/);
    for (const path of [`/auth/hubspot/done?problem=${query}`, `/auth/hubspot/done?flow=${query}`, `/auth/hubspot/start?portal_id=${query}`, `/${query}`]) {
      const page = await stage.open(demo.service + path);
      assert.equal(await page.locator("main script").count(), 0, path);
      assert.ok(await page.isVisible("h1"), path);
      await page.close();
    }
  });
});

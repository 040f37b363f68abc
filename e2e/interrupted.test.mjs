// Reload, Back and navigation, in the popup and in the page that opened it: the result is not lost, and comes once.
import assert from "node:assert/strict";
import { ACME, GLOBEX, approve, suite, until } from "./harness.mjs";
import { Hosts, hold, ready, resultOf } from "./hosts.mjs";

const hosts = await Hosts.serve();

async function begin(stage) {
  const host = await stage.open(hosts.page(stage));
  await ready(host);
  const popup = await stage.popupOf(host, () => host.click("#connect"));
  await popup.waitForSelector("#approve");
  return { host, popup };
}

async function assertConnects(host, account = ACME) {
  const { outcome, connection } = await resultOf(host);
  assert.equal(outcome, "connected");
  assert.equal(connection.portalId, account.id);
  assert.ok(connection.accessToken);
}

const resumed = (page) => until("resume() has the result", () => page.evaluate(() => window.resumed).catch(() => null), 30_000);
/** Reloads like the browser's button; a page that a form has brought is posted again. */
const reload = (page) => page.evaluate(() => location.reload()).catch(() => {});

suite(hosts.flags, (test) => {
  test("reloading the launch page while HubSpot is slow does not send its form again", async (stage) => {
    const consent = await hold(stage.context, /\/oauth\/authorize\?/);
    const host = await stage.open(hosts.page(stage));
    await ready(host);
    const popup = await stage.popupOf(host, () => host.click("#connect"));
    await consent.asked;
    const [again] = await Promise.all([
      popup.waitForEvent("request", (request) => /auth.hubspot.(start|launched)$/.test(request.url())),
      // The new page is left again before the reload counts as done.
      popup.reload().catch(() => {}),
    ]);
    assert.deepEqual([again.method(), new URL(again.url()).pathname], ["GET", "/auth/hubspot/launched"]);
    consent.release();
    await approve(popup);
    await assertConnects(host);
  });

  test("reloading HubSpot's page keeps the flow", async (stage) => {
    const { host, popup } = await begin(stage);
    await popup.reload();
    await approve(popup);
    await assertConnects(host);
  });

  test("Back and Forward at HubSpot's page keep the flow", async (stage) => {
    const { host, popup } = await begin(stage);
    await popup.goBack();
    await popup.goForward();
    await approve(popup);
    await assertConnects(host);
  });

  test("reloading the popup during the code exchange keeps the flow", async (stage) => {
    const { host, popup } = await begin(stage);
    await stage.demo.order({ on: "exchange", times: 1, fault: { delay: 3_000 } });
    const callback = stage.context.waitForEvent("request", (request) => request.url().includes("/auth/hubspot/callback"));
    const approved = approve(popup).catch(() => {});
    await callback;
    await reload(popup);
    await approved;
    await assertConnects(host);
  });

  test("reloading the result page before it closes keeps the result", async (stage) => {
    stage.tolerateProblem(/status of (410|404)/);
    const { host, popup } = await begin(stage);
    const clock = await stage.stopClock();
    await approve(popup);
    await popup.waitForSelector('[data-outcome="success"]');
    await popup.reload();
    // The first page may have handed the result off already, or not.
    assert.match(await popup.textContent("h1"), /^(Connected|You can close this window)$/);
    await clock.resume();
    await until("the popup closes", () => popup.isClosed());
    await assertConnects(host);
  });

  test("authorizing another account after Back keeps the first result", async (stage) => {
    stage.tolerateProblem(/status of (410|404)/);
    await stage.keepWindowsOpen();
    const { host, popup } = await begin(stage);
    await approve(popup);
    await assertConnects(host);
    await popup.waitForSelector('[data-outcome="success"]');
    await popup.goBack();
    await popup.waitForSelector("#approve");
    await approve(popup, GLOBEX);
    await popup.waitForSelector("[data-outcome]");
    await popup.waitForTimeout(1_000);
    await assertConnects(host);
    const page = await stage.open(stage.demo.service);
    assert.deepEqual((await page.locator("[data-name]").allInnerTexts()).map((name) => name.trim()), [ACME.domain]);
  });

  test("reloading the host page while the user is at HubSpot resumes the flow", async (stage) => {
    const { host, popup } = await begin(stage);
    await host.reload();
    await ready(host);
    await approve(popup);
    const { outcome, connection } = await resumed(host);
    assert.equal(outcome, "connected");
    assert.equal(connection.portalId, ACME.id);
    assert.ok(connection.accessToken);
  });

  test("reloading the host page before the popup has sent a message resumes the flow", async (stage) => {
    // The flow is unknown yet, and the service says so.
    stage.tolerateProblem(/status of 404/);
    const start = await hold(stage.context, /\/auth\/hubspot\/start/);
    const host = await stage.open(hosts.page(stage));
    await ready(host);
    const popup = await stage.popupOf(host, () => host.click("#connect"));
    await start.asked;
    await host.reload();
    await ready(host);
    start.release();
    await approve(popup);
    assert.equal((await resumed(host)).outcome, "connected");
  });

  test("closing the host page does not stop the connection, which the service's page lists", async (stage) => {
    stage.tolerateProblem(/Failed to execute 'postMessage' on 'DOMWindow': The target origin provided/);
    const { host, popup } = await begin(stage);
    await host.goto("about:blank");
    await approve(popup);
    await until("the popup closes", () => popup.isClosed());
    const page = await stage.open(stage.demo.service);
    assert.equal((await page.textContent("[data-name]")).trim(), ACME.domain);
  });
});

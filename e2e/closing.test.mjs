// A popup that is closed. It may also be cut off, so nothing ends: the page is notified, and its next click takes over.
import assert from "node:assert/strict";
import { ACME, approve, suite, until } from "./harness.mjs";
import { Hosts, hold, ready, resultOf } from "./hosts.mjs";

const hosts = await Hosts.serve();
/** Longer than any page takes to load. */
const LATER_MS = 6_000;
/** The target of the launch page. */
const CONSENT = /\/oauth\/authorize\?/;

/** Starts on a host page. */
async function begin(stage) {
  const host = await stage.open(hosts.page(stage));
  await ready(host);
  await host.evaluate(() => { window.options = { onState: (state) => { window.lost = state === "perhaps_closed"; } }; });
  const popup = await stage.popupOf(host, () => host.click("#connect"));
  return { host, popup };
}

const cancels = (stage) => stage.requests.filter((request) => request.url().endsWith("/api/hubspot/cancel")).length;

/** Waits until the page knows that the popup is lost, and checks that nothing has ended. */
async function isLost(host, stage) {
  await until("the page knows that the popup may be closed", () => host.evaluate(() => window.lost));
  await host.waitForTimeout(3_000);
  assert.equal(await host.evaluate(() => window.result), undefined);
  assert.equal(cancels(stage), 0, "nothing is cancelled on a guess");
}

/** Closes the popup and checks that the page still waits, and that its next click starts again. */
async function closesAndIsTakenOver(host, popup, stage) {
  await popup.close();
  await isLost(host, stage);
  const second = await stage.popupOf(host, () => host.click("#connect"));
  // The first request ends with the second click.
  assert.equal((await resultOf(host)).outcome, "closed");
  await until("the click is final", () => cancels(stage) === 1);
  await approve(second);
  await until("the second request ends", () => host.evaluate(() => window.result.outcome === "connected"));
}

suite(hosts.flags, (test) => {
  for (const [when, pause] of [["at once", 0], ["after a while", LATER_MS]]) {
    test(`closed at the launch page, ${when}`, async (stage) => {
      const consent = await hold(stage.context, CONSENT);
      const { host, popup } = await begin(stage);
      await consent.asked;
      await popup.waitForTimeout(pause);
      consent.release();
      await closesAndIsTakenOver(host, popup, stage);
    });

    test(`closed at HubSpot, ${when}`, async (stage) => {
      const { host, popup } = await begin(stage);
      await popup.waitForSelector("#approve");
      await popup.waitForTimeout(pause);
      await closesAndIsTakenOver(host, popup, stage);
    });
  }

  test("closed at HubSpot after HubSpot cut it off", async (stage) => {
    await stage.demo.setOptions({ coop: "same-origin" });
    const { host, popup } = await begin(stage);
    await popup.waitForSelector("#approve");
    await popup.waitForTimeout(LATER_MS);
    await closesAndIsTakenOver(host, popup, stage);
  });

  test("a popup that a sign-in page cuts off late still brings the result", async (stage) => {
    const { host, popup } = await begin(stage);
    await popup.waitForSelector("#approve");
    await popup.waitForTimeout(LATER_MS);
    await stage.demo.setOptions({ coop: "same-origin" });
    await popup.reload();
    await isLost(host, stage);
    await approve(popup);
    const { outcome, connection } = await resultOf(host);
    assert.equal(outcome, "connected");
    assert.ok(connection.accessToken);
    assert.equal(cancels(stage), 0);
  });

  for (const [when, pause] of [["at once", 0], ["after a while", LATER_MS]]) {
    test(`closed during the code exchange, ${when}: the connection is created and reported to the page`, async (stage) => {
      const { host, popup } = await begin(stage);
      await popup.waitForSelector("#approve");
      await popup.waitForTimeout(pause);
      await stage.demo.order({ on: "exchange", times: 1, fault: "hold" });
      const verifier = await host.evaluate(() => JSON.parse(Object.values(sessionStorage)[0]).verifier);
      const approved = approve(popup).catch(() => {});
      await until("the code is exchanged", async () => (await stage.attempt(verifier)).status === "exchanging");
      await popup.close();
      await stage.demo.release();
      await approved;
      const { outcome, connection } = await resultOf(host);
      assert.equal(outcome, "connected");
      assert.equal(connection.portalId, ACME.id);
      assert.ok(connection.accessToken);
    });
  }

  test("closed at the result page before it closes by itself", async (stage) => {
    await stage.keepWindowsOpen();
    const { host, popup } = await begin(stage);
    await approve(popup);
    await popup.waitForSelector('[data-outcome="success"]');
    await popup.close();
    const { outcome, connection } = await resultOf(host);
    assert.equal(outcome, "connected");
    assert.ok(connection.accessToken);
  });
});

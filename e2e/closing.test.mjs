// A popup that is closed: where that can be known the page is told within seconds, and what was connected stays so.
import assert from "node:assert/strict";
import { ACME, approve, suite, until } from "./harness.mjs";
import { Hosts, hold, ready, resultOf } from "./hosts.mjs";

const hosts = await Hosts.serve();
/** The SDK believes a closed popup only after it has seen it open for so long. */
const BELIEVED_MS = 6_000;
const TOLD_MS = 3_000;
/** Where the launch page leads to. */
const CONSENT = /\/oauth\/authorize\?/;

/** Begins on a host page. */
async function begin(stage) {
  const host = await stage.open(hosts.page(stage));
  await ready(host);
  const popup = await stage.popupOf(host, () => host.click("#connect"));
  return { host, popup };
}

/** Closes the popup and sees that the page is told, long before it would give up by itself. */
async function closesAndIsTold(host, popup) {
  await popup.close();
  assert.equal((await resultOf(host)).outcome, "closed");
}

/** Closes the popup, sees that the page still waits, and that its next click begins anew. */
async function closesAndIsNotBelieved(host, popup, stage) {
  await popup.close();
  // As long as it would take to be told.
  await host.waitForTimeout(TOLD_MS);
  assert.equal(await host.evaluate(() => window.result), undefined);
  const second = await stage.popupOf(host, () => host.click("#connect"));
  // The first attempt ends with the second click.
  assert.equal((await resultOf(host)).outcome, "closed");
  await approve(second);
  await until("the second attempt ends", () => host.evaluate(() => window.result.outcome === "connected"));
}

suite(hosts.flags, (test) => {
  test("at the launch page, after a while", async (stage) => {
    const consent = await hold(stage.context, CONSENT);
    const { host, popup } = await begin(stage);
    await consent.asked;
    await popup.waitForTimeout(BELIEVED_MS);
    await closesAndIsTold(host, popup);
    consent.release();
  });

  test("at the launch page, at once", async (stage) => {
    const consent = await hold(stage.context, CONSENT);
    const { host, popup } = await begin(stage);
    await consent.asked;
    consent.release();
    await closesAndIsNotBelieved(host, popup, stage);
  });

  test("at HubSpot, after a while", async (stage) => {
    const { host, popup } = await begin(stage);
    await popup.waitForSelector("#approve");
    await popup.waitForTimeout(BELIEVED_MS);
    await closesAndIsTold(host, popup);
    assert.deepEqual(await stage.demo.grants(), []);
  });

  test("at HubSpot, at once", async (stage) => {
    const { host, popup } = await begin(stage);
    await popup.waitForSelector("#approve");
    await closesAndIsNotBelieved(host, popup, stage);
  });

  test("at HubSpot, where HubSpot has cut it off: nobody knows, and the next click begins anew", async (stage) => {
    await stage.demo.setOptions({ coop: "same-origin" });
    const { host, popup } = await begin(stage);
    await popup.waitForSelector("#approve");
    await popup.waitForTimeout(BELIEVED_MS);
    await closesAndIsNotBelieved(host, popup, stage);
  });

  for (const [when, pause] of [["at once", 0], ["after a while", BELIEVED_MS]]) {
    test(`while the code is exchanged, ${when}: the connection is made, and the page is told`, async (stage) => {
      const { host, popup } = await begin(stage);
      await popup.waitForSelector("#approve");
      await popup.waitForTimeout(pause);
      await stage.demo.order({ on: "exchange", times: 1, fault: { delay: 4_000 } });
      const verifier = await host.evaluate(() => JSON.parse(Object.values(sessionStorage)[0]).verifier);
      const approved = approve(popup).catch(() => {});
      await until("the code is exchanged", async () => (await stage.attempt(verifier)).status === "exchanging");
      await popup.close();
      await approved;
      const { outcome, connection } = await resultOf(host);
      assert.equal(outcome, "connected");
      assert.equal(connection.portalId, ACME.id);
      assert.ok(connection.accessToken);
    });
  }

  test("at its last page, before it closes by itself", async (stage) => {
    const { host, popup } = await begin(stage);
    await approve(popup);
    await popup.waitForSelector('[data-outcome="success"]');
    await popup.close();
    const { outcome, connection } = await resultOf(host);
    assert.equal(outcome, "connected");
    assert.ok(connection.accessToken);
  });
});

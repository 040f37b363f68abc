// Receivers of the result accept one origin, one window and one version.
import assert from "node:assert/strict";
import { heard, leadTo, suite, until } from "./harness.mjs";

const FLOW = "00000000";
const success = (changes) => ({
  type: "hubspot_auth_success", version: 1, flow: FLOW, connection_id: "c", portal_id: 666, hub_domain: "evil.example",
  scopes: ["oauth"], missing_scopes: [], expires_at: "2030-01-01T00:00:00Z", access_token: "stolen-token", ...changes,
});
const failure = (changes) => ({
  type: "hubspot_auth_error", version: 1, flow: null, error: { code: "user_denied", message: "Believe me." }, ...changes,
});
/** A page of the service that has no script and keeps its opener. */
const QUIET = "/auth/hubspot/nothing-here";

/** Posts from a window to its opener. */
const tell = (from, message) => from.evaluate((data) => window.opener.postMessage(data, "*"), message);
const hears = (page, count) => until(`${count} messages have come`, async () => (await heard(page)).length >= count);

/** Opens a second window from a page, which is not the page's popup. */
const another = async (stage, page, url) => {
  const window = await stage.popupOf(page, () => page.evaluate((to) => { window.open(to); }, url));
  await window.waitForLoadState();
  return window;
};

/** Sends messages from all six wrong senders. Returns the number of messages. */
async function sendWrongMessages(stage, page, popup, message) {
  const { demo } = stage;
  stage.expectProblem(/status of 404/);
  const evil = await another(stage, page, await stage.stranger({ "/": "" }));
  const sibling = await another(stage, page, demo.service + QUIET);
  // 1. The page itself.
  await page.evaluate((data) => window.postMessage(data, "*"), message());
  // 2. A window of another site.
  await tell(evil, message());
  // 3. Another window of the right site.
  await tell(sibling, message());
  // 4. The right window while it is at another site.
  await tell(popup, message());
  await leadTo(popup, demo.service + QUIET);
  // 5. The right window in another version, or none.
  const versions = [2, "1", undefined];
  for (const version of versions) await tell(popup, message({ version }));
  // 6. The right window with other data.
  const others = [null, "hubspot_auth_success", 1, [], {}, { version: 1 }, message({ type: "hubspot_auth" })];
  for (const other of others) await tell(popup, other);
  return 4 + versions.length + others.length;
}

suite([], (test) => {
  test("the host page accepts messages only from its popup", async (stage) => {
    const { host, popup } = await stage.startOnHost();
    const waiting = await host.textContent("#status");
    for (const [index, message] of [success, failure].entries()) {
      if (index === 1) await leadTo(popup, `${stage.demo.hubspot}/__options`);
      const before = (await heard(host)).length;
      const count = await sendWrongMessages(stage, host, popup, message);
      await hears(host, before + count);
      assert.equal(await host.textContent("#status"), waiting);
      assert.equal(await host.textContent("#account"), "");
      assert.equal(await host.textContent("#token"), "");
    }
    // The right one, as proof that the page listens.
    await tell(popup, success());
    await host.getByText("Connected.", { exact: true }).waitFor();
  });

  test("the service's own page accepts one message, and only from its popup", async (stage) => {
    const { demo } = stage;
    const login = await stage.open(`${demo.service}/login`);
    await login.evaluate((data) => window.postMessage(data, "*"), failure());
    await hears(login, 1);
    assert.ok(await login.isHidden("[data-connect-error]"), "no flow is waiting yet");

    const popup = await stage.popupOf(login, () => login.click("[data-connect]"));
    await popup.waitForSelector("#approve");
    const waiting = await login.textContent("[data-live]");
    const count = await sendWrongMessages(stage, login, popup, failure);
    await hears(login, 1 + count);
    assert.ok(await login.isHidden("[data-connect-error]"));
    assert.equal(await login.textContent("[data-live]"), waiting);
    assert.equal(login.url(), `${demo.service}/login`);

    await tell(popup, failure());
    await login.waitForSelector("[data-connect-error]:visible");
    assert.equal(await login.textContent("[data-connect-error]"), "Believe me.");
    await tell(popup, failure({ error: { code: "x", message: "And again." } }));
    await hears(login, 1 + count + 2);
    assert.equal(await login.textContent("[data-connect-error]"), "Believe me.", "the matter was closed");
  });
});

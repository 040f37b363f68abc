// Attacks of other sites' pages on a page that connects by the SDK, and on its popup.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test as plain } from "node:test";
import { approve, heard, leadTo, suite, until } from "./harness.mjs";
import { Hosts, hold, ready, resultOf } from "./hosts.mjs";

const hosts = await Hosts.serve();
/** A page of the service that has no script and keeps its opener. */
const QUIET = "/auth/hubspot/nothing-here";

async function begin(stage, options = {}) {
  const host = await stage.open(hosts.page(stage));
  await ready(host);
  await host.evaluate((given) => { window.options = given; }, options);
  const popup = await stage.popupOf(host, () => host.click("#connect"));
  await popup.waitForSelector("#approve");
  return { host, popup };
}

const success = (flow, changes = {}) => ({
  type: "hubspot_auth_success", version: 1, flow, connection_id: "c", portal_id: 666, hub_domain: "evil.example", scopes: ["oauth"],
  missing_scopes: [], expires_at: "2030-01-01T00:00:00Z", access_token: "stolen-token", token_type: "bearer", ...changes,
});
const failure = (flow, changes = {}) => ({
  type: "hubspot_auth_error", version: 1, flow, error: { code: "user_denied", message: "Believe me." }, ...changes,
});
const tell = (from, message) => from.evaluate((data) => window.opener.postMessage(data, "*"), message);
const ignored = (host) => host.evaluate(() => hubspot.ignoredMessages);
const flowOf = (host) => until("the page knows the flow", () => host.evaluate(() => JSON.parse(Object.values(sessionStorage)[0]).flow));

suite(hosts.flags, (test) => {
  for (const [kind, message] of [["a success", success], ["an error", failure]]) {
    test(`the SDK accepts ${kind} only from its own popup, and counts other messages`, async (stage) => {
      stage.expectProblem(/status of 404/);
      const { host, popup } = await begin(stage);
      const flow = await flowOf(host);
      const open = async (url) => {
        const window = await stage.popupOf(host, () => host.evaluate((to) => { window.open(to); }, url));
        await window.waitForLoadState();
        return window;
      };
      const evil = await open(await stage.stranger({ "/": "" }));
      const sibling = await open(stage.demo.service + QUIET);
      const before = await ignored(host);
      await host.evaluate((data) => window.postMessage(data, "*"), message(flow));
      await tell(evil, message(flow));
      await tell(sibling, message(flow));
      // The right window, while it is at another site; then of the right site, in another version or for another flow.
      await tell(popup, message(flow));
      await leadTo(popup, stage.demo.service + QUIET);
      const wrong = [{ version: 2 }, { version: "1" }, { version: undefined }, { flow: "another" }, { flow: 1 }, { flow: undefined }, { type: "hubspot_auth_other" }];
      for (const changes of wrong) await tell(popup, message(flow, changes));
      await until("all are counted", async () => (await ignored(host)) >= before + 4 + wrong.length);
      assert.equal(await ignored(host), before + 4 + wrong.length);
      assert.equal(await host.evaluate(() => window.result), undefined, "the promise is pending");
      // The right one, as proof that the page listens.
      await tell(popup, message(flow));
      assert.equal((await resultOf(host)).outcome, kind === "a success" ? "connected" : "user_denied");
    });
  }

  test("messages contain no token, and an intercepted pickup code is useless", async (stage) => {
    stage.tolerateProblem(/Failed to load resource/);
    const redeeming = await hold(stage.context, /\/api\/hubspot\/token/);
    const { host, popup } = await begin(stage);
    const verifier = await host.evaluate(() => JSON.parse(Object.values(sessionStorage)[0]).verifier);
    await approve(popup);
    await redeeming.asked;
    await until("the message has come", async () => (await heard(host)).length === 2);
    const { flow, pickup_code } = (await heard(host))[1].data;
    const redeem = async (proof, origin) => (await fetch(`${stage.demo.service}/api/hubspot/token`, {
      method: "POST", headers: { "content-type": "application/json", ...(origin && { origin }), ...(proof && { "hubspot-connect-verifier": proof }) },
      body: JSON.stringify({ flow, pickup_code }),
    })).status;
    assert.ok(pickup_code, "there is something to overhear");
    assert.equal(await redeem(null, hosts.origin), 400);
    assert.equal(await redeem("A".repeat(43), hosts.origin), 404);
    assert.equal(await redeem(verifier, "http://evil.example"), 404);
    assert.equal(await redeem(verifier, stage.demo.host), 404, "another listed page is another page");
    redeeming.release();
    const { connection } = await resultOf(host);
    assert.ok(connection.accessToken);
    assert.ok(!JSON.stringify(await heard(host)).includes(connection.accessToken));
    assert.equal(await redeem(verifier, hosts.origin), 410, "once is all");
  });

  test("without an opener no message is sent, and polling returns the result", async (stage) => {
    const { host, popup } = await begin(stage, { opener: false });
    assert.equal(await popup.evaluate(() => window.opener), null);
    await approve(popup);
    const { outcome, connection } = await resultOf(host);
    assert.equal(outcome, "connected");
    assert.ok(connection.accessToken);
    assert.deepEqual(await heard(host), []);
  });

  test("the popup never has frames or a name by which other pages could reach it", async (stage) => {
    await stage.keepWindowsOpen();
    await stage.context.addInitScript(() => {
      const { open } = window;
      window.open = (...given) => (window.opened = open.apply(window, given));
    });
    const { host, popup } = await begin(stage);
    const frames = () => host.evaluate(() => window.opened.length);
    assert.equal(await frames(), 0);
    assert.equal(await popup.evaluate(() => window.name), "");
    await approve(popup);
    await popup.waitForSelector("[data-outcome]");
    assert.equal(await frames(), 0);
    assert.equal((await resultOf(host)).outcome, "connected");
  });

  test("two clicks cause one popup and one result", async (stage) => {
    const { host, popup } = await begin(stage);
    await host.bringToFront();
    await host.evaluate(() => {
      const first = hubspot.connect();
      const second = hubspot.connect();
      window.both = Promise.all([first, second]).then(([one, other]) => [one.connectionId, other.connectionId]);
    });
    assert.equal(stage.context.pages().length, 2);
    await approve(popup);
    const [one, other] = await host.evaluate(() => window.both);
    assert.ok(one && one === other);
    assert.equal((await stage.demo.calls("authorize")).length, 1);
  });

  test("pages that navigate or replace the opener get no result", async (stage) => {
    stage.tolerateProblem(/Failed to execute 'postMessage' on 'DOMWindow': The target origin provided/);
    const site = await stage.stranger({ "/": "<button>go</button>", "/taken": "<p>now it is me</p>" });
    const address = hosts.page(stage);
    const evil = await stage.open(site);
    await evil.evaluate((to) => { document.querySelector("button").onclick = () => { window.taken = window.open(to); }; }, address);
    const host = await stage.popupOf(evil, () => evil.click("button"));
    await ready(host);
    const popup = await stage.popupOf(host, () => host.click("#connect"));
    await popup.waitForSelector("#approve");
    await evil.evaluate((to) => { window.taken.location = to; }, `${site}/taken`);
    await host.waitForURL(`${site}/taken`);
    await approve(popup);
    await until("the popup closes", () => popup.isClosed());
    assert.deepEqual(await heard(host), []);
    assert.deepEqual(await heard(evil), []);
    assert.equal(await host.evaluate(() => sessionStorage.length), 0);
  });
});

plain("the SDK posts to the service alone", async () => {
  const source = await readFile(new URL("../static/sdk/hubspot-connect.js", import.meta.url), "utf8");
  assert.doesNotMatch(source, /postMessage\([^;]*["'`][*/]["'`]/);
});

// The SDK in a browser, against a stub of the service.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { CONNECTION, launchBrowser, Stage, until, withoutNewApis } from "./stage.mjs";

const sha = (text) => createHash("sha256").update(text).digest("base64url");
const connected = (more = {}) => ({ state: { status: "connected", connection: CONNECTION, ...more } });
const RESULT = {
  connectionId: "c1", flow: "flow-1", portalId: 1234567, hubDomain: "acme.example", status: "active", scopes: ["oauth"], missingScopes: ["crm"],
  expiresAt: "2026-11-21T00:37:38Z",
};
const WITH_TOKEN = { ...RESULT, expiresAt: "2026-11-21T00:40:00Z", accessToken: "the-token", tokenType: "bearer" };
const success = (flow, more = {}) => {
  const { id: connection_id, ...rest } = CONNECTION;
  return { type: "hubspot_auth_success", version: 1, flow, connection_id, ...rest, ...more };
};
/** Posts from the popup to its opener, like the service's page. */
const say = (popup, data, to) => popup.evaluate(([message, origin]) => window.opener.postMessage(message, origin), [data, to]);
const memory = (page) => page.evaluate(() => Object.entries(sessionStorage));

let browser;
before(async () => { browser = await launchBrowser(); });
after(() => browser?.close());

function staged(name, changes, body) {
  test(name, { timeout: 60_000 }, async () => {
    const stage = await Stage.set(browser, changes);
    try {
      await body(stage);
      assert.deepEqual(stage.problems, [], "no script error");
    } finally {
      await stage.clear();
    }
  });
}

describe("the browser", { concurrency: 2 }, () => {
  staged("a pickup code in the message is exchanged for the token", {}, async (stage) => {
    const { page, popup, flow } = await stage.begin();
    assert.equal(flow.method, "POST");
    const { origin, mode, challenge, opener_challenge, ...others } = flow.fields;
    assert.deepEqual([origin, mode, others], [stage.host, "popup", {}]);
    const key = await until("the key has come", () => stage.key);
    assert.deepEqual({ ...key, opener_key: null }, { type: "hubspot_auth_key", version: 1, flow: "flow-1", opener_key: null });
    assert.equal(sha(key.opener_key), opener_challenge);

    const [[name, kept]] = await memory(page);
    assert.equal(name, `hubspot-connect:${stage.service}`);
    assert.equal(sha(JSON.parse(kept).verifier), challenge);

    await say(popup, success("flow-1", { pickup_code: "the-code" }), stage.host);
    assert.deepEqual(await stage.results(page), [{ connection: WITH_TOKEN }]);
    const [redeemed] = stage.calls("/api/hubspot/token", "POST");
    assert.deepEqual(JSON.parse(redeemed.body), { flow: "flow-1", pickup_code: "the-code" });
    assert.equal(sha(redeemed.headers["hubspot-connect-verifier"]), challenge);
    assert.deepEqual(await memory(page), [], "nothing is left behind");
  });

  staged("a token in the message needs no further request", {}, async (stage) => {
    const { page, popup } = await stage.begin();
    await say(popup, success("flow-1", { access_token: "in-the-message", token_type: "bearer" }), stage.host);
    assert.deepEqual(await stage.results(page), [{ connection: { ...RESULT, accessToken: "in-the-message", tokenType: "bearer" } }]);
    assert.deepEqual(stage.calls("/api/hubspot/token"), []);
  });

  staged("scopes are null until HubSpot reports them", {}, async (stage) => {
    const unnamed = { ...RESULT, scopes: null, missingScopes: [] };
    const first = await stage.begin();
    stage.change(first.flow, connected({ connection: { ...CONNECTION, scopes: null, missing_scopes: [] } }));
    assert.deepEqual(await stage.results(first.page), [{ connection: unnamed }], "by polling");
    const { page, popup } = await stage.begin();
    await say(popup, success("flow-2", { scopes: null, missing_scopes: [] }), stage.host);
    assert.deepEqual(await stage.results(page), [{ connection: { ...unnamed, flow: "flow-2" } }], "by message");
  });

  staged("a used pickup code leaves a connection without a token", { delivered: true }, async (stage) => {
    const { page, popup } = await stage.begin();
    await say(popup, success("flow-1", { pickup_code: "the-code" }), stage.host);
    assert.deepEqual(await stage.results(page), [{ connection: RESULT }]);
    assert.equal(stage.calls("/api/hubspot/token", "POST").length, 1);
  });

  staged("another program's flow with this page's challenge is not mistaken for the popup's", {}, async (stage) => {
    const { page, popup, flow } = await stage.begin();
    await until("the popup has said hello", () => stage.key);
    stage.change(flow, { id: "flow-of-another", ...connected({ pickup_code: "the-code" }) });
    assert.deepEqual(await stage.results(page), [{ code: "flow_mismatch", flow: "flow-1", ours: true }]);
    assert.deepEqual(stage.calls("/api/hubspot/token"), []);
    await until("the popup is closed", () => popup.isClosed());
  });

  staged("another program's flow is not confirmed", {}, async (stage) => {
    const page = await stage.open();
    await page.evaluate(() => {
      window.confirmed = 0;
      window.options = { onConfirm: () => { window.confirmed += 1; } };
    });
    await stage.press(page);
    const flow = await stage.flow();
    await until("the popup has said hello", () => stage.key);
    stage.change(flow, { id: "flow-of-another", state: { status: "exchanging", awaiting_confirmation: true, connect_session_id: "s" } });
    assert.deepEqual(await stage.results(page), [{ code: "flow_mismatch", flow: "flow-1", ours: true }]);
    assert.equal(await page.evaluate(() => window.confirmed), 0);
  });

  staged("a popup whose hello names another flow than the service ends the flow", {
    onStart: () => `<!doctype html><h1>Slow</h1>`,
  }, async (stage) => {
    const { page, popup } = await stage.begin();
    await until("the status has come", async () => JSON.parse((await memory(page))[0]?.[1] ?? "{}").flow);
    await say(popup, { type: "hubspot_auth_hello", version: 1, flow: "flow-of-another", needs_key: true }, stage.host);
    assert.deepEqual(await stage.results(page), [{ code: "flow_mismatch", flow: "flow-1", ours: true }]);
    assert.equal(stage.key, undefined);
  });

  staged("the result arrives without storage", {}, async (stage) => {
    // Like Firefox in a frame of another site.
    await stage.context.addInitScript(() => {
      const refuse = () => { throw new DOMException("The operation is insecure.", "SecurityError"); };
      window.BroadcastChannel = refuse;
      Object.defineProperty(window, "sessionStorage", { get: refuse });
    });
    const { page, popup } = await stage.begin();
    await say(popup, success("flow-1", { access_token: "in-the-message", token_type: "bearer" }), stage.host);
    assert.deepEqual(await stage.results(page), [{ connection: { ...RESULT, accessToken: "in-the-message", tokenType: "bearer" } }]);
  });

  staged("the result arrives in the oldest supported browsers", {}, async (stage) => {
    await stage.context.addInitScript(withoutNewApis);
    const { page, popup } = await stage.begin();
    await until("the key has come", () => stage.key);
    await say(popup, success("flow-1", { pickup_code: "the-code" }), stage.host);
    assert.deepEqual(await stage.results(page), [{ connection: WITH_TOKEN }]);
    const findings = await page.evaluate(() => window.hubspot.diagnose());
    assert.ok(findings.every(({ ok }) => ok), JSON.stringify(findings));
  });

  staged("invalid options are errors and open no popup", {}, async (stage) => {
    const page = await stage.open();
    const codeOf = (options) => page.evaluate((given) => window.hubspot.connect(given).catch(({ code, message, retryable }) => [code, message, retryable]), options);
    for (const [name, values] of Object.entries({
      portalId: [NaN, 0, -1, 1.5, Infinity, "42", null, 2 ** 53],
      mode: ["tab", ""], fallback: ["popup", ""], returnUrl: ["", "https://elsewhere.example/", "http://", "/back#there"],
      connectSession: ["", null, 7, {}], popup: [null, "", "wide", 500, { width: NaN }, { height: 0 }, { width: "wide" }],
    })) {
      for (const value of values) {
        assert.deepEqual(await codeOf({ [name]: value }), ["invalid_option", `The option ${name} is invalid.`, false], `${name}: ${value}`);
      }
    }
    const services = ["", "connect.example.com", "ftp://connect.example.com", "https://connect.example.com/path", "https://user@connect.example.com"];
    const thrown = await page.evaluate((list) => list.map((service) => {
      try {
        return new window.hubspot.constructor({ service });
      } catch (error) {
        return error.code;
      }
    }), services);
    assert.deepEqual(thrown, services.map(() => "invalid_option"));
    assert.equal(stage.context.pages().length, 1);
    assert.equal(stage.flows.size, 0);
  });

  staged("the result of a popup that is cut off arrives by polling", {
    launchHeaders: { "cross-origin-opener-policy": "same-origin" },
  }, async (stage) => {
    const { page, popup, flow } = await stage.begin();
    await popup.waitForSelector("h1");
    assert.equal(await popup.evaluate(() => window.opener), null, "the popup is cut off");
    await sleep(5_000);
    assert.deepEqual(await page.evaluate(() => window.results), [], "a popup that seems closed is no answer");
    stage.change(flow, connected({ pickup_code: "the-code" }));
    assert.deepEqual(await stage.results(page), [{ connection: WITH_TOKEN }]);
    assert.deepEqual(stage.calls("/api/hubspot/cancel"), []);
  });

  staged("a popup that HubSpot cuts off after its hello does not count as closed", {}, async (stage) => {
    const { page, popup, flow } = await stage.begin();
    await until("the key has come", () => stage.key);
    stage.launchHeaders = { "cross-origin-opener-policy": "same-origin" };
    await popup.evaluate(() => location.assign("/auth/hubspot/start?challenge=hubspot"));
    await until("it is cut off", () => popup.evaluate(() => window.opener === null).catch(() => false));
    await sleep(6_000);
    assert.deepEqual(await page.evaluate(() => window.results), []);
    stage.change(flow, connected());
    assert.deepEqual(await stage.results(page), [{ connection: RESULT }]);
  });

  staged("without an opener the popup cannot reach the page", {}, async (stage) => {
    const { page, popup, flow } = await stage.begin({ opener: false });
    await popup.waitForSelector("h1");
    assert.equal(await popup.evaluate(() => window.opener), null);
    stage.change(flow, connected());
    assert.deepEqual(await stage.results(page), [{ connection: RESULT }]);
  });

  staged("polling uses one URL with the ETag, without a pause", {}, async (stage) => {
    const { page, flow } = await stage.begin();
    await until("it has asked twice", () => stage.calls("/api/hubspot/status", "GET").length === 2);
    await sleep(2_000);
    const asked = stage.calls("/api/hubspot/status", "GET");
    assert.equal(asked.length, 2, "the second question waits for its answer");
    assert.deepEqual(asked.map(({ search }) => search), ["wait=25", "wait=25"]);
    assert.deepEqual(asked.map(({ headers }) => headers["if-none-match"]), [undefined, '"1"']);
    assert.ok(asked.every(({ headers }) => headers.cookie === undefined));
    stage.change(flow, { state: { status: "exchanging" } });
    await until("it asks again", () => stage.calls("/api/hubspot/status", "GET").length === 3);
    stage.change(flow, { state: { status: "failed", error: { code: "code_rejected", message: "Authorization code rejected." } } });
    assert.deepEqual(await stage.results(page), [{ code: "provider_error", reason: "code_rejected", flow: "flow-1", ours: true }]);
  });

  staged("an error message ends the flow", {}, async (stage) => {
    const { page, popup } = await stage.begin();
    await say(popup, { type: "hubspot_auth_error", version: 1, flow: null, error: { code: "user_denied", message: "No." } }, stage.host);
    assert.deepEqual(await stage.results(page), [{ code: "user_denied", flow: "flow-1", ours: true }]);
    assert.deepEqual(await memory(page), []);
  });

  staged("the first result counts, and a second is dropped", {}, async (stage) => {
    const { page, popup, flow } = await stage.begin();
    await say(popup, success("flow-1"), stage.host);
    await stage.results(page);
    await say(popup, { type: "hubspot_auth_error", version: 1, flow: "flow-1", error: { code: "user_denied" } }, stage.host);
    stage.change(flow, { state: { status: "failed", error: { code: "user_denied" } } });
    await sleep(500);
    assert.deepEqual(await page.evaluate(() => window.results), [{ connection: RESULT }]);
  });

  staged("a signal aborted beforehand opens nothing and ends nothing", {}, async (stage) => {
    const { page, popup, flow } = await stage.begin();
    await page.evaluate(() => {
      void window.settle(window.hubspot.connect({ signal: AbortSignal.abort() }));
    });
    assert.deepEqual(await stage.results(page), [{ code: "cancelled", ours: true }]);
    assert.ok(!popup.isClosed());
    assert.equal(flow.state.status, "awaiting_user");
  });

  staged("an abort ends the flow at once", {}, async (stage) => {
    const page = await stage.open();
    await page.evaluate(() => {
      window.abort = new AbortController();
      window.options = { signal: window.abort.signal };
    });
    const popup = await stage.press(page);
    const flow = await stage.flow();
    await until("the key has come", () => stage.key);
    await page.evaluate(() => window.abort.abort());
    assert.deepEqual(await stage.results(page), [{ code: "cancelled", flow: "flow-1", ours: true }]);
    await until("the popup closes", () => popup.isClosed());
    await until("the service gets the cancellation", () => flow.state.status === "cancelled");
    assert.deepEqual(await memory(page), []);
  });

  staged("an abort before the popup has navigated leaves no window", {}, async (stage) => {
    const page = await stage.open();
    await page.evaluate(() => {
      window.abort = new AbortController();
      window.options = { signal: window.abort.signal };
      document.querySelector("#go").addEventListener("click", () => window.abort.abort());
    });
    await page.click("#go");
    assert.equal((await stage.results(page))[0].code, "cancelled");
    await sleep(1_000);
    assert.equal(stage.context.pages().length, 1);
    assert.equal(stage.flows.size, 0);
  });

  staged("a popup that reads as closed is reported once, polling continues, and the next click takes over", {}, async (stage) => {
    const { page, popup, flow } = await stage.begin();
    await until("the key has come", () => stage.key);
    // A second button of the page joins.
    await page.evaluate(() => { void window.hubspot.connect({ onState: (state) => { window.second = state; } }).catch(() => {}); });
    await sleep(6_500);
    await popup.close();
    await until("the page gets the state", () => page.evaluate(() => window.states.includes("perhaps_closed")));
    await sleep(3_000);
    assert.deepEqual(await page.evaluate(() => [window.states, window.second, window.results]), [["opening", "waiting", "perhaps_closed"], "perhaps_closed", []]);
    assert.deepEqual([flow.state.status, stage.calls("/api/hubspot/cancel")], ["awaiting_user", []]);
    await stage.press(page);
    assert.deepEqual(await stage.results(page), [{ code: "closed", flow: "flow-1", ours: true }]);
    await until("the user's own decision is final", () => flow.state.status === "cancelled");
    stage.change(await stage.flow(2), connected());
    assert.equal((await stage.results(page, 2))[1].connection.flow, "flow-2");
  });

  staged("an error in a callback is reported as uncaught, and the other callbacks and the polling go on", {}, async (stage) => {
    const { page, popup, flow } = await stage.begin({ connectSession: "session" });
    await page.evaluate(() => {
      window.called = [];
      const failing = (name) => () => {
        window.called.push(name);
        throw new Error(name);
      };
      window.hubspot.watch(failing("onChange"));
      void window.hubspot.connect({ onState: failing("first onState") }).catch(() => {});
      void window.hubspot.connect({ onState: (state) => window.called.push(`second ${state}`) }).catch(() => {});
    });
    await popup.close();
    await until("the last callback is called", () => page.evaluate(() => window.called.includes("second perhaps_closed")));
    stage.change(flow, connected());
    assert.deepEqual(await stage.results(page), [{ connection: RESULT }]);
    await until("the change is reported", () => page.evaluate(() => window.called.filter((name) => name === "onChange").length === 2));
    // The state at the start, and the next one.
    const errors = ["Error: first onState", "Error: first onState", "Error: onChange", "Error: onChange"].sort();
    await until("the errors are reported", () => stage.problems.length === errors.length);
    assert.deepEqual(stage.problems.splice(0).sort(), errors);
  });

  staged("a popup that is cut off late does not count as closed, and nothing is cancelled", {}, async (stage) => {
    const { page, popup, flow } = await stage.begin();
    await until("the key has come", () => stage.key);
    await sleep(6_000);
    stage.launchHeaders = { "cross-origin-opener-policy": "same-origin" };
    await popup.evaluate(() => location.assign("/auth/hubspot/start?challenge=hubspot"));
    await until("it is cut off", () => popup.evaluate(() => window.opener === null).catch(() => false));
    await sleep(5_000);
    assert.deepEqual(await page.evaluate(() => [window.states, window.results]), [["opening", "waiting", "perhaps_closed"], []]);
    assert.deepEqual(stage.calls("/api/hubspot/cancel"), []);
    stage.change(flow, connected());
    assert.deepEqual(await stage.results(page), [{ connection: RESULT }]);
  });

  staged("a call without a click opens nothing and ends nothing", {}, async (stage) => {
    const { page, popup, flow } = await stage.begin();
    await until("the key has come", () => stage.key);
    const before = await memory(page);
    await page.evaluate(() => { setTimeout(() => void window.settle(window.hubspot.connect()), 6_000); });
    await popup.close();
    await sleep(7_000);
    assert.deepEqual(await stage.results(page), [{ code: "popup_blocked", ours: true }]);
    assert.deepEqual([await memory(page), stage.calls("/api/hubspot/cancel")], [before, []]);
    stage.change(flow, connected());
    assert.deepEqual((await stage.results(page, 2))[1], { connection: RESULT });
  });

  staged("a popup that closes after the connection was created is a success", {}, async (stage) => {
    const { page, popup, flow } = await stage.begin();
    await until("the key has come", () => stage.key);
    await popup.close();
    await sleep(1_200);
    stage.change(flow, connected());
    assert.deepEqual(await stage.results(page), [{ connection: RESULT }]);
  });

  staged("pages of the service use cookies and their form token", {}, async (stage) => {
    stage.session = { authenticated: true, connections: [{ ...CONNECTION, status: "degraded" }] };
    const page = await stage.context.newPage();
    await page.goto(`${stage.service}/own`);
    await page.waitForFunction(() => window.hubspot);
    assert.deepEqual(await page.evaluate(() => window.hubspot.status()), { connections: [{ ...RESULT, flow: null, status: "degraded" }] });
    await page.evaluate(() => window.hubspot.disconnect("c1"));
    const [call] = stage.calls("/api/hubspot/disconnect", "POST");
    assert.equal(call.headers["hubspot-connect-csrf"], "the-csrf-token");
    assert.match(call.headers.cookie, /session=1/);
    assert.ok(stage.journal.every(({ headers }) => headers["hubspot-connect-verifier"] === undefined));
  });

  staged("a blocked popup is an error, or a redirect with the fallback", {}, async (stage) => {
    const page = await stage.open();
    // An old click does not count; and each evaluation by the harness counts as a click.
    await page.evaluate(() => { setTimeout(() => void window.settle(window.hubspot.connect()), 6_000); });
    await sleep(7_000);
    assert.deepEqual(await stage.results(page), [{ code: "popup_blocked", ours: true }]);
    stage.onStart = () => "<h1>Redirected</h1>";
    await page.evaluate(() => { setTimeout(() => window.settle(window.hubspot.connect({ fallback: "redirect" })), 6_000); });
    const flow = await stage.flow();
    assert.deepEqual([flow.fields.mode, flow.fields.return_url], ["redirect", `${stage.host}/`]);
    await page.waitForSelector("h1");

    stage.change(flow, connected({ pickup_code: "the-code" }));
    await page.goto(`${stage.host}/?a=b#hsc=flow-1`);
    await page.waitForFunction(() => window.ready);
    assert.deepEqual(await page.evaluate(() => window.hubspot.resume()), WITH_TOKEN);
    assert.equal(page.url(), `${stage.host}/?a=b`);
    assert.equal(await page.evaluate(() => window.hubspot.resume()), null);
  });

  staged("a second click focuses the popup, and one after it has closed starts again", {}, async (stage) => {
    const { page, popup } = await stage.begin();
    await page.click("#go");
    assert.equal(stage.context.pages().length, 2);
    assert.ok(await page.evaluate(() => window.promises[0] === window.promises[1]));
    await popup.close();
    const second = await stage.press(page);
    await stage.flow(2);
    // Not before it has left the empty page.
    await second.waitForURL((url) => url.origin === stage.service);
    assert.deepEqual((await stage.results(page, 2)).map(({ code }) => code), ["closed", "closed"]);
    await say(second, success("flow-2"), stage.host);
    assert.equal((await stage.results(page, 3))[2].connection.flow, "flow-2");
  });

  staged("messages from other windows are ignored", {}, async (stage) => {
    const { page, popup } = await stage.begin();
    await until("the key has come", () => stage.key);
    const forged = success("flow-1", { portal_id: 666 });
    // The right origin, another window.
    await page.evaluate((url) => document.body.append(Object.assign(document.createElement("iframe"), { src: url })), `${stage.service}/livez`);
    const frame = await until("the frame is there", () => page.frames().find((one) => one.url().endsWith("/livez")));
    await frame.evaluate(([data, to]) => parent.postMessage(data, to), [forged, stage.host]);
    // The right window, another origin.
    await page.evaluate((data) => window.postMessage(data, location.origin), forged);
    // The right window and origin, another flow and another version.
    await say(popup, success("flow-0"), stage.host);
    await say(popup, { ...success("flow-1"), version: 2 }, stage.host);
    await page.evaluate(() => window.postMessage({ type: "somebody-else" }, location.origin));
    await until("all were heard", () => page.evaluate(() => window.hubspot.ignoredMessages === 4));
    assert.deepEqual(await page.evaluate(() => window.results), []);
    await say(popup, success("flow-1"), stage.host);
    assert.deepEqual(await stage.results(page), [{ connection: RESULT }]);
  });

  staged("the key is sent once", {}, async (stage) => {
    const { popup } = await stage.begin();
    await until("the key has come", () => stage.key);
    await say(popup, { type: "hubspot_auth_hello", version: 1, flow: "flow-1", needs_key: true }, stage.host);
    await sleep(500);
    assert.equal(stage.calls("/stub/key").length, 1);
  });

  staged("a strict policy with Trusted Types reports no violation", {
    policy: (service) => `default-src 'none'; script-src 'self' ${service}; connect-src ${service}; form-action ${service}; img-src data:; style-src 'none'; require-trusted-types-for 'script'; trusted-types 'none'`,
    hostPage: (service) => `<!doctype html><title>Host</title><link rel="icon" href="data:,"><button id="go">Go</button><script type="module" src="/host.js"></script><script type="module" src="${service}/static/sdk/element.js"></script><hubspot-connect service="${service}"></hubspot-connect>`,
  }, async (stage) => {
    const violations = [];
    await stage.context.addInitScript(() => document.addEventListener("securitypolicyviolation", (event) => console.error(`violation ${event.effectiveDirective}`)));
    stage.context.on("console", (message) => { if (message.type() === "error") violations.push(message.text()); });
    const { page, popup, flow } = await stage.begin();
    assert.equal(flow.method, "POST");
    await until("the key has come", () => stage.key);
    await say(popup, success("flow-1", { pickup_code: "the-code" }), stage.host);
    assert.deepEqual(await stage.results(page), [{ connection: WITH_TOKEN }]);
    assert.equal(await page.locator("hubspot-connect").evaluate((element) => getComputedStyle(element.shadowRoot.querySelector("button")).fontWeight), "600");
    assert.deepEqual(violations, []);
  });

  staged("where the policy forbids the form, the popup navigates by URL", {
    policy: (service) => `default-src 'self' data:; script-src 'self' ${service}; connect-src ${service}; form-action 'self'`,
  }, async (stage) => {
    const { page, popup, flow } = await stage.begin();
    assert.equal(flow.method, "GET");
    assert.deepEqual(Object.keys(flow.fields).sort(), ["challenge", "mode", "opener_challenge", "origin"]);
    await until("the key has come", () => stage.key);
    await say(popup, success("flow-1"), stage.host);
    assert.deepEqual(await stage.results(page), [{ connection: RESULT }]);
  });

  staged("where the policy forbids fetch, the message is still accepted", {
    policy: (service) => `default-src 'self' data:; script-src 'self' ${service}; form-action ${service}`,
  }, async (stage) => {
    const { page, popup } = await stage.begin();
    await until("the key has come", () => stage.key);
    await sleep(6_000);
    assert.deepEqual(await page.evaluate(() => window.results), []);
    await say(popup, success("flow-1", { access_token: "t", token_type: "bearer" }), stage.host);
    assert.equal((await stage.results(page))[0].connection.accessToken, "t");
    assert.deepEqual(stage.calls("/api/hubspot/status"), []);
  });

  staged("a policy that forbids fetch, without a message, is an error", {
    policy: (service) => `default-src 'self' data:; script-src 'self' ${service}; form-action ${service}`,
    launchHeaders: { "cross-origin-opener-policy": "same-origin" },
  }, async (stage) => {
    const { page } = await stage.begin();
    assert.deepEqual(await stage.results(page), [{ code: "csp_blocked", ours: true }]);
  });

  staged("an unlisted page gets an error", { listed: false, onStart: () => "<h1>Not listed</h1>" }, async (stage) => {
    const { page, popup } = await stage.begin();
    assert.deepEqual(await stage.results(page), [{ code: "origin_not_allowed", ours: true }]);
    assert.ok(!popup.isClosed(), "the popup shows the reason");
  });

  staged("failed polls are retried", {}, async (stage) => {
    stage.silent = true;
    const { page, flow } = await stage.begin();
    await until("it has asked twice", () => stage.calls("/api/hubspot/status", "GET").length >= 2);
    stage.change(flow, connected({ pickup_code: "the-code" }));
    stage.silent = false;
    assert.deepEqual(await stage.results(page), [{ connection: WITH_TOKEN }]);
  });

  staged("a reload resumes the flow", {}, async (stage) => {
    const { page, flow } = await stage.begin();
    await until("the key has come", () => stage.key);
    await page.reload();
    await page.waitForFunction(() => window.ready);
    await page.evaluate(() => { window.settle(window.hubspot.resume()); });
    await sleep(1_000);
    stage.change(flow, connected({ pickup_code: "the-code" }));
    assert.deepEqual(await stage.results(page), [{ connection: WITH_TOKEN }]);
  });

  staged("a popup that returns to the page's own site wakes the waiting tab, and closes", {}, async (stage) => {
    const { page, popup, flow } = await stage.begin({ returnUrl: "/back" });
    assert.equal(flow.fields.return_url, `${stage.host}/back`);
    await until("it waits for the answer", () => stage.calls("/api/hubspot/status", "GET").length === 2);
    // Without a wake-up by the service: the tab has to poll by itself.
    flow.turn += 1;
    flow.state = connected({ pickup_code: "the-code" }).state;
    await popup.evaluate((url) => location.assign(url), `${stage.host}/back#hsc=flow-1`);
    await popup.waitForFunction(() => window.ready);
    await popup.evaluate(() => { void window.hubspot.resume(); }).catch(() => {});
    assert.deepEqual(await stage.results(page), [{ connection: WITH_TOKEN }]);
    await until("the popup closes", () => popup.isClosed());
  });

  staged("a redirect uses its own window despite the page's base element", {}, async (stage) => {
    const page = await stage.open();
    await page.evaluate(() => {
      document.head.append(Object.assign(document.createElement("base"), { target: "_blank" }));
      window.options = { mode: "redirect" };
    });
    await page.click("#go");
    await page.waitForURL(`${stage.service}/**`);
    assert.equal(stage.context.pages().length, 1);
  });

  staged("a return without an outcome does not wait", { onStart: () => "<h1>Elsewhere</h1>" }, async (stage) => {
    const page = await stage.open();
    await page.evaluate(() => { window.options = { mode: "redirect" }; });
    await page.click("#go");
    await page.waitForSelector("h1");
    await page.goto(stage.host);
    await page.waitForFunction(() => window.ready);
    assert.equal(await page.evaluate(() => window.hubspot.resume()), null);
    assert.equal((await memory(page)).length, 1, "and may go forward again");
  });

  staged("status, watch and disconnect apply to the flow", {}, async (stage) => {
    const page = await stage.open();
    const nobody = { connections: [] };
    assert.deepEqual(await page.evaluate(() => window.hubspot.status()), nobody);
    const popup = await stage.press(page);
    const flow = await stage.flow();
    await page.evaluate(() => {
      window.seen = [];
      window.stop = window.hubspot.watch((status) => window.seen.push(status));
    });
    assert.deepEqual(await page.evaluate(() => window.hubspot.status()), nobody);
    stage.change(flow, connected());
    await stage.results(page);
    const somebody = { connections: [RESULT] };
    assert.deepEqual(await page.evaluate(() => window.hubspot.status()), somebody);
    await until("both were seen", () => page.evaluate(() => window.seen.length === 2));
    await page.evaluate(() => window.stop());
    assert.deepEqual(await page.evaluate(() => window.seen), [nobody, somebody]);
    await page.evaluate(() => window.hubspot.disconnect("c1"));
    const [call] = stage.calls("/api/hubspot/disconnect", "POST");
    assert.deepEqual(JSON.parse(call.body), { connection_id: "c1" });
    assert.equal(sha(call.headers["hubspot-connect-verifier"]), flow.fields.challenge);
    await popup.close();
  });

  staged("watch reports a second connection at once, and once", {}, async (stage) => {
    const page = await stage.open();
    await page.evaluate(() => {
      window.seen = [];
      window.hubspot.watch(({ connections }) => window.seen.push([connections.map(({ connectionId }) => connectionId).join(), performance.now()]));
    });
    const popup = await stage.press(page);
    stage.change(await stage.flow(), connected());
    await stage.results(page);
    await until("the first is seen, and asked for with its tag", async () => {
      const waits = stage.calls("/api/hubspot/status", "GET").at(-1).headers["if-none-match"];
      return waits && (await page.evaluate(() => window.seen.length)) === 2;
    });
    await popup.close();
    await stage.press(page);
    const flow = await stage.flow(2);
    await page.evaluate(() => { window.pressed = window.seen.length; });
    stage.change(flow, connected({ connection: { ...CONNECTION, id: "c2" } }));
    await stage.results(page, 2);
    const began = await page.evaluate(() => performance.now());
    await until("the second is seen", () => page.evaluate(() => window.seen.length > 2));
    await sleep(2_000);
    const seen = await page.evaluate(() => window.seen);
    assert.deepEqual(seen.map(([ids]) => ids), ["", "c1", "c2"]);
    assert.ok(seen[2][1] - began < 1_000, "the service holds the request for the first for 25 seconds");
  });

  staged("watch does not report flows deleted by the service as ended", {}, async (stage) => {
    const { page, flow } = await stage.begin();
    stage.change(flow, connected());
    await stage.results(page);
    await page.evaluate(() => {
      window.seen = [];
      window.hubspot.watch(({ connections }) => window.seen.push(connections.length));
    });
    await until("the connection is seen", () => page.evaluate(() => window.seen.length === 1));
    const flows = stage.flows;
    stage.flows = new Map();
    stage.change(flow, {});
    const asked = stage.calls("/api/hubspot/status", "GET").length;
    await until("it has asked again, and once more", () => stage.calls("/api/hubspot/status", "GET").length > asked + 1);
    assert.deepEqual(await page.evaluate(() => window.seen), [1]);
    stage.flows = flows;
    stage.change(flow, { state: { status: "failed", error: { code: "disconnected" } } });
    await until("the end is seen", () => page.evaluate(() => window.seen.length > 1));
    assert.deepEqual(await page.evaluate(() => window.seen), [1, 0]);
  });

  staged("after a reload, disconnect reports that this page did not create the connection", {}, async (stage) => {
    const { page, flow } = await stage.begin();
    stage.change(flow, connected());
    await stage.results(page);
    await page.reload();
    await page.waitForFunction(() => window.ready);
    const refused = await page.evaluate(() => window.hubspot.disconnect("c1").catch(({ code, retryable }) => [code, retryable]));
    assert.deepEqual(refused, ["connection_unknown", false]);
    assert.deepEqual(stage.calls("/api/hubspot/disconnect"), []);
  });

  staged("after the abort of a waiting redirect, connect() in the same task starts another one", { onStart: () => "<h1>Redirected</h1>" }, async (stage) => {
    const page = await stage.open();
    const joined = await page.evaluate(() => {
      const abort = new AbortController();
      const { signal } = abort;
      const begin = (more) => {
        const promise = window.hubspot.connect({ mode: "redirect", connectSession: () => new Promise((give) => { window.give = give; }), ...more });
        window.settle(promise);
        return promise;
      };
      const first = begin({ signal });
      const second = begin();
      abort.abort();
      const third = begin();
      return [first === second, second === third, third === begin()];
    });
    assert.deepEqual(joined, [true, false, true]);
    assert.equal((await stage.results(page))[0].code, "cancelled");
    await page.evaluate(() => window.give("the-second"));
    assert.equal((await stage.flow()).fields.connect_session, "the-second");
  });

  staged("a connection of another program with a deleted challenge is not this page's", {}, async (stage) => {
    const { page, popup, flow } = await stage.begin();
    await say(popup, success("flow-1"), stage.host);
    await stage.results(page);
    const known = () => page.evaluate(async () => (await hubspot.status()).connections.length);
    stage.change(flow, connected());
    assert.equal(await known(), 1);
    stage.change(flow, { id: "flow-of-another" });
    assert.equal(await known(), 0);
  });

  staged("a frame without an origin (sandbox) is an error", {
    hostPage: (service, path) => (path === "/framed"
      ? `<!doctype html><iframe sandbox="allow-scripts allow-popups allow-forms" srcdoc='<button>Go</button><script type="module">import { HubSpotConnect } from "${service}/static/sdk/hubspot-connect.js"; document.querySelector("button").onclick = () => new HubSpotConnect({ service: "${service}" }).connect().catch((error) => { document.body.dataset.code = error.code; });</script>'></iframe><script>window.ready = true</script>`
      : ""),
  }, async (stage) => {
    const page = await stage.open("/framed");
    const frame = page.frameLocator("iframe");
    await frame.locator("button").click();
    await frame.locator("[data-code=sandboxed_iframe]").waitFor();
  });

  staged("diagnose names problems, and is empty without any", {}, async (stage) => {
    const page = await stage.open();
    const found = (where) => where.evaluate(() => window.hubspot.diagnose());
    const good = await found(page);
    assert.deepEqual(good.map(({ check }) => check), [
      "secure_context", "sandbox", "connect_src", "service_reachable", "origin_listed", "private_address", "local_network_permission",
      "form_action", "opener_policy", "cookies", "third_party_storage", "web_view", "clock",
    ]);
    assert.ok(good.every(({ ok, detail, remedy }) => ok && detail && !remedy), JSON.stringify(good));

    stage.listed = "http://else.example";
    stage.hostHeaders = {
      "content-security-policy": `script-src 'self' ${stage.service}; form-action 'self'`,
      "cross-origin-opener-policy": "same-origin",
    };
    const bad = await found(await stage.open());
    const by = Object.fromEntries(bad.map((finding) => [finding.check, finding]));
    assert.deepEqual([by.origin_listed.ok, by.opener_policy.ok, by.form_action.ok, by.connect_src.ok], [false, false, null, true]);
    assert.match(by.origin_listed.remedy, /HOST_ORIGINS/);

    stage.hostHeaders = { "content-security-policy": `default-src 'self'; script-src 'self' ${stage.service}` };
    const blocked = Object.fromEntries((await found(await stage.open())).map((finding) => [finding.check, finding.ok]));
    assert.deepEqual([blocked.connect_src, blocked.service_reachable, blocked.origin_listed], [false, null, null]);
  });

  staged("diagnose names a private address, the local network permission, refused storage and a web view", {}, async (stage) => {
    const of = async (page) => {
      const findings = await page.evaluate(() => window.hubspot.diagnose());
      return Object.fromEntries(findings.map((finding) => [finding.check, finding]));
    };
    await stage.context.addInitScript(() => {
      if (!location.search.includes("odd")) return;
      Object.defineProperty(navigator, "permissions", { value: { query: async ({ name }) => {
        if (name !== "local-network-access") throw new TypeError("no such permission");
        return { state: "denied" };
      } } });
      Object.defineProperty(window, "sessionStorage", { get() { throw new DOMException("refused", "SecurityError"); } });
      // Some web views open a window and return none to the page.
      window.open = () => { setTimeout(() => window.dispatchEvent(new Event("blur")), 100); return null; };
    });
    const page = await stage.open("/?odd");
    stage.silent = true;
    await page.click("#go");
    assert.equal((await stage.results(page))[0].code, "popup_blocked");
    await sleep(300);
    await page.evaluate(() => { window.fetch = () => Promise.reject(new TypeError("blocked")); });
    const bad = await of(page);
    assert.deepEqual(["local_network_permission", "third_party_storage", "web_view"].map((check) => bad[check].ok), [false, false, false]);
    assert.match(bad.web_view.remedy, /redirect/);
    // As seen by a page on the internet.
    await stage.context.route("http://public.example/*", (route) => {
      const { pathname } = new URL(route.request().url());
      if (pathname !== "/") return route.fulfill({ path: new URL(`../../static/sdk${pathname}`, import.meta.url).pathname });
      return route.fulfill({ contentType: "text/html", body: `<script type="module">
        import { HubSpotConnect } from "/hubspot-connect.js";
        window.hubspot = new HubSpotConnect({ service: "${stage.service}" });
        window.ready = true;
      </script>` });
    });
    const outside = await stage.context.newPage();
    await outside.goto("http://public.example/");
    await outside.waitForFunction(() => window.ready);
    assert.equal((await of(outside)).private_address.ok, false);
  });

  staged("diagnose blames a web view for the last connect() alone", {}, async (stage) => {
    // Blocks the next `blocked` popups.
    await stage.context.addInitScript(() => {
      const { open } = window;
      window.blocked = 0;
      window.open = (...given) => (window.blocked-- > 0 ? null : open.apply(window, given));
    });
    const blur = (page) => page.evaluate(() => { window.dispatchEvent(new Event("blur")); });
    const blamed = async (page) => (await page.evaluate(() => window.hubspot.diagnose())).find(({ check }) => check === "web_view").ok === false;

    const first = await stage.open();
    await first.evaluate(() => { window.blocked = 1; });
    await first.click("#go");
    await blur(first);
    assert.equal(await blamed(first), true);
    await stage.press(first);
    assert.equal(await blamed(first), false, "a popup that opens later is no web view");

    const second = await stage.open();
    await second.evaluate(() => { window.blocked = 1; });
    await second.click("#go");
    await stage.press(second);
    await blur(second);
    assert.equal(await blamed(second), false, "the next connect() has taken the focus");
  });
});

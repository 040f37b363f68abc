// Functions that need no browser.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { load } from "./load.mjs";

const { popupFeatures } = await load("geometry");
const { HubSpotConnectError, fromServer } = await load("errors");
const { read } = await load("channel");
const { challengeOf, secret } = await load("secrets");
const { isPrivate, isWebView } = await load("diagnose");

describe("geometry", () => {
  test("the popup is centered over its opener", () => {
    const over = { screenX: 100, screenY: 50, outerWidth: 1200, outerHeight: 900 };
    assert.equal(popupFeatures(over), "popup,width=600,height=700,left=400,top=150");
    assert.equal(popupFeatures(over, { width: 500 }), "popup,width=500,height=700,left=450,top=150");
  });

  test("a second screen on the left is supported", () => {
    const over = { screenX: -1920, screenY: 0, outerWidth: 1920, outerHeight: 1080 };
    assert.equal(popupFeatures(over), "popup,width=600,height=700,left=-1260,top=190");
  });

  test("over a low window the title bar stays reachable, and numbers are integers", () => {
    const over = { screenX: 0, screenY: 20, outerWidth: 801, outerHeight: 400 };
    assert.equal(popupFeatures(over), "popup,width=600,height=700,left=101,top=20");
  });
});

describe("errors", () => {
  const known = [
    "popup_blocked", "closed", "cancelled", "timeout", "origin_not_allowed", "user_denied", "flow_expired", "provider_error",
    "scopes_missing", "wrong_account", "sandboxed_iframe", "csp_blocked", "flow_mismatch", "service_unavailable", "invalid_option",
    "connect_session_failed", "connect_session_ended", "confirm_failed", "external_user_mismatch", "connection_unknown",
    "read_token_invalid",
  ];

  test("every code has a message and says whether to retry", () => {
    for (const code of known) {
      const error = new HubSpotConnectError(code);
      assert.ok(error instanceof Error);
      assert.match(error.message, /^[A-Z].*\.$/, code);
      assert.equal(typeof error.retryable, "boolean", code);
      assert.ok(!("flow" in error) && !("reason" in error), code);
    }
    assert.equal(new HubSpotConnectError("closed").retryable, true);
    assert.equal(new HubSpotConnectError("scopes_missing").retryable, false);
    assert.equal(new HubSpotConnectError("origin_not_allowed").message, "Origin not allowed.");
    assert.equal(new HubSpotConnectError("origin_not_allowed").retryable, false);
  });

  test("the error of the page's own function is the only cause", () => {
    const cause = new Error("logged out");
    assert.equal(new HubSpotConnectError("connect_session_failed", "", { cause }).cause, cause);
    assert.ok(!("cause" in new HubSpotConnectError("closed", "", { flow: "f1" })));
  });

  test("shared codes keep the service's message", () => {
    const error = fromServer({ code: "user_denied", message: "Access denied." }, "f1");
    assert.deepEqual([error.code, error.message, error.flow, error.reason], ["user_denied", "Access denied.", "f1", undefined]);
  });

  test("codes of the service alone become the reason", () => {
    const of = (code) => { const error = fromServer({ code }); return [error.code, error.reason]; };
    assert.deepEqual(of("redirect_uri_mismatch"), ["provider_error", "redirect_uri_mismatch"]);
    assert.deepEqual(of("invented_tomorrow"), ["provider_error", "invented_tomorrow"]);
    assert.deepEqual(of("storage_unavailable"), ["service_unavailable", "storage_unavailable"]);
    assert.deepEqual(of("toString"), ["provider_error", "toString"]);
  });

  test("a failure without details is a provider error without a reason", () => {
    for (const nonsense of [undefined, {}]) {
      const error = fromServer(nonsense);
      assert.deepEqual([error.code, error.reason], ["provider_error", undefined]);
      assert.match(error.message, /\.$/);
    }
  });
});

describe("messages", () => {
  const popup = { name: "the popup" };
  const service = "https://connect.example.com";
  const trusted = { service, popup, flow: undefined };
  const hello = { type: "hubspot_auth_hello", version: 1, flow: "f1", needs_key: true };
  const success = { type: "hubspot_auth_success", version: 1, flow: "f1", connection_id: "c1", portal_id: 1, scopes: [] };
  const failure = { type: "hubspot_auth_error", version: 1, flow: null, error: { code: "user_denied", message: "No." } };
  const heard = (data, changes = {}, whom = trusted) => read({ origin: service, source: popup, data, ...changes }, whom);

  test("all three message types are accepted if every field matches", () => {
    for (const data of [hello, success, failure]) assert.equal(heard(data), data);
    const known = { ...trusted, flow: "f1" };
    for (const data of [hello, success, failure, { ...failure, flow: "f1" }]) assert.equal(heard(data, {}, known), data);
  });

  test("messages of another origin, window or version are ignored", () => {
    for (const data of [hello, success, failure]) {
      for (const origin of ["https://evil.example", `${service}.evil.example`, "http://connect.example.com", "null", ""]) {
        assert.equal(heard(data, { origin }), "ignored", origin);
      }
      for (const source of [null, {}, undefined]) assert.equal(heard(data, { source }), "ignored");
      for (const version of [2, "1", undefined]) assert.equal(heard({ ...data, version }), "ignored");
    }
  });

  test("another flow is ignored except in a hello, and only an error may have none", () => {
    const known = { ...trusted, flow: "f2" };
    for (const data of [success, { ...failure, flow: "f1" }]) assert.equal(heard(data, {}, known), "ignored");
    assert.equal(heard(hello, {}, known), hello);
    for (const data of [hello, success]) {
      for (const flow of [null, undefined, "", 7]) assert.equal(heard({ ...data, flow }), "ignored");
    }
  });

  test("messages without a field are ignored", () => {
    assert.equal(heard({ ...success, connection_id: undefined }), "ignored");
    assert.equal(heard({ ...failure, error: undefined }), "ignored");
    assert.equal(heard({ ...failure, error: { code: 7 } }), "ignored");
    assert.equal(heard({ ...failure, flow: undefined }), "ignored");
    assert.equal(heard({ ...hello, type: "hubspot_auth_later" }), "ignored");
    for (const data of [null, undefined, "text", 7, [], {}]) assert.equal(heard(data), "ignored");
  });

  test("unrelated messages are not counted", () => {
    for (const data of [null, undefined, "text", 7, [], {}, { type: "webpackOk" }, { type: { toString: 7 } }]) {
      assert.equal(heard(data, { origin: "https://widget.example", source: {} }), null);
    }
  });
});

describe("diagnose", () => {
  test("private hosts are recognized", () => {
    for (const host of [
      "localhost", "app.localhost", "printer.local", "db.internal", "127.0.0.1", "10.1.2.3", "172.16.0.1", "172.31.255.1", "192.168.1.1",
      "169.254.1.1", "[::1]", "[fd00::1]", "[fe80::1]",
    ]) assert.ok(isPrivate(host), host);
    for (const host of ["connect.example.com", "local.example.com", "127.example.com.example", "11.0.0.1", "172.32.0.1", "192.169.1.1", "[2001:db8::1]"]) {
      assert.ok(!isPrivate(host), host);
    }
  });

  test("web views are recognized by their user agent", () => {
    const ios = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)";
    for (const view of [
      "Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/UD1A; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/120.0.0.0 Mobile Safari/537.36",
      `${ios} Mobile/15E148`, `${ios} Mobile/15E148 Instagram 300.0`, `${ios} Mobile/15E148 [FBAN/FBIOS;FBAV/440.0]`, `${ios} Mobile/15E148 Safari Line/13.0`,
    ]) assert.ok(isWebView(view), view);
    for (const browser of [
      `${ios} Version/17.0 Mobile/15E148 Safari/604.1`, `${ios} CriOS/120.0 Mobile/15E148 Safari/604.1`,
      "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
      "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36",
      "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:102.0) Gecko/20100101 Firefox/102.0",
    ]) assert.ok(!isWebView(browser), browser);
  });
});

describe("secrets", () => {
  test("secrets need no escaping, have the required length, and are unique", () => {
    const many = new Set(Array.from({ length: 200 }, secret));
    assert.equal(many.size, 200);
    for (const one of many) assert.match(one, /^[\w-]{72}$/);
  });

  test("the challenge is the S256 of RFC 7636", async () => {
    assert.equal(await challengeOf("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
  });
});

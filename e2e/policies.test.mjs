// Host pages with strict policies: one way remains, or the error names the policy.
import assert from "node:assert/strict";
import { ACME, approve, heard, suite, until } from "./harness.mjs";
import { Hosts, ready, resultOf, sdkScript } from "./hosts.mjs";

const hosts = await Hosts.serve();

/** Connects on a host page with these headers. @returns the page, the start request, and the result */
async function connect(stage, headers, changes) {
  const host = await stage.open(hosts.page(stage, { headers, script: sdkScript(stage.demo.service, changes) }));
  await ready(host);
  const began = stage.context.waitForEvent("request", (request) => request.url().includes("/auth/hubspot/start"));
  const popup = await stage.popupOf(host, () => host.click("#connect"));
  await approve(popup);
  const result = await resultOf(host);
  return { host, popup, start: await began, result };
}

const policy = (text) => ({ "content-security-policy": text });

function assertConnected({ outcome, connection }) {
  assert.equal(outcome, "connected");
  assert.equal(connection.portalId, ACME.id);
}

suite(hosts.flags, (test) => {
  test("the strictest policy that allows the service is sufficient", async (stage) => {
    const { service } = stage.demo;
    const { result, start } = await connect(stage, policy(
      `default-src 'none'; script-src ${service} 'self'; connect-src ${service}; form-action ${service}; img-src data:; base-uri 'none'`,
    ));
    assertConnected(result);
    assert.ok(result.connection.accessToken);
    assert.equal(start.method(), "POST");
    assert.equal(new URL(start.url()).search, "", "nothing is in the address");
  });

  test("where the form is forbidden the popup navigates by URL and needs the page's key", async (stage) => {
    const { service } = stage.demo;
    stage.expectProblem(/form-action/);
    const began = stage.context.waitForEvent("request", (request) => request.url().includes("/auth/hubspot/launch"));
    const { result, popup } = await connect(stage, policy(
      `default-src 'none'; script-src ${service} 'self'; connect-src ${service}; form-action 'self'; img-src data:`,
    ));
    assertConnected(result);
    assert.ok(result.connection.accessToken);
    assert.ok(JSON.parse((await began).postData()).opener_key, "the key was asked for");
    await until("the popup closes", () => popup.isClosed());
  });

  test("where fetch is forbidden the message brings the account without a token", async (stage) => {
    const { service } = stage.demo;
    stage.expectProblem(/connect-src|Connecting to/);
    stage.tolerateProblem(/Fetch API cannot load|Refused to connect/);
    const { result, host } = await connect(stage, policy(
      `default-src 'none'; script-src ${service} 'self'; form-action ${service}; img-src data:`,
    ));
    assertConnected(result);
    assert.equal(result.connection.accessToken, undefined);
    assert.ok((await heard(host)).some(({ data }) => data.type === "hubspot_auth_success"));
  });

  test("Trusted Types are supported", async (stage) => {
    const { service } = stage.demo;
    const { result } = await connect(stage, policy(
      `default-src 'none'; script-src ${service} 'self'; connect-src ${service}; form-action ${service}; img-src data:; require-trusted-types-for 'script'; trusted-types 'none'`,
    ));
    assertConnected(result);
  });

  for (const [whose, headers] of [
    ["a page that sends no referrer", { "referrer-policy": "no-referrer" }],
    ["a page with Django's defaults", { "referrer-policy": "same-origin", "cross-origin-opener-policy": "same-origin" }],
    ["a page with helmet's defaults", { "referrer-policy": "no-referrer", "cross-origin-opener-policy": "same-origin" }],
  ]) {
    test(`${whose} connects, also with a connect session: the form has its origin`, async (stage) => {
      const { body: session } = await stage.demo.api("POST", "/api/hubspot/connect-sessions", { external_user_id: "user_42" });
      for (const [options, receivesToken] of [[{}, true], [{ connectSession: session.token }, false]]) {
        const { result, start } = await connect(stage, headers, `window.options = ${JSON.stringify(options)};`);
        assertConnected(result);
        assert.equal("accessToken" in result.connection, receivesToken);
        assert.equal((await start.allHeaders()).origin, hosts.origin);
      }
    });

    test(`${whose} connects by a redirect, also with a connect session`, async (stage) => {
      const { body: session } = await stage.demo.api("POST", "/api/hubspot/connect-sessions", { external_user_id: "user_42" });
      for (const options of [{}, { connectSession: session.token }]) {
        const script = sdkScript(stage.demo.service, `window.options = ${JSON.stringify({ mode: "redirect", ...options })};`);
        const host = await stage.open(hosts.page(stage, { headers, script }));
        await ready(host);
        const began = stage.context.waitForEvent("request", (request) => request.url().includes("/auth/hubspot/start"));
        await host.click("#connect");
        await approve(host);
        assertConnected(await until("resume() has the result", () => host.evaluate(() => window.resumed).catch(() => null)));
        assert.equal((await (await began).allHeaders()).origin, hosts.origin);
      }
    });
  }

  test("a busy page sends its key late, and it is still accepted", async (stage) => {
    const busy = `addEventListener("message", ({ data }) => {
      if (data.needs_key) for (const end = Date.now() + 4_000; Date.now() < end;);
    });`;
    stage.expectProblem(/form-action/);
    const { result } = await connect(stage, policy("form-action 'self'"), busy);
    assertConnected(result);
    const shown = stage.requests.find((request) => request.url().endsWith("/auth/hubspot/launch"));
    assert.ok(JSON.parse(shown.postData()).opener_key);
    assert.ok(result.connection.accessToken, "it is verified who opened the popup");
  });

  test("an error in the host's own handler stops neither the popup from closing nor the result", async (stage) => {
    stage.expectProblem(/script error: Error: not the SDK's/);
    const broken = `addEventListener("message", () => { throw new Error("not the SDK's"); });`;
    const { result, popup } = await connect(stage, {}, broken);
    assertConnected(result);
    await until("the popup closes", () => popup.isClosed());
  });
});

// The oldest supported browsers: the newer APIs are removed from every page, and the result still arrives.
import assert from "node:assert/strict";
import { withoutNewApis } from "../sdk/test/stage.mjs";
import { ACME, approve, heard, suite, until } from "./harness.mjs";
import { Hosts, ready, resultOf } from "./hosts.mjs";

const hosts = await Hosts.serve();

suite(hosts.flags, (test) => {
  test("a host page gets the message with the result, and the popup closes", async (stage) => {
    await stage.context.addInitScript(withoutNewApis);
    const host = await stage.open(hosts.page(stage));
    await ready(host);
    const popup = await stage.popupOf(host, () => host.click("#connect"));
    await approve(popup);
    const { outcome, connection } = await resultOf(host);
    assert.equal(outcome, "connected");
    assert.ok(connection.accessToken);
    await until("the popup closes", () => popup.isClosed());
    assert.ok((await heard(host)).some(({ data }) => data.type === "hubspot_auth_success"));
  });

  test("a page whose policy forbids the form sends its key", async (stage) => {
    await stage.context.addInitScript(withoutNewApis);
    stage.expectProblem(/form-action/);
    const host = await stage.open(hosts.page(stage, { headers: { "content-security-policy": "form-action 'self'" } }));
    await ready(host);
    await approve(await stage.popupOf(host, () => host.click("#connect")));
    assert.equal((await resultOf(host)).outcome, "connected");
  });

  test("the service's own pages connect and disconnect", async (stage) => {
    await stage.context.addInitScript(withoutNewApis);
    const login = await stage.open(`${stage.demo.service}/login`);
    await approve(await stage.popupOf(login, () => login.click("[data-connect]")));
    await login.waitForURL(`${stage.demo.service}/`);
    await login.getByRole("button", { name: "Disconnect" }).click();
    await login.click("[data-ask-yes]");
    await login.waitForURL(`${stage.demo.service}/login`);
  });

  for (const [what, breakIt] of [
    ["cannot be read", () => { Response.prototype.json = () => Promise.reject(new TypeError("broken")); }],
    ["cannot be posted", () => { Object.defineProperty(window, "opener", { value: { closed: false, postMessage: () => { throw new TypeError("broken"); } } }); }],
  ]) {
    test(`a result that was handed off and ${what}: the popup closes, and the page gets it by polling`, async (stage) => {
      const host = await stage.open(hosts.page(stage));
      await ready(host);
      const popup = await stage.popupOf(host, () => host.click("#connect"));
      await popup.waitForSelector("#approve");
      await popup.addInitScript(breakIt);
      await approve(popup);
      const { outcome, connection } = await resultOf(host);
      assert.equal(outcome, "connected");
      assert.equal(connection.portalId, ACME.id);
      assert.ok(connection.accessToken);
      await until("the popup closes", () => popup.isClosed());
    });
  }
});

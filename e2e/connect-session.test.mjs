// Connect sessions in a browser: by the SDK, with confirmation, and by a link for another user.
import assert from "node:assert/strict";
import { ACME, approve, heard, suite, until } from "./harness.mjs";
import { Hosts } from "./hosts.mjs";

const hosts = await Hosts.serve();

const SESSIONS = "/api/hubspot/connect-sessions";

/**
 * Adds a button to the host page that connects with these sessions and stores the result: the token of one, or several
 * that a function returns one after the other, after a pause.
 */
async function button(page, service, tokens, options = {}) {
  await page.evaluate(async ([address, given, more]) => {
    const { HubSpotConnect } = await import(`${address}/static/sdk/hubspot-connect.js`);
    const hubspot = new HubSpotConnect({ service: address });
    const made = document.createElement("button");
    made.id = "by-session";
    made.textContent = "Connect by session";
    window.asked = [];
    window.states = [];
    const { pause = 0, refuses, ...others } = more;
    const later = () => new Promise((done) => setTimeout(() => done(given.shift()), pause));
    made.onclick = () => {
      window.result = undefined;
      hubspot.connect({
        connectSession: Array.isArray(given) ? later : given,
        onConfirm: (confirmation) => {
          window.asked.push(confirmation);
          if (refuses) throw new Error(refuses);
        },
        onState: (state) => window.states.push(state),
        ...others,
      }).then((connection) => ({ connection }), ({ code, reason, cause }) => JSON.parse(JSON.stringify({ code, reason, cause: cause && String(cause) })))
        .then((result) => { window.result = result; });
    };
    document.body.append(made);
  }, [service, tokens, options]);
}

const resultOf = (page, patience) => until("connect() has ended", () => page.evaluate(() => window.result), patience);
/** Creates a session of a user that has ended before its page uses it. */
async function endedSession(demo) {
  const { body } = await demo.api("POST", SESSIONS, { external_user_id: "user_42" });
  await demo.api("DELETE", `${SESSIONS}/${body.id}`);
  return body.token;
}
const newSession = async (demo, more = {}) => (await demo.api("POST", SESSIONS, { external_user_id: "user_42", ...more })).body;

suite(hosts.flags, (test) => {
  test("the connection belongs to the external user, and the browser gets no session", async (stage) => {
    const { demo } = stage;
    const { status, body: session } = await demo.api("POST", SESSIONS, { external_user_id: "user_42" });
    assert.equal(status, 201);
    const host = await stage.open(demo.host);
    await button(host, demo.service, session.token);
    const popup = await stage.popupOf(host, () => host.click("#by-session"));
    await popup.waitForSelector("#approve");
    assert.ok(!popup.url().includes(session.token));
    await approve(popup, ACME);
    const { connection } = await resultOf(host);
    assert.equal(connection.portalId, ACME.id);
    assert.equal(connection.accessToken, undefined, "the backend fetches it");
    const { body: seen } = await demo.api("GET", `${SESSIONS}/${session.id}`);
    assert.deepEqual([seen.status, seen.connection_id], ["connected", connection.connectionId]);
    const own = await stage.open(demo.service);
    assert.ok(own.url().endsWith("/login"), "this browser has no connection");
  });

  test("with confirmation by the backend the page is asked to confirm and gets nothing before", async (stage) => {
    const { demo } = stage;
    const { body: session } = await demo.api("POST", SESSIONS, { external_user_id: "user_42", confirm: "backend" });
    const host = await stage.open(demo.host);
    await button(host, demo.service, session.token);
    const popup = await stage.popupOf(host, () => host.click("#by-session"));
    await popup.waitForSelector("#approve");
    await approve(popup, ACME);
    await popup.getByRole("heading", { name: "Waiting for confirmation" }).waitFor();
    const { flow, ...asked } = await until("the page is asked", () => host.evaluate(() => window.asked[0]));
    assert.deepEqual(asked, { connectSessionId: session.id, connectionId: null });
    const { body: held } = await demo.api("GET", `${SESSIONS}/${session.id}`);
    assert.deepEqual([held.status, held.awaiting.flow, held.awaiting.portal_id], ["awaiting_confirmation", flow, ACME.id]);
    const shown = popup.getByRole("heading", { name: "Connected" }).waitFor()
      .then(() => popup.getByText(`${ACME.domain} (account ${ACME.id}) is connected.`).waitFor());
    await demo.api("POST", `${SESSIONS}/${session.id}/complete`, { external_user_id: "user_42" });
    const { connection } = await resultOf(host);
    assert.equal(connection.portalId, ACME.id);
    assert.equal((await host.evaluate(() => window.asked)).length, 1);
    // The page polls too, and may get the result before the popup does.
    await shown;
    await until("the popup closes by itself", () => popup.isClosed());
    assert.equal((await heard(host)).filter(({ data }) => data.type === "hubspot_auth_success").length, 1, "it is reported once");
  });

  test("the element connects an external user without a script, and shows the connection after a reload", async (stage) => {
    const { demo } = stage;
    stage.sites.add(hosts.origin);
    const page = (attributes) => hosts.origin + hosts.put(`<!doctype html><html lang="en"><title>Host</title><link rel="icon" href="data:,">
      <script type="module" src="${demo.service}/static/sdk/element.js"></script>
      <hubspot-connect service="${demo.service}" session-url="/session" confirm-url="/confirm" ${attributes}></hubspot-connect>`);
    // The host's backend.
    let session;
    await stage.context.route(`${hosts.origin}/session`, async (route) => {
      session = await newSession(demo, { confirm: "backend" });
      await route.fulfill({ json: session });
    });
    await stage.context.route(`${hosts.origin}/confirm`, async (route) => {
      const { connect_session_id: id } = route.request().postDataJSON();
      const { status } = await demo.api("POST", `${SESSIONS}/${id}/complete`, { external_user_id: "user_42" });
      await route.fulfill({ status });
    });
    const host = await stage.open(page(""));
    const popup = await stage.popupOf(host, () => host.getByRole("button").click());
    await approve(popup, ACME);
    await host.getByText(`Connected as ${ACME.domain} (account ${ACME.id}).`).waitFor();
    const { body: seen } = await demo.api("GET", `${SESSIONS}/${session.id}`);
    const { body: made } = await demo.api("GET", `/api/hubspot/connections/${seen.connection_id}`);
    assert.equal(made.external_user_id, "user_42");
    const later = await stage.open(page(`state="connected" portal-id="${made.portal_id}" hub-domain="${made.hub_domain}"`));
    await later.getByText(`Connected as ${ACME.domain} (account ${ACME.id}).`).waitFor();
  });

  test("an administrator opens the link, sees the requester, and authorizes for the other user", async (stage) => {
    const { demo } = stage;
    const { body: session } = await demo.api("POST", SESSIONS, {
      external_user_id: "user_42", hosted: true, requested_by: "Anna Smith <script>", scopes: ["oauth", "crm.objects.contacts.read"],
    });
    const browser = await stage.anotherBrowser();
    const admin = await browser.newPage();
    await admin.goto(session.link);
    await admin.getByRole("heading", { name: "Connect your HubSpot account to Acme Reports?" }).waitFor();
    assert.equal(new URL(admin.url()).hash, "", "what opens it is out of the address");
    // A GET consumes nothing.
    const scanner = await (await stage.anotherBrowser()).newPage();
    await scanner.goto(session.link);
    await scanner.getByRole("heading", { name: "Connect your HubSpot account to Acme Reports?" }).waitFor();
    const shown = await admin.locator("[data-ask]").innerText();
    for (const words of ["Anna Smith <script>", demo.host, "crm.objects.contacts.read"]) assert.ok(shown.includes(words), words);
    await admin.getByRole("button", { name: "Continue to HubSpot" }).press("Enter");
    await admin.waitForSelector("#approve");
    // From now on no other page can use it, whether it was open before or not.
    await scanner.getByRole("button", { name: "Continue to HubSpot" }).click();
    await scanner.getByRole("heading", { name: "This link is no longer valid" }).waitFor();
    assert.match(await scanner.locator("[data-over]").innerText(), /ask .* for a new link/i);
    // In this tab the user can: by the Back button, by a reload, and by the link itself.
    await admin.goBack();
    await admin.getByRole("button", { name: "Continue to HubSpot" }).click();
    await admin.waitForSelector("#approve");
    await admin.click("#deny");
    await admin.getByRole("heading", { name: "Access denied" }).waitFor();
    await admin.goto(session.link);
    await admin.reload();
    await admin.getByRole("button", { name: "Continue to HubSpot" }).click();
    await admin.waitForSelector("#approve");
    await approve(admin, ACME);
    await admin.getByRole("heading", { name: "Waiting for confirmation" }).waitFor();
    const { body: held } = await demo.api("GET", `${SESSIONS}/${session.id}`);
    assert.equal(held.status, "awaiting_confirmation");
    const { body: done } = await demo.api("POST", `${SESSIONS}/${session.id}/complete`, { external_user_id: "user_42" });
    assert.equal(done.status, "connected");
    // The tab shows it, also after a reload.
    await admin.getByRole("heading", { name: "Connected" }).waitFor();
    await admin.reload();
    await admin.getByText(`${ACME.domain} (account ${ACME.id}) is connected.`).waitFor();
    await admin.goto(session.link);
    await admin.getByRole("heading", { name: "This link is no longer valid" }).waitFor();
    stage.expectProblem(/410/);
  });

  test("the administrator's tab shows that the application did not confirm", async (stage) => {
    const { demo } = stage;
    const { body: session } = await demo.api("POST", SESSIONS, { external_user_id: "user_42", hosted: true });
    const admin = await stage.open(session.link);
    await admin.getByRole("button", { name: "Continue to HubSpot" }).click();
    await admin.waitForSelector("#approve");
    await approve(admin, ACME);
    await admin.getByRole("heading", { name: "Waiting for confirmation" }).waitFor();
    await demo.api("POST", `${SESSIONS}/${session.id}/complete`, { external_user_id: "mallory" });
    await admin.waitForSelector('[data-code="external_user_mismatch"]');
    assert.equal((await demo.api("GET", `${SESSIONS}/${session.id}`)).body.status, "cancelled");
  });

  test("the popup waits for a session from a function, longer than a click is valid, and goes on to HubSpot", async (stage) => {
    const { demo } = stage;
    const session = await newSession(demo);
    const host = await stage.open(demo.host);
    await button(host, demo.service, [session.token], { pause: 6_000 });
    const popup = await stage.popupOf(host, () => host.click("#by-session"));
    assert.equal(await popup.innerText("body"), "Preparing the connection…");
    await popup.waitForSelector("#approve");
    assert.equal(stage.context.pages().length, 2, "in the same popup");
    await approve(popup, ACME);
    assert.equal((await resultOf(host)).connection.portalId, ACME.id);
    assert.deepEqual((await host.evaluate(() => window.states)).slice(0, 2), ["opening", "waiting"]);
    assert.equal((await demo.api("GET", `${SESSIONS}/${session.id}`)).body.status, "connected");
  });

  test("closing the waiting popup starts nothing when the session arrives", async (stage) => {
    const { demo } = stage;
    const session = await newSession(demo);
    const host = await stage.open(demo.host);
    await button(host, demo.service, [session.token], { pause: 2_000 });
    const popup = await stage.popupOf(host, () => host.click("#by-session"));
    await popup.close();
    assert.equal((await resultOf(host)).code, "closed");
    await host.waitForTimeout(3_000);
    assert.equal(stage.context.pages().length, 1);
    assert.ok(stage.requests.every((request) => !request.url().includes("/start")));
  });

  for (const [name, options, headers] of [
    ["by its popup", {}, {}],
    ["by polling, where the popup has no opener", { opener: false }, {}],
    ["by polling, where the host page severs every popup", {}, { "cross-origin-opener-policy": "same-origin" }],
  ]) {
    test(`an ended session ends connect() at once: ${name}`, async (stage) => {
      const { demo } = stage;
      const token = await endedSession(demo);
      const host = await stage.open(hosts.page(stage, { headers }));
      await button(host, demo.service, token, options);
      const popup = await stage.popupOf(host, () => host.click("#by-session"));
      stage.expectProblem(/410/);
      await popup.waitForSelector('[data-code="connect_session_ended"]');
      const shown = performance.now();
      assert.deepEqual(await resultOf(host), { code: "connect_session_ended" });
      assert.ok(performance.now() - shown < 3_000, `after ${performance.now() - shown} ms`);
      if (name === "by its popup") await until("the popup closes by itself", () => popup.isClosed());
      else await popup.getByText("You can close this window").or(popup.getByText("Go to the start page")).first().waitFor();
    });
  }

  test("the function is called again for an ended session, and the same popup goes on to HubSpot", async (stage) => {
    const { demo } = stage;
    const [ended, good] = [await endedSession(demo), await newSession(demo)];
    const host = await stage.open(demo.host);
    await button(host, demo.service, [ended, good.token], { pause: 3_000 });
    const popup = await stage.popupOf(host, () => host.click("#by-session"));
    stage.expectProblem(/410/);
    await popup.waitForSelector("#approve");
    assert.equal(stage.context.pages().length, 2);
    await approve(popup, ACME);
    assert.equal((await resultOf(host)).connection.portalId, ACME.id);
    assert.equal((await demo.api("GET", `${SESSIONS}/${good.id}`)).body.status, "connected");
  });

  test("a session that ends while the user is at HubSpot ends connect()", async (stage) => {
    const { demo } = stage;
    const session = await newSession(demo);
    const host = await stage.open(demo.host);
    await button(host, demo.service, session.token);
    const popup = await stage.popupOf(host, () => host.click("#by-session"));
    await popup.waitForSelector("#approve");
    await demo.api("DELETE", `${SESSIONS}/${session.id}`);
    await approve(popup, ACME);
    assert.equal((await resultOf(host)).code, "connect_session_ended");
  });

  test("another user named by the backend and a failed confirmation have separate error codes", async (stage) => {
    const { demo } = stage;
    for (const [options, expected] of [
      [{}, { code: "external_user_mismatch" }], [{ refuses: "not logged in" }, { code: "confirm_failed", cause: "Error: not logged in" }],
    ]) {
      const session = await newSession(demo, { confirm: "backend" });
      const host = await stage.open(demo.host);
      await button(host, demo.service, session.token, options);
      const popup = await stage.popupOf(host, () => host.click("#by-session"));
      await popup.waitForSelector("#approve");
      await approve(popup, ACME);
      await until("the page is asked", () => host.evaluate(() => window.asked.length));
      if (expected.code === "external_user_mismatch") {
        const path = `${SESSIONS}/${session.id}/complete`;
        assert.equal((await demo.api("POST", path, { external_user_id: "mallory" })).status, 403);
      }
      assert.deepEqual(await resultOf(host), expected);
      await until("the popup closes by itself", () => popup.isClosed());
    }
  });

  test("a popup closed at once is reported, and the next click takes over within five seconds", async (stage) => {
    const { demo } = stage;
    const host = await stage.open(demo.host);
    await button(host, demo.service, [(await newSession(demo)).token, (await newSession(demo)).token]);
    const first = await stage.popupOf(host, () => host.click("#by-session"));
    await first.waitForSelector("#approve");
    const began = performance.now();
    await first.close();
    await until("it is reported", async () => (await host.evaluate(() => window.states)).at(-1) === "perhaps_closed");
    const second = await stage.popupOf(host, () => host.click("#by-session"));
    assert.ok(performance.now() - began < 5_000);
    await approve(second, ACME);
    await until("the second request connects", async () => (await host.evaluate(() => window.result))?.connection);
  });

  test("a policy that forbids the form ends connect(), and no URL contains the token", async (stage) => {
    const { demo } = stage;
    const { body: session } = await demo.api("POST", SESSIONS, { external_user_id: "user_42" });
    const host = await stage.open(demo.host);
    await button(host, demo.service, session.token);
    await host.evaluate(() => {
      const policy = document.createElement("meta");
      policy.httpEquiv = "content-security-policy";
      policy.content = "form-action 'none'";
      document.head.append(policy);
    });
    stage.expectProblem(/form-action/);
    // The service never received the request that is cancelled.
    stage.tolerateProblem(/api\/hubspot\/cancel.*404/);
    const asked = [];
    stage.context.on("request", (request) => asked.push(request.url()));
    await host.click("#by-session");
    assert.equal((await resultOf(host)).code, "csp_blocked");
    assert.ok(asked.every((url) => !url.includes(session.token)));
  });
});

// The host's backend says who is connecting, in a browser: by the SDK, with its last word, and by a link for somebody else.
import assert from "node:assert/strict";
import { ACME, approve, suite, until } from "./harness.mjs";

const SESSIONS = "/api/hubspot/connect-sessions";

/** A button of the host page that connects with this session, and what became of it. */
async function button(page, service, connectSession) {
  await page.evaluate(async ([address, token]) => {
    const { HubSpotConnect } = await import(`${address}/static/sdk/hubspot-connect.js`);
    const hubspot = new HubSpotConnect({ service: address });
    const made = document.createElement("button");
    made.id = "by-session";
    made.textContent = "Connect by session";
    window.asked = [];
    made.onclick = () => {
      window.result = hubspot.connect({ connectSession: token, onConfirm: (flow) => window.asked.push(flow) })
        .then((connection) => ({ connection }), ({ code, reason }) => ({ code, reason }));
    };
    document.body.append(made);
  }, [service, connectSession]);
}

suite([], (test) => {
  test("the connection becomes the host's user's, and the browser gets no session", async (stage) => {
    const { demo } = stage;
    const { status, body: session } = await demo.api("POST", SESSIONS, { external_user_id: "user_42" });
    assert.equal(status, 201);
    const host = await stage.open(demo.host);
    await button(host, demo.service, session.token);
    const popup = await stage.popupOf(host, () => host.click("#by-session"));
    await popup.waitForSelector("#approve");
    assert.ok(!popup.url().includes(session.token));
    await approve(popup, ACME);
    const { connection } = await host.evaluate(() => window.result);
    assert.equal(connection.portalId, ACME.id);
    assert.equal(connection.accessToken, undefined, "the backend fetches it");
    const { body: seen } = await demo.api("GET", `${SESSIONS}/${session.id}`);
    assert.deepEqual([seen.status, seen.connection_id], ["connected", connection.connectionId]);
    const own = await stage.open(demo.service);
    assert.ok(own.url().endsWith("/login"), "nobody is connected in this browser");
  });

  test("where the backend has the last word, the page is asked to fetch it, and gets nothing before", async (stage) => {
    const { demo } = stage;
    const { body: session } = await demo.api("POST", SESSIONS, { external_user_id: "user_42", confirm: "backend" });
    const host = await stage.open(demo.host);
    await button(host, demo.service, session.token);
    const popup = await stage.popupOf(host, () => host.click("#by-session"));
    await popup.waitForSelector("#approve");
    await approve(popup, ACME);
    await popup.getByRole("heading", { name: "Approved" }).waitFor();
    const flow = await until("the page is asked", () => host.evaluate(() => window.asked[0]));
    const { body: held } = await demo.api("GET", `${SESSIONS}/${session.id}`);
    assert.deepEqual([held.status, held.awaiting.flow, held.awaiting.portal_id], ["awaiting_confirmation", flow, ACME.id]);
    await demo.api("POST", `${SESSIONS}/${session.id}/complete`, { external_user_id: "user_42" });
    const { connection } = await host.evaluate(() => window.result);
    assert.equal(connection.portalId, ACME.id);
    assert.equal((await host.evaluate(() => window.asked)).length, 1);
    await until("the popup closes by itself", () => popup.isClosed());
    // Its last page asks once more, and hears that the message has been given out.
    stage.tolerateProblem(/handoff.*410/);
  });

  test("an administrator elsewhere opens the link, sees who asks, and approves for the other", async (stage) => {
    const { demo } = stage;
    const { body: session } = await demo.api("POST", SESSIONS, {
      external_user_id: "user_42", hosted: true, requested_by: "Anna Smith <script>", scopes: ["oauth", "crm.objects.contacts.read"],
    });
    const browser = await stage.anotherBrowser();
    const admin = await browser.newPage();
    await admin.goto(session.link);
    await admin.getByRole("heading", { name: "Connect your HubSpot account?" }).waitFor();
    assert.equal(new URL(admin.url()).hash, "", "what opens it is out of the address");
    // Looking at it burns nothing.
    const scanner = await (await stage.anotherBrowser()).newPage();
    await scanner.goto(session.link);
    await scanner.getByRole("heading", { name: "Connect your HubSpot account?" }).waitFor();
    const shown = await admin.locator("[data-ask]").innerText();
    for (const words of ["Anna Smith <script>", demo.host, "crm.objects.contacts.read"]) assert.ok(shown.includes(words), words);
    await admin.getByRole("button", { name: "Go on to HubSpot" }).press("Enter");
    await admin.waitForSelector("#approve");
    // From now on no other page can, whether it was open before or not.
    await scanner.getByRole("button", { name: "Go on to HubSpot" }).click();
    await scanner.getByRole("heading", { name: "This link is not good any more" }).waitFor();
    assert.match(await scanner.locator("[data-over]").innerText(), /ask .* for a new link/i);
    // In this tab the person can: by the Back button, by a reload, and by the link itself.
    await admin.goBack();
    await admin.getByRole("button", { name: "Go on to HubSpot" }).click();
    await admin.waitForSelector("#approve");
    await admin.click("#deny");
    await admin.getByRole("heading", { name: "You did not approve" }).waitFor();
    await admin.goto(session.link);
    await admin.reload();
    await admin.getByRole("button", { name: "Go on to HubSpot" }).click();
    await admin.waitForSelector("#approve");
    await approve(admin, ACME);
    await admin.getByRole("heading", { name: "Approved" }).waitFor();
    const { body: held } = await demo.api("GET", `${SESSIONS}/${session.id}`);
    assert.equal(held.status, "awaiting_confirmation");
    const { body: done } = await demo.api("POST", `${SESSIONS}/${session.id}/complete`, { external_user_id: "user_42" });
    assert.equal(done.status, "connected");
    await admin.goto(session.link);
    await admin.getByRole("heading", { name: "This link is not good any more" }).waitFor();
    stage.expectProblem(/410/);
  });

  test("a policy that leaves no room for the form ends it; the token gets into no address", async (stage) => {
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
    const asked = [];
    stage.context.on("request", (request) => asked.push(request.url()));
    await host.click("#by-session");
    assert.equal((await host.evaluate(() => window.result)).code, "csp_blocked");
    assert.ok(asked.every((url) => !url.includes(session.token)));
  });
});

// An attacker starts a flow, and a user consents: the result must not go to the attacker (cross-user fixation).
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { ACME, approve, heard, suite, until } from "./harness.mjs";
import { Hosts, ready } from "./hosts.mjs";

const hosts = await Hosts.serve();
const secret = () => randomBytes(32).toString("base64url");
const hash = (text) => createHash("sha256").update(text).digest("base64url");

/** Creates an attacker's secrets, and start fields with them in the host's name. */
function stranger(stage, changes = {}) {
  stage.sites.add(hosts.origin);
  const [verifier, key] = [secret(), secret()];
  const fields = { origin: hosts.origin, mode: "popup", challenge: hash(verifier), opener_challenge: hash(key), ...changes };
  return { verifier, key, fields, action: `${stage.demo.service}/auth/hubspot/start` };
}

const inputs = (fields) => Object.entries(fields).map(([name, value]) => `<input type="hidden" name="${name}" value="${value}">`).join("");

/** An attacker's page whose button opens a popup, and which then posts to it without end: it knows flow and key. */
const pushy = ({ action, fields, key, verifier }, open) => `<button id="go">Win a prize</button>
  <form id="form" method="post" action="${action}" target="prize">${inputs(fields)}</form><script>
  document.querySelector("#go").onclick = async () => {
    const popup = ${open};
    window.stolen = popup;
    let flow = null;
    setInterval(() => {
      for (const named of [flow, undefined]) {
        const key = { type: "hubspot_auth_key", version: 1, flow: named, opener_key: "${key}" };
        popup.postMessage(key, "*");
        popup.postMessage({ ...key, type: "hubspot_auth_ready" }, "*");
      }
    }, 20);
    // The page cannot read the response, but its server can poll.
    window.tellFlow = (id) => { flow = id; };
  };
</script>`;
const byLink = ({ action, fields }) => `window.open("${action}?${new URLSearchParams(fields)}", "prize", "popup,width=600,height=700")`;
const BY_FORM = `window.open("about:blank", "prize", "popup,width=600,height=700"); document.querySelector("#form").submit()`;

/** Polls as the attacker, from every origin and by every way, and gets nothing. */
async function assertNothing(stage, { verifier }) {
  const { service } = stage.demo;
  const grants = await stage.demo.grants();
  for (const origin of [undefined, hosts.origin, "http://evil.example", "null"]) {
    const headers = { "hubspot-connect-verifier": verifier, "content-type": "application/json", ...(origin && { origin }) };
    const text = await fetch(`${service}/api/hubspot/status`, { headers }).then((response) => response.text());
    const answer = JSON.parse(text);
    assert.ok(answer.code === "flow_unknown" || (answer.status === "awaiting_user" && answer.withheld), text);
    for (const field of ["connection", "pickup_code", "access_token", "error"]) assert.ok(!(field in answer), text);
    for (const grant of grants) assert.ok(!text.includes(grant.refresh_token) && !text.includes(String(grant.hub_id)), text);
    const token = await fetch(`${service}/api/hubspot/token`, {
      method: "POST", headers, body: JSON.stringify({ flow: answer.flow ?? "0".repeat(22), pickup_code: "x" }),
    });
    assert.ok(token.status >= 400, `token: ${token.status}`);
  }
}

/** Consents to everything as the victim, who gets the connection. */
async function approvesAll(popup, evil, { verifier }, stage) {
  await popup.getByRole("heading", { name: "Did you start this?" }).waitFor();
  assert.match(await popup.innerText("main"), new RegExp(hosts.origin));
  const { flow } = await stage.attempt(verifier);
  await evil?.evaluate((id) => window.tellFlow(id), flow);
  // Long enough for the popup to receive the key.
  await popup.waitForTimeout(500);
  await popup.getByRole("button", { name: "Continue" }).click();
  await approve(popup);
  await until("the connection is there", async () => (await stage.demo.grants()).length === 1);
}

const ended = (popup) => until("the popup has ended", async () => popup.isClosed() || (await popup.locator("[data-outcome=success]").count()));

suite(hosts.flags, (test) => {
  test("a link gives the attacker nothing although the right key is posted to the popup all the time", async (stage) => {
    // The browser may report a dropped message, which was for another page.
    stage.tolerateProblem(/Failed to execute 'postMessage' on 'DOMWindow': The target origin provided/);
    const attempt = stranger(stage);
    const evil = await stage.open(await stage.stranger({ "/": pushy(attempt, byLink(attempt)) }));
    const popup = await stage.popupOf(evil, () => evil.click("#go"));
    await approvesAll(popup, evil, attempt, stage);
    await ended(popup);
    assert.deepEqual(await heard(evil), []);
    await assertNothing(stage, attempt);
    // The victim's own browser has the connection.
    const page = await stage.open(stage.demo.service);
    assert.equal((await page.textContent("[data-name]")).trim(), ACME.domain);
  });

  test("a form of an attacker's page starts nothing", async (stage) => {
    stage.expectProblem(/status of 400/);
    const attempt = stranger(stage);
    const evil = await stage.open(await stage.stranger({ "/": pushy(attempt, BY_FORM) }));
    const popup = await stage.popupOf(evil, () => evil.click("#go"));
    await popup.waitForSelector('[data-code="origin_not_allowed"]');
    assert.deepEqual(await stage.flowCookies(), []);
    assert.deepEqual(await stage.demo.calls("authorize"), []);
    await assertNothing(stage, attempt);
    assert.equal((await stage.attempt(attempt.verifier)).code, "flow_unknown");
  });

  test("a form in a sandbox without an origin gives the attacker nothing", async (stage) => {
    stage.tolerateProblem(/Failed to execute 'postMessage' on 'DOMWindow': The target origin provided/);
    const attempt = stranger(stage);
    const site = await stage.stranger({ "/in": pushy(attempt, BY_FORM) });
    const sandbox = "allow-scripts allow-forms allow-popups allow-popups-to-escape-sandbox";
    const evil = await stage.open(`${site}/in`);
    await evil.setContent(`<!doctype html><link rel="icon" href="data:,"><iframe sandbox="${sandbox}" src="${site}/in"></iframe>`);
    const frame = evil.frameLocator("iframe");
    const began = stage.context.waitForEvent("request", (request) => request.url() === attempt.action);
    const popup = await stage.popupOf(evil, () => frame.locator("#go").click());
    assert.equal((await (await began).allHeaders()).origin, "null");
    await approvesAll(popup, evil.frames().at(-1), attempt, stage);
    await ended(popup);
    await assertNothing(stage, attempt);
  });

  test("a link that returns to the host page gives the attacker nothing", async (stage) => {
    const host = hosts.page(stage);
    const attempt = stranger(stage, { mode: "redirect", return_url: host });
    const evil = await stage.open(await stage.stranger({ "/": `<a href="${attempt.action}?${new URLSearchParams(attempt.fields)}">Win a prize</a>` }));
    await evil.click("a");
    await approvesAll(evil, null, attempt, stage);
    await evil.waitForURL(host);
    await ready(evil);
    const resumed = await until("the page has looked for a flow to resume", () => evil.evaluate(() => window.resumed));
    assert.equal(resumed.connection, null, "the page did not start this flow, and resumes nothing");
    await assertNothing(stage, attempt);
  });

  test("a forwarded authorize URL of another browser gives the attacker nothing", async (stage) => {
    const attacker = await stage.anotherBrowser();
    const host = await attacker.newPage();
    await host.goto(hosts.page(stage));
    await ready(host);
    const began = attacker.waitForEvent("request", (request) => request.url().includes("/oauth/authorize"));
    await host.click("#connect");
    const address = (await began).url();
    const verifier = await host.evaluate(() => JSON.parse(Object.values(sessionStorage)[0]).verifier);
    const victim = await stage.open(address);
    await approve(victim);
    await victim.waitForSelector('[data-code="flow_not_yours"]');
    const answer = await stage.attempt(verifier);
    assert.deepEqual([answer.status, answer.connection, answer.pickup_code], ["awaiting_user", undefined, undefined]);
    assert.equal(await host.evaluate(() => window.result), undefined);
    assert.deepEqual(await stage.demo.calls("exchange"), []);
  });
});

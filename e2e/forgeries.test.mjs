// Requests and cookies that other pages forge change nothing, not even those of another port of the service's own host.
import assert from "node:assert/strict";
import { ACME, GLOBEX, approve, suite } from "./harness.mjs";

const ROUTES = ["/logout", "/auth/hubspot/launch", "/auth/hubspot/continue", "/auth/hubspot/handoff", "/api/hubspot/disconnect", "/api/hubspot/cancel", "/api/hubspot/token"];
const ENCODINGS = ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"];

/** Returns a form whose body is JSON when it is sent as plain text. */
const form = (action, enctype, index, { csrf, flow, connection }) => `<form id="f${index}" method="post" target="w${index}" action="${action}" enctype="${enctype}">
  <input name='{"flow":"${flow}","connection_id":"${connection}","opener_key":"k","pickup_code":"c","x":"' value='"}'><input name="csrf" value="${csrf}"></form>`;

suite([], (test) => {
  test("forms and requests of other pages cannot log out, disconnect or read", async (stage) => {
    stage.tolerateProblem(/Failed to load resource|blocked by CORS|status of 4|Refused|X-Frame-Options|frame-ancestors/);
    const { demo, context } = stage;
    await stage.keepWindowsOpen();
    const done = await stage.connectInTab();
    const flow = await done.getAttribute("[data-flow]", "data-flow");
    await done.goto(demo.service);
    const known = {
      flow, csrf: await done.getAttribute("body", "data-csrf"), connection: await done.getAttribute("[data-connection]", "data-connection"),
    };
    const cases = ROUTES.flatMap((route) => ENCODINGS.map((encoding) => ({ route, encoding })));
    const body = cases.map(({ route, encoding }, index) => form(demo.service + route, encoding, index, known)).join("");
    const evil = await stage.stranger({ "/": body });
    // Cookies ignore ports, so a page there counts as the same site.
    const neighbour = evil.replace("evil.localhost", "localhost");
    stage.sites.add(neighbour);
    const before = await context.cookies(demo.service);
    for (const origin of [evil, neighbour]) {
      const page = await stage.open(origin);
      for (const [index, { route, encoding }] of cases.entries()) {
        const answered = context.waitForEvent("response", (response) => response.url() === demo.service + route && response.request().method() === "POST");
        const window = await stage.popupOf(page, () => page.evaluate((id) => {
          open("about:blank", `w${id}`);
          document.querySelector(`#f${id}`).submit();
        }, index));
        const answer = await answered;
        // Without a session there is no logout.
        const harmless = answer.status() === 303 && route === "/logout" && (await answer.headerValue("location")) === "/login";
        assert.ok(harmless || (answer.status() >= 400 && answer.status() < 500), `${origin} ${route} ${encoding}: ${answer.status()}`);
        assert.equal((await answer.allHeaders())["set-cookie"], undefined, `${route} sets no cookie`);
        await window.close();
      }
      const fetched = await page.evaluate(([service, routes, text]) => Promise.all(routes.map((route) => fetch(service + route, {
        method: "POST", mode: "no-cors", credentials: "include", headers: { "content-type": "text/plain" }, body: text,
      }).then((response) => response.type, () => "failed"))), [demo.service, ROUTES, JSON.stringify(known)]);
      assert.ok(fetched.every((type) => type === "opaque" || type === "failed"));
      await page.close();
    }
    assert.deepEqual(await context.cookies(demo.service), before);
    assert.deepEqual(await demo.calls("revoke"), []);
    await done.reload();
    assert.deepEqual((await done.locator("[data-name]").allInnerTexts()).map((name) => name.trim()), [ACME.domain]);
  });

  test("repeated forms of another site leave no cookie and evict none", async (stage) => {
    const { demo, context } = stage;
    await stage.connectInTab();
    const before = await context.cookies(demo.service);
    assert.ok(before.some(({ name }) => name === "__Host-hsc_sid"));
    // A page without a referrer sends its forms with the origin `null`, and without the service's cookies.
    const evil = await stage.open(await stage.stranger({
      "/": `<meta name="referrer" content="no-referrer"><form method="post" target="w" action="${demo.service}/auth/hubspot/start">
        <input name="origin" value="${demo.host}"></form><button onclick="window.open('about:blank', 'w')">Win a prize</button>`,
    }));
    const window = await stage.popupOf(evil, () => evil.click("button"));
    // The browser drops a form for a window whose last page has not been committed yet.
    const shown = async (url, send) => {
      const [response] = await Promise.all([
        context.waitForEvent("response", (response) => response.url() === url), window.waitForEvent("load"), send(),
      ]);
      return response.status();
    };
    for (let sent = 1; sent <= 40; sent += 1) {
      assert.equal(await shown(`${demo.service}/auth/hubspot/start`, () => evil.evaluate(() => document.querySelector("form").submit())), 200);
      assert.ok((await stage.flowCookies()).length <= 5, `${sent} forms`);
    }
    assert.deepEqual(await context.cookies(demo.service), before);
    // A link that a script follows without a click needs confirmation.
    const link = `${demo.service}/auth/hubspot/start?origin=${encodeURIComponent(demo.host)}`;
    for (let sent = 1; sent <= 12; sent += 1) {
      assert.equal(await shown(link, () => evil.evaluate((url) => { window.open(url, "w"); }, link)), 200);
    }
    await window.getByRole("heading", { name: "Did you start this?" }).waitFor();
    assert.deepEqual(await context.cookies(demo.service), before);
    // A clicked link sends the cookies, so older ones are removed at once.
    await evil.evaluate((url) => { document.querySelector("button").onclick = () => window.open(url, "_blank"); }, link);
    for (let sent = 1; sent <= 7; sent += 1) {
      const answered = context.waitForEvent("response", (response) => response.url() === link);
      const clicked = await stage.popupOf(evil, () => evil.click("button"));
      assert.equal((await answered).status(), 302);
      await clicked.waitForSelector("#approve");
      await clicked.close();
      assert.ok((await stage.flowCookies()).length <= 5, `${sent} links`);
    }
    assert.ok((await context.cookies(demo.service)).some(({ name }) => name === "__Host-hsc_sid"));
    const held = await stage.flowCookies();
    await evil.evaluate(() => document.querySelector("form").submit());
    // Only the user's own confirmation, on the service's page, sets the cookie.
    const go = window.getByRole("button", { name: "Continue" });
    await go.waitFor();
    assert.deepEqual(await stage.flowCookies(), held);
    await go.click();
    await window.waitForSelector("#approve");
    const holds = await stage.flowCookies();
    assert.equal(holds.filter((name) => !held.includes(name)).length, 1);
    assert.ok(holds.length <= 5);
    await approve(window, GLOBEX);
    await window.waitForSelector('[data-outcome="success"]');
    const page = await stage.open(demo.service);
    assert.equal(await page.locator("[data-name]").count(), 2, "the session has gone on");
  });

  test("a page on another port of the host cannot plant a cookie", async (stage) => {
    const { demo, context } = stage;
    await stage.connectInTab();
    const before = await context.cookies(demo.service);
    const names = before.map(({ name }) => name);
    assert.ok(names.length >= 2 && names.every((name) => name.startsWith("__Host-")), names.join());
    const evil = await stage.open(await stage.stranger({ "/": "" }));
    await evil.evaluate((planted) => {
      for (const name of [...planted, ...planted.map((one) => one.replace("__Host-", ""))]) {
        for (const flags of ["domain=localhost; path=/", "domain=.localhost; path=/; Secure", "domain=localhost; path=/auth; Secure"]) {
          document.cookie = `${name}=planted; ${flags}`;
        }
      }
    }, names);
    assert.deepEqual(await context.cookies(demo.service), before);
    const page = await stage.open(demo.service);
    assert.equal((await page.textContent("[data-name]")).trim(), ACME.domain);
  });

  test("a planted session is replaced at the next connection", async (stage) => {
    const { demo, context } = stage;
    // Cookies of two ports are not separated.
    const neighbour = (await stage.stranger({ "/": "" })).replace("evil.localhost", "localhost");
    stage.sites.add(neighbour);
    const attacker = await stage.anotherBrowser();
    const theirs = await attacker.newPage();
    await theirs.goto(`${demo.service}/auth/hubspot/start`);
    await approve(theirs, GLOBEX);
    await theirs.waitForSelector('[data-outcome="success"]');
    const session = async (browser) => (await browser.cookies(demo.service)).find(({ name }) => name === "__Host-hsc_sid").value;
    const planted = await session(attacker);
    const page = await stage.open(neighbour);
    await page.evaluate((value) => { document.cookie = `__Host-hsc_sid=${value}; Secure; Path=/; SameSite=Lax`; }, planted);
    assert.equal(await session(context), planted);
    await stage.connectInTab(ACME);
    assert.notEqual(await session(context), planted);
    await theirs.goto(demo.service);
    assert.equal(theirs.url(), `${demo.service}/login`, "the key that was planted opens nothing");
  });
});

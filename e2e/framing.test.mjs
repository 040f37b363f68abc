// Requests that other sites can cause in a browser.
import assert from "node:assert/strict";
import { suite, until } from "./harness.mjs";

const ADDRESSES = ["/", "/login", "/logout", "/auth/hubspot/start", "/auth/hubspot/done?problem=user_denied", "/install/hubspot/claim", "/nothing-here", "/static/app.css"];

suite([], (test) => {
  test("no page of the service can be framed", async (stage) => {
    const { demo } = stage;
    stage.expectProblem(/frame-ancestors|X-Frame-Options/);
    stage.tolerateProblem(/Failed to load resource: the server responded with a status of 4\d\d/);
    await stage.connectInTab();
    const frames = ADDRESSES.filter((path) => !path.startsWith("/static")).map((path) => `<iframe src="${demo.service}${path}"></iframe>`).join("");
    const evil = await stage.open(await stage.stranger({ "/": frames }));
    const host = await stage.open(`${demo.host}/plain`);
    await host.evaluate((html) => { document.body.innerHTML = html; }, frames);
    for (const page of [evil, host]) {
      const framed = () => page.frames().filter((frame) => frame !== page.mainFrame());
      await until("every frame is refused", () => framed().length === ADDRESSES.length - 1
        && framed().every((frame) => frame.url().startsWith("chrome-error:")));
    }
  });

  test("images, frames, prefetches and fetches of the start URL start nothing", async (stage) => {
    const { demo, context } = stage;
    stage.expectProblem(/./);
    const start = `${demo.service}/auth/hubspot/start?origin=${encodeURIComponent(demo.host)}&amp;n=`;
    const elements = `<img src="${start}1"><iframe src="${start}2"></iframe><link rel="prefetch" href="${start}3">
      <object data="${start}4"></object><link rel="stylesheet" href="${start}5"><script src="${start}6"></script>`;
    // Some responses are withheld from the page, and from this test.
    const ended = new Map();
    const note = (request, answer) => {
      if (request.url().includes("/auth/hubspot/start")) ended.set(request.url(), answer);
    };
    context.on("response", (response) => note(response.request(), response));
    context.on("requestfailed", (request) => { if (!ended.has(request.url())) note(request, null); });
    const evil = await stage.open(await stage.stranger({ "/": elements }));
    await evil.evaluate((url) => fetch(url, { mode: "no-cors", credentials: "include" }).catch(() => {}), `${start.replaceAll("&amp;", "&")}7`);
    await until("the address was asked for in seven ways", () => ended.size >= 7);
    for (const [url, answer] of ended) {
      if (answer) assert.equal(answer.status(), 400, url);
    }
    assert.ok([...ended.values()].some(Boolean), "some answers were seen");
    assert.deepEqual(await stage.flowCookies(), []);
    assert.deepEqual(await demo.calls("authorize"), []);
  });

  test("other sites cannot disconnect or log out", async (stage) => {
    const { demo } = stage;
    stage.tolerateProblem(/blocked by CORS|Failed to load resource/);
    const own = await stage.connectInTab();
    await own.goto(demo.service);
    const id = await own.getAttribute("[data-connection]", "data-connection");
    const csrf = await own.getAttribute("body", "data-csrf");
    // Even an attacker with the page's form token and the connection's id.
    const evil = await stage.open(await stage.stranger({
      "/": `<form method="post" action="${demo.service}/logout"><input name="csrf" value="${csrf}"><button>post</button></form>`,
    }));
    const answer = await evil.evaluate(([url, token, connection]) => fetch(url, {
      method: "POST", credentials: "include", headers: { "content-type": "application/json", "hubspot-connect-csrf": token },
      body: JSON.stringify({ connection_id: connection }),
    }).then((response) => response.status, () => "blocked"), [`${demo.service}/api/hubspot/disconnect`, csrf, id]);
    assert.equal(answer, "blocked");
    await evil.click("button");
    await evil.waitForURL(`${demo.service}/**`);
    await evil.goto(`${demo.service}/logout`);
    assert.match(await evil.innerText("h1"), /Disconnect and log out\?/, "a link only asks");

    await own.reload();
    assert.equal(await own.locator("[data-connection]").count(), 1);
    assert.deepEqual(await demo.calls("revoke"), []);
  });

  test("a navigation to the start URL without a click needs confirmation", async (stage) => {
    const { demo } = stage;
    const start = `${demo.service}/auth/hubspot/start`;
    const site = await stage.stranger({ "/": `<script>onload = () => setTimeout(() => location.assign("${start}"));</script>` });
    const page = await stage.open(site);
    await page.waitForSelector('[data-page="confirm"]');
    assert.equal(await page.textContent(".origin"), demo.host, "it names the page that would get the result");
    assert.deepEqual(await stage.flowCookies(), []);
    assert.deepEqual(await demo.calls("authorize"), []);
    await page.getByRole("link", { name: "Continue" }).click();
    await page.waitForSelector("#approve");
    assert.equal((await stage.flowCookies()).length, 1);
  });

  test("pages of the host's site read no connection, with or without cookies", async (stage) => {
    const { demo } = stage;
    stage.expectProblem(/blocked by CORS policy/);
    stage.tolerateProblem(/Failed to load resource/);
    await stage.connectInTab();
    const host = await stage.open(`${demo.host}/plain`);
    const ask = (credentials) => host.evaluate(([url, how]) => fetch(url, { credentials: how })
      .then((response) => response.json(), () => "blocked"), [`${demo.service}/api/hubspot/status`, credentials]);
    const nobody = { authenticated: false, connections: [] };
    assert.equal(await ask("include"), "blocked");
    assert.deepEqual(await ask("omit"), nobody);
    assert.deepEqual(await ask("same-origin"), nobody);
  });
});

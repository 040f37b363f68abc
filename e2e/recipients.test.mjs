// The result goes only to the page to which it was bound at the start.
import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { test as plain } from "node:test";
import { approve, heard, leadTo, suite, until } from "./harness.mjs";

/** Returns a page that opens a popup at a URL, listens, and posts to the popup all the time. */
const pushy = (start) => `<button id="go">go</button><script>
  document.querySelector("#go").onclick = () => {
    const popup = window.open("${start}", "stolen", "popup,width=600,height=700");
    setInterval(() => {
      for (const type of ["hello", "authorizing:hubspot", "hubspot_auth_ready", "ack"]) {
        popup.postMessage({ type, version: 1, origin: location.origin }, "*");
      }
    }, 20);
  };
</script>`;

suite([], (test) => {
  test("an attacker who starts as a listed page gets nothing, whatever it posts to the popup", async (stage) => {
    const { demo } = stage;
    // The browser may report the dropped message, which was for another page.
    stage.tolerateProblem(/Failed to execute 'postMessage' on 'DOMWindow': The target origin provided/);
    const start = `${demo.service}/auth/hubspot/start?origin=${encodeURIComponent(demo.host)}`;
    const evil = await stage.open(await stage.stranger({ "/": pushy(start) }));
    const popup = await stage.popupOf(evil, () => evil.click("#go"));
    const delivered = popup.waitForResponse((response) => response.url().endsWith("/handoff"));
    await approve(popup);
    assert.equal((await (await delivered).json()).origin, demo.host, "there was a message, for another page");
    await until("the popup closes", () => popup.isClosed());
    assert.deepEqual(await heard(evil), []);
  });

  test("an unlisted page gets an error page and starts nothing", async (stage) => {
    const { demo } = stage;
    stage.expectProblem(/the server responded with a status of 400/);
    const evil = await stage.open();
    const own = await stage.stranger({ "/": "" });
    const start = `${demo.service}/auth/hubspot/start?origin=${encodeURIComponent(own)}`;
    await evil.goto(await stage.stranger({ "/": pushy(start) }));
    const popup = await stage.popupOf(evil, () => evil.click("#go"));
    await popup.waitForSelector('[data-code="origin_not_allowed"]');
    assert.deepEqual(await stage.flowCookies(), []);
    assert.deepEqual(await demo.calls("authorize"), []);
    assert.deepEqual(await heard(evil), []);
  });

  test("origins similar to a listed one are refused", async (stage) => {
    const { demo } = stage;
    const { port } = new URL(demo.host);
    stage.expectProblem(/the server responded with a status of 400/);
    const page = await stage.open();
    const alike = [
      `${demo.host}.evil.example`, `${demo.host}0`, `https://127.0.0.1:${port}`, `http://127.0.0.1`, `${demo.host}/x`,
      `http://x@127.0.0.1:${port}`, "null", "*", "", demo.hubspot,
    ];
    for (const origin of alike) {
      const response = await page.goto(`${demo.service}/auth/hubspot/start?origin=${encodeURIComponent(origin)}`);
      assert.equal(response.status(), 400, `origin=${origin}`);
    }
    assert.deepEqual(await stage.flowCookies(), []);
    assert.deepEqual(await demo.calls("authorize"), []);
  });

  test("a page that replaces the opener gets nothing", async (stage) => {
    stage.tolerateProblem(/Failed to execute 'postMessage' on 'DOMWindow': The target origin provided/);
    const site = await stage.stranger({ "/": "<p>now it is me</p>" });
    const { host, popup } = await stage.startOnHost();
    await leadTo(host, site);
    const delivered = popup.waitForResponse((response) => response.url().endsWith("/handoff"));
    await approve(popup);
    assert.equal((await (await delivered).json()).message.type, "hubspot_auth_success");
    await until("the popup closes", () => popup.isClosed());
    assert.deepEqual(await heard(host), []);
  });

  test("scripts of other sites cannot fetch the result", async (stage) => {
    const { demo } = stage;
    stage.expectProblem(/blocked by CORS policy/);
    stage.expectProblem(/Failed to load resource/);
    await stage.keepWindowsOpen();
    const site = await stage.stranger({ "/": "" });
    const done = await stage.connectInTab();
    const flow = await done.getAttribute("[data-flow]", "data-flow");
    const evil = await stage.open(site);
    const answer = await evil.evaluate(([url, body]) => fetch(url, {
      method: "POST", credentials: "include", headers: { "content-type": "application/json" }, body,
    }).then((response) => response.text(), () => "blocked"), [`${demo.service}/auth/hubspot/handoff`, JSON.stringify({ flow })]);
    assert.equal(answer, "blocked");
  });
});

plain("no script posts to anyone who listens, runs text, or keeps anything in the browser but an opened link", async () => {
  const root = new URL("../", import.meta.url);
  const names = (await readdir(new URL("static/", root))).filter((name) => name.endsWith(".js")).map((name) => `static/${name}`);
  assert.ok(names.length >= 3);
  for (const name of [...names, "demo/pages/plain.js", "demo/pages/index.js"]) {
    const source = await readFile(new URL(name, root), "utf8");
    assert.doesNotMatch(source, /(["'`])\*\1/, `${name}: "*" is not a target origin`);
    assert.doesNotMatch(source, /postMessage\([^)]*\.origin\s*\)/, `${name}: the target origin is not taken from the sender`);
    assert.doesNotMatch(source, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/, name);
    // A hosted link opens once: the tab that opened it stores its token, so that the user can try again.
    const kept = name === "static/link.js" ? source.replaceAll("sessionStorage", "") : source;
    assert.doesNotMatch(kept, /localStorage|sessionStorage|indexedDB|document\.cookie/, name);
  }
});

// Connect sessions in a browser, against a stub of the service: the token may come later, from a function of the page.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { CONNECTION, launchBrowser, Stage, until } from "./stage.mjs";

const connected = { state: { status: "connected", connection: CONNECTION } };
/** Longer than a click is valid. */
const NO_CLICK_MS = 6_000;

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

/** Opens a page whose function returns the tokens passed to `give`, and the popup of its button. */
async function waiting(stage, options = {}) {
  const page = await stage.open();
  await page.evaluate((given) => {
    window.asked = 0;
    Object.assign(window.options, given, {
      connectSession: () => {
        window.asked += 1;
        return new Promise((give, fail) => Object.assign(window, { give, fail }));
      },
    });
  }, options);
  const popup = await stage.press(page);
  await until("the function is called", () => page.evaluate(() => window.asked === 1));
  return { page, popup };
}

/** Runs in a page: makes three minutes pass in about four seconds. */
function hurry() {
  const { setInterval, setTimeout } = window;
  window.setInterval = (call, ms) => setInterval(call, ms / 50);
  window.setTimeout = (call, ms) => setTimeout(call, ms >= 100_000 ? ms / 50 : ms);
}

const give = (page, token) => page.evaluate((one) => { window.give(one); }, token);
const states = (page) => page.evaluate(() => window.states);
const stays = async (stage, pages) => {
  await sleep(1_500);
  assert.deepEqual([stage.context.pages().length, stage.flows.size], [pages, 0], "nothing is started");
};
/** Returns the seconds from the press of the button to the results. */
async function secondsTo(stage, page, press) {
  const began = performance.now();
  const popup = await press();
  const results = await stage.results(page);
  return { popup, results, seconds: (performance.now() - began) / 1_000 };
}

describe("a connect session from a function", { concurrency: 2 }, () => {
  staged("the popup opens in the click and shows that it waits; the form follows when the token arrives", {}, async (stage) => {
    const { page, popup } = await waiting(stage);
    assert.equal(await popup.innerText("body"), "Preparing the connection…");
    await sleep(NO_CLICK_MS);
    assert.deepEqual([await states(page), stage.flows.size], [["opening"], 0]);
    assert.deepEqual(stage.calls("/api/hubspot/status"), [], "there is nothing to ask for yet");
    await give(page, "the-session");
    const flow = await stage.flow();
    assert.deepEqual([flow.method, flow.fields.connect_session], ["POST", "the-session"]);
    await popup.waitForSelector("h1");
    assert.equal(stage.context.pages().length, 2, "in the same popup");
    await until("the popup waits for the user", async () => (await states(page)).at(-1) === "waiting");
    stage.change(flow, connected);
    assert.equal((await stage.results(page))[0].connection.flow, "flow-1");
    assert.equal(await page.evaluate(() => window.asked), 1);
  });

  staged("a given token, and one that a function returns synchronously, are sent at once", {}, async (stage) => {
    for (const [count, session] of [[1, "given"], [2, "returned"]]) {
      const page = await stage.open();
      await page.evaluate((token) => { window.options = { connectSession: token === "given" ? token : () => token }; }, session);
      await stage.press(page);
      assert.equal((await stage.flow(count)).fields.connect_session, session);
    }
  });

  for (const [name, source, cause] of [
    ["rejects", `() => Promise.reject(new Error("no session"))`, "Error: no session"],
    ["throws", `() => { throw new Error("no session"); }`, "Error: no session"],
    ["returns nothing", `() => undefined`, "TypeError: No token."],
    ["returns an empty text", `async () => ""`, "TypeError: No token."],
    ["returns no text", `async () => ({ token: "t" })`, "TypeError: No token."],
  ]) {
    staged(`a function that ${name} closes the popup, and the error has the cause`, {}, async (stage) => {
      const page = await stage.open();
      await page.evaluate((text) => { window.options = { connectSession: (0, eval)(text) }; }, source);
      await page.click("#go");
      assert.deepEqual(await stage.results(page), [{ code: "connect_session_failed", cause, ours: true }]);
      await until("the popup is closed", () => stage.context.pages().length === 1);
      await stays(stage, 1);
      assert.deepEqual(await page.evaluate(() => Object.entries(sessionStorage)), []);
      // The next click works.
      await page.evaluate(() => { window.options = { connectSession: () => "the-session" }; });
      await stage.press(page);
      await stage.flow();
    });
  }

  staged("a page that may not fetch is known as such after a restart, too", {
    policy: (service) => `default-src 'self' data:; script-src 'self' ${service}; form-action ${service}`,
  }, async (stage) => {
    const page = await stage.open();
    await page.evaluate(() => {
      document.addEventListener("securitypolicyviolation", () => { window.forbidden = true; });
      const tokens = ["the-first", "the-second"];
      window.options.connectSession = () => tokens.shift();
    });
    const popup = await stage.press(page);
    await popup.waitForSelector("h1");
    await until("it has tried to ask", () => page.evaluate(() => window.forbidden));
    await popup.evaluate((to) => opener.postMessage({
      type: "hubspot_auth_error", version: 1, flow: "flow-1", error: { code: "connect_session_ended" },
    }, to), stage.host);
    assert.equal((await stage.flow(2)).fields.connect_session, "the-second");
    await popup.getByText("Launched").waitFor();
    await popup.close();
    assert.deepEqual(await stage.results(page), [{ code: "closed", flow: "flow-2", ours: true }], "nothing can be heard any more");
    assert.deepEqual(stage.calls("/api/hubspot/status"), []);
  });

  staged("closing the waiting popup ends connect() at once, and nothing is started afterwards", {}, async (stage) => {
    const { page, popup } = await waiting(stage);
    await popup.close();
    assert.deepEqual(await stage.results(page), [{ code: "closed", ours: true }]);
    await give(page, "the-session");
    await stays(stage, 1);
  });

  staged("closing the popup at the moment the token arrives starts nothing", {}, async (stage) => {
    await stage.context.addInitScript(() => {
      const { open } = window;
      window.open = (...given) => (window.popup = open.apply(window, given));
    });
    const { page } = await waiting(stage);
    // Before the SDK checks by itself.
    await page.evaluate(() => {
      window.popup.close();
      window.give("the-session");
    });
    assert.deepEqual(await stage.results(page), [{ code: "closed", ours: true }]);
    await stays(stage, 1);
  });

  staged("a popup that shows another page when the token arrives ends connect(), and nothing is started", {}, async (stage) => {
    const { page, popup } = await waiting(stage);
    await popup.goto(`${stage.service}/own`);
    await give(page, "the-session");
    assert.deepEqual(await stage.results(page), [{ code: "closed", ours: true }]);
    await stays(stage, 1);
  });

  for (const [referrer, opener] of [["same-origin", "same-origin"], ["no-referrer", "same-origin"], ["no-referrer", "unsafe-none"]]) {
    staged(`the form verifies its opener where the page has the policies ${referrer} and ${opener}`, {
      hostHeaders: { "referrer-policy": referrer, "cross-origin-opener-policy": opener },
    }, async (stage) => {
      stage.ended = opener === "unsafe-none" ? ["the-first"] : [];
      const page = await stage.open();
      await page.evaluate(() => {
        const tokens = ["the-first", "the-second"];
        window.options = { connectSession: () => tokens.shift() };
      });
      await stage.press(page);
      await stage.flow(1 + stage.ended.length);
      for (const { headers } of stage.calls("/auth/hubspot/start")) {
        assert.deepEqual([headers.origin, headers.referer], [stage.host, undefined], "the origin alone");
      }
    });
  }

  for (const referrer of ["same-origin", "no-referrer"]) {
    staged(`the form of a redirect verifies its opener where the page has the policy ${referrer}`, {
      hostHeaders: { "referrer-policy": referrer },
    }, async (stage) => {
      const page = await stage.open();
      await page.evaluate(() => { window.options = { mode: "redirect", connectSession: "the-session" }; });
      await page.click("#go");
      await stage.flow();
      const [{ headers }] = stage.calls("/auth/hubspot/start");
      assert.deepEqual([headers.origin, headers.referer], [stage.host, `${stage.host}/`], "the origin alone");
    });
  }

  staged("the popup takes no field of the form into its history", {}, async (stage) => {
    await stage.context.addInitScript(() => {
      const { open } = window;
      window.open = (...given) => (window.popup = open.apply(window, given));
    });
    const { page, popup } = await waiting(stage);
    await page.evaluate(() => {
      const { document } = window.popup;
      window.popup.addEventListener("pagehide", () => { window.left = document.querySelectorAll("form, input").length; });
      window.give("the-session");
    });
    await popup.waitForSelector("h1");
    assert.equal(await page.evaluate(() => window.left), 0);
    assert.equal(await popup.evaluate(() => history.length), 1, "nor the page that had the form");
  });

  staged("an abort closes the waiting popup, and nothing is started afterwards", {}, async (stage) => {
    const page = await stage.open();
    await page.evaluate(() => {
      window.abort = new AbortController();
      window.options = { signal: window.abort.signal, connectSession: () => new Promise((done) => { window.give = done; }) };
    });
    const popup = await stage.press(page);
    await page.evaluate(() => window.abort.abort());
    assert.deepEqual(await stage.results(page), [{ code: "cancelled", ours: true }]);
    await until("the popup closes", () => popup.isClosed());
    await give(page, "the-session");
    await stays(stage, 1);
  });

  staged("a second click focuses the waiting popup and requests no second session", {}, async (stage) => {
    const { page } = await waiting(stage);
    await page.click("#go");
    assert.equal(stage.context.pages().length, 2);
    assert.deepEqual(await page.evaluate(() => [window.asked, window.promises[0] === window.promises[1]]), [1, true]);
    await give(page, "the-session");
    stage.change(await stage.flow(), connected);
    assert.equal((await stage.results(page, 2)).length, 2);
  });

  for (const [name, changes, options] of [
    ["a host page that severs every popup", { hostHeaders: { "cross-origin-opener-policy": "same-origin" } }, {}],
    ["a popup without an opener", {}, { opener: false }],
  ]) {
    staged(`${name}: the popup waits, and the result arrives by polling`, changes, async (stage) => {
      const { page } = await waiting(stage, options);
      await sleep(NO_CLICK_MS);
      await give(page, "the-session");
      const flow = await stage.flow();
      assert.equal(flow.fields.connect_session, "the-session");
      assert.equal(stage.context.pages().length, 2, "in the same popup");
      stage.change(flow, connected);
      assert.equal((await stage.results(page))[0].connection.flow, "flow-1");
    });
  }

  staged("without a popup the page waits for the function, then redirects", {}, async (stage) => {
    const page = await stage.open();
    stage.onStart = () => "<h1>Redirected</h1>";
    await page.evaluate(() => {
      window.options = { mode: "redirect", connectSession: () => Promise.reject(new Error("no session")) };
    });
    await page.click("#go");
    assert.deepEqual(await stage.results(page), [{ code: "connect_session_failed", cause: "Error: no session", ours: true }]);
    await page.evaluate(() => { window.options = { mode: "redirect", connectSession: () => new Promise((done) => { window.give = done; }) }; });
    await page.click("#go");
    await stays(stage, 1);
    await give(page, "the-session");
    const { fields } = await stage.flow();
    assert.deepEqual([fields.mode, fields.connect_session], ["redirect", "the-session"]);
    await page.waitForSelector("h1");
  });

  staged("a callback that aborts before the popup navigates starts nothing", {}, async (stage) => {
    const { page, popup } = await waiting(stage);
    await page.evaluate(() => {
      const abort = new AbortController();
      void window.hubspot.resume({ signal: abort.signal, onState: (state) => { if (state === "waiting") abort.abort(); } }).catch(() => {});
    });
    await give(page, "the-session");
    assert.deepEqual(await stage.results(page), [{ code: "cancelled", ours: true }]);
    await until("the popup closes", () => popup.isClosed());
    await stays(stage, 1);
  });

  staged("a function that never resolves times out and closes the popup, and a late token starts nothing", {}, async (stage) => {
    await stage.context.addInitScript(hurry);
    const { page, popup } = await waiting(stage);
    assert.deepEqual(await stage.results(page), [{ code: "timeout", ours: true }]);
    await until("the popup closes", () => popup.isClosed());
    await give(page, "the-session");
    await stays(stage, 1);
  });

  for (const [name, end, code] of [
    ["an abort", () => window.abort.abort(), "cancelled"],
    ["time", () => {}, "timeout"],
  ]) {
    staged(`a redirect whose function never resolves is ended by ${name}, and a second click joins it`, {}, async (stage) => {
      if (code === "timeout") await stage.context.addInitScript(hurry);
      const page = await stage.open();
      await page.evaluate(() => {
        window.asked = 0;
        window.abort = new AbortController();
        window.options = {
          mode: "redirect",
          signal: window.abort.signal,
          connectSession: () => new Promise((done) => { window.asked += 1; window.give = done; }),
        };
        for (let clicks = 0; clicks < 2; clicks += 1) document.querySelector("#go").click();
      });
      assert.deepEqual(await page.evaluate(() => [window.asked, window.promises[0] === window.promises[1]]), [1, true]);
      await page.evaluate(end);
      assert.deepEqual(await stage.results(page, 2), Array(2).fill({ code, ours: true }));
      await give(page, "the-session");
      await stays(stage, 1);
      // The next click works.
      stage.onStart = () => "<h1>Redirected</h1>";
      await page.evaluate(() => { window.options = { mode: "redirect", connectSession: () => "the-session" }; });
      await page.click("#go");
      await page.waitForSelector("h1");
    });
  }
});

describe("a connect session that has ended", { concurrency: 2 }, () => {
  for (const [name, changes, options] of [
    ["by the popup's message", {}, {}],
    ["by polling, where the popup is severed", { launchHeaders: { "cross-origin-opener-policy": "same-origin" } }, {}],
    ["by polling, where the popup has no opener", {}, { opener: false }],
  ]) {
    staged(`ends connect() at once: ${name}`, changes, async (stage) => {
      stage.ended = ["used"];
      const page = await stage.open();
      await page.evaluate((given) => Object.assign(window.options, { connectSession: "used" }, given), options);
      const { results, seconds } = await secondsTo(stage, page, () => stage.press(page));
      assert.deepEqual(results, [{ code: "connect_session_ended", flow: "flow-1", ours: true }]);
      assert.ok(seconds < 4, `after ${seconds} s`);
      assert.deepEqual(stage.calls("/api/hubspot/cancel"), []);
    });
  }

  staged("the function is called again, and the new token uses the same popup", {}, async (stage) => {
    stage.ended = ["first"];
    const { page, popup } = await waiting(stage);
    await give(page, "first");
    await until("the function is asked again", () => page.evaluate(() => window.asked === 2));
    // The page with the reason would have closed the popup by now.
    await sleep(3_000);
    assert.deepEqual(await page.evaluate(() => window.results), []);
    await give(page, "second");
    const flow = await stage.flow(2);
    assert.equal(flow.fields.connect_session, "second");
    await popup.waitForSelector("h1:text('Launched')");
    assert.equal(stage.context.pages().length, 2);
    assert.notEqual(...[...stage.flows.keys()], "each start has a challenge of its own");
    const { opener_key: key } = await until("the second popup page has the key", () => stage.key);
    assert.ok(key);
    assert.deepEqual(await states(page), ["opening", "waiting", "opening", "waiting"]);
    // A message of the first start arrives late.
    await popup.evaluate((to) => opener.postMessage({ type: "hubspot_auth_error", version: 1, flow: "flow-1", error: { code: "connect_session_ended" } }, to), stage.host);
    await sleep(500);
    assert.deepEqual(await page.evaluate(() => [window.results, window.asked]), [[], 2]);
    stage.change(flow, connected);
    assert.equal((await stage.results(page))[0].connection.flow, "flow-2");
  });

  staged("a callback that aborts at the restart ends connect(), and the function is not called again", {}, async (stage) => {
    stage.ended = ["first"];
    const { page, popup } = await waiting(stage);
    await page.evaluate(() => {
      const abort = new AbortController();
      const seen = [];
      const onState = (state) => { if (seen.push(state) > 1 && state === "opening") abort.abort(); };
      void window.hubspot.resume({ signal: abort.signal, onState }).catch(() => {});
    });
    await give(page, "first");
    assert.deepEqual((await stage.results(page)).map(({ code }) => code), ["cancelled"]);
    await until("the popup closes", () => popup.isClosed());
    assert.equal(await page.evaluate(() => window.asked), 1);
  });

  staged("a restart clears the stored state of the first start", {}, async (stage) => {
    stage.ended = ["first"];
    const { page } = await waiting(stage);
    await give(page, "first");
    await until("the function is asked again", () => page.evaluate(() => window.asked === 2));
    assert.deepEqual(await page.evaluate(() => Object.entries(sessionStorage)), []);
  });

  staged("a second invalid token ends connect()", {}, async (stage) => {
    stage.ended = ["first", "second"];
    const { page } = await waiting(stage);
    await give(page, "first");
    await until("the function is asked again", () => page.evaluate(() => window.asked === 2));
    await give(page, "second");
    assert.deepEqual(await stage.results(page), [{ code: "connect_session_ended", flow: "flow-2", ours: true }]);
    assert.equal(await page.evaluate(() => window.asked), 2);
  });

  staged("a function that fails the second time ends connect() and closes the popup", {}, async (stage) => {
    stage.ended = ["first"];
    const { page, popup } = await waiting(stage);
    await give(page, "first");
    await until("the function is asked again", () => page.evaluate(() => window.asked === 2));
    await page.evaluate(() => window.fail(new Error("logged out")));
    assert.deepEqual(await stage.results(page), [{ code: "connect_session_failed", cause: "Error: logged out", ours: true }]);
    await until("the popup closes", () => popup.isClosed());
  });

  for (const [name, changes, options] of [
    ["is severed", { launchHeaders: { "cross-origin-opener-policy": "same-origin" } }, {}],
    ["has no opener", {}, { opener: false }],
  ]) {
    staged(`a popup that ${name} cannot start again, so the function is not called again`, changes, async (stage) => {
      stage.ended = ["first"];
      const { page } = await waiting(stage, options);
      await give(page, "first");
      assert.deepEqual(await stage.results(page), [{ code: "connect_session_ended", flow: "flow-1", ours: true }]);
      assert.equal(await page.evaluate(() => window.asked), 1);
    });
  }
});

describe("the backend's confirmation", { concurrency: 2 }, () => {
  const held = { state: { status: "exchanging", awaiting_confirmation: true, connect_session_id: "s1" } };

  staged("onConfirm is called once with the session, and its promise is not the confirmation", {}, async (stage) => {
    const page = await stage.open();
    await page.evaluate(() => {
      window.asked = [];
      Object.assign(window.options, { connectSession: "session", onConfirm: async (confirmation) => { window.asked.push(confirmation); } });
    });
    await stage.press(page);
    const flow = await stage.flow();
    stage.change(flow, held);
    await until("the page is asked", () => page.evaluate(() => window.asked.length));
    assert.deepEqual(await page.evaluate(() => [window.asked, window.results]), [[{ connectSessionId: "s1", connectionId: null, flow: "flow-1" }], []]);
    assert.equal((await states(page)).at(-1), "completing");
    stage.change(flow, { state: { ...held.state, connection_id: "c1" } });
    await sleep(500);
    stage.change(flow, connected);
    assert.equal((await stage.results(page))[0].connection.connectionId, "c1");
    assert.equal(await page.evaluate(() => window.asked.length), 1);
  });

  for (const [name, source] of [
    ["rejects", `async () => { throw new Error("not this user"); }`],
    ["throws", `() => { throw new Error("not this user"); }`],
  ]) {
    staged(`an onConfirm that ${name} ends connect() with confirm_failed`, {}, async (stage) => {
      const page = await stage.open();
      await page.evaluate((text) => Object.assign(window.options, { connectSession: "session", onConfirm: (0, eval)(text) }), source);
      const popup = await stage.press(page);
      stage.change(await stage.flow(), held);
      assert.deepEqual(await stage.results(page), [{ code: "confirm_failed", flow: "flow-1", cause: "Error: not this user", ours: true }]);
      await until("the popup closes", () => popup.isClosed());
    });
  }

  staged("the connection that is reconnected is named", {}, async (stage) => {
    const page = await stage.open();
    await page.evaluate(() => Object.assign(window.options, { connectSession: "session", onConfirm: (one) => { window.asked = one; } }));
    await stage.press(page);
    stage.change(await stage.flow(), { state: { ...held.state, connection_id: "c1" } });
    assert.equal((await until("the page is asked", () => page.evaluate(() => window.asked))).connectionId, "c1");
  });

  staged("a session created for another user has its own error code", {}, async (stage) => {
    const { page, flow } = await stage.begin({ connectSession: "session" });
    stage.change(flow, { state: { status: "failed", error: { code: "external_user_mismatch", message: "Another user." } } });
    assert.deepEqual(await stage.results(page), [{ code: "external_user_mismatch", flow: "flow-1", ours: true }]);
  });
});

describe("the state of connect()", { concurrency: 2 }, () => {
  staged("a popup that is closed within five seconds is reported, and a click within them takes over", {}, async (stage) => {
    const { page, popup } = await stage.begin();
    await popup.close();
    const began = performance.now();
    await until("it is reported", async () => (await states(page)).at(-1) === "perhaps_closed");
    assert.ok(performance.now() - began < 5_000);
    assert.deepEqual(await page.evaluate(() => window.results), []);
    const second = await stage.press(page);
    assert.equal((await stage.results(page))[0].code, "closed");
    await stage.flow(2);
    await second.close();
    // At once, before it is reported.
    await stage.press(page);
    await stage.flow(3);
    assert.equal((await stage.results(page, 2))[1].code, "closed");
  });

  staged("a call that joins later gets the state, and both get the exchange state", {}, async (stage) => {
    const { page, popup, flow } = await stage.begin();
    await popup.close();
    await until("it is reported", async () => (await states(page)).at(-1) === "perhaps_closed");
    await page.evaluate(() => {
      window.joined = [];
      void window.hubspot.resume({ onState: (state) => window.joined.push(state) });
    });
    stage.change(flow, { state: { status: "exchanging" } });
    await until("it is completing", async () => (await states(page)).at(-1) === "completing");
    assert.deepEqual(await page.evaluate(() => window.joined), ["perhaps_closed", "completing"]);
    stage.change(flow, connected);
    await stage.results(page);
  });

  staged("after a reload the popup's state is unknown", {}, async (stage) => {
    const { page, flow } = await stage.begin();
    await page.reload();
    await page.waitForFunction(() => window.ready);
    await page.evaluate(() => { window.settle(window.hubspot.resume(window.options)); });
    await until("the state is reported", async () => (await states(page)).length);
    assert.deepEqual(await states(page), ["perhaps_closed"]);
    stage.change(flow, connected);
    await stage.results(page);
  });
});

// A host page, a stub of the service on another site, and a browser.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import http from "node:http";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

// Installed by the browser suite of the service.
const { chromium } = createRequire(new URL("../../e2e/package.json", import.meta.url))("playwright-core");
const built = (name) => readFile(new URL(`../../static/sdk/${name}`, import.meta.url));

const PATIENCE_MS = 15_000;
export const CONNECTION = {
  id: "c1", portal_id: 1234567, hub_domain: "acme.example", scopes: ["oauth"], missing_scopes: ["crm"], expires_at: "2026-11-21T00:37:38Z",
};

export const launchBrowser = () => chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--no-first-run", "--screen-info={1600x1200}"],
  ignoreDefaultArgs: ["--disable-popup-blocking"],
});

async function serve(handler) {
  const server = http.createServer((request, response) => {
    Promise.resolve(handler(request, response)).catch((error) => {
      console.error(error);
      response.destroy();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { port: server.address().port, stop: () => { server.closeAllConnections(); server.close(); } };
}

async function textOf(request) {
  let text = "";
  for await (const chunk of request) text += chunk;
  return text;
}

const HOST_PAGE = `<!doctype html><title>Host</title><link rel="icon" href="data:,"><button id="go">Go</button><script type="module" src="/host.js"></script>`;
const hostScript = (service) => `
  import { HubSpotConnect, HubSpotConnectError } from "${service}/static/sdk/hubspot-connect.js";
  const hubspot = window.hubspot = new HubSpotConnect({ service: "${service}" });
  window.results = [];
  window.settle = (promise) => promise.then(
    (connection) => window.results.push({ connection }),
    (error) => window.results.push(JSON.parse(JSON.stringify({ code: error.code, reason: error.reason, flow: error.flow, cause: error.cause && String(error.cause), ours: error instanceof HubSpotConnectError }))),
  );
  window.states = [];
  window.options = { onState: (state) => { window.states.push(state); } };
  document.querySelector("#go").onclick = () => {
    window.promises ??= [];
    const promise = hubspot.connect(window.options);
    window.promises.push(promise);
    window.settle(promise);
  };
  window.ready = true;
`;
/** The first page in the popup, as a stub: it sends a hello and returns the answer that it gets. */
const launchPage = (flow, origin, needsKey) => `<!doctype html><title>Launch</title><link rel="icon" href="data:,"><script>
  addEventListener("message", (event) => {
    if (event.origin === ${JSON.stringify(origin)}) fetch("/stub/key", { method: "POST", body: JSON.stringify(event.data) });
  });
  opener?.postMessage({ type: "hubspot_auth_hello", version: 1, flow: "${flow}", needs_key: ${needsKey} }, ${JSON.stringify(origin)});
</script><h1>Launched</h1>`;

/** The page of a refused start: it reports to its opener, and closes itself like the service's own. */
const refusedPage = (flow, origin) => `<!doctype html><title>Refused</title><link rel="icon" href="data:,"><script>
  opener?.postMessage({ type: "hubspot_auth_error", version: 1, flow: "${flow}", error: { code: "connect_session_ended" } }, ${JSON.stringify(origin)});
  if (opener) setTimeout(close, 2_000);
</script><h1>Refused</h1>`;

export class Stage {
  /** The flows that the stub knows, by their challenge. */
  flows = new Map();
  /** All requests to the stub: `{method, path, headers, body}`. */
  journal = [];
  needsKey = true;
  /** Tokens of connect sessions that have ended. */
  ended = [];
  launchHeaders = {};
  hostHeaders = {};
  hostPage = HOST_PAGE;
  /** The routes of the host's own server, by their path, and their requests. */
  routes = {};
  asked = [];
  delivered = false;
  silent = false;

  static async set(browser, changes = {}) {
    const stage = Object.assign(new Stage(), changes);
    const host = await serve((request, response) => stage.#host(request, response));
    const service = await serve((request, response) => stage.#service(request, response));
    stage.servers = [host, service];
    stage.host = `http://localhost:${host.port}`;
    stage.service = `http://127.0.0.1:${service.port}`;
    stage.listed = changes.listed === false ? "http://else.example" : stage.host;
    if (changes.policy) stage.hostHeaders["content-security-policy"] = changes.policy(stage.service);
    stage.context = await browser.newContext({ viewport: null });
    stage.context.setDefaultTimeout(PATIENCE_MS);
    stage.problems = [];
    stage.context.on("weberror", (error) => stage.problems.push(String(error.error())));
    return stage;
  }

  async clear() {
    await this.context.close();
    for (const server of this.servers) server.stop();
  }

  async open(path = "/") {
    const page = await this.context.newPage();
    await page.goto(this.host + path);
    if (!path.startsWith("/element")) await page.waitForFunction(() => window.ready);
    return page;
  }

  /** Presses the button and returns the window that it opens. */
  async press(page, selector = "#go") {
    const [popup] = await Promise.all([page.waitForEvent("popup"), page.click(selector)]);
    return popup;
  }

  /** Opens a host page, presses the button and waits until the stub knows the flow. */
  async begin(options = {}) {
    const page = await this.open();
    await page.evaluate((given) => Object.assign(window.options, given), options);
    const popup = await this.press(page);
    await popup.waitForSelector("h1");
    return { page, popup, flow: await this.flow() };
  }

  /** Returns the newest flow. */
  flow(count = 1) {
    return until("the service knows the attempt", () => (this.flows.size >= count ? [...this.flows.values()].at(-1) : null));
  }

  /** Changes the status, and wakes the requests that wait for it. */
  change(flow, changes) {
    Object.assign(flow, changes);
    flow.turn += 1;
    for (const go of flow.waiting.splice(0)) go();
  }

  calls(path, method) {
    return this.journal.filter((call) => call.path === path && (!method || call.method === method));
  }

  /** Returns the results of `connect()`, in their order. */
  results(page, count = 1) {
    return until("the attempt has ended", async () => {
      const results = await page.evaluate(() => window.results);
      return results.length >= count ? results : null;
    });
  }

  async #host(request, response) {
    const { pathname } = new URL(request.url, this.host);
    const route = this.routes[pathname];
    if (route) {
      const { method, headers } = request;
      this.asked.push({ method, path: pathname, headers, body: await textOf(request) });
      response.writeHead(route.status ?? 200, { "content-type": "application/json", ...route.headers });
      return response.end(JSON.stringify(route.body ?? {}));
    }
    const script = pathname === "/host.js";
    response.writeHead(200, { "content-type": script ? "text/javascript" : "text/html; charset=utf-8", ...this.hostHeaders });
    if (script) response.end(hostScript(this.service));
    else response.end(typeof this.hostPage === "function" ? this.hostPage(this.service, pathname) : this.hostPage);
  }

  async #service(request, response) {
    const { pathname, searchParams } = new URL(request.url, this.service);
    const body = await textOf(request);
    const { method, headers } = request;
    this.journal.push({ method, path: pathname, search: request.url.split("?")[1] ?? "", headers, body, at: performance.now() });
    const cors = headers.origin === this.listed || pathname.startsWith("/static/")
      ? { "access-control-allow-origin": headers.origin ?? "*", "access-control-expose-headers": "etag, retry-after, date", vary: "origin" }
      : {};
    const answer = (status, content, more = {}) => {
      const type = typeof content === "string" ? "text/html; charset=utf-8" : "application/json";
      response.writeHead(status, { "content-type": type, "cache-control": "no-store", "cross-origin-resource-policy": "cross-origin", ...cors, ...more });
      response.end(typeof content === "string" ? content : content && JSON.stringify(content));
    };
    if (method === "OPTIONS") {
      return answer(204, null, {
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": "hubspot-connect-verifier, if-none-match, content-type",
        "access-control-max-age": "600",
      });
    }
    if (pathname.startsWith("/static/sdk/")) {
      return answer(200, String(await built(pathname.split("/").at(-1))), { "content-type": "text/javascript" });
    }
    if (pathname === "/own") {
      return answer(200, `<!doctype html><link rel="icon" href="data:,"><body data-csrf="the-csrf-token"><script type="module">
        import { HubSpotConnect } from "/static/sdk/hubspot-connect.js";
        window.hubspot = new HubSpotConnect({ service: location.origin });
      </script>`, { "set-cookie": "session=1; HttpOnly; SameSite=Lax" });
    }
    if (pathname === "/livez") return answer(200, {});
    if (pathname === "/stub/key") {
      this.key = JSON.parse(body);
      return answer(204, null);
    }
    if (pathname === "/auth/hubspot/start") {
      const fields = Object.fromEntries(method === "POST" ? new URLSearchParams(body) : searchParams);
      const flow = { id: `flow-${this.flows.size + 1}`, fields, method, state: { status: "awaiting_user" }, turn: 1, waiting: [] };
      this.flows.set(fields.challenge, flow);
      if (this.ended.includes(fields.connect_session)) {
        flow.state = { status: "failed", error: { code: "connect_session_ended" } };
        return answer(410, refusedPage(flow.id, fields.origin), this.launchHeaders);
      }
      if (this.onStart) return answer(200, this.onStart(flow));
      return answer(200, launchPage(flow.id, fields.origin, this.needsKey), this.launchHeaders);
    }
    // From here on the caller's verifier selects its flow.
    if (this.silent) return response.destroy();
    const verifier = headers["hubspot-connect-verifier"] ?? "";
    if (!verifier && this.session) return answer(200, this.session);
    const flow = this.flows.get(createHash("sha256").update(verifier).digest("base64url"));
    if (!flow) return answer(404, { code: "flow_unknown" });
    const state = () => ({ flow: flow.id, expires_at: new Date(Date.now() + 600_000).toISOString(), ...flow.state });
    if (pathname === "/api/hubspot/status") {
      const tag = () => `"${flow.turn}"`;
      if (headers["if-none-match"] === tag()) {
        await Promise.race([new Promise((go) => flow.waiting.push(go)), sleep(25_000, null, { ref: false })]);
        if (headers["if-none-match"] === tag()) return answer(304, null, { etag: tag() });
      }
      return answer(200, state(), { etag: tag() });
    }
    if (pathname === "/api/hubspot/token") {
      if (this.delivered) return answer(410, { code: "already_delivered" });
      this.delivered = true;
      return answer(200, { access_token: "the-token", token_type: "bearer", expires_at: "2026-11-21T00:40:00Z" });
    }
    if (pathname === "/api/hubspot/cancel") {
      if (this.cancelAnswer) return answer(200, { flow: flow.id, ...this.cancelAnswer });
      if (flow.state.status === "awaiting_user") this.change(flow, { state: { status: "cancelled" } });
      return answer(200, state());
    }
    if (pathname === "/api/hubspot/disconnect") return answer(200, {});
    return answer(404, { code: "not_found" });
  }
}

/** Runs in a page: removes what the oldest supported browsers, and browsers in other programs, lack. */
export function withoutNewApis() {
  delete URL.canParse;
  delete URL.parse;
  delete AbortSignal.timeout;
  delete AbortSignal.any;
  delete Crypto.prototype.randomUUID;
  delete window.structuredClone;
  delete Object.hasOwn;
  delete Object.groupBy;
  delete Promise.withResolvers;
  delete Promise.try;
  for (const name of ["at", "findLast", "toSorted", "toReversed", "with"]) delete Array.prototype[name];
  for (const name of ["at", "isWellFormed"]) delete String.prototype[name];
  for (const name of ["role", ...Object.keys(Element.prototype).filter((one) => one.startsWith("aria"))]) delete Element.prototype[name];
  window.CSSStyleSheet = function CSSStyleSheet() { throw new TypeError("Illegal constructor"); };
  for (const root of [Document.prototype, ShadowRoot.prototype]) delete root.adoptedStyleSheets;
}

/** Waits until something is truthy and returns it. */
export async function until(what, ask) {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    assert.ok(performance.now() < deadline, `timed out while waiting until ${what}`);
    await sleep(50);
  }
}

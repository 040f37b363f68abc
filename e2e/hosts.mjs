// Host pages of a listed origin, with the headers and in the frames of a test.
import { once } from "node:events";
import http from "node:http";
import { until } from "./harness.mjs";

/** The `sandbox` that the README requires of a frame. */
export const SANDBOX = "allow-scripts allow-same-origin allow-forms allow-popups allow-popups-to-escape-sandbox";

/** The Cross-Origin-Opener-Policy of a host page. */
export const OPENER_POLICIES = [null, "same-origin-allow-popups", "same-origin"];

/** The simulated HubSpot's policies. */
export const HUBSPOT = {
  none: {},
  "`same-origin-allow-popups`": { coop: "same-origin-allow-popups" },
  "`same-origin`": { coop: "same-origin" },
  "`same-origin` on its redirect alone": { coop: "same-origin", coop_on_redirect_only: true },
};

/** A server with a listed name and an unlisted one; each page has its own path. */
export class Hosts {
  #pages = new Map();

  /** Starts it before the demo, which has to know the origin. */
  static async serve() {
    const hosts = new Hosts();
    const server = http.createServer((request, response) => hosts.#answer(request, response));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    // It ends with the process: every test of the file uses it.
    server.unref();
    const { port } = server.address();
    return Object.assign(hosts, { origin: `http://host.localhost:${port}`, elsewhere: `http://elsewhere.localhost:${port}` });
  }

  /** The demo's flags that list the origin. */
  get flags() {
    return ["--origin", this.origin];
  }

  #answer(request, response) {
    const { pathname } = new URL(request.url, this.origin);
    const page = this.#pages.get(pathname);
    if (!page) return response.writeHead(404).end();
    const kind = pathname.endsWith(".js") ? "text/javascript" : "text/html";
    response.writeHead(200, { "content-type": `${kind}; charset=utf-8`, "cache-control": "no-store", ...page.headers }).end(page.text);
  }

  /** @returns the path under which both names now answer with this */
  put(text, headers = {}, suffix = "") {
    const path = `/${this.#pages.size}${suffix}`;
    this.#pages.set(path, { text, headers });
    return path;
  }

  /** @returns the URL of a page that connects when its button is clicked */
  page(stage, { headers = {}, head = "", script = sdkScript(stage.demo.service) } = {}) {
    stage.sites.add(this.origin).add(this.elsewhere);
    const file = this.put(script, {}, ".js");
    return this.origin + this.put(`<!doctype html><html lang="en"><title>Host</title><link rel="icon" href="data:,">${head}
      <button id="connect" type="button">Connect</button><script type="module" src="${file}"></script>`, headers);
  }

  /** @returns the URL of a page of another site with that page in a frame */
  around(url, { sandbox, headers = {} } = {}) {
    const attribute = sandbox === undefined ? "" : ` sandbox="${sandbox}"`;
    return this.elsewhere + this.put(`<!doctype html><title>Around</title><link rel="icon" href="data:,">
      <iframe${attribute} src="${url}"></iframe>`, headers);
  }
}

/** Returns a host page's script: the result of its button is stored in `window.result`. */
export const sdkScript = (service, changes = "") => `
  import { HubSpotConnect, HubSpotConnectError } from "${service}/static/sdk/hubspot-connect.js";
  const hubspot = window.hubspot = new HubSpotConnect({ service: "${service}" });
  window.options = {};
  const settle = (promise) => promise.then(
    (connection) => ({ outcome: "connected", connection }),
    (error) => ({ outcome: error instanceof HubSpotConnectError ? error.code : String(error), reason: error.reason }),
  );
  document.querySelector("#connect").addEventListener("click", () => {
    window.result = undefined;
    settle(hubspot.connect(window.options)).then((result) => { window.result = result; });
  });
  ${changes}
  settle(hubspot.resume()).then((resumed) => { window.resumed = resumed; });
  window.ready = true;
`;

/** Waits for the host page's script, in the page or in its only frame, and returns the frame. */
export async function ready(page) {
  const frame = await until("the frame is there", () => page.frames().at(-1));
  await frame.waitForFunction(() => window.ready);
  return frame;
}

/** Returns the result of `connect()`; the wait outlasts the SDK's own. */
export const resultOf = (frame, patience = 30_000) => until("connect() has ended", () => frame.evaluate(() => window.result), patience);

/** Holds all requests for such a URL. @returns `asked`, a promise for the first of it, and `release` */
export async function hold(context, address) {
  let release, note;
  const gate = new Promise((resolve) => { release = resolve; });
  const asked = new Promise((resolve) => { note = resolve; });
  await context.route(address, async (route) => {
    note();
    await gate;
    // The client may have disconnected.
    await route.continue().catch(() => {});
  });
  return { asked, release };
}

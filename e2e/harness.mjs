// The base of every test: a demo, a browser, and a watch over everything that its pages do.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { chromium } from "playwright-core";

const PATIENCE_MS = 15_000;
const TEST_TIMEOUT_MS = 180_000;
const BROWSER_ARGS = [
  "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--no-first-run",
  // A screen with room for the popup beside the page that opens it.
  "--screen-info={1600x1200}",
];
const LAUNCH = {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: BROWSER_ARGS,
  ignoreDefaultArgs: ["--disable-popup-blocking"],
};

/** The accounts that the simulated HubSpot offers. */
export const ACME = { id: 1234567, domain: "acme.example" };
export const GLOBEX = { id: 7654321, domain: "globex.example" };
export const INITECH = { id: 2222222, domain: "initech.example" };

/**
 * Declares the tests of a file. Each has its own demo, so that two can run concurrently: most of it is waiting.
 * @param {string[]} flags more flags for the demo
 * @param {(test: (name: string, body: (stage: Stage) => Promise<void>, options?: object) => void) => void} declare
 *   options are those of the browser's context, and `todo` for what is known not to work yet
 */
export function suite(flags, declare) {
  let browser;
  describe(basename(process.argv[1], ".test.mjs"), { concurrency: 2 }, () => {
    before(async () => {
      browser = await chromium.launch(LAUNCH);
    }, { timeout: TEST_TIMEOUT_MS });
    after(() => browser?.close(), { timeout: TEST_TIMEOUT_MS });
    declare((name, body, { todo = false, ...contextOptions } = {}) => test(name, { timeout: TEST_TIMEOUT_MS, todo }, async () => {
      const stage = await Stage.set(browser, flags, contextOptions);
      try {
        await body(stage);
        stage.assertClean();
      } catch (failure) {
        console.error(`${name}:\n${await stage.describe()}`);
        await stage.clear().catch(() => {});
        throw failure;
      }
      await stage.clear();
    }));
  });
}

/** Starts the demo on free ports, with a new folder and new keys. */
export async function startDemo(flags) {
  const program = process.env.DEMO;
  assert.ok(program, "DEMO must name the demo's binary");
  const free = ["--port", "0", "--host-port", "0", "--hubspot-port", "0", "--log-level", "warn"];
  // Most tests look for the access token in every way of delivery.
  const tokens = flags.includes("--token-delivery") ? [] : ["--token-delivery", "auto"];
  const child = spawn(program, [...free, ...tokens, ...flags], { stdio: ["ignore", "pipe", "pipe"] });
  const exited = once(child, "exit");
  let said = "";
  const all = new Promise((resolve, reject) => {
    const read = (chunk) => {
      said += chunk;
      if (said.includes("Ctrl-C ends it")) resolve();
    };
    child.stdout.on("data", read);
    child.stderr.on("data", (chunk) => { said += chunk; });
    exited.then(([code]) => reject(new Error(`the demo ended with ${code}:\n${said}`)));
  });
  await Promise.race([all, sleep(PATIENCE_MS, null, { ref: false }).then(() => { throw new Error(`the demo is silent:\n${said}`); })]);
  all.catch(() => {});
  const url = (before) => said.match(new RegExp(`${before}\\s+(http://[\\w.]+:\\d+)`))[1];
  const demo = { host: url("Open"), service: url("Service"), hubspot: url("Simulated HubSpot") };
  const key = demo.key = said.match(/hsc_key_\S+/)[0];
  /** Calls the API like the host's backend. */
  demo.api = async (method, path, body) => {
    const response = await fetch(demo.service + path, {
      method,
      headers: { authorization: `Bearer ${key}`, ...(body && { "content-type": "application/json" }) },
      body: body && JSON.stringify(body),
    });
    return { status: response.status, headers: response.headers, body: await response.json().catch(() => null) };
  };
  demo.said = () => said;
  demo.stop = async () => {
    child.kill("SIGTERM");
    const stuck = setTimeout(() => child.kill("SIGKILL"), PATIENCE_MS);
    const [code, signal] = await exited;
    clearTimeout(stuck);
    assert.deepEqual([code, signal], [0, null], `the demo did not end by itself:\n${said}`);
  };
  return Object.assign(demo, hubspotControl(demo.hubspot));
}

/** Returns the control of the simulated HubSpot, over its own HTTP interface. */
function hubspotControl(base) {
  const call = async (method, path, body) => {
    const response = await fetch(base + path, { method, body: body && JSON.stringify(body) });
    const text = await response.text();
    assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
    return text ? JSON.parse(text) : null;
  };
  return {
    /** Adds a fault. */
    order: (rule) => call("POST", "/__script", rule),
    /** Releases held calls, and clears the faults. */
    release: () => call("DELETE", "/__script"),
    setOptions: (changes) => call("POST", "/__options", changes),
    options: () => call("GET", "/__options"),
    grants: () => call("GET", "/__grants"),
    /** Returns all calls of a kind that HubSpot has received. */
    calls: async (kind) => (await call("GET", "/__journal")).filter((entry) => entry.kind === kind),
  };
}

/** A test's browser context, with everything suspicious that happens in it. */
class Stage {
  static async set(browser, flags, contextOptions) {
    const demo = await startDemo(flags);
    const stage = new Stage();
    const context = await browser.newContext({ viewport: null, ...contextOptions });
    context.setDefaultTimeout(PATIENCE_MS);
    Object.assign(stage, { demo, context, problems: [], expected: [], tolerated: [], requests: [], sites: new Set(), servers: [], others: [], folders: [] });
    for (const origin of [demo.host, demo.service, demo.hubspot]) stage.sites.add(origin);
    stage.#watch(context);
    await context.addInitScript(recordMessages);
    return stage;
  }

  /** Watches every page of the context, popups too, from its first moment. */
  #watch(context) {
    const note = (what) => this.problems.push(what);
    context.on("console", (message) => {
      // Reported for a tab, where the popup's script tries to close a window that it may not close.
      if (message.text().startsWith("Scripts may close only the windows")) return;
      // Browsers request this from every site.
      if (message.location().url.endsWith("/favicon.ico")) return;
      if (["error", "warning"].includes(message.type())) note(`console at ${path(message.location().url)}: ${message.text()}`);
    });
    context.on("weberror", (error) => note(`script error: ${error.error()}`));
    context.on("dialog", (dialog) => {
      note(`a dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    context.on("request", (request) => {
      this.requests.push(request);
      const url = new URL(request.url());
      if (!url.protocol.startsWith("http")) return;
      if (!this.sites.has(url.origin)) note(`request to a foreign site: ${url}`);
      const referer = request.headers().referer;
      if (referer && /[?&](code|state)=/.test(referer) && new URL(referer).origin !== url.origin) {
        note(`referrer that reveals too much: ${referer}`);
      }
      if (request.isNavigationRequest() || request.serviceWorker()) return;
      const from = originOf(request.frame().url());
      if (from === this.demo.service && url.origin !== from) note(`a page of the service asks another site: ${url}`);
    });
  }

  /** Names a problem that the test provokes on purpose; it must happen. */
  expectProblem(pattern) {
    this.expected.push(pattern);
  }

  /** Names a problem that the test provokes and the browser reports sometimes. */
  tolerateProblem(pattern) {
    this.tolerated.push(pattern);
  }

  assertClean() {
    const named = [...this.expected, ...this.tolerated];
    const left = this.problems.filter((problem) => !named.some((pattern) => pattern.test(problem)));
    assert.deepEqual(left, [], "nothing may go wrong in the pages");
    for (const pattern of this.expected) {
      assert.ok(this.problems.some((problem) => pattern.test(problem)), `${pattern} was provoked and did not happen`);
    }
  }

  /** Describes the visible state when a test failed. */
  async describe() {
    const pages = [this.context, ...this.others].flatMap((context) => context.pages());
    const looks = pages.map(async (page) => {
      // A page that hangs does not respond.
      const sight = Promise.all([page.locator("body").ariaSnapshot({ timeout: 2_000 }), heard(page)]).catch(({ message }) => [message, []]);
      const [shown, messages] = await Promise.race([sight, sleep(4_000, ["it hangs", []], { ref: false })]);
      return `${page.url()}\n${shown}\n${JSON.stringify(messages)}`;
    });
    return [...await Promise.all(looks), ...this.problems, this.demo.said()].join("\n\n");
  }

  async clear() {
    for (const context of [this.context, ...this.others]) await context.close();
    for (const server of this.servers) {
      server.closeAllConnections();
      await server.close();
    }
    for (const folder of this.folders) await rm(folder, { recursive: true, force: true });
    await this.demo.stop();
  }

  /** Opens another user's browser: it shares nothing with the first, and is watched like it. */
  async anotherBrowser(contextOptions = {}) {
    return this.#adopt(await this.context.browser().newContext({ viewport: null, ...contextOptions }));
  }

  /** Opens a browser that accepts third-party cookies: only a profile's preferences allow that. */
  async lenientBrowser() {
    const folder = await this.profile();
    const profile = { cookie_controls_mode: 0, block_third_party_cookies: false };
    await writeFile(join(folder, "Default", "Preferences"), JSON.stringify({ profile }));
    return this.browserOf(folder);
  }

  /** Creates a folder for a browser's profile. */
  async profile() {
    const folder = await mkdtemp(join(tmpdir(), "hubspot-connect-profile-"));
    this.folders.push(folder);
    await mkdir(join(folder, "Default"));
    return folder;
  }

  /** Opens a browser that stores cookies and history in this folder; the others store nothing on disk. */
  async browserOf(folder) {
    return this.#adopt(await chromium.launchPersistentContext(folder, { ...LAUNCH, viewport: null }));
  }

  async #adopt(context) {
    context.setDefaultTimeout(PATIENCE_MS);
    this.#watch(context);
    await context.addInitScript(recordMessages);
    this.others.push(context);
    return context;
  }

  /** @returns {Promise<import("playwright-core").Page>} a tab at that URL */
  async open(url) {
    const page = await this.context.newPage();
    if (url) await page.goto(url);
    return page;
  }

  /** Serves pages of another site, `evil.localhost`. */
  async stranger(pages) {
    const server = http.createServer((request, response) => {
      const page = pages[new URL(request.url, "http://x").pathname];
      response.writeHead(page === undefined ? 404 : 200, { "content-type": "text/html; charset=utf-8" });
      response.end(page === undefined ? "" : `<!doctype html><link rel="icon" href="data:,">${page}`);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    this.servers.push(server);
    const origin = `http://evil.localhost:${server.address().port}`;
    this.sites.add(origin);
    return origin;
  }

  /**
   * Stops the clock of all pages, so that a test on a slow machine has the time to look at a window that closes by
   * itself.
   * @returns the clock, which `runFor` moves on
   */
  async stopClock() {
    const { clock } = this.context;
    await clock.install();
    await clock.pauseAt(Date.now() + 1_000);
    return clock;
  }

  /** Clicks and returns the window that opens. */
  async popupOf(page, click) {
    const [popup] = await Promise.all([page.waitForEvent("popup"), click()]);
    return popup;
  }

  /** Opens the host page, clicks Connect, and waits for the consent page in the popup. */
  async startOnHost() {
    const host = await this.open(`${this.demo.host}/plain`);
    const popup = await this.popupOf(host, () => host.click("#connect"));
    await popup.waitForSelector("#approve");
    return { host, popup };
  }

  /** Connects without a popup, like the links without JavaScript. */
  async connectInTab(account = ACME) {
    const page = await this.open(`${this.demo.service}/auth/hubspot/start?origin=${encodeURIComponent(this.demo.service)}`);
    await approve(page, account);
    await page.waitForSelector('[data-outcome="success"]');
    return page;
  }

  /** Returns the status of the flow with this verifier. */
  async attempt(verifier) {
    const response = await fetch(`${this.demo.service}/api/hubspot/status`, { headers: { "hubspot-connect-verifier": verifier } });
    return response.json();
  }

  /** Returns the names of the flow cookies of this browser. */
  async flowCookies() {
    const cookies = await this.context.cookies(this.demo.service);
    return cookies.map(({ name }) => name).filter((name) => name.includes("hsc_f_"));
  }

  /** Keeps popups open, so that a test can look into one for longer than it would stay. */
  async keepWindowsOpen() {
    await this.context.addInitScript(() => { window.close = () => { window.wantsToClose = true; }; });
  }
}

/** Selects an account on the consent page and consents. */
export async function approve(page, account = ACME) {
  await page.check(`[name="hub_id"][value="${account.id}"]`);
  await page.click("#approve");
}

/** Navigates a window by its own script: it keeps its opener, which `goto` would remove. */
export async function leadTo(page, url) {
  await Promise.all([page.waitForEvent("load"), page.evaluate((to) => location.assign(to), url)]);
}

/** Returns all messages that a page has received so far. */
export const heard = (page) => page.evaluate(() => window.heard);

/** Runs in every page before its own scripts. */
function recordMessages() {
  window.heard = [];
  window.addEventListener("message", (event) => window.heard.push({ origin: event.origin, data: event.data }));
  document.addEventListener("securitypolicyviolation", (event) => {
    console.error(`policy violation: ${event.violatedDirective} ${event.blockedURI}`);
  });
}

/** Records the times at which the popup's last page appeared and the window closed. */
export function timeLastPage(popup) {
  const times = { shown: null, closed: null };
  popup.on("domcontentloaded", () => {
    if (path(popup.url()).startsWith("/auth/hubspot/done")) times.shown ??= performance.now();
  });
  times.gone = new Promise((resolve) => popup.once("close", () => {
    times.closed = performance.now();
    resolve();
  }));
  return times;
}

/** Waits for the popup to close within two seconds, and a margin for a busy machine. */
export async function closesAfterTwoSeconds(times) {
  await until("the popup closes", () => times.closed !== null);
  const seconds = (times.closed - times.shown) / 1000;
  assert.ok(times.shown !== null && seconds >= 1.5 && seconds <= 5, `the popup stayed ${seconds.toFixed(2)} s`);
}

/** Waits until something is true (or truthy) and returns it. */
export async function until(what, ask, patience = PATIENCE_MS) {
  const deadline = performance.now() + patience;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    assert.ok(performance.now() < deadline, `timed out while waiting until ${what}`);
    await sleep(50);
  }
}

export const path = (url) => {
  try {
    const { pathname, search, hash } = new URL(url);
    return pathname + search + hash;
  } catch {
    return String(url);
  }
};

const originOf = (url) => {
  try {
    return new URL(url).origin;
  } catch {
    return "null";
  }
};

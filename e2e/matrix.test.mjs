// The ways from the popup to the page that remain with each header and frame. The result arrives by one of them, or an
// error does. With WRITE_TABLE=1 the run writes docs/host-pages.md; else it must match that file.
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { after } from "node:test";
import { ACME, approve, suite, until } from "./harness.mjs";
import { HUBSPOT, Hosts, OPENER_POLICIES, SANDBOX, ready } from "./hosts.mjs";

const hosts = await Hosts.serve();
const TABLE = new URL("../docs/host-pages.md", import.meta.url);
const WRITES = process.env.WRITE_TABLE === "1";
/** The number of concurrent flows: most of each is waiting. */
const LANES = 4;

const FRAMES = {
  no: null,
  yes: {},
  "yes, `sandbox` with all five": { sandbox: SANDBOX },
  "yes, `sandbox` without `allow-popups-to-escape-sandbox`": { sandbox: SANDBOX.replace(" allow-popups-to-escape-sandbox", "") },
};

const result = (host) => host.evaluate(() => window.result);

/** @returns the result of a flow and its way, from the click to the end */
async function run(stage, context, { policy, frame }) {
  const headers = policy ? { "cross-origin-opener-policy": policy } : {};
  const url = frame ? hosts.around(hosts.page(stage), { ...frame, headers }) : hosts.page(stage, { headers });
  const page = await context.newPage();
  await page.goto(url);
  const host = await ready(page);
  // A window that is cut off at once does not count as the page's popup.
  const opened = context.waitForEvent("page", { predicate: (one) => one !== page });
  await host.click("#connect");
  const popup = await opened;
  const person = popup.waitForSelector("#approve").then(() => approve(popup)).catch((error) => error);
  const dead = () => !popup.isClosed() && popup.url().startsWith("chrome-error:");
  const { outcome, connection } = await until("the attempt ends or its popup dies", async () => (await result(host)) || (dead() && {}), 30_000);
  if (outcome === "connected") {
    assert.equal(connection.portalId, ACME.id);
    assert.ok(connection.accessToken, "with a token");
    assert.equal(await person, undefined);
    // The popup sends all its messages before it closes.
    await until("the popup closes", () => popup.isClosed());
  }
  const heard = await host.evaluate(() => window.heard.map(({ data }) => data.type));
  const blank = popup.url() === "about:blank";
  await popup.close();
  if (!outcome) return dyingPopup(context, host);
  await page.close();
  if (outcome !== "connected") return `\`${outcome}\`${blank ? ", and an empty window" : ""} | none`;
  const way = heard.includes("hubspot_auth_success") ? "message or polling" : heard.length ? "polling, after a first message" : "polling alone";
  return `connected | ${way}`;
}

/** The page cannot know that the popup has closed, but the next click works. */
async function dyingPopup(context, host) {
  assert.equal(await result(host), undefined);
  const second = context.waitForEvent("page");
  await host.click("#connect");
  await second;
  const { outcome } = await until("the first attempt ends", () => result(host));
  return `the popup dies; the next click ends it with \`${outcome}\` | none`;
}

/** Runs all cells, some concurrently. @returns their rows */
async function runAll(stage, cells, contextFor) {
  const rows = [];
  const queue = cells.entries();
  await Promise.all(Array.from({ length: Math.min(LANES, cells.length) }, async () => {
    for (const [index, cell] of queue) rows[index] = `| ${cell.names.join(" | ")} | ${await run(stage, await contextFor(), cell)} |`;
  }));
  return rows;
}

const cellsOf = (hubspot, cookies, frames, policies = OPENER_POLICIES) => frames.flatMap((frame) => policies.map((policy) => ({
  policy, frame: FRAMES[frame], names: [policy ? `\`${policy}\`` : "none", hubspot, frame, cookies],
})));

const written = new Map();
const committed = WRITES ? [] : (await readFile(TABLE, "utf8").catch(() => "")).split("\n");

/** Stores the rows for the file, or compares them with it. */
function settle(key, rows) {
  written.set(key, rows);
  if (!WRITES) assert.deepEqual(rows.filter((row) => !committed.includes(row)), [], "docs/host-pages.md says otherwise");
}

suite(hosts.flags, (test) => {
  for (const [hubspot, options] of Object.entries(HUBSPOT)) {
    test(`every host page behaves as documented when HubSpot's header is ${hubspot}`, async (stage) => {
      // Closing popups and refused storage are the subject of this test.
      stage.tolerateProblem(/console at/);
      await stage.demo.setOptions(options);
      settle(hubspot, await runAll(stage, cellsOf(hubspot, "blocked", Object.keys(FRAMES)), () => stage.anotherBrowser()));
    });
  }

  test("third-party cookies make no difference", async (stage) => {
    stage.tolerateProblem(/console at/);
    const rows = [];
    for (const hubspot of ["none", "`same-origin`"]) {
      await stage.demo.setOptions({ coop: HUBSPOT[hubspot].coop ?? null });
      const cells = cellsOf(hubspot, "allowed", Object.keys(FRAMES).slice(0, 3), [null]);
      rows.push(...await runAll(stage, cells, () => stage.lenientBrowser()));
    }
    settle("cookies", rows);
  });
});

after(async () => {
  if (written.size <= Object.keys(HUBSPOT).length) return;
  const rows = [...Object.keys(HUBSPOT), "cookies"].flatMap((key) => written.get(key));
  const head = await readFile(new URL("host-pages.head.md", import.meta.url), "utf8");
  const text = `${head}${rows.join("\n")}\n`;
  if (WRITES) await writeFile(TABLE, text);
  else assert.equal(committed.join("\n"), text, "docs/host-pages.md says otherwise: WRITE_TABLE=1 writes it");
});

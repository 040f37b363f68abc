// The code of the documents. What follows a block's language says how it is tested: `run` in a process, `page` in a page of
// the host, `express` as the routes of its backend, each against the demo. Every block is parsed.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { promisify } from "node:util";
import { transform } from "esbuild";
import { freePort, here, install, launch } from "./applications.mjs";
import { approve, suite, until } from "./harness.mjs";
import { Hosts } from "./hosts.mjs";

const hosts = await Hosts.serve();
const run = promisify(execFile);
const PRINTED = "https://connect.example.com";
const PYTHON = process.env.PYTHON ?? "python3";
const script = (loader) => (code) => transform(code, { loader, format: "esm" });

/** The parser of each language. Blocks that are not code, or that other tests run unchanged, are not parsed. */
const PARSERS = {
  sh: (code) => run("bash", ["-nc", code]),
  js: script("js"),
  jsx: script("jsx"),
  ts: script("ts"),
  python: (code) => run(PYTHON, ["-c", "import sys; compile(sys.argv[1], 'block', 'exec')", code]),
  json: JSON.parse,
  // `independent.test.mjs` and `quickstart.test.mjs` open the whole pages.
  html: () => {},
  // `tests/it/nginx.rs` runs the service behind it.
  nginx: () => {},
  http: () => {},
  text: () => {},
};

/** The program that runs a marked block of each language. */
const RUNNERS = {
  // `curl` ends well with any status otherwise.
  sh: { file: "block.sh", program: "bash", put: (code) => `set -euo pipefail\ncurl() { command curl --fail-with-body "$@"; }\n${code}` },
  js: { file: "block.mjs", program: process.execPath, put: (code) => code.replace('"@hubspot/api-client"', '"hubspot-api-client-14"') },
  python: { file: "block.py", program: PYTHON, put: (code) => code },
};

/** The folders of the documents, and the documents' texts by their paths. */
const FOLDERS = ["", "docs/", "examples/", "sdk/", "sdk/server/", "sdk/python/"];
const texts = new Map();
for (const folder of FOLDERS) {
  const names = await readdir(here(`../${folder}`));
  for (const name of names.filter((one) => one.endsWith(".md"))) texts.set(folder + name, await readFile(here(`../${folder}${name}`), "utf8"));
}
const blocks = [...texts].flatMap(([path, text]) =>
  [...text.matchAll(/^( *)```(\w+)(?: (\S+))?\n([^]*?)^ *```$/gm)].map(([, indent, language, mark, code]) => ({
    language, mark, code: code.replaceAll(new RegExp(`^${indent}`, "gm"), ""), name: `${path}: ${code.trim().split("\n")[0]}`,
  })));
const marked = (mark) => blocks.filter((block) => block.mark === mark);

/** Connects `user_42` on a page of the host. @returns the connection's id */
async function connect(stage) {
  const { body: session } = await stage.demo.api("POST", "/api/hubspot/connect-sessions", { external_user_id: "user_42" });
  const page = await openPage(stage, `
    import { HubSpotConnect } from "${PRINTED}/static/sdk/hubspot-connect.js";
    button.onclick = async () => show(await new HubSpotConnect({ service: "${PRINTED}" }).connect({ connectSession: "${session.token}" }));`);
  const { connectionId } = await clickThrough(stage, page);
  await page.close();
  return connectionId;
}

/** Opens a page of the host with a button and a script that shows its result. */
async function openPage(stage, code) {
  stage.sites.add(hosts.origin);
  const html = `<!doctype html><link rel="icon" href="data:,"><button id="button">Connect</button>
    <script>window.show = (shown) => { window.shown = shown; }; window.say = (...said) => { window.shown = said; };</script>
    <script type="module">${code.replaceAll(PRINTED, stage.demo.service)}</script>`;
  return stage.open(hosts.origin + hosts.put(html));
}

/** Presses the button and consents. @returns what the page shows then */
async function clickThrough(stage, page) {
  await approve(await stage.popupOf(page, () => page.click("button")));
  return until("the page shows the result", () => page.evaluate(() => window.shown));
}

/** A folder where a program finds the clients. */
async function programFolder(stage) {
  const folder = await mkdtemp(here("example-"));
  stage.folders.push(folder);
  await install(folder, "@hubspot-connect/server", ".", "../sdk/server/src/index.ts");
  return folder;
}

const port = await freePort();
const application = `http://localhost:${port}`;

test("every block is valid in its language", async () => {
  assert.ok(blocks.length > 50);
  for (const { language, code, name } of blocks) {
    assert.ok(PARSERS[language], `${name} is of an unknown language: ${language}`);
    await assert.doesNotReject(async () => PARSERS[language](code), name);
  }
});

test("the log lines and findings in the documents are those of the program", async () => {
  const events = texts.get("docs/log-events.md");
  const doctor = await readFile(here("../src/cli/doctor.rs"), "utf8");
  for (const [path, text] of texts) {
    for (const [, line] of text.matchAll(/\bLog: `([^`]+)`/g)) assert.ok(events.includes(`| \`${line}\` |`), `${path}: ${line}`);
    for (const [, line] of text.matchAll(/\bdoctor: `([^`]+)`/g)) assert.ok(doctor.includes(line), `${path}: ${line}`);
  }
});

suite([...hosts.flags, "--origin", application], (test) => {
  test("the programs run", async (stage) => {
    const { demo } = stage;
    const folder = await programFolder(stage);
    for (const { language, code, name } of marked("run")) {
      const { file, program, put } = RUNNERS[language];
      await writeFile(join(folder, file), put(code).replaceAll(PRINTED, demo.service));
      const env = {
        ...process.env, SERVICE: demo.service, API_KEY: demo.key, HUBSPOT_CONNECT_API_KEY: demo.key, CONNECTION_ID: await connect(stage),
        PYTHONPATH: here("../sdk/python"), PYTHONDONTWRITEBYTECODE: "1",
      };
      await assert.doesNotReject(run(program, [file], { cwd: folder, env }), name);
    }
  });

  test("the scripts of the page connect", async (stage) => {
    const { demo } = stage;
    for (const { code, name } of marked("page")) {
      const confirm = code.includes("onConfirm") ? "backend" : "none";
      const create = async () => (await demo.api("POST", "/api/hubspot/connect-sessions", { external_user_id: "user_42", confirm })).body;
      await stage.context.route(`${hosts.origin}/hubspot/session`, async (route) => route.fulfill({ json: await create() }));
      await stage.context.route(`${hosts.origin}/hubspot/confirm`, async (route) => {
        const { connect_session_id: id } = route.request().postDataJSON();
        const { status } = await demo.api("POST", `/api/hubspot/connect-sessions/${id}/complete`, { external_user_id: "user_42" });
        await route.fulfill({ status: status === 200 ? 204 : 500 });
      });
      const page = await openPage(stage, `window.fetchSession = async () => (await (await fetch("/hubspot/session")).json()).token;\n${code}`);
      const shown = await clickThrough(stage, page);
      assert.ok(shown.connectionId || shown === "acme.example", `${name}: ${JSON.stringify(shown)}`);
      await page.close();
    }
  });

  test("the routes in Express create and confirm a session for the element", async (stage) => {
    const [{ code }] = marked("express");
    const element = blocks.find(({ code, language }) => language === "html" && code.includes("confirm-url") && !code.includes("<html")).code;
    const folder = await programFolder(stage);
    const html = `<!doctype html><link rel="icon" href="data:,"><script type="module" src="${PRINTED}/static/sdk/element.js"></script>${element}`;
    await writeFile(join(folder, "app.mjs"), `
      const requireLogin = (request, response, next) => { request.user = { id: "user_42" }; next(); };
      ${code}
      app.get("/", (request, response) => response.send(${JSON.stringify(html)}));
      app.listen(${port}, "127.0.0.1");`.replaceAll(PRINTED, stage.demo.service));
    stage.sites.add(application);
    await launch(stage, [process.execPath, "app.mjs"], folder, port, { HUBSPOT_CONNECT_API_KEY: stage.demo.key });
    const page = await stage.open(application);
    await approve(await stage.popupOf(page, () => page.getByRole("button").click()));
    await page.locator("hubspot-connect[state=connected]").waitFor();
    const { body } = await stage.demo.api("GET", "/api/hubspot/connections?external_user_id=user_42");
    assert.equal(body.data.length, 1);
    const foreign = await fetch(`${application}/hubspot/session`, { method: "POST", body: "{}", headers: { "content-type": "application/json", origin: "https://evil.example" } });
    assert.equal(foreign.status, 403);
  });
});

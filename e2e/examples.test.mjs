// Every example is opened as it stands in the repository, with the service's address put in, and clicked through.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, readdir, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { ACME, approve, suite, until } from "./harness.mjs";
import { Hosts } from "./hosts.mjs";

const hosts = await Hosts.serve();
const EXAMPLES = new URL("../examples/", import.meta.url);
const PRINTED = "https://connect.example.com";

const folders = (await readdir(EXAMPLES, { withFileTypes: true })).filter((entry) => entry.isDirectory()).map(({ name }) => name);
/** The examples that are a page alone. */
const names = folders.filter((name) => name !== "backend");

/** The servers of the backend example, each on a port that the service knows as a page's. */
const BACKENDS = {
  Express: { command: () => [process.execPath, "server.mjs"], port: await freePort() },
  FastAPI: { command: (port) => [process.env.PYTHON, "-m", "uvicorn", "app:app", "--port", String(port), "--log-level", "warning"], port: await freePort() },
};
const originOf = ({ port }) => `http://app.localhost:${port}`;

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Starts a server of the backend example as it stands, with the service's address put in. @returns the page's address, and the webhook's id */
async function startBackend(stage, { command, port }) {
  const { demo } = stage;
  const folder = await mkdtemp(join(tmpdir(), "hubspot-connect-example-"));
  stage.folders.push(folder);
  const example = new URL("backend/", EXAMPLES);
  for (const name of await readdir(example)) {
    await writeFile(join(folder, name), (await readFile(new URL(name, example), "utf8")).replaceAll(PRINTED, demo.service));
  }
  // What an application installs: the client is the one of this repository.
  const client = join(folder, "node_modules/@hubspot-connect/server");
  await mkdir(client, { recursive: true });
  await writeFile(join(client, "package.json"), JSON.stringify({ type: "module", exports: "./index.js" }));
  await build({ entryPoints: [fileURLToPath(new URL("../sdk/server/src/index.ts", import.meta.url))], bundle: true, platform: "node", format: "esm", outfile: join(client, "index.js"), logLevel: "silent" });
  await symlink(fileURLToPath(new URL("node_modules/express", import.meta.url)), join(folder, "node_modules/express"));

  const { body: webhook } = await demo.api("POST", "/api/hubspot/webhooks", { url: `http://127.0.0.1:${port}/hooks/hubspot` });
  const [program, ...args] = command(port);
  const child = spawn(program, args, {
    cwd: folder, stdio: ["ignore", "ignore", "inherit"],
    env: {
      ...process.env, PORT: String(port), HUBSPOT_CONNECT_API_KEY: demo.key, HUBSPOT_CONNECT_WEBHOOK_SECRET: webhook.secret,
      PYTHONPATH: fileURLToPath(new URL("../sdk/python", import.meta.url)), PYTHONDONTWRITEBYTECODE: "1",
    },
  });
  stage.servers.push({ closeAllConnections() {}, close: () => child.kill() });
  const origin = originOf({ port });
  stage.sites.add(origin);
  await until("the example listens", () => {
    assert.equal(child.exitCode, null, "the example has ended");
    return fetch(`http://127.0.0.1:${port}/me`).then(({ ok }) => ok, () => false);
  });
  return { origin, webhook: webhook.id };
}

/** A path of this folder. */
const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** What a folder's files are to a browser: `main.js` as it stands, or made of `main.jsx` as the README says. */
async function script(folder) {
  const files = await readdir(folder);
  if (files.includes("main.js")) return readFile(new URL("main.js", folder), "utf8");
  if (!files.includes("main.jsx")) return "";
  const { outputFiles: [bundle] } = await build({
    entryPoints: [new URL("main.jsx", folder).pathname], bundle: true, format: "esm", jsx: "automatic", write: false, minify: true,
    // An application has installed them all in one folder.
    alias: { "hubspot-connect/react": here("../sdk/src/react.ts"), react: here("node_modules/react"), "react-dom": here("node_modules/react-dom") },
    define: { "process.env.NODE_ENV": '"production"' },
  });
  return bundle.text;
}

/** The composable, as it is in the package. */
const { outputFiles: [composable] } = await build({
  entryPoints: [here("../sdk/src/vue.ts")], bundle: true, format: "esm", external: ["vue", "./diagnose.js"], write: false,
});

/** Serves a folder. @returns the page's address */
async function serve(stage, name) {
  stage.sites.add(hosts.origin);
  // Browsers ask for an icon that examples do not have.
  stage.tolerateProblem(/favicon/);
  const folder = new URL(`${name}/`, EXAMPLES);
  const put = (text) => text.replaceAll(PRINTED, stage.demo.service);
  const file = hosts.put(put(await script(folder)), {}, ".js");
  const library = hosts.put(await readFile(new URL("node_modules/vue/dist/vue.esm-browser.prod.js", import.meta.url), "utf8"), {}, ".js");
  const page = put(await readFile(new URL("index.html", folder), "utf8"))
    .replace('src="main.js"', `src="${file}"`)
    .replace("/node_modules/vue/dist/vue.esm-browser.prod.js", library)
    .replace("/node_modules/hubspot-connect/dist/vue.js", hosts.put(composable.text, {}, ".js"));
  const sent = await readFile(new URL("headers.txt", folder), "utf8").catch(() => "");
  const headers = Object.fromEntries(put(sent).split("\n").filter(Boolean).map((line) => line.split(/: (.*)/, 2)));
  return hosts.origin + hosts.put(page, headers);
}

suite([...hosts.flags, ...Object.values(BACKENDS).flatMap((backend) => ["--origin", originOf(backend)])], (test) => {
  for (const [name, backend] of Object.entries(BACKENDS)) {
    test(`${name}: a login, the button, the connection after a reload, contacts, and a webhook`, async (stage) => {
      stage.tolerateProblem(/favicon/);
      const { origin, webhook } = await startBackend(stage, backend);
      const page = await stage.open(origin);
      await page.getByLabel("Name").fill("Ada");
      await page.getByRole("button", { name: "Log in" }).click();
      await page.getByText("Logged in as Ada.").waitFor();

      const popup = await stage.popupOf(page, () => page.getByRole("button", { name: "Connect to HubSpot" }).click());
      await approve(popup);
      await page.getByText(`Connected as ${ACME.domain}`).waitFor();
      const { body: { data: [connection] } } = await stage.demo.api("GET", "/api/hubspot/connections?external_user_id=Ada");
      assert.equal(connection.portal_id, ACME.id);

      await until("the webhook is delivered", async () => {
        const { body } = await stage.demo.api("GET", `/api/hubspot/webhooks/${webhook}/deliveries?status=delivered`);
        return body.data.some(({ type }) => type === "connection.created");
      });
      await page.reload();
      await page.getByText("Last event: connection.created").waitFor();
      await page.getByText(`Connected as ${ACME.domain}`).waitFor();

      await page.getByLabel("E-mail address").fill("anna@acme.example");
      await page.getByRole("button", { name: "Add" }).click();
      await page.getByText("anna@acme.example").waitFor();

      const send = (path, headers, body) => fetch(`http://127.0.0.1:${backend.port}${path}`, { method: "POST", redirect: "manual", body, headers });
      const [login] = await page.context().cookies(origin);
      const post = async (path, headers, body) =>
        (await send(path, { cookie: `login=${login.value}`, "content-type": "application/json", ...headers }, body)).status;
      const own = { origin: `http://127.0.0.1:${backend.port}` };
      for (const path of ["/hubspot/session", "/contacts", "/login"]) {
        for (const foreign of [{}, { origin: "https://evil.example" }, { "sec-fetch-site": "same-site" }, { ...own, "sec-fetch-site": "cross-site" }]) {
          assert.equal(await post(path, foreign, "{}"), 403, `${path} ${JSON.stringify(foreign)}`);
        }
      }
      assert.equal(await post("/hubspot/session", { ...own, "content-type": "text/plain" }, "{}"), 415);
      assert.equal(await post("/hubspot/session", own, "{}"), 200);
      // The service refuses a user's id of this length.
      const named = await send("/login", own, new URLSearchParams({ name: "x".repeat(256) }));
      const cookie = named.headers.get("set-cookie").split(";")[0];
      assert.equal((await send("/hubspot/session", { ...own, cookie, "content-type": "application/json" }, "{}")).status, 400);
      assert.equal(await post("/contacts", { "sec-fetch-site": "same-origin" }, '{"email": "bert@acme.example"}'), 200);

      await page.route("**/me", (route) => route.fulfill({ json: { user: "Ada", connections: [{ ...connection, status: "needs_reauth" }], event: null } }));
      await page.reload();
      await page.getByText(`${ACME.domain} has to be connected again (needs_reauth)`).waitFor();
      assert.equal(await page.getByText("Connected as").count(), 0);
      await page.unroute("**/me");

      const stranger = await (await stage.anotherBrowser()).newPage();
      await stranger.goto(origin);
      await stranger.getByLabel("Name").fill("Eve");
      await stranger.getByRole("button", { name: "Log in" }).click();
      await stranger.getByText("Logged in as Eve.").waitFor();
      assert.equal(await stranger.getByText("Connected as").count(), 0);
      const forged = await fetch(`http://127.0.0.1:${backend.port}/hooks/hubspot`, {
        method: "POST", body: "{}",
        headers: { "content-type": "application/json", "webhook-id": "x", "webhook-timestamp": String(Math.floor(Date.now() / 1000)), "webhook-signature": "v1,AAAA" },
      });
      assert.equal(forged.status, 401);
    });
  }

  for (const name of names) {
    test(`${name}: from the button to "Connected as"`, async (stage) => {
      const host = await stage.open(await serve(stage, name));
      const popup = await stage.popupOf(host, () => host.getByRole("button", { name: "Connect to HubSpot" }).click());
      await approve(popup);
      await host.getByText(`Connected as ${ACME.domain}`).waitFor();
    });

    test(`${name}: a reload in between loses nothing`, async (stage) => {
      const host = await stage.open(await serve(stage, name));
      const popup = await stage.popupOf(host, () => host.getByRole("button", { name: "Connect to HubSpot" }).click());
      await popup.waitForSelector("#approve");
      await host.reload();
      await approve(popup);
      await host.getByText(`Connected as ${ACME.domain}`).waitFor();
    });

    test(`${name}: who denies reads so`, async (stage) => {
      const host = await stage.open(await serve(stage, name));
      const popup = await stage.popupOf(host, () => host.getByRole("button", { name: "Connect to HubSpot" }).click());
      await popup.click("#deny");
      await host.getByText("access was not granted").waitFor();
    });
  }
  assert.ok(names.length >= 4);
});

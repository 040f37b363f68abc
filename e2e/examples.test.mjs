// Every example is opened as it is in the repository, with the service's address put in, and clicked through.
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";
import { freePort, here, install, launch } from "./applications.mjs";
import { ACME, approve, suite, until } from "./harness.mjs";
import { Hosts } from "./hosts.mjs";

const hosts = await Hosts.serve();
const EXAMPLES = new URL("../examples/", import.meta.url);
const PRINTED = "https://connect.example.com";

/**
 * The applications with a login, each on a port that the service knows as a page's. `confirms`: the backend confirms
 * the connection. `forbidden`: the status of a request from another site's page. `refused`: that of a request which the
 * service has refused, if the application has a status for it.
 */
const APPLICATIONS = {
  Express: { folder: "backend", command: () => [process.execPath, "server.mjs"], refused: 400 },
  FastAPI: { folder: "backend", command: (port) => [process.env.PYTHON, "-m", "uvicorn", "app:app", "--port", port, "--log-level", "warning"], refused: 400 },
  "Next.js": {
    folder: "nextjs", command: (port) => [process.execPath, here("node_modules/next/dist/bin/next"), "dev", "--hostname", "127.0.0.1", "--port", port],
    confirms: true, forbidden: 500,
  },
  Django: { folder: "django", command: (port) => [process.env.PYTHON, "manage.py", "runserver", "--noreload", port], confirms: true },
};
for (const application of Object.values(APPLICATIONS)) application.port = await freePort();
const originOf = ({ port }) => `http://app.localhost:${port}`;

const folders = (await readdir(EXAMPLES, { withFileTypes: true })).filter((entry) => entry.isDirectory()).map(({ name }) => name);
/** The examples that consist of a page. `hubspot-app` is the app at HubSpot. */
const names = folders.filter((name) => name !== "hubspot-app" && Object.values(APPLICATIONS).every(({ folder }) => folder !== name));

/** Starts an application as it is, with the service's address put in. @returns the webhook's id */
async function start(stage, { folder: name, command, port }) {
  const { demo } = stage;
  // In this folder, where Node.js finds its packages.
  const folder = await mkdtemp(here("example-"));
  stage.folders.push(folder);
  await cp(new URL(`${name}/`, EXAMPLES), folder, { recursive: true });
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = join(entry.parentPath, entry.name);
    await writeFile(file, (await readFile(file, "utf8")).replaceAll(PRINTED, demo.service));
  }
  await install(folder, "@hubspot-connect/server", ".", "../sdk/server/src/index.ts");
  await install(folder, "hubspot-connect", "./react", "../sdk/src/react.ts");

  const { body: webhook } = await demo.api("POST", "/api/hubspot/webhooks", { url: `http://127.0.0.1:${port}/hooks/hubspot` });
  stage.sites.add(originOf({ port }));
  await launch(stage, command(String(port)), folder, port, {
    PORT: String(port), HUBSPOT_CONNECT_API_KEY: demo.key, HUBSPOT_CONNECT_WEBHOOK_SECRET: webhook.secret, NEXT_TELEMETRY_DISABLED: "1",
  });
  return webhook.id;
}

/** Repeats a request of a page, with its cookies; `headers` name the page it comes from. */
async function replay(request, { port }, headers, body = request.postData()) {
  const sent = Object.entries(await request.allHeaders()).filter(([name]) => ["accept", "content-type", "cookie", "next-action"].includes(name));
  const url = `http://127.0.0.1:${port}${new URL(request.url()).pathname}`;
  return fetch(url, { method: "POST", redirect: "manual", headers: { ...Object.fromEntries(sent), ...headers }, body });
}

/** Authorizes an account for a user by a link, which the backend has to confirm. @returns the connect session's id */
async function approveByLink(stage, user) {
  const { body: session } = await stage.demo.api("POST", "/api/hubspot/connect-sessions", { external_user_id: user, hosted: true });
  const page = await (await stage.anotherBrowser()).newPage();
  await page.goto(session.link);
  await page.getByRole("button", { name: "Continue to HubSpot" }).click();
  await approve(page);
  await until("the session awaits confirmation", async () => (await sessionOf(stage, session.id)).status === "awaiting_confirmation");
  return session.id;
}

const sessionOf = async (stage, id) => (await stage.demo.api("GET", `/api/hubspot/connect-sessions/${id}`)).body;

async function logIn(page, name) {
  await page.getByLabel("Name").fill(name);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByText(`Logged in as ${name}.`).waitFor();
}

/** Returns the script of a folder: `main.js` as it is, or bundled from `main.jsx` as the README describes. */
async function script(folder) {
  const files = await readdir(folder);
  if (files.includes("main.js")) return readFile(new URL("main.js", folder), "utf8");
  if (!files.includes("main.jsx")) return "";
  const { outputFiles: [bundle] } = await build({
    entryPoints: [new URL("main.jsx", folder).pathname], bundle: true, format: "esm", jsx: "automatic", write: false, minify: true,
    // An application has all of them in one folder.
    alias: { "hubspot-connect/react": here("../sdk/src/react.ts"), react: here("node_modules/react"), "react-dom": here("node_modules/react-dom") },
    define: { "process.env.NODE_ENV": '"production"' },
  });
  return bundle.text;
}

/** The composable of the package. */
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

suite([...hosts.flags, ...Object.values(APPLICATIONS).flatMap((application) => ["--origin", originOf(application)])], (test) => {
  for (const [name, application] of Object.entries(APPLICATIONS)) {
    test(`${name}: a login, the button, the connection after a reload, contacts, and a webhook`, async (stage) => {
      stage.tolerateProblem(/favicon/);
      const { demo } = stage;
      const { port, confirms, forbidden = 403, refused } = application;
      const webhook = await start(stage, application);
      const origin = originOf(application);
      const page = await stage.open(origin);
      await logIn(page, "Ada");

      const popup = await stage.popupOf(page, () => page.getByRole("button", { name: "Connect to HubSpot" }).click());
      await approve(popup);
      await page.getByText(`Connected as ${ACME.domain}`).waitFor();
      const { body: { data: [connection] } } = await demo.api("GET", "/api/hubspot/connections?external_user_id=Ada");
      assert.equal(connection.portal_id, ACME.id);

      await until("the webhook is delivered", async () => {
        const { body } = await demo.api("GET", `/api/hubspot/webhooks/${webhook}/deliveries?status=delivered`);
        return body.data.some(({ type }) => type === "connection.created");
      });
      await page.reload();
      await page.getByText("Last event: connection.created").waitFor();
      await page.getByText(`Connected as ${ACME.domain}`).waitFor();

      await page.getByLabel("E-mail address").fill("anna@acme.example");
      await page.getByRole("button", { name: "Add" }).click();
      await page.getByText("anna@acme.example").waitFor();

      const own = { origin: `http://127.0.0.1:${port}` };
      const actions = stage.requests.filter((request) => request.method() === "POST" && request.url().startsWith(origin));
      assert.equal(actions.length, confirms ? 4 : 3, "login, session, contact, and the confirmation");
      for (const action of actions) {
        const what = `${action.url()} ${action.postData()}`;
        const foreign = [{ origin: "https://evil.example" }, { origin: "null", "sec-fetch-site": "cross-site" }];
        const isTheFrameworks = action.postData().includes("csrfmiddlewaretoken=") || await action.headerValue("next-action");
        if (!isTheFrameworks) foreign.push({}, { "sec-fetch-site": "same-site" }, { ...own, "sec-fetch-site": "cross-site" });
        for (const headers of foreign) {
          assert.equal((await replay(action, application, headers)).status, forbidden, `${what} ${JSON.stringify(headers)}`);
        }
        if ((await action.headerValue("content-type")) === "application/json") {
          assert.equal((await replay(action, application, { ...own, "content-type": "text/plain" })).status, 415, what);
        }
      }
      const [login, session, ...confirmations] = actions;
      const contact = confirmations.pop();
      const mine = { ...own, "sec-fetch-site": "same-origin" };
      for (const action of [session, ...confirmations, contact]) {
        assert.ok((await replay(action, application, { ...mine, cookie: "" })).status >= 400, `${action.url()} without a login`);
      }
      for (const action of [login, session]) assert.ok((await replay(action, application, mine)).status < 400, action.url());
      assert.ok((await replay(contact, application, own, contact.postData().replace("anna", "bert"))).status < 400);
      await page.reload();
      await page.getByText("bert@acme.example").waitFor();
      if (refused) {
        // The service refuses a user's id of this length.
        const named = await replay(login, application, own, `name=${"x".repeat(256)}`);
        const [cookie] = named.headers.get("set-cookie").split(";");
        assert.equal((await replay(session, application, { ...own, cookie })).status, refused);
      }

      const stranger = await (await stage.anotherBrowser()).newPage();
      await stranger.goto(origin);
      await logIn(stranger, "Eve");
      const foreign = await approveByLink(stage, "Grace");
      assert.equal(await stranger.getByText("Connected as").count(), 0);
      for (const action of confirmations) {
        const [{ id }] = (await demo.api("GET", "/api/hubspot/connect-sessions?external_user_id=Ada&status=connected")).body.data;
        assert.ok(action.postData().includes(id));
        assert.ok((await replay(action, application, mine, action.postData().replace(id, foreign))).status >= 400);
        assert.equal((await sessionOf(stage, foreign)).status, "awaiting_confirmation");
      }

      // HubSpot revokes the grant of both connections.
      const { body: { connection_id: other } } = await demo.api("POST", `/api/hubspot/connect-sessions/${foreign}/complete`, { external_user_id: "Grace" });
      assert.equal((await demo.api("POST", `/api/hubspot/connections/${other}/uninstall`, { confirm: true })).body.also_affected, 1);
      await page.reload();
      await page.getByText(/has to be connected again|HubSpot revoked this connection/).waitFor();
      assert.equal(await page.getByText("Connected as").count(), 0);

      const forged = await fetch(`http://127.0.0.1:${port}/hooks/hubspot`, {
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

    test(`${name}: a reload during the flow loses nothing`, async (stage) => {
      const host = await stage.open(await serve(stage, name));
      const popup = await stage.popupOf(host, () => host.getByRole("button", { name: "Connect to HubSpot" }).click());
      await popup.waitForSelector("#approve");
      await host.reload();
      await approve(popup);
      await host.getByText(`Connected as ${ACME.domain}`).waitFor();
    });

    test(`${name}: a denial is shown`, async (stage) => {
      const host = await stage.open(await serve(stage, name));
      const popup = await stage.popupOf(host, () => host.getByRole("button", { name: "Connect to HubSpot" }).click());
      await popup.click("#deny");
      await host.getByText("access was not granted").waitFor();
    });
  }
  assert.ok(names.length >= 4);
});

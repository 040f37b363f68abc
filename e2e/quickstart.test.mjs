// The quickstart, done as the page says: its own blocks make the files, start both backends, and play the uninstall.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import { ACME, approve, suite, until } from "./harness.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const page = await readFile(here("../docs/quickstart.md"), "utf8");

/** The page's commands by the name behind `sh`. */
const commands = Object.fromEntries([...page.matchAll(/^ *```sh (\S+)\n([^]*?)^ *```$/gm)].map(([, name, text]) => [name, text]));
/** The commands that the test does not run: `INSTALLED`, the demo of each test, and its key take their place. */
const REPLACED = ["demo", "key", "install-node", "install-python", "api-key"];
const RUN = ["files", "webhook", "run-node", "run-python", "uninstall"];
assert.equal(page.match(/```sh/g).length, Object.keys(commands).length, "each command has a name of its own");
assert.deepEqual(Object.keys(commands).sort(), [...REPLACED, ...RUN].sort());

/** Installs what the page's commands would install, from this repository and without a network. */
const INSTALLED = {
  async node(folder) {
    const client = join(folder, "node_modules/@hubspot-connect/server");
    await mkdir(client, { recursive: true });
    await writeFile(join(client, "package.json"), JSON.stringify({ type: "module", exports: "./index.js" }));
    await build({ entryPoints: [here("../sdk/server/src/index.ts")], bundle: true, platform: "node", format: "esm", outfile: join(client, "index.js"), logLevel: "silent" });
    await symlink(here("node_modules/express"), join(folder, "node_modules/express"));
  },
  python: (folder) => symlink(dirname(dirname(process.env.PYTHON)), join(folder, "venv")),
};

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** An application that the page's commands have made in a folder of its own, on a port of its own. */
class Application {
  #folder;
  #environment;
  #numbers;
  #said = "";

  static async made(stage, language, port) {
    const application = new Application();
    const { demo } = stage;
    const folder = application.#folder = await mkdtemp(join(tmpdir(), "hubspot-connect-quickstart-"));
    stage.folders.push(folder);
    application.#numbers = { 3000: port, 6001: new URL(demo.service).port, 6003: new URL(demo.hubspot).port };
    application.#environment = {
      ...process.env, clone: folder, HUBSPOT_CONNECT_API_KEY: demo.key,
      PYTHONPATH: here("../sdk/python"), PYTHONDONTWRITEBYTECODE: "1",
    };
    await mkdir(join(folder, "docs"));
    await writeFile(join(folder, "docs/quickstart.md"), application.#put(page));
    await INSTALLED[language](folder);
    await application.run("files");
    await application.#start(stage, language);
    return application;
  }

  /** A text of the page with the ports of this test. */
  #put(text) {
    return text.replace(/\b(3000|6001|6003)\b/g, (number) => this.#numbers[number]);
  }

  #options() {
    return { cwd: this.#folder, env: this.#environment };
  }

  /** Runs a command of the page to its end. */
  run(name) {
    return promisify(execFile)("bash", ["-c", this.#put(commands[name])], this.#options());
  }

  async #start(stage, language) {
    // One terminal: the second command has the variable that the first one sets.
    const script = this.#put(`${commands.webhook}\n${commands[`run-${language}`]}`);
    const child = spawn("bash", ["-c", script], { ...this.#options(), detached: true, stdio: ["ignore", "pipe", "inherit"] });
    child.stdout.on("data", (chunk) => { this.#said += chunk; });
    // The shell and the application together.
    stage.servers.push({ closeAllConnections() {}, close: () => { process.kill(-child.pid); } });
    const address = `http://localhost:${this.#numbers[3000]}`;
    await until("the application listens", () => {
      assert.equal(child.exitCode, null, "the application has ended");
      return fetch(address).then(({ ok }) => ok, () => false);
    });
  }

  /** Waits until the application has printed a line so many times. */
  says(line, times = 1) {
    return until(`the application says "${line}"`, () => this.#said.split("\n").filter((said) => said === line).length === times);
  }
}

const ports = { node: await freePort(), python: await freePort() };

suite(Object.values(ports).flatMap((port) => ["--origin", `http://localhost:${port}`]), (test) => {
  for (const [language, port] of Object.entries(ports)) {
    test(`${language}: connect, reload, contacts, webhooks, reconnect, an uninstall, disconnect`, async (stage) => {
      const { demo } = stage;
      const origin = `http://localhost:${port}`;
      stage.sites.add(origin);
      const application = await Application.made(stage, language, port);
      const connections = async () => (await demo.api("GET", "/api/hubspot/connections?external_user_id=user_42")).body.data;
      const connect = async (label) => {
        await approve(await stage.popupOf(page, () => page.getByRole("button", { name: label }).click()));
        await page.locator("hubspot-connect[state=connected]").waitFor();
      };

      const page = await stage.open(origin);
      await connect("Connect to HubSpot");
      await page.getByText(`Connected as ${ACME.domain}`).waitFor();
      await application.says("connection.created user_42");
      const [{ id, portal_id }] = await connections();
      assert.equal(portal_id, ACME.id);

      await page.reload();
      await page.getByText(`Connected as ${ACME.domain}`).waitFor();

      await page.getByRole("link", { name: "Contacts" }).click();
      await page.getByText(`maria@${ACME.domain}`).waitFor();
      await page.goBack();

      await connect("Reconnect");
      await application.says("connection.reconnected user_42");
      await application.run("uninstall");
      assert.deepEqual(await demo.grants(), []);
      await connect("Reconnect");
      assert.deepEqual((await demo.grants()).map(({ hub_id }) => hub_id), [ACME.id]);
      assert.deepEqual((await connections()).map((one) => one.id), [id], "a reconnect keeps the connection");

      await page.getByRole("button", { name: "Disconnect" }).click();
      await page.getByRole("button", { name: "Connect to HubSpot" }).waitFor();
      await application.says("connection.disconnected user_42");
      assert.deepEqual([await connections(), await demo.grants()], [[], []]);

      const endElsewhere = async () => {
        const [one] = await connections();
        await demo.api("DELETE", `/api/hubspot/connections/${one.id}`);
        await page.getByRole("button", { name: "Connect to HubSpot" }).waitFor();
      };
      await connect("Connect to HubSpot");
      await endElsewhere();
      await application.says("connection.disconnected user_42", 2);
      await connect("Connect to HubSpot");

      // Where the webhook is missed too, the first request that fails lets the application forget the connection.
      const { body: { data: [webhook] } } = await demo.api("GET", "/api/hubspot/webhooks");
      await demo.api("PATCH", `/api/hubspot/webhooks/${webhook.id}`, { enabled: false });
      await endElsewhere();
      stage.expectProblem(/status of 502/);
      await page.getByRole("link", { name: "Contacts" }).click();
      await page.getByText("connection_not_found").waitFor();
      await page.goBack();
      await connect("Connect to HubSpot");

      const post = async (path, headers) => (await fetch(origin + path, { method: "POST", body: "{}", headers })).status;
      const json = { "content-type": "application/json" };
      for (const path of ["/hubspot/session", "/hubspot/confirm", "/hubspot/disconnect"]) {
        for (const foreign of [json, { ...json, origin: "https://evil.example" }, { ...json, origin, "sec-fetch-site": "same-site" }, { origin, "content-type": "text/plain" }]) {
          assert.equal(await post(path, foreign), 403, `${path} ${JSON.stringify(foreign)}`);
        }
      }
      assert.equal(await post("/hooks/hubspot", {
        ...json, "webhook-id": "x", "webhook-timestamp": String(Math.floor(Date.now() / 1000)), "webhook-signature": "v1,AAAA",
      }), 401);
    });
  }
});

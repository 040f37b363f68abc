// The quickstart, followed as written: its blocks create the files, start both backends, and play the uninstall.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { freePort, here, install, launch } from "./applications.mjs";
import { ACME, approve, suite, until } from "./harness.mjs";

const page = await readFile(here("../docs/quickstart.md"), "utf8");

/** The page's commands by their names after `sh`. */
const commands = Object.fromEntries([...page.matchAll(/^ *```sh (\S+)\n([^]*?)^ *```$/gm)].map(([, name, text]) => [name, text]));
/** The commands that the test does not run: `INSTALLED`, the demo of each test, and its key replace them. */
const REPLACED = ["demo", "key", "install-node", "install-python", "api-key"];
const RUN = ["files", "webhook", "run-node", "run-python", "uninstall"];
assert.equal(page.match(/```sh/g).length, Object.keys(commands).length, "each command has a name of its own");
assert.deepEqual(Object.keys(commands).sort(), [...REPLACED, ...RUN].sort());

/** Installs the same packages as the page's commands, from this repository and without a network. */
const INSTALLED = {
  node: (folder) => install(folder, "@hubspot-connect/server", ".", "../sdk/server/src/index.ts"),
  python: (folder) => symlink(dirname(dirname(process.env.PYTHON)), join(folder, "venv")),
};

/** An application that the page's commands created, in its own folder and on its own port. */
class Application {
  #folder;
  #variables;
  #numbers;
  #output;

  static async made(stage, language, port) {
    const application = new Application();
    const { demo } = stage;
    // In this folder, where Node.js finds its packages.
    const folder = application.#folder = await mkdtemp(here("example-"));
    stage.folders.push(folder);
    application.#numbers = { 3000: port, 6001: new URL(demo.service).port, 6003: new URL(demo.hubspot).port };
    application.#variables = { clone: folder, HUBSPOT_CONNECT_API_KEY: demo.key };
    await mkdir(join(folder, "docs"));
    await writeFile(join(folder, "docs/quickstart.md"), application.#put(page));
    await INSTALLED[language](folder);
    await application.run("files");
    // One terminal: the second command has the variable that the first one sets.
    const script = application.#put(`${commands.webhook}\nexec ${commands[`run-${language}`]}`);
    application.#output = await launch(stage, ["bash", "-c", script], folder, port, application.#variables);
    return application;
  }

  /** Returns a text of the page with the ports of this test. */
  #put(text) {
    return text.replace(/\b(3000|6001|6003)\b/g, (number) => this.#numbers[number]);
  }

  /** Runs a command of the page to its end. */
  run(name) {
    return promisify(execFile)("bash", ["-c", this.#put(commands[name])], { cwd: this.#folder, env: { ...process.env, ...this.#variables } });
  }

  /** Waits until the application has printed a line this many times. */
  says(line, times = 1) {
    return until(`the application says "${line}"`, () => this.#output().split("\n").filter((printed) => printed === line).length === times);
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

      // If the webhook is missed too, the first request that fails makes the application forget the connection.
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

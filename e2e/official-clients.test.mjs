// HubSpot's own clients, configured with the base URL of the proxy and a key, and clients generated from openapi.json: a
// real service process in front of the simulated HubSpot.
import { Client as Client12 } from "hubspot-api-client-12";
import { Client as Client13 } from "hubspot-api-client-13";
import { Client as Client14 } from "hubspot-api-client-14";
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import createClient from "openapi-fetch";
import { freePort } from "./applications.mjs";

const run = promisify(execFile);
const HERE = import.meta.dirname ?? dirname(new URL(import.meta.url).pathname);
const TIMEOUT_MS = 60_000;
const ACCESS_TOKEN = /C[\w-]{290}/;

/** Returns the path of a program beside the demo. */
const program = (name) => join(dirname(process.env.DEMO), name);

/** Starts a program and waits until it accepts connections. */
async function start(path, args, env, port) {
  const child = spawn(path, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => { said += chunk; });
  for (let tries = 0; ; tries++) {
    const socket = net.connect(port, "127.0.0.1");
    const up = await Promise.race([once(socket, "connect").then(() => true), once(socket, "error").then(() => false, () => false)]).catch(() => false);
    socket.destroy();
    if (up) break;
    assert.ok(tries < 300 && child.exitCode === null, `${path} does not come up:\n${said}`);
    await sleep(50);
  }
  const stop = async () => {
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    await exited;
  };
  return { stop, said: () => said };
}

/** Navigates like a browser's window; `fetch` would send other headers. */
async function navigate(url, cookies) {
  const [response] = await once(http.get(url, { headers: { cookie: cookies.join("; ") } }), "response");
  let body = "";
  for await (const chunk of response) body += chunk;
  cookies.push(...(response.headers["set-cookie"] ?? []).map((line) => line.split(";")[0]));
  return { status: response.statusCode, location: response.headers.location, body };
}

/** Connects a user: the simulated HubSpot consents at once. */
async function connect(service) {
  const cookies = [];
  const begun = await navigate(`${service}/auth/hubspot/start`, cookies);
  const approved = await navigate(begun.location, []);
  assert.equal((await navigate(approved.location, cookies)).status, 303);
  const status = JSON.parse((await navigate(`${service}/api/hubspot/status`, cookies)).body);
  return status.connections[0].id;
}

describe("official-clients", () => {
  let folder;
  let hubspot;
  let service;
  let proxy;
  let url;
  let connection;
  let key;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "hubspot-connect-clients-"));
    const [hubspotPort, port] = [await freePort(), await freePort()];
    hubspot = await start(program("fake-hubspot"), ["--port", String(hubspotPort), "--auto-approve"], process.env, hubspotPort);
    const fake = `http://127.0.0.1:${hubspotPort}`;
    const { stdout: keys } = await run(program("hubspot-connect"), ["keys", "generate"], { cwd: folder });
    const env = {
      ...process.env,
      ...Object.fromEntries(keys.trim().split("\n").filter((line) => /^[A-Z_]+=/.test(line)).map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)])),
      HUBSPOT_CLIENT_ID: "fake-client-id",
      HUBSPOT_CLIENT_SECRET: "fake-client-secret",
      HUBSPOT_SCOPES: "oauth crm.objects.contacts.read crm.objects.contacts.write",
      HUBSPOT_AUTHORIZE_URL: `${fake}/oauth/authorize`,
      HUBSPOT_API_URL: fake,
      DATABASE_URL: `sqlite://${join(folder, "clients.db")}?mode=rwc`,
      SERVER_ADDR: `127.0.0.1:${port}`,
      PUBLIC_URL: `http://localhost:${port}`,
      ADMIN_ADDR: "off",
      NO_PROXY: "*",
    };
    service = await start(program("hubspot-connect"), ["serve"], env, port);
    url = env.PUBLIC_URL;
    connection = await connect(url);
    const made = await run(program("hubspot-connect"), ["api-keys", "create", "clients", "--scope", "proxy"], { cwd: folder, env });
    key = made.stdout.trim();
    proxy = `${url}/api/hubspot/connections/${connection}/proxy`;
  }, { timeout: TIMEOUT_MS });

  after(async () => {
    await service?.stop();
    await hubspot?.stop();
    await rm(folder, { recursive: true, force: true });
  }, { timeout: TIMEOUT_MS });

  for (const [version, Client] of [[12, Client12], [13, Client13], [14, Client14]]) {
    test(`version ${version} for Node.js creates, lists and finds contacts`, { timeout: TIMEOUT_MS }, async () => {
      const { basicApi, searchApi } = new Client({ basePath: proxy, accessToken: key }).crm.contacts;
      const email = `node${version}@acme.example`;
      const made = await basicApi.create({ properties: { email, firstname: "Node" }, associations: [] });
      assert.equal(made.properties.email, email);
      const page = await basicApi.getPage(10);
      assert.ok(page.results.some(({ id }) => id === made.id));
      const search = { filterGroups: [{ filters: [{ propertyName: "email", operator: "EQ", value: email }] }], limit: 10, after: "0", sorts: [], properties: [] };
      assert.equal((await searchApi.doSearch(search)).total, 1);
      await assert.rejects(basicApi.create({ properties: { email }, associations: [] }), ({ code }) => code === 409);
      await basicApi.archive(made.id);
      await assert.rejects(basicApi.getById(made.id), ({ code }) => code === 404);
      assert.doesNotMatch(JSON.stringify([made, page]), ACCESS_TOKEN);
    });

    test(`version ${version} for Node.js cannot be sent to the OAuth endpoints`, { timeout: TIMEOUT_MS }, async () => {
      const refused = await new Client({ basePath: proxy, accessToken: key }).apiRequest({ path: "/oauth/v1/access-tokens/x" });
      assert.deepEqual([refused.status, (await refused.json()).code], [400, "proxy_path_not_allowed"]);
    });
  }

  test("the Python client creates and lists contacts", { timeout: TIMEOUT_MS }, async () => {
    const env = { ...process.env, PROXY: proxy, API_KEY: key };
    const { stdout } = await run(process.env.PYTHON, [join(HERE, "official_client.py")], { env });
    assert.deepEqual(JSON.parse(stdout), { made: "python@acme.example", listed: true, again: 409 });
  });

  test("openapi-fetch lists contacts through the proxy", { timeout: TIMEOUT_MS }, async () => {
    const client = createClient({ baseUrl: url, headers: { authorization: `Bearer ${key}` }, querySerializer: { object: { style: "form", explode: true } } });
    const call = (method, path, rest) =>
      client[method]("/api/hubspot/connections/{id}/proxy/{path}", { params: { path: { id: connection, path }, query: { query: { properties: "email" } } }, ...rest });
    const email = "generated-node@acme.example";
    assert.equal((await call("POST", "crm/v3/objects/contacts", { body: { properties: { email } } })).response.status, 201);
    const { data } = await call("GET", "crm/v3/objects/contacts");
    assert.ok(data.results.some(({ properties }) => properties.email === email));
    const { error, response } = await call("GET", "crm/v3/objects/contacts/404");
    assert.deepEqual([response.status, error.category], [404, "OBJECT_NOT_FOUND"]);
  });

  test("an openapi-python-client client lists contacts through the proxy", { timeout: TIMEOUT_MS }, async () => {
    const env = { ...process.env, SERVICE_URL: url, API_KEY: key, CONNECTION: connection };
    const { stdout } = await run(process.env.PYTHON, [join(HERE, "generated_client.py"), folder, join(HERE, "../openapi.json")], { env });
    const { statuses, emails } = JSON.parse(stdout);
    assert.deepEqual(statuses, [201, 200, 404]);
    assert.ok(emails.includes("generated-python@acme.example"));
  });
});

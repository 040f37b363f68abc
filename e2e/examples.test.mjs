// Every example is opened as it stands in the repository, with the service's address put in, and clicked through.
import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { build } from "esbuild";
import { ACME, approve, suite } from "./harness.mjs";
import { Hosts } from "./hosts.mjs";

const hosts = await Hosts.serve();
const EXAMPLES = new URL("../examples/", import.meta.url);
const PRINTED = "https://connect.example.com";

const names = (await readdir(EXAMPLES, { withFileTypes: true })).filter((entry) => entry.isDirectory()).map(({ name }) => name);

/** What a folder's files are to a browser: `main.js` as it stands, or made of `main.jsx` as the README says. */
async function script(folder) {
  const files = await readdir(folder);
  if (files.includes("main.js")) return readFile(new URL("main.js", folder), "utf8");
  if (!files.includes("main.jsx")) return "";
  const { outputFiles: [bundle] } = await build({
    entryPoints: [new URL("main.jsx", folder).pathname], bundle: true, format: "esm", jsx: "automatic", write: false, minify: true,
    // The packages are those of this folder; an application has its own.
    nodePaths: [new URL("node_modules", import.meta.url).pathname], define: { "process.env.NODE_ENV": '"production"' },
  });
  return bundle.text;
}

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
    .replace('src="main.js"', `src="${file}"`).replace("/node_modules/vue/dist/vue.esm-browser.prod.js", library);
  const sent = await readFile(new URL("headers.txt", folder), "utf8").catch(() => "");
  const headers = Object.fromEntries(put(sent).split("\n").filter(Boolean).map((line) => line.split(/: (.*)/, 2)));
  return hosts.origin + hosts.put(page, headers);
}

suite(hosts.flags, (test) => {
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

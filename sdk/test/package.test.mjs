// The npm package, as applications import it: by its own name, from the folder that npm would pack.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** Runs a program in this folder and returns its output. */
function run(...args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8", cwd: here(".") });
  assert.equal(status, 0, stdout + stderr);
  return stdout.trim();
}

/** @returns the bundle of an application's bundler */
async function bundle(contents) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: here(".") }, bundle: true, format: "esm", minify: true, write: false, logLevel: "silent",
  });
  return outputFiles[0].text;
}

test("the types compile in strict applications without a framework, in React 19 and in Vue 3", () => {
  run(here("../node_modules/typescript/bin/tsc"), "--project", here("consumers"));
});

test("a server can import both entries", () => {
  const printed = run("--input-type=module", "--eval", `
    const before = Object.keys(globalThis).length;
    const { HubSpotConnect, HubSpotConnectError } = await import("hubspot-connect");
    await import("hubspot-connect/element");
    new HubSpotConnect({ service: "https://connect.example.com/" });
    console.log(new HubSpotConnectError("closed") instanceof Error, Object.keys(globalThis).length - before);
  `);
  assert.equal(printed, "true 0");
});

test("in jsdom the first entry has no side effects, and the second defines the element", () => {
  const printed = run("--input-type=module", "--eval", `
    import { JSDOM } from "jsdom";
    const { window } = new JSDOM("<body></body>", { url: "https://app.example.com/" });
    for (const name of ["window", "document", "location", "HTMLElement", "customElements", "CustomEvent", "sessionStorage", "history", "addEventListener"]) {
      globalThis[name] = typeof window[name] === "function" && name.startsWith("add") ? window[name].bind(window) : window[name];
    }
    globalThis.origin = window.location.origin;
    const { HubSpotConnectError } = await import("hubspot-connect");
    const idle = customElements.get("hubspot-connect") === undefined && sessionStorage.length === 0 && document.documentElement.outerHTML;
    await import("hubspot-connect/element");
    await import("hubspot-connect/element");
    document.body.innerHTML = '<hubspot-connect service="https://connect.example.com"></hubspot-connect>';
    const element = document.body.firstChild;
    const state = element.state;
    const failed = new Promise((done) => element.addEventListener("failed", done, { once: true }));
    element.setAttribute("portal-id", "abc");
    element.shadowRoot.querySelector("button").click();
    const { detail } = await failed;
    console.log(idle.includes("<body></body>"), state, element.state, detail.code, detail instanceof HubSpotConnectError);
    window.close();
    process.exit();
  `);
  assert.equal(printed, "true idle error invalid_option true");
});

test("a bundle contains only what is imported", async () => {
  const nothing = await bundle(`import "hubspot-connect";`);
  assert.equal(nothing, "");
  const error = await bundle(`import { HubSpotConnectError } from "hubspot-connect"; console.log(HubSpotConnectError);`);
  assert.ok(error.length < 1_700, `one error class makes ${error.length} bytes`);
  const client = await bundle(`import { HubSpotConnect } from "hubspot-connect"; console.log(HubSpotConnect);`);
  assert.doesNotMatch(client, /customElements/);
  assert.match(await bundle(`import "hubspot-connect/element";`), /customElements\.define/);
});

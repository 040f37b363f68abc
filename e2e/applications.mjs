// Applications that tests start: their packages, a port, and their process.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { until } from "./harness.mjs";

/** Returns a path of this folder. */
export function here(path) {
  return fileURLToPath(new URL(path, import.meta.url));
}

export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Bundles a client of this repository into an application's installed packages. */
export async function install(folder, name, entry, source) {
  const client = join(folder, "node_modules", name);
  await mkdir(client, { recursive: true });
  await writeFile(join(client, "package.json"), JSON.stringify({ type: "module", exports: { [entry]: "./index.js" } }));
  await build({ entryPoints: [here(source)], bundle: true, format: "esm", outfile: join(client, "index.js"), external: ["node:*", "react"], logLevel: "silent" });
}

/** Starts an application in a folder and waits until it answers. @returns a function that returns its output */
export async function launch(stage, [program, ...args], cwd, port, variables) {
  const child = spawn(program, args, {
    cwd, stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, PYTHONPATH: here("../sdk/python"), PYTHONDONTWRITEBYTECODE: "1", ...variables },
  });
  const { demo } = stage;
  const { said } = demo;
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => { output += chunk; });
  demo.said = () => `${said()}\n${output}`;
  const exited = once(child, "exit");
  stage.servers.push({
    closeAllConnections() {},
    close() {
      child.kill();
      return exited;
    },
  });
  await until("the application listens", () => {
    assert.equal(child.exitCode, null, "the application has ended");
    return fetch(`http://127.0.0.1:${port}/`).then(({ ok }) => ok, () => false);
  }, 60_000);
  return () => output;
}

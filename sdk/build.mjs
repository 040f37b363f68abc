// Builds static/sdk. `--check` builds elsewhere, compares and holds all to their size; `--pack` builds dist, for npm.
import { createHash } from "node:crypto";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

/**
 * Bytes, gzipped, that a page loads with an entry; what is loaded when it is called is not counted. The file with both
 * had 6,000 before options were checked, and before it did without what the oldest supported browsers lack. It had
 * 6,900 before connect sessions could come from a function, and before `connect()` had states.
 */
const LIMITS = { "static/sdk/hubspot-connect.js": 7_350, "dist/hubspot-connect.js": 5_900, "dist/element.js": 7_750 };
/** `docs/embedding.md` names them. */
const BROWSERS = ["chrome100", "firefox102", "safari15.4"];
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const committed = here("../static/sdk");
const types = (name) => readFile(here(`src/${name}.d.ts`), "utf8");

async function bundle(outdir, entries) {
  await mkdir(outdir, { recursive: true });
  const entryPoints = Object.fromEntries(Object.entries(entries).map(([name, source]) => [name, here(`src/${source}.ts`)]));
  return build({
    entryPoints,
    outdir,
    absWorkingDir: here("."),
    bundle: true,
    splitting: true,
    format: "esm",
    target: BROWSERS,
    minify: true,
    // Names that no page and no server ever sees.
    mangleProps: /^(ignored|makers|etag|rest|ended|result|attempt|memo|cancel|readings|canHear|fail|follow|seen|patience|leaving)$/,
    legalComments: "none",
    banner: { js: "// hubspot-connect 0.1.0" },
    // Loaded when it is asked for, and by its own name.
    external: ["./diagnose.js"],
    logLevel: "warning",
    metafile: true,
  });
}

/** Writes what the service serves: one file with the element, and `diagnose.js`. */
async function writeServed(outdir) {
  // One by one, so that nothing is split off.
  for (const entries of [{ "hubspot-connect": "served" }, { diagnose: "diagnose" }]) await bundle(outdir, entries);
  const element = (await types("element_api")).replace(/^import .*\n\n/, "");
  await writeFile(join(outdir, "hubspot-connect.d.ts"), `${await types("api")}\n${element}`);
  await report(outdir, "static/sdk");
}

/** Writes the npm package: an entry without the element and one with it, which share their code. */
async function writePackage(outdir) {
  await rm(outdir, { recursive: true, force: true });
  const { metafile } = await bundle(outdir, { "hubspot-connect": "index", element: "element" });
  await bundle(outdir, { diagnose: "diagnose" });
  const names = { api: "hubspot-connect", element_api: "element", react: "react", vue: "vue" };
  for (const [source, name] of Object.entries(names)) {
    const text = (await types(source)).replace(/"\.\/(api|element_api)"/g, (_, from) => `"./${names[from]}.js"`);
    await writeFile(join(outdir, `${name}.d.ts`), text);
  }
  for (const name of ["LICENSE-MIT", "LICENSE-APACHE"]) await cp(here(`../${name}`), join(outdir, name));
  const outputs = Object.entries(metafile.outputs);
  await report(outdir, "dist", Object.fromEntries(outputs.map(([path, { imports }]) => [
    basename(path), imports.filter(({ kind }) => kind === "import-statement").map((one) => basename(one.path)),
  ])));
}

/** Prints the sizes and holds each entry, with what it imports, to its limit. */
async function report(folder, shown, imports = {}) {
  for (const name of (await readdir(folder)).filter((file) => file.endsWith(".js"))) {
    const code = await Promise.all([name, ...(imports[name] ?? [])].map((file) => readFile(join(folder, file))));
    const size = code.reduce((sum, one) => sum + gzipSync(one, { level: 9 }).length, 0);
    const integrity = `sha384-${createHash("sha384").update(code[0]).digest("base64")}`;
    const limit = LIMITS[`${shown}/${name}`];
    console.log(`${shown}/${name}: ${size} bytes gzipped${limit ? ` of ${limit}` : ""}, ${integrity}`);
    if (size > limit) {
      console.error(`${shown}/${name} has more than ${limit} bytes`);
      process.exitCode = 1;
    }
  }
}

async function compare(fresh) {
  const names = await readdir(fresh);
  for (const name of new Set([...names, ...(await readdir(committed).catch(() => []))])) {
    const [a, b] = await Promise.all([fresh, committed].map((folder) => readFile(join(folder, name), "utf8").catch(() => null)));
    if (a === b) continue;
    console.error(`static/sdk/${name} is not what the source gives: npm run build`);
    process.exitCode = 1;
  }
}

const [flag] = process.argv.slice(2);
if (flag === "--check") {
  const folder = await mkdtemp(join(tmpdir(), "hubspot-connect-"));
  await writeServed(join(folder, "served"));
  await writePackage(join(folder, "dist"));
  await compare(join(folder, "served"));
  await rm(folder, { recursive: true });
} else if (flag === "--pack") {
  await writePackage(here("dist"));
} else {
  await writeServed(committed);
}

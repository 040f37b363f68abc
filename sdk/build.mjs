// Builds static/sdk. `--check` builds elsewhere, compares and holds all to their size; `--pack` builds dist, for npm.
import { createHash } from "node:crypto";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

/** Bytes, gzipped, of each file by itself. The element and the hooks load `hubspot-connect.js` beside it. */
const LIMITS = { "hubspot-connect.js": 6_144, "element.js": 2_900, "react.js": 1_000, "vue.js": 1_000 };
/** `docs/embedding.md` names them. */
const BROWSERS = ["chrome100", "firefox102", "safari15.4"];
/** The modules, and the declarations by the names of their sources. */
const SERVED = { modules: ["hubspot-connect", "element", "diagnose"], types: { api: "hubspot-connect", element_api: "element", view_api: "view" } };
const PACKED = { modules: [...SERVED.modules, "react", "vue"], types: { ...SERVED.types, react_api: "react", vue_api: "vue" } };
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const committed = here("../static/sdk");

/** Builds modules that import one another by their names, and copies their declarations. */
async function write(outdir, { modules, types }) {
  await rm(outdir, { recursive: true, force: true });
  await mkdir(outdir, { recursive: true });
  // One by one, so that nothing is split off.
  for (const name of modules) {
    await build({
      entryPoints: [here(`src/${name}.ts`)],
      outdir,
      absWorkingDir: here("."),
      bundle: true,
      format: "esm",
      target: BROWSERS,
      minify: true,
      // Names that no page, no server and no other module ever sees.
      mangleProps: /^(ignored|makers|etag|rest|ended|result|attempt|memo|cancel|readings|canHear|fail|follow|seen|patience|leaving|watchers|muted|window)$/,
      legalComments: "none",
      banner: { js: "// hubspot-connect 0.1.0" },
      external: ["./hubspot-connect.js", "./diagnose.js", "react", "vue"],
      logLevel: "warning",
    });
  }
  for (const [source, name] of Object.entries(types)) {
    const text = await readFile(here(`src/${source}.d.ts`), "utf8");
    await writeFile(join(outdir, `${name}.d.ts`), text.replace(/"\.\/(\w*api)"/g, (_, from) => `"./${types[from]}.js"`));
  }
}

/** Prints the sizes and holds each module to its limit. */
async function report(folder) {
  for (const name of (await readdir(folder)).filter((file) => file.endsWith(".js"))) {
    const code = await readFile(join(folder, name));
    const size = gzipSync(code, { level: 9 }).length;
    const limit = LIMITS[name];
    console.log(`${name}: ${size} bytes gzipped${limit ? ` of ${limit}` : ""}, sha384-${createHash("sha384").update(code).digest("base64")}`);
    if (size > limit) {
      console.error(`${name} has more than ${limit} bytes`);
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
  await write(join(folder, "served"), SERVED);
  await compare(join(folder, "served"));
  await write(join(folder, "packed"), PACKED);
  await report(join(folder, "packed"));
  await rm(folder, { recursive: true });
} else if (flag === "--pack") {
  await write(here("dist"), PACKED);
  for (const name of ["LICENSE-MIT", "LICENSE-APACHE"]) await cp(here(`../${name}`), join(here("dist"), name));
  await report(here("dist"));
} else {
  await write(committed, SERVED);
  await report(committed);
}

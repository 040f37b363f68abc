// Builds static/sdk. `--check` builds elsewhere and compares; `--pack` builds into dist, for npm.
import { createHash } from "node:crypto";
import { cp, mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

/** 6,000 before the state of the popup was kept apart from what is guessed. */
const LIMIT = 6_300;
const MAIN = "hubspot-connect.js";
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const committed = here("../static/sdk");

async function write(outdir) {
  await mkdir(outdir, { recursive: true });
  await build({
    entryPoints: { "hubspot-connect": here("src/index.ts"), diagnose: here("src/diagnose.ts") },
    outdir,
    absWorkingDir: here("."),
    bundle: true,
    format: "esm",
    target: "es2022",
    minify: true,
    // Names that no page and no server ever sees.
    mangleProps: /^(ignored|makers|etag|rest|ended|result|attempt|memo|cancel|readings|heard|known|muted|canHear|fail)$/,
    legalComments: "none",
    banner: { js: "// hubspot-connect 0.1.0" },
    // Loaded when it is asked for, and by its own name.
    external: ["./diagnose.js"],
    logLevel: "warning",
  });
  await cp(here("src/api.d.ts"), join(outdir, "hubspot-connect.d.ts"));
}

async function report(folder) {
  for (const name of (await readdir(folder)).filter((file) => file.endsWith(".js"))) {
    const code = await readFile(join(folder, name));
    const size = gzipSync(code, { level: 9 }).length;
    const integrity = `sha384-${createHash("sha384").update(code).digest("base64")}`;
    console.log(`${name}: ${code.length} bytes, ${size} gzipped, ${integrity}`);
    if (name === MAIN && size > LIMIT) {
      console.error(`${name} has more than ${LIMIT} bytes`);
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
  await write(folder);
  await report(folder);
  await compare(folder);
  await rm(folder, { recursive: true });
} else {
  const folder = flag === "--pack" ? here("dist") : committed;
  await write(folder);
  await report(folder);
  if (flag === "--pack") {
    for (const name of ["LICENSE-MIT", "LICENSE-APACHE"]) await cp(here(`../${name}`), join(folder, name));
  }
}

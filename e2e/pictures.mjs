// Takes the screenshots of the README, in light and dark mode. `cargo xtask pictures` runs it; the suite does not.
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { ACME, GLOBEX, approve, suite } from "./harness.mjs";

const FOLDER = new URL("../docs/images/", import.meta.url);
const SCHEMES = ["light", "dark"];
/** A README loads all pictures at once. */
const MAX_BYTES = 80_000;

/** Takes a page in a window of this size: one PNG for each color scheme. */
async function shoot(page, width, height) {
  await page.setViewportSize({ width, height });
  const shots = {};
  for (const colorScheme of SCHEMES) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    shots[colorScheme] = await page.screenshot();
  }
  return shots;
}

/** Puts two pictures side by side, each in the frame of a window. */
async function besideEachOther(page, left, right) {
  const image = (png) => `<img src="data:image/png;base64,${png.toString("base64")}">`;
  const both = {};
  for (const scheme of SCHEMES) {
    await page.setViewportSize({ width: 1000, height: 340 });
    await page.setContent(`<style>
      body { margin: 0; padding: 10px; display: flex; gap: 16px; align-items: start; }
      img { border: 1px solid #8888; border-radius: 8px; }
    </style>${image(left[scheme])}${image(right[scheme])}`);
    both[scheme] = await page.screenshot({ omitBackground: true });
  }
  return both;
}

async function save(name, shots) {
  for (const [scheme, png] of Object.entries(shots)) {
    assert.ok(png.length < MAX_BYTES, `${name}-${scheme}.png has ${png.length} bytes`);
    await writeFile(new URL(`${name}-${scheme}.png`, FOLDER), png);
  }
}

suite(["--token-seconds", "1800", "--token-delivery", "handle"], (test) => {
  test("the host page with its button, and the popup", async (stage) => {
    await mkdir(FOLDER, { recursive: true });
    await stage.keepWindowsOpen();
    const host = await stage.open(`${stage.demo.host}/`);
    const button = host.getByRole("button", { name: "Connect to HubSpot" });
    await button.waitFor();
    const before = await shoot(host, 560, 318);
    const popup = await stage.popupOf(host, () => button.click());
    await popup.waitForSelector("#approve");
    await approve(popup, ACME);
    await popup.waitForSelector('[data-outcome="success"]');
    const after = await shoot(popup, 400, 318);
    await save("connect", await besideEachOther(await stage.open(), before, after));
  });

  test("the list of connections", async (stage) => {
    await mkdir(FOLDER, { recursive: true });
    for (const account of [ACME, GLOBEX]) await (await stage.connectInTab(account)).close();
    const page = await stage.open(stage.demo.service);
    await page.getByText(GLOBEX.domain, { exact: true }).waitFor();
    await save("connections", await shoot(page, 900, 640));
  });
});

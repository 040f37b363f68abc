// The pages in the documents, taken out of them unchanged: a listener can be written from the documents alone.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { ACME, approve, suite } from "./harness.mjs";
import { Hosts } from "./hosts.mjs";

const hosts = await Hosts.serve();
const DOCUMENT = new URL("../docs/protocol.md", import.meta.url);

/** Returns the complete pages in the document. */
async function pages() {
  const text = await readFile(DOCUMENT, "utf8");
  return [...text.matchAll(/```html\n(<!doctype html>[^]*?)```/g)].map(([, page]) => page);
}

/** Serves a page with the service's real URL in place of the printed one. */
function serve(stage, page) {
  stage.sites.add(hosts.origin);
  // Browsers ask for an icon that the printed page does not have.
  stage.tolerateProblem(/favicon/);
  const text = page.replaceAll(/http:\/\/localhost:6001|https:\/\/connect\.example\.com/g, stage.demo.service);
  assert.notEqual(text, page, "the page names the service");
  return hosts.origin + hosts.put(text);
}

suite(hosts.flags, (test) => {
  test("every documented page connects", async (stage) => {
    const printed = await pages();
    assert.ok(printed.length >= 1);
    for (const page of printed) {
      const host = await stage.open(serve(stage, page));
      const popup = await stage.popupOf(host, () => host.getByRole("button").first().click());
      await approve(popup);
      await host.getByText(String(ACME.id)).first().waitFor();
    }
  });

  test("every documented page shows a denial", async (stage) => {
    for (const page of await pages()) {
      const host = await stage.open(serve(stage, page));
      const popup = await stage.popupOf(host, () => host.getByRole("button").first().click());
      await popup.click("#deny");
      await host.getByText("access was not granted").first().waitFor();
    }
  });
});

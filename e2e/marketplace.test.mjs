// Installs that start at HubSpot's Marketplace: in a window, in a frame inside HubSpot, and claimed by connecting.
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { ACME, GLOBEX, approve, suite, until } from "./harness.mjs";

const SHOTS = new URL("shots/", import.meta.url).pathname;

/** Returns the URL of the app's page at the simulated Marketplace. */
function listing({ demo }, shape, account = ACME) {
  const query = new URLSearchParams({ install_url: `${demo.service}/install/hubspot`, shape, hub_id: `${account.id}` });
  return `${demo.hubspot}/marketplace?${query}`;
}

/** Asserts that the browser has nothing of an install. */
async function assertNoCookies(stage) {
  assert.deepEqual(await stage.context.cookies(stage.demo.service), []);
}

async function exchanged({ demo }) {
  return (await demo.calls("exchange")).filter(({ status }) => status === 200).length;
}

suite([], (test) => {
  test("an install without a sign-in returns to HubSpot and leaves no cookie", async (stage) => {
    const page = await stage.open(listing(stage, "plain"));
    await page.click("#install");
    await page.waitForSelector("#installed");
    assert.equal(new URL(page.url()).origin, stage.demo.hubspot);
    assert.equal(await exchanged(stage), 1);
    await assertNoCookies(stage);
  });

  test("the same install is refused in a frame on another site, and its code is not consumed", async (stage) => {
    const site = await stage.stranger({ "/": `<title>A site</title><iframe title="HubSpot" src="${listing(stage, "plain").replaceAll("&", "&amp;")}"></iframe>` });
    const page = await stage.open(site);
    const frame = page.frameLocator("iframe");
    stage.tolerateProblem(/frame-ancestors 'none'/);
    stage.tolerateProblem(/status of 400/);
    const isInstall = (response) => response.url().startsWith(`${stage.demo.service}/install/hubspot`);
    const [answer] = await Promise.all([page.waitForResponse(isInstall), frame.locator("#install").click()]);
    assert.equal(answer.status(), 400);
    assert.equal(await exchanged(stage), 0);
    await assertNoCookies(stage);
  });

  test("an install with a sign-in is finished in a frame inside HubSpot, whose tab keeps its opener", async (stage) => {
    const page = await stage.open(listing(stage, "signin"));
    const tab = await stage.popupOf(page, () => page.click("#install"));
    await tab.frameLocator("#finalize").locator("#installed").waitFor();
    assert.equal(new URL(tab.url()).pathname, "/marketplace/consent");
    assert.equal(await tab.evaluate(() => window.opener !== null), true);
    assert.equal(await exchanged(stage), 1);
    await assertNoCookies(stage);
    // The second time the state is invalid: HubSpot reports nothing new, and no code is consumed.
    await tab.reload();
    await tab.frameLocator("#finalize").locator("#installed").waitFor();
    assert.equal((await stage.demo.calls("exchange")).length, 1);
  });

  test("the oldest install shape ends on the service's page, where connecting claims the account", async (stage) => {
    const { demo } = stage;
    const page = await stage.open(listing(stage, "legacy"));
    await page.click("#install");
    await page.getByRole("heading", { name: "One more step" }).waitFor();
    assert.equal(page.url(), `${demo.service}/install/hubspot/claim#_`);
    assert.ok(!(await page.content()).includes(ACME.domain), "nothing of the account is shown");
    await assertNoCookies(stage);
    assert.equal((await demo.grants()).length, 1);

    await approve(await stage.popupOf(page, () => page.click("[data-connect]")), ACME);
    await page.waitForURL(`${demo.service}/`);
    assert.deepEqual((await page.locator("[data-connection] [data-name]").allInnerTexts()).map((name) => name.trim()), [ACME.domain]);
    const grants = () => demo.grants();
    await until("the grant that waited has ended", async () => (await grants()).length === 1 && (await demo.calls("revoke")).length === 1, 45_000);
  });

  test("another user's install gives the connected user nothing", async (stage) => {
    await stage.connectInTab(GLOBEX);
    const page = await stage.open(listing(stage, "plain", ACME));
    await page.click("#install");
    await page.waitForSelector("#installed");
    await page.goto(stage.demo.service);
    assert.deepEqual((await page.locator("[data-connection] [data-name]").allInnerTexts()).map((name) => name.trim()), [GLOBEX.domain]);
  });

  test("the claim page is readable in light mode, in dark mode and on a small phone", async (stage) => {
    const { demo } = stage;
    await mkdir(SHOTS, { recursive: true });
    const page = await stage.open();
    for (const [name, query] of [["install-claim", ""], ["install-problem", "?problem=install_state_rejected"]]) {
      await page.goto(`${demo.service}/install/hubspot/claim${query}`);
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        for (const width of [320, 600]) {
          await page.setViewportSize({ width, height: 700 });
          await page.screenshot({ path: `${SHOTS}${name}-${colorScheme}-${width}.png`, fullPage: true });
          const needed = await page.evaluate(() => document.documentElement.scrollWidth);
          assert.ok(needed <= width, `${name} is ${needed} px wide on a screen of ${width}`);
        }
      }
      await page.keyboard.press("Tab");
      for (let presses = 0; presses < 10 && !(await page.evaluate(() => document.activeElement.matches("[data-connect]"))); presses += 1) {
        await page.keyboard.press("Tab");
      }
      assert.ok(await page.evaluate(() => document.activeElement.matches("[data-connect]")), "the keyboard reaches the button");
    }
  });
});

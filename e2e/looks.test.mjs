// The look of the pages and their use without a mouse. Screenshots of all of them go to shots/.
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { ACME, GLOBEX, INITECH, approve, suite, until } from "./harness.mjs";

const SHOTS = new URL("shots/", import.meta.url).pathname;

/** Takes screenshots of a page in light mode, in dark mode and on a small phone, and checks the contrast. */
async function portray(page, name, { fullPage = true } = {}) {
  await mkdir(SHOTS, { recursive: true });
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await page.setViewportSize(page.url().includes("/done") ? { width: 600, height: 700 } : { width: 1100, height: 760 });
    await page.screenshot({ path: `${SHOTS}${name}-${colorScheme}.png`, fullPage });
    const faint = await page.evaluate(faintTexts);
    assert.deepEqual(faint, [], `${name} in ${colorScheme}: text that is hard to read`);
  }
  await page.setViewportSize({ width: 320, height: 640 });
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  await page.screenshot({ path: `${SHOTS}${name}-320.png`, fullPage });
  assert.ok(width <= 320, `${name} is ${width} px wide on a screen of 320`);
  const small = await page.evaluate(() => [...document.querySelectorAll("button, .button")]
    .filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 44).map((one) => one.textContent));
  if (!page.url().includes("/oauth/")) assert.deepEqual(small, [], `${name}: buttons too small for a thumb`);
}

/** Runs in the page: returns texts whose contrast with their background is below 4.5 to 1. */
function faintTexts() {
  const rgba = (text) => (text.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  }).reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor);
      if ((color[3] ?? 1) === 1) return color;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
  };
  return [...document.querySelectorAll("body *")]
    .filter((one) => one.checkVisibility() && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .filter((one) => {
      const [brighter, darker] = [light(rgba(getComputedStyle(one).color)), light(behind(one))].sort((a, b) => b - a);
      return (brighter + 0.05) / (darker + 0.05) < 4.5;
    })
    .map((one) => `${one.tagName} ${one.className}: ${one.textContent.trim().slice(0, 40)}`);
}

/** Presses Tab until the focus is on the element, and checks that the focus shows. */
async function tabTo(page, selector) {
  for (let presses = 0; presses < 40; presses += 1) {
    await page.keyboard.press("Tab");
    const { there, outline } = await page.evaluate((wanted) => {
      const style = getComputedStyle(document.activeElement);
      return { there: document.activeElement.matches(wanted), outline: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth) };
    }, selector);
    assert.ok(outline >= 1, "the focus can be seen");
    if (there) return;
  }
  assert.fail(`Tab never reaches ${selector}`);
}

suite(["--token-seconds", "10"], (test) => {
  test("the pages from login to disconnect work by keyboard alone", async (stage) => {
    const { demo } = stage;
    const page = await stage.open(`${demo.service}/login`);
    await tabTo(page, "[data-connect]");
    const popup = await stage.popupOf(page, () => page.keyboard.press("Enter"));
    await popup.waitForSelector("#approve");
    await tabTo(popup, "#approve");
    await popup.keyboard.press("Enter");
    await page.waitForURL(`${demo.service}/`);
    await page.bringToFront();
    await tabTo(page, "[data-disconnect]");
    await page.keyboard.press("Enter");
    const dialog = page.getByRole("dialog");
    await dialog.waitFor();
    const focused = () => page.evaluate(() => document.activeElement.textContent.trim());
    assert.equal(await focused(), "Keep it", "the harmless answer has the focus");
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "hidden" });
    assert.equal(await focused(), "Disconnect", "the focus is back where it was");
    await page.keyboard.press("Enter");
    await dialog.waitFor();
    await page.keyboard.press("Tab");
    assert.equal(await focused(), "Disconnect");
    await page.keyboard.press("Enter");
    await page.waitForURL(`${demo.service}/login`);
  });

  test("the pages of a flow are readable in light mode, in dark mode and on a small phone", async (stage) => {
    const { demo } = stage;
    stage.tolerateProblem(/status of (404|410)/);
    await stage.keepWindowsOpen();
    const host = await stage.open(`${demo.host}/plain`);
    await portray(host, "host-before");
    const page = await stage.open(`${demo.service}/login`);
    await portray(page, "login");
    await page.goto(`${demo.service}/nothing-here`);
    await portray(page, "not-found");
    const site = await stage.stranger({ "/": `<script>onload = () => setTimeout(() => location.assign("${demo.service}/auth/hubspot/start"));</script>` });
    await page.goto(site);
    await page.waitForSelector('[data-page="confirm"]');
    await portray(page, "confirm");
    await page.getByRole("link", { name: "Continue" }).click();
    await page.waitForSelector("#approve");
    await portray(page, "consent");
    await page.click("#deny");
    await page.waitForSelector("[data-stays]:visible");
    await portray(page, "popup-error");

    await demo.order({ on: "exchange", times: 1, fault: "hold" });
    const popup = await stage.popupOf(host, () => host.click("#connect"));
    const callback = stage.context.waitForEvent("request", (request) => request.url().includes("/auth/hubspot/callback"));
    const approved = approve(popup, GLOBEX);
    // The page's script loads the next page as soon as there is one, which must not happen between two screenshots.
    await page.route("**/static/popup.*", (route) => route.fulfill({ contentType: "text/javascript", body: "" }));
    const url = (await callback).url();
    // The first of two equal callbacks exchanges the code, and only the second one gets the page that waits.
    await until("the code is exchanged", async () => (await demo.calls("exchange")).length === 1);
    await page.goto(url);
    await page.waitForSelector('[data-outcome="waiting"]');
    await portray(page, "popup-waiting");
    await demo.release();
    await page.unroute("**/static/popup.*");
    await page.reload();
    // Either of the two windows may hand off the result, and the other one says that it is over; another flow certainly
    // reaches the host page.
    await page.waitForSelector('[data-outcome="success"], [data-outcome="over"]');
    await approved;
    const last = await stage.popupOf(host, () => host.click("#connect"));
    await approve(last, GLOBEX);
    await last.waitForSelector('[data-outcome="success"]');
    await portray(last, "popup-success");
    await host.getByText("Connected.", { exact: true }).waitFor();
    await portray(host, "host-connected");
  });

  test("the list of connections is readable in every state", async (stage) => {
    const { demo } = stage;
    for (const account of [ACME, GLOBEX, INITECH]) await (await stage.connectInTab(account)).close();
    const page = await stage.open(demo.service);
    await portray(page, "index-active");
    // The states as the service would report them; their causes do not matter to the browser.
    const states = ["degraded", "needs_reauth", "integrity_error"];
    await page.route("**/api/hubspot/status", async (route) => {
      const response = await route.fetch();
      const body = await response.json();
      body.connections.forEach((connection, index) => {
        connection.status = states[index];
        if (index > 0) Object.assign(connection, { seconds_until_refresh: null, expires_at: null });
      });
      await route.fulfill({ response, json: body });
    });
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await page.getByText("Needs reconnecting", { exact: true }).waitFor();
    assert.deepEqual(await page.locator("[data-badge]").allInnerTexts(), ["Degraded", "Needs reconnecting", "Unreadable"]);
    await portray(page, "index-states");
    await page.getByRole("button", { name: "Disconnect" }).first().click();
    await portray(page, "dialog", { fullPage: false });
    await page.goto(`${demo.service}/logout`);
    await portray(page, "logout");
  });

  test("the pages of a link and of the API are readable and work by keyboard", async (stage) => {
    const { demo } = stage;
    stage.expectProblem(/410/);
    const { body: session } = await demo.api("POST", "/api/hubspot/connect-sessions", {
      external_user_id: "user_42", hosted: true, requested_by: "Anna Smith", scopes: ["oauth", "crm.objects.contacts.read"],
      return_url: `${demo.host}/`,
    });
    const page = await stage.open(session.link);
    await page.getByRole("heading", { name: "Connect your HubSpot account to Acme Reports?" }).waitFor();
    await portray(page, "link");
    await tabTo(page, "button");
    await page.keyboard.press("Enter");
    await page.click("#deny");
    await page.getByRole("link", { name: `Back to ${new URL(demo.host).host}` }).waitFor();
    await portray(page, "link-refused");
    await page.getByRole("link", { name: "Try again" }).click();
    await page.getByRole("button", { name: "Continue to HubSpot" }).click();
    await page.waitForSelector("#approve");
    await approve(page, ACME);
    await page.getByRole("heading", { name: "Waiting for confirmation" }).waitFor();
    await portray(page, "popup-held");
    await demo.api("POST", `/api/hubspot/connect-sessions/${session.id}/complete`, { external_user_id: "user_42" });
    await page.getByRole("heading", { name: "Connected" }).waitFor();
    await page.getByText("You can close this window.").waitFor();
    await portray(page, "link-connected");
    await tabTo(page, ".actions a");
    await page.keyboard.press("Enter");
    await page.waitForURL(`${demo.host}/`);
    await page.goto(session.link);
    await page.getByRole("heading", { name: "This link is no longer valid" }).waitFor();
    await portray(page, "link-ended");

    await page.goto(`${demo.service}/api/docs`);
    await portray(page, "api-docs", { fullPage: false });
    await tabTo(page, 'a[href="#get_access_token"]');
    await page.keyboard.press("Enter");
    await page.locator("#get_access_token").waitFor();
    assert.equal(await page.evaluate(() => Math.round(document.querySelector("#get_access_token").getBoundingClientRect().top) < innerHeight / 2), true);
    await portray(page, "api-docs-token", { fullPage: false });
  });
});

suite(["--session-seconds", "8"], (test) => {
  test("an open page shows when the session ends, and that it has ended", async (stage) => {
    const { demo } = stage;
    await (await stage.connectInTab(ACME)).close();
    const page = await stage.open(demo.service);
    const note = page.locator(".session-end");
    assert.match(await note.innerText(), /Without activity, your session ends .*\d:\d\d.*disconnected, and access is revoked at HubSpot/);
    // The page polls all the while, as it does when it is shown again.
    const ended = page.getByRole("heading", { name: "Your session has ended" });
    await until("the session has ended", async () => {
      await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
      return ended.isVisible();
    });
    assert.equal(page.url(), `${demo.service}/`);
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Your session has ended");
    assert.ok(await page.getByText("Your accounts are disconnected, and access is revoked at HubSpot.").isVisible());
    for (const gone of ["Disconnect", "Log out"]) assert.equal(await page.getByText(gone, { exact: true }).filter({ visible: true }).count(), 0, gone);
    await portray(page, "session-over");
    await page.getByRole("link", { name: "Connect again" }).click();
    await page.waitForURL(`${demo.service}/login`);
  });

  test("an idle page shows that the session has ended, also while it asks whether to disconnect", async (stage) => {
    const { demo } = stage;
    await (await stage.connectInTab(ACME)).close();
    const page = await stage.open(demo.service);
    await page.getByRole("button", { name: "Disconnect" }).click();
    await page.getByRole("heading", { name: "Your session has ended" }).waitFor();
    assert.ok(await page.getByRole("dialog").isHidden());
  });
});

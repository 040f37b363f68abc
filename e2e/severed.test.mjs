// A HubSpot that cuts the popup off from the page that opened it.
import assert from "node:assert/strict";
import { ACME, approve, closesAfterTwoSeconds, heard, suite, timeLastPage } from "./harness.mjs";
import { hold } from "./hosts.mjs";

suite(["--coop", "same-origin"], (test) => {
  test("the login page gets the result by polling without a message from the popup", async (stage) => {
    const { demo } = stage;
    const login = await stage.open(`${demo.service}/login`);
    const popup = await stage.popupOf(login, () => login.click("[data-connect]"));
    const times = timeLastPage(popup);
    await popup.waitForSelector("#approve");
    await login.getByText("If you have closed it, press the button again.").waitFor();
    await login.exposeFunction("tellTest", () => assert.fail("a message came through"));
    await login.evaluate(() => addEventListener("message", () => window.tellTest()));
    assert.equal(await popup.evaluate(() => window.opener), null, "the popup is cut off");
    await approve(popup, ACME);
    await closesAfterTwoSeconds(times);
    await login.waitForURL(`${demo.service}/`);
    assert.equal((await login.textContent("[data-name]")).trim(), ACME.domain);
  });

  test("the login page gets the result on a slow machine and from a slow HubSpot", async (stage) => {
    const consent = await hold(stage.context, /\/oauth\/authorize\?/);
    const login = await stage.open(`${stage.demo.service}/login`);
    const popup = await stage.popupOf(login, () => login.click("[data-connect]"));
    await consent.asked;
    await popup.waitForTimeout(7_000);
    consent.release();
    await popup.waitForSelector("#approve");
    await popup.waitForTimeout(5_000);
    await approve(popup, ACME);
    await login.waitForURL(`${stage.demo.service}/`);
  });

  test("an error stays in a popup that is cut off", async (stage) => {
    const { host, popup } = await stage.startOnHost();
    await popup.click("#deny");
    await popup.waitForSelector("[data-stays]:visible");
    await popup.waitForTimeout(2_800);
    assert.ok(!popup.isClosed());
    assert.match(await popup.innerText("main"), /user_denied/);
    assert.deepEqual(await heard(host), []);
  });
});

/**
 * Makes every `a[data-connect]` open HubSpot in a popup and waits for the result.
 *
 * Without this script the links do the same by redirect, so whatever fails here (a blocked popup,
 * an old browser) falls back to that.
 */
import { HubSpotConnect } from "/static/sdk/hubspot-connect.js";
import { timeLimit } from "./time_limit.js";

const STATUS_URL = "/api/hubspot/status";
const REQUEST_TIMEOUT_MS = 5_000;
const POLL_MS = 250;
const WAIT_MS = 10_000;
const WAITING = "Continue in the window that opened. If you have closed it, press the button again.";

const hubspot = new HubSpotConnect({ service: location.origin });
/** The number of clicks: only the error of the latest one is shown. */
let clicks = 0;

/**
 * @param {string} selector
 * @param {string} text an empty text hides an alert and clears a live region
 */
function show(selector, text) {
  const element = document.querySelector(selector);
  if (!(element instanceof HTMLElement)) return;
  element.textContent = text;
  if (element.getAttribute("role") === "alert") element.hidden = text === "";
}

const showStatus = (/** @type {string} */ text) => show("[data-live]", text);
const showError = (/** @type {string} */ text) => show("[data-connect-error]", text);

/** @returns {Promise<boolean>} whether this browser's session has a connection */
async function hasConnection() {
  const answer = await fetch(STATUS_URL, { cache: "no-store", signal: timeLimit(REQUEST_TIMEOUT_MS) });
  return answer.ok && (await answer.json()).connections.length > 0;
}

/** Polling can return the result before the popup's response has set the session cookie, which the list needs. */
async function succeed() {
  showStatus("Connected. One moment…");
  const deadline = performance.now() + WAIT_MS;
  while (performance.now() < deadline && !(await hasConnection().catch(() => false))) {
    await new Promise((resume) => window.setTimeout(resume, POLL_MS));
  }
  location.assign("/");
}

/** @param {import("./sdk/hubspot-connect.js").HubSpotConnectError} error */
function fail(error) {
  showStatus("");
  // A user who closes the window knows that it is closed.
  showError(error.code === "closed" ? "" : error.message);
}

/** @param {MouseEvent} event */
function onConnectClick(event) {
  // The user asked for a separate tab or window: the link redirects there.
  if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const link = /** @type {HTMLAnchorElement} */ (event.currentTarget);
  event.preventDefault();
  showError("");
  showStatus(WAITING);
  const click = clicks += 1;
  const portalId = new URL(link.href).searchParams.get("portal_id");
  hubspot.connect(portalId === null ? {} : { portalId: Number(portalId) }).then(succeed, (error) => {
    if (error.code === "popup_blocked") location.assign(link.href);
    else if (click === clicks) fail(error);
  });
}

for (const link of document.querySelectorAll("a[data-connect]")) {
  link.addEventListener("click", /** @type {EventListener} */ (onConnectClick));
}
// The page was reloaded while the popup was open.
hubspot.resume().then((connection) => connection && succeed(), (error) => {
  if (clicks === 0) fail(error);
});

/**
 * The last page of the popup: fetches the result once, hands it to the page that opened the
 * window, and closes.
 */
import { timeLimit } from "./time_limit.js";

const HANDOFF_URL = "/auth/hubspot/handoff";
const CLOSE_AFTER_MS = 2_000;
const CLOSE_CHECK_MS = 400;
const RETRY_MS = 500;
const ALONE_RETRY_MS = 1_000;
const MAX_TRIES = 120;
const REQUEST_TIMEOUT_MS = 10_000;

const { flow, outcome, code, returnLink, mode, origin, refused } = document.body.dataset;
// A window that has been closed since can be told nothing either.
const opener = /** @type {Window|null} */ (window.opener?.closed === false ? window.opener : null);
const loadedAt = performance.now();

/**
 * What the hand-off answered.
 * - `delivered`: here is the message, for this page alone
 * - `gone`: it was given out before
 * - `failed`: nobody knows
 * @typedef {{kind: "delivered", origin: string|null, message: object} | {kind: "gone"} | {kind: "failed"}} Handoff
 */

const sleep = (/** @type {number} */ ms) => new Promise((resume) => window.setTimeout(resume, ms));

/** @param {string} name */
function reveal(name) {
  for (const element of document.querySelectorAll("[data-closing], [data-stays]")) {
    /** @type {HTMLElement} */ (element).hidden = !element.hasAttribute(name);
  }
}

/**
 * Asks for the result until it is there: another request may still be exchanging the code.
 * @param {string} flowId
 * @returns {Promise<Handoff>}
 */
async function fetchHandoff(flowId) {
  for (let tries = 0; tries < MAX_TRIES; tries += 1) {
    const response = await fetch(HANDOFF_URL, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ flow: flowId }),
      signal: timeLimit(REQUEST_TIMEOUT_MS),
    });
    if (response.status === 200) {
      // Taken by now: if it cannot be read, the page that began this learns the result by polling.
      return response.json().then((handoff) => ({ ...handoff, kind: "delivered" }), () => ({ kind: "gone" }));
    }
    if (response.status === 410) return { kind: "gone" };
    if (response.status !== 202) break;
    await sleep(RETRY_MS);
  }
  return { kind: "failed" };
}

/**
 * Posts to exactly one origin. The browser drops the message when the opener is of another one,
 * so whoever has navigated or replaced the opening page meanwhile learns nothing.
 * @param {object} message
 * @param {string|null} origin
 * @returns {boolean} whether there was somebody to tell
 */
function tellOpener(message, origin) {
  if (!opener || typeof origin !== "string") return false;
  try {
    // A slash or an asterisk would be valid targets too, but name no single site.
    if (new URL(origin).origin !== origin) return false;
    opener.postMessage(message, origin);
    return true;
  } catch {
    return false;
  }
}

/** @returns {boolean} whether a page of ours opened the window: no other lets us read its address */
function openerIsOurs() {
  try {
    return opener?.location.origin === location.origin;
  } catch {
    return false;
  }
}

/**
 * Reports an error that has no hand-off: the browser has no cookie of such a flow. The service names the page that may
 * be told where it refuses to start; otherwise only pages of its own are told.
 * @returns {boolean} whether an opener was notified
 */
function tellOfProblem() {
  // The opener of a tab that is no popup may be anybody's.
  const isElsewhere = origin && origin !== location.origin;
  const target = isElsewhere ? origin : openerIsOurs() ? location.origin : null;
  const message = document.querySelector("[data-detail]")?.textContent ?? "";
  return tellOpener(
    { type: "hubspot_auth_error", version: 1, flow: refused ?? null, error: { code: code ?? "", message } },
    target,
  );
}

/** Closes two seconds after the page came up; says so when the browser does not allow it. */
async function close() {
  let held = false;
  if (outcome === "error") {
    // Somebody is reading, or copying the support code.
    for (const gesture of ["pointerdown", "keydown"]) {
      window.addEventListener(gesture, () => { held = true; reveal("data-stays"); }, { once: true });
    }
  }
  reveal("data-closing");
  await sleep(Math.max(0, CLOSE_AFTER_MS - (performance.now() - loadedAt)));
  if (held) return;
  window.close();
  // A window that no script has opened cannot be closed by one.
  await sleep(CLOSE_CHECK_MS);
  reveal("data-stays");
}

/**
 * @param {Handoff} handoff
 * @param {boolean} told whether the opener has been told just now
 */
function mayClose(handoff, told) {
  // An error that has reached nobody yet: whoever is looking at it must be able to read it.
  return outcome !== "error" || told || handoff.kind === "gone";
}

/**
 * Nobody is there to be told: the message stays untaken, so that the page that began this can still
 * get its token in another way.
 */
async function runAlone() {
  // Somebody else has the last word, perhaps tomorrow.
  if (outcome === "held") return;
  if (outcome === "waiting") {
    await sleep(ALONE_RETRY_MS);
    location.reload();
  } else if (returnLink) {
    // A page of the opener's origin, which finds the one that waits.
    location.replace(returnLink);
  } else if (outcome === "success") {
    await close();
  } else {
    reveal("data-stays");
  }
}

async function run() {
  // In its own window the page that waits is where this one leads to; whoever has opened that is not meant.
  if (!opener || mode === "redirect") return runAlone();
  /** @type {Handoff} */
  let handoff = { kind: "failed" };
  let told = false;
  if (flow) {
    handoff = await fetchHandoff(flow).catch(() => ({ kind: "failed" }));
  } else if (outcome === "error") {
    told = tellOfProblem();
  }
  if (handoff.kind === "delivered") told = tellOpener(handoff.message, handoff.origin);
  if (outcome === "held" && handoff.kind === "failed") return;
  if (outcome === "waiting" || outcome === "held") {
    // Still no answer: closing would hide that. Else the server now has the page that says how it
    // ended, also if another tab has taken the message; that page's hand-off answers "gone".
    if (handoff.kind === "failed") reveal("data-stays");
    else location.reload();
    return;
  }
  if (mayClose(handoff, told)) await close();
  else reveal("data-stays");
}

// Whatever has failed, the page that began this learns the result by polling. An error stays for the user to read.
run().catch(() => (outcome === "error" ? reveal("data-stays") : close()));

/**
 * The last pages of the popup. The page with the result fetches it once, posts it to the page that
 * opened the window, and closes. Before it, there may be a page that waits for the result.
 */
import { timeLimit } from "./time_limit.js";

const HANDOFF_URL = "/auth/hubspot/handoff";
const CLOSE_AFTER_MS = 2_000;
const CLOSE_CHECK_MS = 400;
const REQUEST_TIMEOUT_MS = 10_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 5_000;
/** The time after which a page stops polling for the next one. A backend may take minutes to confirm. */
const POLLING_ENDS_MS = { waiting: 60_000, held: 600_000 };

const { flow, outcome, code, returnLink, mode, origin, refused } = document.body.dataset;
// No message can reach an opener that has been closed since.
const opener = /** @type {Window|null} */ (window.opener?.closed === false ? window.opener : null);
const loadedAt = performance.now();

/**
 * The response to the hand-off.
 * - `delivered`: the message, which only this page gets
 * - `gone`: the message was handed off before
 * - `failed`: unknown
 * @typedef {{kind: "delivered", origin: string|null, message: object} | {kind: "gone"} | {kind: "failed"}} Handoff
 */

const sleep = (/** @type {number} */ ms) => new Promise((resume) => window.setTimeout(resume, ms));

/** @param {string} name */
function reveal(name) {
  for (const element of document.querySelectorAll("[data-closing], [data-stays]")) {
    /** @type {HTMLElement} */ (element).hidden = !element.hasAttribute(name);
  }
}

/** @param {{flow: string, peek?: boolean}} body */
const post = (body) => fetch(HANDOFF_URL, {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
  signal: timeLimit(REQUEST_TIMEOUT_MS),
});

/**
 * Fetches the result, which the service hands off once.
 * @param {string} flowId
 * @returns {Promise<Handoff>}
 */
async function fetchHandoff(flowId) {
  const response = await post({ flow: flowId });
  if (response.status === 200) {
    // Handed off by now: if it cannot be read, the page that started the flow gets the result by polling.
    return response.json().then((handoff) => ({ ...handoff, kind: "delivered" }), () => ({ kind: "gone" }));
  }
  return { kind: response.status === 410 ? "gone" : "failed" };
}

/**
 * Polls until the server has another page than this one. Peeking does not fetch the result: the page
 * that shows it does, and needs the flow's cookie for that.
 * @param {string} flowId
 * @param {"waiting"|"held"} page the current page
 * @returns {Promise<boolean>} whether there is another page
 */
async function nextPage(flowId, page) {
  for (let pause = FIRST_PAUSE_MS; performance.now() < POLLING_ENDS_MS[page]; pause = Math.min(pause * 1.5, LONGEST_PAUSE_MS)) {
    await sleep(pause);
    try {
      const response = await post({ flow: flowId, peek: true });
      // Another tab has fetched the result, or the cookie has expired: a waiting page reloads, and then says so.
      if (response.status === 404) return page === "waiting";
      if (response.ok && (await response.json()).page !== page) return true;
    } catch {
      // The network may recover.
    }
  }
  return false;
}

/**
 * Posts to exactly one origin. The browser drops the message if the opener has another origin, so a page
 * that has replaced the opening page in the meantime gets nothing.
 * @param {object} message
 * @param {string|null} origin
 * @returns {boolean} whether the message was posted
 */
function postToOpener(message, origin) {
  if (!opener || typeof origin !== "string") return false;
  try {
    // A slash or an asterisk is a valid target too, but names no single origin.
    if (new URL(origin).origin !== origin) return false;
    opener.postMessage(message, origin);
    return true;
  } catch {
    return false;
  }
}

/** @returns {boolean} whether a page of the service opened the window: no other page's address can be read */
function openerIsSameOrigin() {
  try {
    return opener?.location.origin === location.origin;
  } catch {
    return false;
  }
}

/**
 * Reports an error that has no hand-off, because the browser has no cookie of such a flow. If the service refused to
 * start, it names the origin that may get the error; otherwise only its own pages get it.
 * @returns {boolean} whether an opener was notified
 */
function reportProblem() {
  // A tab that is not a popup may have an opener of any origin.
  const isElsewhere = origin && origin !== location.origin;
  const target = isElsewhere ? origin : openerIsSameOrigin() ? location.origin : null;
  const message = document.querySelector("[data-detail]")?.textContent ?? "";
  return postToOpener(
    { type: "hubspot_auth_error", version: 1, flow: refused ?? null, error: { code: code ?? "", message } },
    target,
  );
}

/** Closes the window two seconds after the page was loaded; says so if the browser does not allow it. */
async function close() {
  let held = false;
  if (outcome === "error") {
    // The user is reading, or copying the support code.
    for (const gesture of ["pointerdown", "keydown"]) {
      window.addEventListener(gesture, () => { held = true; reveal("data-stays"); }, { once: true });
    }
  }
  reveal("data-closing");
  await sleep(Math.max(0, CLOSE_AFTER_MS - (performance.now() - loadedAt)));
  if (held) return;
  window.close();
  // A script cannot close a window that no script has opened.
  await sleep(CLOSE_CHECK_MS);
  reveal("data-stays");
}

/**
 * @param {Handoff} handoff
 * @param {boolean} notified whether the opener has just been notified
 * @returns {boolean} whether the window may close by itself
 */
function mayClose(handoff, notified) {
  // An error that no page has received stays, so that the user can read it.
  return outcome !== "error" || notified || handoff.kind === "gone";
}

/**
 * Finishes without an opener. The message is not fetched, so that the page that started the flow can still
 * get its token in another way.
 */
async function runAlone() {
  if (returnLink) {
    // A page of the opener's origin, which notifies the waiting page.
    location.replace(returnLink);
  } else if (outcome === "success") {
    await close();
  } else {
    reveal("data-stays");
  }
}

async function run() {
  if (flow && (outcome === "waiting" || outcome === "held")) {
    if (await nextPage(flow, outcome)) location.reload();
    else reveal("data-stays");
    return;
  }
  // After a redirect the waiting page is the one that this page returns to, and an opener of the window is unrelated.
  if (!opener || mode === "redirect") return runAlone();
  /** @type {Handoff} */
  let handoff = { kind: "failed" };
  let notified = false;
  if (flow) {
    handoff = await fetchHandoff(flow).catch(() => ({ kind: "failed" }));
  } else if (outcome === "error") {
    notified = reportProblem();
  }
  if (handoff.kind === "delivered") notified = postToOpener(handoff.message, handoff.origin);
  if (mayClose(handoff, notified)) await close();
  else reveal("data-stays");
}

// On any failure, the page that started the flow gets the result by polling. An error stays for the user to read.
run().catch(() => (outcome === "error" ? reveal("data-stays") : close()));

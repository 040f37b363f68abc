/**
 * The last pages of the popup. The one with the result fetches it once, hands it to the page that
 * opened the window, and closes. Before that there may be one that waits for the result.
 */
import { timeLimit } from "./time_limit.js";

const HANDOFF_URL = "/auth/hubspot/handoff";
const CLOSE_AFTER_MS = 2_000;
const CLOSE_CHECK_MS = 400;
const REQUEST_TIMEOUT_MS = 10_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 5_000;
/** How long a page asks for the next one. The backend of an application may take its time to confirm. */
const ASKING_ENDS_MS = { waiting: 60_000, held: 600_000 };

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

/** @param {{flow: string, peek?: boolean}} body */
const post = (body) => fetch(HANDOFF_URL, {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
  signal: timeLimit(REQUEST_TIMEOUT_MS),
});

/**
 * Takes the result.
 * @param {string} flowId
 * @returns {Promise<Handoff>}
 */
async function fetchHandoff(flowId) {
  const response = await post({ flow: flowId });
  if (response.status === 200) {
    // Taken by now: if it cannot be read, the page that began this learns the result by polling.
    return response.json().then((handoff) => ({ ...handoff, kind: "delivered" }), () => ({ kind: "gone" }));
  }
  return { kind: response.status === 410 ? "gone" : "failed" };
}

/**
 * Waits until the server has another page than this one. The result stays untaken: the page that
 * shows it takes it, and needs the cookie that goes with it.
 * @param {string} flowId
 * @param {"waiting"|"held"} page this one
 * @returns {Promise<boolean>} whether there is another page
 */
async function nextPage(flowId, page) {
  for (let pause = FIRST_PAUSE_MS; performance.now() < ASKING_ENDS_MS[page]; pause = Math.min(pause * 1.5, LONGEST_PAUSE_MS)) {
    await sleep(pause);
    try {
      const response = await post({ flow: flowId, peek: true });
      // Another tab has taken the result, or the cookie has expired. Who waits is told so.
      if (response.status === 404) return page === "waiting";
      if (response.ok && (await response.json()).page !== page) return true;
    } catch {
      // The network may come back.
    }
  }
  return false;
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
  if (returnLink) {
    // A page of the opener's origin, which finds the one that waits.
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
  if (mayClose(handoff, told)) await close();
  else reveal("data-stays");
}

// Whatever has failed, the page that began this learns the result by polling. An error stays for the user to read.
run().catch(() => (outcome === "error" ? reveal("data-stays") : close()));

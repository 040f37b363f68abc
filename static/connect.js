/**
 * Makes every `a[data-connect]` open HubSpot in a popup and waits for the result.
 *
 * Without this script the links do the same by redirect, so whatever fails here before
 * `preventDefault` (a blocked popup, an old browser) falls back to that by itself.
 *
 * The result can come on two ways and the first one wins: a message from the popup, or a change
 * in the list of connections. The second is needed because a Cross-Origin-Opener-Policy header
 * on HubSpot's side cuts the popup off for good: no message, and `popup.closed` reads true while
 * the window is open. `closed` therefore never ends the wait.
 */

const STATUS_URL = "/api/hubspot/status";
const POLL_MS = 2_000;
const GIVE_UP_MS = 10 * 60_000;
const POPUP_WIDTH = 600;
const POPUP_HEIGHT = 700;

/**
 * One attempt to connect.
 * @typedef {object} Attempt
 * @property {Window} popup
 * @property {number} deadline when to stop asking, in `Date.now()` milliseconds
 * @property {string|null} before the connections there were at the click; null until known
 * @property {number|undefined} timer
 * @property {boolean} asking whether a status request is on its way
 */

/** @type {Attempt|null} */
let attempt = null;

/** @returns {string} window features that put the popup in the middle of this window */
function popupFeatures() {
  const left = Math.max(0, Math.round(window.screenX + (window.outerWidth - POPUP_WIDTH) / 2));
  const top = Math.max(0, Math.round(window.screenY + (window.outerHeight - POPUP_HEIGHT) / 2));
  return `popup,width=${POPUP_WIDTH},height=${POPUP_HEIGHT},left=${left},top=${top}`;
}

/**
 * @param {string} selector
 * @param {string} text nothing hides an alert and empties a live region
 */
function show(selector, text) {
  const element = document.querySelector(selector);
  if (!(element instanceof HTMLElement)) return;
  element.textContent = text;
  if (element.getAttribute("role") === "alert") element.hidden = text === "";
}

const showStatus = (/** @type {string} */ text) => show("[data-live]", text);
const showError = (/** @type {string} */ text) => show("[data-connect-error]", text);

/**
 * What tells a connection made now from those there were. A reconnect keeps the id, so the time
 * of connecting counts, and whether the connection is still one that only a person can mend.
 * @param {{id: string, connected_at?: string, expires_at?: string|null, state?: string}[]} connections
 * @returns {string}
 */
function fingerprint(connections) {
  return connections
    .filter(({ state }) => state !== "disconnected")
    .map(({ id, connected_at, expires_at, state }) => {
      const broken = state === "needs_reauth" || state === "integrity_error";
      return [id, connected_at ?? expires_at ?? "", broken].join(" ");
    })
    .sort()
    .join("\n");
}

/** @returns {Promise<string|null>} null when the service did not answer; the next poll asks again */
async function readFingerprint() {
  try {
    const response = await fetch(STATUS_URL, {
      cache: "no-store",
      headers: { accept: "application/json" },
      signal: AbortSignal.timeout(10_000),
    });
    if (!response.ok) return null;
    const status = await response.json();
    return fingerprint(status.connections ?? []);
  } catch {
    return null;
  }
}

/** Ends the attempt, so that a late or repeated message finds nobody waiting. */
function endAttempt() {
  if (attempt) window.clearTimeout(attempt.timer);
  attempt = null;
}

function succeed() {
  endAttempt();
  showStatus("Connected. One moment…");
  location.assign("/");
}

/** @param {string} message */
function fail(message) {
  endAttempt();
  showStatus("");
  showError(message);
}

/** Asks once whether the list of connections has changed, and plans the next question. */
async function poll() {
  const current = attempt;
  if (!current || current.asking) return;
  if (Date.now() > current.deadline) {
    fail("The time to connect has run out. Please start again.");
    return;
  }
  window.clearTimeout(current.timer);
  current.asking = true;
  const now = await readFingerprint();
  current.asking = false;
  // A message may have settled it, or a new click replaced it, while the answer was on its way.
  if (attempt !== current) return;
  if (now !== null) {
    current.before ??= now;
    if (now !== current.before) {
      succeed();
      return;
    }
  }
  if (current.popup.closed) {
    showStatus("Continue in the window that opened. If you have closed it, press the button again.");
  }
  current.timer = window.setTimeout(poll, POLL_MS);
}

/** @param {MouseEvent} event */
function onConnectClick(event) {
  // The person asked for a tab or a window of their own: that is the redirect way.
  if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const link = /** @type {HTMLAnchorElement} */ (event.currentTarget);

  if (attempt && !attempt.popup.closed) {
    event.preventDefault();
    attempt.popup.focus();
    return;
  }

  // In the click itself, or popup blockers step in. A random name, because a name that can be
  // guessed lets another page reach this window, and two attempts would share it.
  const popup = window.open(link.href, `hsc_${crypto.randomUUID()}`, popupFeatures());
  if (!popup) return;
  event.preventDefault();

  endAttempt();
  showError("");
  showStatus("Continue in the window that opened.");
  attempt = {
    popup,
    deadline: Date.now() + GIVE_UP_MS,
    before: "noneConnected" in document.body.dataset ? "" : null,
    timer: undefined,
    asking: false,
  };
  // The first answer is also the state before the click: nobody gets through HubSpot that fast.
  void poll();
}

/** @param {MessageEvent} event */
function onMessage(event) {
  if (!attempt || event.origin !== location.origin || event.source !== attempt.popup) return;
  const { data } = event;
  if (typeof data !== "object" || data === null || data.version !== 1) return;
  if (data.type === "hubspot_auth_success") {
    succeed();
  } else if (data.type === "hubspot_auth_error") {
    const message = data.error?.message;
    fail(typeof message === "string" && message ? message : "HubSpot could not be connected. Please try again.");
  }
}

for (const link of document.querySelectorAll("a[data-connect]")) {
  link.addEventListener("click", /** @type {EventListener} */ (onConnectClick));
}
window.addEventListener("message", onMessage);
// Phones freeze the page behind the popup: ask at once when it is looked at again.
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") void poll();
});

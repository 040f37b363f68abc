/**
 * The connections page: counts down to each refresh, keeps in step with the server, disconnects, and
 * says when the session ends. Its polls do not keep the session alive.
 */
import { timeLimit } from "./time_limit.js";

const STATUS_URL = "/api/hubspot/status";
const DISCONNECT_URL = "/api/hubspot/disconnect";
const RESYNC_MS = 30_000;
const REFRESHING_MS = 2_000;
const REQUEST_TIMEOUT_MS = 15_000;
/** The service writes its times in whole seconds. */
const ROUNDING_MS = 1_000;

const BADGES = {
  active: "Active",
  degraded: "Degraded",
  needs_reauth: "Needs reconnecting",
  integrity_error: "Unreadable",
};

/**
 * One connection as `GET /api/hubspot/status` returns it.
 * @typedef {object} Connection
 * @property {string} id
 * @property {string} status
 * @property {string} [status_text]
 * @property {number|null} seconds_until_refresh
 * @property {string|null} expires_at
 */

/**
 * The time at which each card's refresh is due, in `Date.now()` milliseconds: unlike a counter, it stays right
 * when the browser throttles timers or the machine sleeps. No entry: no refresh is planned.
 * @type {Map<string, number>}
 */
const due = new Map();

/** The time at which the session ends without activity, in `Date.now()` milliseconds. */
let sessionEndsAt = Infinity;
let sessionIsOver = false;

/** @type {number|undefined} */
let syncTimer;
let syncing = false;

/** @returns {HTMLElement[]} */
const cards = () => [...document.querySelectorAll("[data-connection]")];
const idOf = (/** @type {HTMLElement} */ card) => card.dataset.connection ?? "";

/**
 * @param {ParentNode} parent
 * @param {string} selector
 * @returns {any} the element; the templates always have it
 */
const part = (parent, selector) => parent.querySelector(selector);

/** @param {string} text */
function announce(text) {
  part(document, "[data-live]").textContent = text;
}

/**
 * @param {string} id
 * @param {number|null|undefined} seconds
 */
function setDue(id, seconds) {
  if (typeof seconds === "number") due.set(id, Date.now() + seconds * 1_000);
  else due.delete(id);
}

/**
 * @param {string} id
 * @returns {number|null} whole seconds left, 0 when the refresh is due, null when none is planned
 */
function secondsLeft(id) {
  const at = due.get(id);
  return at === undefined ? null : Math.max(0, Math.round((at - Date.now()) / 1_000));
}

const anyRefreshing = () => cards().some((card) => secondsLeft(idOf(card)) === 0);

/** @param {HTMLElement} card */
function drawCountdown(card) {
  const left = secondsLeft(idOf(card));
  let text = "no refresh planned";
  if (left !== null) text = left > 0 ? `refresh in ${left} s` : "refreshing…";
  const countdown = part(card, "[data-countdown]");
  if (countdown.textContent === text) return;
  countdown.textContent = text;
  // Just reached zero: from now on the short interval counts.
  if (left === 0) planSync();
}

/** Shows times in the user's time zone and language. The server writes them in UTC. */
function drawTimes() {
  const short = { month: "short", day: "numeric", hour: "numeric", minute: "2-digit" };
  const withYear = new Intl.DateTimeFormat(undefined, { ...short, year: "numeric" });
  const thisYear = new Intl.DateTimeFormat(undefined, short);
  for (const time of document.querySelectorAll("time[data-time]")) {
    const at = new Date(time.getAttribute("datetime") ?? "");
    if (Number.isNaN(at.valueOf())) continue;
    const format = at.getFullYear() === new Date().getFullYear() ? thisYear : withYear;
    time.textContent = format.format(at);
  }
}

/**
 * @param {HTMLElement} card
 * @param {Connection} connection
 */
function updateCard(card, connection) {
  setDue(connection.id, connection.seconds_until_refresh);
  drawCountdown(card);

  part(card, "[data-expiry]").hidden = !connection.expires_at;
  part(card, "[data-expires]").setAttribute("datetime", connection.expires_at ?? "");

  if (card.dataset.status === connection.status) return;
  card.dataset.status = connection.status;
  part(card, "[data-badge]").textContent = BADGES[connection.status] ?? connection.status;
  // The wording of statuses belongs to the server.
  part(card, "[data-sentence]").textContent =
    connection.status_text ?? "This has just changed. Reload the page for the details.";
  part(card, "[data-connect]")?.classList.toggle("primary", connection.status !== "active" && connection.status !== "degraded");
  announce(`${nameOf(card)}: ${BADGES[connection.status] ?? connection.status}.`);
}

/** @param {Connection[]} connections */
function updateCards(connections) {
  const alive = new Map(connections.filter(({ status }) => status !== "disconnected").map((one) => [one.id, one]));
  for (const card of cards()) {
    const connection = alive.get(idOf(card));
    if (connection) updateCard(card, connection);
    else removeCard(card);
    alive.delete(idOf(card));
  }
  // Not reloaded automatically: the user may be reading, or about to press a button.
  if (alive.size > 0) announce("Another account was connected elsewhere. Reload the page to see it.");
  drawTimes();
}

/**
 * @param {string} expiresAt
 * @param {Response} response
 */
function updateSessionEnd(expiresAt, response) {
  // The clock of this machine may be wrong; the service's own clock came with the answer.
  const ahead = Date.now() - Date.parse(response.headers.get("date") ?? "");
  sessionEndsAt = Date.parse(expiresAt) + (Number.isNaN(ahead) ? 0 : ahead);
  part(document, "[data-session-end]").setAttribute("datetime", expiresAt);
}

/** Says that the session has ended, and hides what it can no longer do. */
function showSessionOver() {
  sessionIsOver = true;
  document.querySelector("dialog")?.close();
  part(document, "[data-session]").hidden = true;
  part(document, ".nav").hidden = true;
  const over = part(document, "[data-session-over]");
  over.hidden = false;
  part(over, "h1").focus();
}

/** Plans the next sync: soon while a refresh is due, as soon as the session must have ended, otherwise at the usual interval. */
function planSync() {
  window.clearTimeout(syncTimer);
  if (sessionIsOver) return;
  const usual = anyRefreshing() ? REFRESHING_MS : RESYNC_MS;
  const left = sessionEndsAt - Date.now();
  syncTimer = window.setTimeout(sync, left > 0 ? Math.min(usual, left + ROUNDING_MS) : usual);
}

async function sync() {
  if (syncing) return;
  syncing = true;
  try {
    const response = await fetch(STATUS_URL, {
      cache: "no-store",
      headers: { accept: "application/json" },
      signal: timeLimit(REQUEST_TIMEOUT_MS),
    });
    if (response.ok) {
      const status = await response.json();
      if (status.authenticated) {
        updateSessionEnd(status.session_expires_at, response);
        updateCards(status.connections);
      } else if (Date.now() >= sessionEndsAt - ROUNDING_MS) {
        showSessionOver();
      } else {
        location.assign("/login");
      }
    }
  } catch {
    // The service is briefly unavailable. The countdown continues, and the next poll corrects it.
  } finally {
    syncing = false;
    planSync();
  }
}

/** @param {HTMLElement} card */
const nameOf = (card) => part(card, "[data-name]").textContent.trim();

/** @param {HTMLElement} card */
function removeCard(card) {
  const name = nameOf(card);
  const hadFocus = card.contains(document.activeElement);
  const neighbour = card.nextElementSibling ?? card.previousElementSibling;
  due.delete(idOf(card));
  card.remove();
  if (cards().length === 0) {
    location.assign("/login");
    return;
  }
  announce(`${name} is disconnected.`);
  // For keyboard users the focus must not fall back to the top of the page.
  if (hadFocus && neighbour instanceof HTMLElement) neighbour.focus();
}

/**
 * @param {string} connectionId
 * @returns {Promise<string|null>} what went wrong, as a sentence; null when it is disconnected
 */
async function disconnect(connectionId) {
  try {
    const response = await fetch(DISCONNECT_URL, {
      method: "POST",
      headers: { "content-type": "application/json", "Hubspot-Connect-Csrf": document.body.dataset.csrf ?? "" },
      body: JSON.stringify({ connection_id: connectionId }),
      signal: timeLimit(REQUEST_TIMEOUT_MS),
    });
    // 404: the connection has already ended, which is what the user wants.
    if (response.ok || response.status === 404) return null;
    if (response.status === 401) void sync();
    const problem = await response.json().catch(() => ({}));
    const code = problem.request_id ? ` Support code: ${problem.request_id}` : "";
    return `${problem.detail ?? problem.title ?? "This did not work. Please try again."}${code}`;
  } catch {
    return "The service did not respond. Please try again.";
  }
}

/** Wires the one dialog that asks before anything is disconnected. */
function setUpDisconnect() {
  const dialog = part(document, "[data-ask]");
  const yes = part(dialog, "[data-ask-yes]");
  const error = part(dialog, "[data-ask-error]");
  /** @type {HTMLElement|null} */
  let asked = null;

  /** @param {string|null} text */
  const showError = (text) => {
    error.textContent = text ?? "";
    error.hidden = !text;
  };

  for (const card of cards()) {
    const button = part(card, "[data-disconnect]");
    button.hidden = false;
    button.addEventListener("click", () => {
      asked = card;
      part(dialog, "[data-ask-name]").textContent = nameOf(card);
      showError(null);
      dialog.showModal();
    });
  }
  part(dialog, "[data-ask-no]").addEventListener("click", () => dialog.close());
  yes.addEventListener("click", async () => {
    const card = asked;
    if (!card) return;
    yes.disabled = true;
    showError(null);
    const problem = await disconnect(idOf(card));
    yes.disabled = false;
    // The dialog may have been closed with Esc: the result still counts, and another dialog may be open by now.
    const stillOpen = dialog.open && asked === card;
    if (problem === null) {
      if (stillOpen) dialog.close();
      if (card.isConnected) removeCard(card);
    } else if (stillOpen) {
      showError(problem);
    } else {
      announce(problem);
    }
  });
}

for (const card of cards()) {
  if (card.dataset.seconds !== undefined) setDue(idOf(card), Number(card.dataset.seconds));
}
sessionEndsAt = Date.now() + Number(part(document, "[data-session]").dataset.seconds) * 1_000;
drawTimes();
setUpDisconnect();
window.setInterval(() => cards().forEach(drawCountdown), 1_000);
planSync();
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") void sync();
});

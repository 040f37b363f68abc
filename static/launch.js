/**
 * The popup's first page, if the page that opened it polls for the result with a secret of its own.
 *
 * It sends the opener the id of the flow. If the browser did not name the sender of the form, the
 * opener must present a key whose hash came with the form; without the key the user is asked
 * whether they started this, and the result then stays in this browser.
 */
import { timeLimit } from "./time_limit.js";

const LAUNCH_URL = "/auth/hubspot/launch";
const RELOAD_URL = "/auth/hubspot/launched";
const KEY_WAIT_MS = 1_500;

const { flow, origin, proven, binding } = document.body.dataset;
const authorizeUrl = document.body.dataset.authorizeUrl || history.state?.authorizeUrl;
const opener = /** @type {Window|null} */ (window.opener?.closed === false ? window.opener : null);

function goOn() {
  // HubSpot may be slow, and the user may reload: the form must not be sent again, because its challenge has been used.
  history.replaceState({ authorizeUrl }, "", RELOAD_URL);
  location.replace(authorizeUrl ?? "/login");
}

/** Asks the user, once. */
function ask() {
  for (const element of document.querySelectorAll("[data-leaving], [data-ask]")) {
    /** @type {HTMLElement} */ (element).hidden = !element.hasAttribute("data-ask");
  }
  /** @type {HTMLElement|null} */ (document.querySelector("[data-ask] h1"))?.focus();
}

/** @returns {Promise<string>} the key, from the opener at the one origin, whenever it comes */
function keyFromOpener() {
  return new Promise((resolve) => {
    window.addEventListener("message", ({ origin: sender, source, data }) => {
      if (sender !== origin || source !== opener) return;
      if (data?.type !== "hubspot_auth_key" || data.version !== 1 || data.flow !== flow) return;
      if (typeof data.opener_key !== "string") return;
      resolve(data.opener_key);
    });
  });
}

/**
 * Sends the key to the service. The response sets the cookie of this flow.
 * @param {string} key
 */
async function prove(key) {
  const response = await fetch(LAUNCH_URL, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ flow, opener_key: key, binding }),
    signal: timeLimit(10_000),
  });
  if (!response.ok) throw new Error(`the key was rejected: ${response.status}`);
}

async function run() {
  const needsKey = proven !== "true";
  const key = keyFromOpener();
  if (opener && origin) {
    opener.postMessage({ type: "hubspot_auth_hello", version: 1, flow, needs_key: needsKey }, origin);
  }
  if (!needsKey) return goOn();
  if (!opener) return ask();
  // The opener may just be slow: its key is still accepted while the user is asked.
  const timer = window.setTimeout(ask, KEY_WAIT_MS);
  await key.then((text) => {
    window.clearTimeout(timer);
    return prove(text);
  }).then(goOn, ask);
}

void run();

/**
 * The page of a hosted link. The token in the fragment is removed from the address at once, and
 * sent only in bodies. The browser's history keeps the address that was opened, so the token is
 * exchanged when the user continues: from then on only this tab can continue, or retry.
 */
import { timeLimit } from "./time_limit.js";

const LINK_URL = "/auth/hubspot/link";
const OPEN_URL = "/auth/hubspot/link/open";
const KEPT = "hubspot-connect:link";

/** @param {string} name */
const part = (name) => /** @type {HTMLElement} */ (document.querySelector(`[data-${name}]`));

/** @param {"ask" | "over"} name */
function show(name) {
  for (const section of ["loading", "ask", "over"]) part(section).hidden = section !== name;
  part(name).querySelector("h1")?.focus();
}

/**
 * @param {string} name
 * @param {string[]} texts
 * @param {string} className
 */
function list(name, texts, className) {
  part(name).replaceChildren(...texts.map((text) => {
    const item = document.createElement("li");
    item.className = className;
    // User input: text, never HTML.
    item.textContent = text;
    return item;
  }));
}

/**
 * @param {string} url
 * @param {string} token
 * @returns {Promise<any>} the response, or null after the page has shown the error
 */
async function post(url, token) {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ token }),
    signal: timeLimit(10_000),
  });
  const answer = await response.json();
  if (response.ok) return answer;
  if (response.status !== 410) part("reason").textContent = answer.detail;
  show("over");
  return null;
}

/** @returns {{link: string, token: string} | null} the link that this tab has opened, and its token */
function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
  } catch {
    return null;
  }
}

/** @param {{link: string, token: string}} opened */
function keep(opened) {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(opened));
  } catch {
    // This page can continue; only a second attempt in this tab needs a new link.
  }
}

async function run() {
  const link = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  const opened = kept();
  let token = link;
  let isOpen = false;
  if (opened && (!link || link === opened.link)) [token, isOpen] = [opened.token, true];
  if (!token) return show("over");
  const answer = await post(LINK_URL, token);
  if (!answer) return;
  part("requested-by").textContent = answer.requested_by;
  if (answer.application !== null) {
    part("to-application").textContent = ` to ${answer.application}`;
    part("application").textContent = answer.application;
  }
  list("applications", answer.applications, "origin");
  list("scopes", [...answer.scopes, ...answer.optional_scopes], "chip");
  part("account").hidden = answer.portal_id === null;
  part("portal-id").textContent = answer.portal_id;
  part("expires").textContent = new Date(answer.expires_at).toLocaleString();
  const field = /** @type {HTMLInputElement} */ (document.querySelector("[name=connect_session]"));
  const form = /** @type {HTMLFormElement} */ (field.form);
  const button = /** @type {HTMLButtonElement} */ (form.querySelector("button"));
  const goOn = async () => {
    if (!isOpen) {
      const page = await post(OPEN_URL, token);
      if (!page) return;
      [token, isOpen] = [page.token, true];
      keep({ link, token });
    }
    field.value = token;
    form.submit();
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    // A second click must not exchange the link again.
    button.disabled = true;
    goOn().catch(unreachable);
  });
  // The Back button may show this page again as the browser has kept it.
  window.addEventListener("pageshow", () => { button.disabled = false; });
  show("ask");
}

function unreachable() {
  part("reason").textContent = "This service could not be reached. Open the link again.";
  show("over");
}

run().catch(unreachable);

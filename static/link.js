/**
 * The page behind a hosted link. What opens it stands behind the `#`: it is taken out of the
 * address at once, and sent in bodies alone.
 */

const LINK_URL = "/auth/hubspot/link";

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
    // Somebody else has written it.
    item.textContent = text;
    return item;
  }));
}

async function run() {
  const token = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  if (!token) return show("over");
  const response = await fetch(LINK_URL, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ token }),
    signal: AbortSignal.timeout(10_000),
  });
  const answer = await response.json();
  if (!response.ok) {
    if (response.status !== 410) part("reason").textContent = answer.detail;
    return show("over");
  }
  part("requested-by").textContent = answer.requested_by;
  list("applications", answer.applications, "origin");
  list("scopes", [...answer.scopes, ...answer.optional_scopes], "chip");
  part("account").hidden = answer.hub_id === null;
  part("hub-id").textContent = answer.hub_id;
  part("expires").textContent = new Date(answer.expires_at).toLocaleString();
  const field = /** @type {HTMLInputElement} */ (document.querySelector("[name=connect_session]"));
  field.value = token;
  show("ask");
}

run().catch(() => {
  part("reason").textContent = "This service could not be reached. Open the link again.";
  show("over");
});

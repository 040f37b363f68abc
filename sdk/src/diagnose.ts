/** Checks what would prevent `connect()` from working on this page. A separate module, because it is rarely needed. */
import type { Finding } from "./api";
import { make } from "./make.ts";
import { timeLimit } from "./wire.ts";

const CLOCK_MS = 60_000;

/** A request and whether a policy of this page has forbidden it. */
async function attempt(url: string, init: RequestInit): Promise<{ response: Response | null; forbidden: boolean }> {
  let forbidden = false;
  const note = (event: SecurityPolicyViolationEvent) => {
    forbidden ||= event.disposition === "enforce" && event.effectiveDirective === "connect-src" && url.startsWith(event.blockedURI);
  };
  document.addEventListener("securitypolicyviolation", note);
  const response = await fetch(url, { credentials: "omit", cache: "no-store", signal: timeLimit(10_000), ...init })
    .catch(() => null);
  // The report is an event of its own, and may come after the failure.
  if (!response) await new Promise((done) => setTimeout(done, 100));
  document.removeEventListener("securitypolicyviolation", note);
  return { response, forbidden };
}

/** Hosts that exist only in a local network, as far as their names show. */
const PRIVATE = /^(localhost|.+\.(localhost|local|internal|home\.arpa)|(127|10)(\.\d+){3}|(192\.168|169\.254|172\.(1[6-9]|2\d|3[01]))(\.\d+){2}|\[(::1|f[cd].+|fe[89ab].+)\])$/;
export const isPrivate = (host: string) => PRIVATE.test(host);

/** Web views of apps. The app decides whether a new window opens, and most return none to the page. */
const WEB_VIEW = /; wv\)|\bFBA[NV]\b|Instagram|\bLine\/|\bMicroMessenger\b|(iPhone|iPad).*AppleWebKit(?!.*Safari\/)/;
export const isWebView = (userAgent: string) => WEB_VIEW.test(userAgent);

/** The state of Chrome's permission for requests to the local network; null where the browser has no such permission. */
async function localNetworkPermission(host: string): Promise<PermissionState | null> {
  const loopback = /^(localhost|.+\.localhost|127\..+|\[::1\])$/.test(host);
  // Newer versions have one permission for each; older ones have one for both.
  for (const name of [loopback ? "loopback-network" : "local-network", "local-network-access"]) {
    const state = await navigator.permissions?.query({ name: name as PermissionName }).then((status) => status.state, () => null);
    if (state) return state;
  }
  return null;
}

/** Observations about the last `connect()`. */
export interface Seen {
  /** The browser returned no window, but this page lost the focus immediately. */
  lostFocus: boolean;
}

export async function diagnose(service: string, seen: Seen): Promise<Finding[]> {
  const findings: Finding[] = [];
  const add = (check: Finding["check"], ok: boolean | null, detail: string, remedy?: string) => {
    findings.push({ check, ok, detail, ...(ok !== true && remedy && { remedy }) });
  };

  add("secure_context", isSecureContext, isSecureContext ? "The page is secure." : "The page is not encrypted.",
    "Serve it over https; plain http is sufficient on a loopback address.");

  const opaque = origin === "null";
  add("sandbox", !opaque, opaque
    ? "A sandbox removed the page's origin."
    : isFramed() ? "The page is in a frame and has kept its origin." : "The page is not in a frame.",
    "Give the frame's sandbox allow-scripts, allow-same-origin, allow-forms, allow-popups and allow-popups-to-escape-sandbox.");

  // Any verifier works: the response is that the authorization request is unknown.
  const verifier = "A".repeat(43);
  const [status, alive] = await Promise.all([
    attempt(`${service}/api/hubspot/status`, { headers: { "hubspot-connect-verifier": verifier } }),
    attempt(`${service}/livez`, { mode: "no-cors" }),
  ]);
  const { response, forbidden } = status;

  add("connect_src", !forbidden, forbidden ? "The page's policy forbids requests to the service." : "The page's policy allows requests to the service.",
    `Add ${service} to connect-src of the page's Content-Security-Policy.`);
  const reached = !!(response ?? alive.response);
  add("service_reachable", forbidden ? null : reached, reached ? "The service responds." : forbidden ? "The policy hides it." : "The service is unavailable.",
    `Check that ${service} is the address of the service and that it runs.`);
  add("origin_listed", response ? true : reached ? false : null,
    response ? `${location.origin} may connect.` : reached ? `The service does not list ${location.origin}.` : "The service cannot be asked.",
    `Add ${location.origin} to HOST_ORIGINS of the service.`);

  const remote = new URL(service).hostname;
  const intoPrivate = isPrivate(remote) && !isPrivate(location.hostname);
  add("private_address", !intoPrivate, intoPrivate
    ? `The service is on a private address (${remote}) and this page is not: only users of that network reach it, and browsers guard requests to it.`
    : isPrivate(remote) ? "The service and the page are both on a private address." : "The name of the service is not that of a private address.",
    "Give the service a public https address, or open this page from the same network.");

  const permission = await localNetworkPermission(remote);
  // A public name may lead to a private address as well, which a page cannot see.
  const matters = intoPrivate || (!reached && !forbidden);
  add("local_network_permission", !matters || permission === null || permission === "granted" ? true : permission === "denied" ? false : null,
    permission === null ? "The browser has no permission for requests to the local network, or does not report it."
      : `The browser's permission for requests to the local network: ${permission}. It matters if the service is on a private address.`,
    "Allow \"Local network access\" for this site in the browser's site settings. In a frame, the page around it must allow it too (allow=\"local-network-access\").");

  const own = await attempt(location.href, { method: "HEAD", credentials: "same-origin" });
  const header = (name: string) => own.response?.headers.get(name) ?? "";
  const formAction = /(?:^|[;,])\s*form-action\s+([^;,]*)/i.exec(header("content-security-policy"))?.[1];
  const allowed = formAction === undefined || formAction.split(/\s+/).some((source) =>
    source === "*" || source.replace(/\/$/, "") === service || source === new URL(service).host || (source === "'self'" && service === location.origin));
  add("form_action", own.response ? (allowed ? true : null) : null,
    !own.response ? "The page's headers cannot be read." : allowed ? "The page's policy allows the form, as far as its headers show."
      : `The page's policy may forbid the form to the service (form-action ${formAction}). The popup then navigates there without a form.`,
    `Add ${service} to form-action.`);

  const policy = header("cross-origin-opener-policy").split(";")[0]?.trim() ?? "";
  const severs = crossOriginIsolated || policy === "same-origin" || policy.startsWith("noopener");
  add("opener_policy", severs ? false : own.response ? true : null, severs
    ? "The page severs its popups: results come only by polling, and a closed popup is not noticed."
    : own.response ? "The page keeps its popups." : "The page's headers cannot be read.",
    "Send Cross-Origin-Opener-Policy: same-origin-allow-popups, or none.");

  add("cookies", navigator.cookieEnabled, navigator.cookieEnabled ? "The browser accepts cookies." : "The browser accepts no cookies.",
    "Allow cookies for the service.");

  const storage = keeps();
  add("third_party_storage", storage, storage ? "The page may store something in this tab." : "The browser denies storage to this page, as it may in frames of another site.",
    "Without storage a reload cannot be resumed, and a redirect is not possible: use the popup, or open the page in its own tab.");

  const inView = isWebView(navigator.userAgent);
  add("web_view", seen.lostFocus ? false : inView ? null : true, seen.lostFocus
    ? "The browser has opened a window and returned none to the page, as web views of apps do: connect() then rejects with popup_blocked."
    : inView ? "The page is in an app's web view, which may open a window and return none to the page." : "The page is in no known web view.",
    "Use fallback: \"redirect\" or mode: \"redirect\", or open the page in the system's browser.");

  const date = Date.parse(response?.headers.get("date") ?? "");
  const apart = Math.abs(Date.now() - date);
  add("clock", Number.isNaN(date) ? null : apart <= CLOCK_MS,
    Number.isNaN(date) ? "The service does not report its time." : `The clocks are ${Math.round(apart / 1000)} s apart.`,
    "Set this device's clock.");
  return findings;
}

function keeps(): boolean {
  try {
    sessionStorage.setItem("hubspot-connect:diagnose", "1");
    sessionStorage.removeItem("hubspot-connect:diagnose");
    return true;
  } catch {
    return false;
  }
}

function isFramed(): boolean {
  try {
    return window !== window.top;
  } catch {
    return true;
  }
}

/** Returns the list of reasons why HubSpot may not send a user back. */
export function reasons(scopes = ""): HTMLElement {
  const list = make("ul");
  for (const textContent of [
    "You may not be a super admin of the account.",
    `The account may lack what is requested${scopes && `: ${scopes}`}.`,
    "HubSpot may have shown an error, or the popup was closed.",
  ]) {
    list.append(make("li", { textContent }));
  }
  return list;
}

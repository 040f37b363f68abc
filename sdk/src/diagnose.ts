/** Looks for what would keep `connect()` from working on this page. A module of its own: it is rarely needed. */
import type { Finding } from "./api";
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

export async function diagnose(service: string): Promise<Finding[]> {
  const findings: Finding[] = [];
  const add = (check: Finding["check"], ok: boolean | null, detail: string, remedy?: string) => {
    findings.push({ check, ok, detail, ...(ok !== true && remedy && { remedy }) });
  };

  add("secure_context", isSecureContext, isSecureContext ? "The page is secure." : "The page is not encrypted.",
    "Serve it over https; plain http will do on a loopback address.");

  const opaque = origin === "null";
  add("sandbox", !opaque, opaque
    ? "A sandbox has taken the page's origin."
    : isFramed() ? "The page is in a frame that has kept its origin." : "The page is not in a frame.",
    "Give the frame's sandbox allow-scripts, allow-same-origin, allow-forms, allow-popups and allow-popups-to-escape-sandbox.");

  // Any verifier will do: the answer says that the attempt is not known.
  const verifier = "A".repeat(43);
  const [status, alive] = await Promise.all([
    attempt(`${service}/api/hubspot/status`, { headers: { "x-hsc-verifier": verifier } }),
    attempt(`${service}/livez`, { mode: "no-cors" }),
  ]);
  const { response, forbidden } = status;

  add("connect_src", !forbidden, forbidden ? "The page's policy forbids requests to the service." : "The page's policy allows requests to the service.",
    `Add ${service} to connect-src of the page's Content-Security-Policy.`);
  const reached = !!(response ?? alive.response);
  add("service_reachable", forbidden ? null : reached, reached ? "The service answers." : forbidden ? "The policy hides it." : "The service does not answer.",
    `Check that ${service} is the address of the service and that it runs.`);
  add("origin_listed", response ? true : reached ? false : null,
    response ? `${location.origin} may connect.` : reached ? `The service does not know ${location.origin}.` : "It cannot be asked.",
    `Add ${location.origin} to HOST_ORIGINS of the service.`);

  const own = await attempt(location.href, { method: "HEAD", credentials: "same-origin" });
  const header = (name: string) => own.response?.headers.get(name) ?? "";
  const formAction = /(?:^|[;,])\s*form-action\s+([^;,]*)/i.exec(header("content-security-policy"))?.[1];
  const allowed = formAction === undefined || formAction.split(/\s+/).some((source) =>
    source === "*" || source.replace(/\/$/, "") === service || source === new URL(service).host || (source === "'self'" && service === location.origin));
  add("form_action", own.response ? (allowed ? true : null) : null,
    !own.response ? "The page's headers cannot be read." : allowed ? "The page's policy allows the form, as far as its headers tell."
      : `The page's policy may forbid the form to the service (form-action ${formAction}). The popup is led there by its address then.`,
    `Add ${service} to form-action.`);

  const policy = header("cross-origin-opener-policy").split(";")[0]?.trim() ?? "";
  const severs = crossOriginIsolated || policy === "same-origin" || policy.startsWith("noopener");
  add("opener_policy", severs ? false : own.response ? true : null, severs
    ? "The page cuts its popups off: results come by asking alone, and a closed popup is not noticed."
    : own.response ? "The page keeps its popups." : "The page's headers cannot be read.",
    "Send Cross-Origin-Opener-Policy: same-origin-allow-popups, or none.");

  add("cookies", navigator.cookieEnabled, navigator.cookieEnabled ? "The browser takes cookies." : "The browser takes no cookies.",
    "Allow cookies for the service.");

  const date = Date.parse(response?.headers.get("date") ?? "");
  const apart = Math.abs(Date.now() - date);
  add("clock", Number.isNaN(date) ? null : apart <= CLOCK_MS,
    Number.isNaN(date) ? "The service does not tell its time." : `The clocks are ${Math.round(apart / 1000)} s apart.`,
    "Set this device's clock.");
  return findings;
}

function isFramed(): boolean {
  try {
    return window !== window.top;
  } catch {
    return true;
  }
}

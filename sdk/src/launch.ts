import type { ConnectOptions } from "./api";
import { isText } from "./channel.ts";
import { HubSpotConnectError } from "./errors.ts";
import { make } from "./make.ts";
import type { Memo } from "./memory.ts";
import { challengeOf } from "./secrets.ts";
import { timeLimit } from "./wire.ts";

/**
 * Returns the fields of the start form. Secrets stay here; only their hashes are sent.
 *
 * Rejects with a HubSpotConnectError if the page gives no connect session.
 */
export async function startFields(memo: Memo, openerKey: string, options: ConnectOptions): Promise<Record<string, string>> {
  const { portalId, connectSession } = options;
  let token = connectSession;
  try {
    if (typeof token === "function") token = await token();
    if (connectSession && !isText(token)) throw new TypeError("No token.");
  } catch (cause) {
    throw new HubSpotConnectError("connect_session_failed", "", { cause });
  }
  const returnUrl = options.returnUrl || (memo.mode === "redirect" ? location.href.split("#")[0] : "");
  return {
    origin,
    mode: memo.mode,
    challenge: await challengeOf(memo.verifier),
    opener_challenge: await challengeOf(openerKey),
    ...(returnUrl && { return_url: `${new URL(returnUrl, location.href)}` }),
    ...(portalId && { portal_id: `${portalId}` }),
    ...(token && { connect_session: token as string }),
  };
}

/** Calls back whenever the page's policy blocks a request to the service. */
export function whenForbidden(page: Document, directive: string, service: string, signal: AbortSignal, call: () => void): void {
  page.addEventListener("securitypolicyviolation", ({ disposition, effectiveDirective, blockedURI }) => {
    // Browsers report the whole URL or only the origin.
    if (disposition === "enforce" && effectiveDirective === directive && `${blockedURI}/`.startsWith(`${service}/`)) call();
  }, { signal });
}

/**
 * Sends a window to the start address by a form in its page, which is this one or an empty one of the same origin and
 * policy. So the fields are in no address and no history.
 *
 * If the policy forbids the form, the window navigates to the address instead; but the token of a connect session
 * must never be in a URL.
 */
export function launch(service: string, fields: Record<string, string>, { document, location }: Window, refuse: () => void): void {
  const action = `${service}/auth/hubspot/start`;
  whenForbidden(document, "form-action", service, timeLimit(3_000), () => {
    if (fields.connect_session) refuse();
    else location.href = `${action}?${new URLSearchParams(fields)}`;
  });

  // A base element of the page may name another window.
  const form = make("form", { method: "post", action, target: "_self" }) as HTMLFormElement;
  // The `Origin` of the form shows which page started the request. The page's own policy may withhold it.
  form.append(make("meta", { name: "referrer", content: "origin" }));
  for (const [name, value] of Object.entries(fields)) form.append(make("input", { name, value }));
  document.body.append(form);
  form.submit();
  form.remove();
}

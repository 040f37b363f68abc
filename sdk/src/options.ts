/** Checks the options of a page. If an invalid value were silently dropped, so would be the protection that it asks for. */
import type { ConnectOptions } from "./api";
import { isText } from "./channel.ts";
import { HubSpotConnectError } from "./errors.ts";

const invalid = (name: string) => new HubSpotConnectError("invalid_option", `The option ${name} is invalid.`);

/** Returns the address, or null if it is invalid. `URL.canParse` is younger than some supported browsers. */
function parse(address: string, base?: string): URL | null {
  try {
    return new URL(address, base);
  } catch {
    return null;
  }
}

/** Returns the origin of the service. */
export function serviceOrigin(service: string): string {
  const url = parse(service);
  // With a path, the requests would go to another service than the page names.
  if (url && /^https?:$/.test(url.protocol) && url.href === `${url.origin}/`) return url.origin;
  throw invalid("service");
}

/** Returns the error for the first invalid option. */
export function invalidOption(options: ConnectOptions): HubSpotConnectError | undefined {
  const { portalId, mode, returnUrl = "", connectSession, popup } = options;
  const url = parse(returnUrl, location.href);
  const valid: Record<string, unknown> = {
    portalId: Number.isSafeInteger(portalId) && portalId! > 0,
    mode: mode === "popup" || mode === "redirect",
    fallback: options.fallback === "redirect",
    returnUrl: returnUrl && url?.origin === location.origin && !url.hash,
    connectSession: typeof connectSession === "function" || isText(connectSession),
    onConfirm: typeof options.onConfirm === "function",
    popup: popup === Object(popup) && [popup!.width, popup!.height].every((size = 1) => size > 0 && size < Infinity),
  };
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined && name in valid && !valid[name]) return invalid(name);
  }
}

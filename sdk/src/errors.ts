import type { ErrorCode } from "./api";

/** Every code, with a sentence where the service may have sent none. A `!` marks codes with which the same click fails again. */
const CODES: Record<ErrorCode, string> = {
  popup_blocked: "The browser blocked the popup.",
  closed: "The popup was closed.",
  cancelled: "Cancelled.",
  timeout: "Timed out.",
  origin_not_allowed: "!Origin not allowed.",
  user_denied: "",
  flow_expired: "Request expired.",
  provider_error: "",
  scopes_missing: "!",
  wrong_account: "",
  sandboxed_iframe: "!This page forbids it.",
  csp_blocked: "!This page forbids it.",
  flow_mismatch: "",
  service_unavailable: "The service is unavailable.",
  invalid_option: "!",
  connect_session_failed: "",
  connect_session_ended: "!",
  confirm_failed: "",
  external_user_mismatch: "!",
  read_token_invalid: "",
  connection_unknown: "!This page did not connect it.",
};

/** Server codes about the service and not about HubSpot. */
const OF_THE_SERVICE = /^(storage|internal|rate)_/;

export interface Details {
  flow?: string | undefined;
  reason?: string | undefined;
  cause?: unknown;
}

export class HubSpotConnectError extends Error {
  override readonly name = "HubSpotConnectError";
  declare readonly retryable: boolean;
  declare readonly flow?: string;
  declare readonly reason?: string;

  constructor(readonly code: ErrorCode, message?: string, details: Details = {}) {
    const [sentence, final] = CODES[code].split("!").reverse();
    // `Error` takes only the cause from the details.
    super(message || sentence || "HubSpot could not be connected.", details);
    const { flow, reason } = details;
    this.retryable = final === undefined;
    if (flow) this.flow = flow;
    if (reason) this.reason = reason;
  }
}

/** An error as the service writes it. */
export interface ServerError {
  code?: string | undefined;
  message?: string | undefined;
}

/** Returns the error for a code of the service: the service has more codes, and may add others. */
export function fromServer({ code: reason = "", message }: ServerError = {}, flow?: string): HubSpotConnectError {
  if (Object.keys(CODES).includes(reason)) return new HubSpotConnectError(reason as ErrorCode, message, { flow });
  return new HubSpotConnectError(OF_THE_SERVICE.test(reason) ? "service_unavailable" : "provider_error", message, { flow, reason });
}

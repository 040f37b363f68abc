import type { ErrorCode } from "./api";

/** Every code, with a sentence where the service may have sent none. Behind a `!` the same click fails again. */
const CODES: Record<ErrorCode, string> = {
  popup_blocked: "The browser blocked the popup.",
  closed: "The popup was closed.",
  cancelled: "Cancelled.",
  timeout: "No answer.",
  origin_not_allowed: "!This page may not connect.",
  user_denied: "",
  flow_expired: "This took too long.",
  provider_error: "",
  scopes_missing: "!",
  wrong_account: "",
  sandboxed_iframe: "!This page forbids it.",
  csp_blocked: "!This page forbids it.",
  flow_mismatch: "",
  service_unavailable: "The service does not answer.",
  invalid_option: "!",
  connect_session_failed: "",
  connect_session_ended: "!",
  confirm_failed: "",
  external_user_mismatch: "!",
  read_token_invalid: "",
  connection_unknown: "!This page did not connect it.",
};

/** Server codes that speak of the service and not of HubSpot. */
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
    // Of the details it takes the cause, if there is one.
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

/** The error for a code that the service has sent: its own vocabulary is larger, and may grow. */
export function fromServer({ code: reason = "", message }: ServerError = {}, flow?: string): HubSpotConnectError {
  if (Object.keys(CODES).includes(reason)) return new HubSpotConnectError(reason as ErrorCode, message, { flow });
  return new HubSpotConnectError(OF_THE_SERVICE.test(reason) ? "service_unavailable" : "provider_error", message, { flow, reason });
}

import type { ErrorCode } from "./api";

/** Every code: whether the same click may succeed the next time, and a sentence where the service may have sent none. */
const CODES: Record<ErrorCode, readonly [retryable: 0 | 1, sentence?: string]> = {
  popup_blocked: [1, "The browser blocked the popup."],
  closed: [1, "The popup was closed."],
  cancelled: [1, "Cancelled."],
  timeout: [1, "No answer."],
  origin_not_allowed: [0, "This page may not connect."],
  user_denied: [1],
  flow_expired: [1, "This took too long."],
  provider_error: [1],
  scopes_missing: [0],
  wrong_account: [1],
  sandboxed_iframe: [0, "This page forbids it."],
  csp_blocked: [0, "This page forbids it."],
  flow_mismatch: [1],
  service_unavailable: [1, "The service does not answer."],
  invalid_option: [0],
};

/** Server codes that speak of the service and not of HubSpot. */
const OF_THE_SERVICE = /^(storage|internal|rate)_/;

export interface Details {
  flow?: string | undefined;
  reason?: string | undefined;
}

export class HubSpotConnectError extends Error {
  override readonly name = "HubSpotConnectError";
  readonly retryable: boolean;
  declare readonly flow?: string;
  declare readonly reason?: string;

  constructor(readonly code: ErrorCode, message?: string, { flow, reason }: Details = {}) {
    const [retryable, sentence = "HubSpot could not be connected."] = CODES[code];
    super(message || sentence);
    this.retryable = !!retryable;
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
  const code = OF_THE_SERVICE.test(reason) ? "service_unavailable" : "provider_error";
  return new HubSpotConnectError(code, message, { flow, reason });
}

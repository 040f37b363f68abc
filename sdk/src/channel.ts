import type { WireConnection } from "./wire.ts";

/** The messages of the popup that matter here. */
export type Message =
  | { type: "hubspot_auth_hello"; flow: string; needs_key: boolean }
  | ({ type: "hubspot_auth_success"; flow: string; connection_id: string } & Secrets & Omit<WireConnection, "id">)
  | { type: "hubspot_auth_error"; flow: string | null; error: { code: string; message?: string } };

export interface Secrets {
  access_token?: string;
  token_type?: string;
  pickup_code?: string;
}

/** The trusted sender of messages. */
export interface Trusted {
  service: string;
  popup: unknown;
  /** The id of the authorization request; undefined until the first message or status has named it. */
  flow: string | undefined;
}

export const isText = (value: unknown): value is string => typeof value === "string" && value !== "";

/**
 * Parses a message from a window.
 *
 * Any page with a reference to this window can post to it, and the popup of an earlier request has the right origin
 * too. So origin, window, version, shape and flow must all match; for a hello the caller compares the flow.
 * @returns `"ignored"` for an untrusted message that looks like the service's, null for an unrelated one
 */
export function read(event: Pick<MessageEvent, "origin" | "source" | "data">, trusted: Trusted): Message | "ignored" | null {
  const { origin, source, data } = event;
  const { type, flow } = data ?? {};
  const fits = type === "hubspot_auth_error"
    // An error can come from a page that does not know its authorization request; the window identifies it.
    ? isText(data.error?.code) && (flow === null || belongs(flow, trusted))
    // A different flow in this popup's hello is not a stray message: the request must not continue.
    : type === "hubspot_auth_hello" ? isText(flow)
    : type === "hubspot_auth_success" && isText(data.connection_id) && belongs(flow, trusted);
  if (fits && origin === trusted.service && source === trusted.popup && data.version === 1) return data;
  return origin === trusted.service || (isText(type) && type.startsWith("hubspot_auth_")) ? "ignored" : null;
}

function belongs(flow: unknown, trusted: Trusted): boolean {
  return isText(flow) && flow === (trusted.flow ?? flow);
}

import type { WireConnection } from "./wire.ts";

/** The messages of the popup, as far as they matter here. */
export type Message =
  | { type: "hubspot_auth_hello"; flow: string; needs_key: boolean }
  | ({ type: "hubspot_auth_success"; flow: string; connection_id: string } & Secrets & Omit<WireConnection, "id">)
  | { type: "hubspot_auth_error"; flow: string | null; error: { code: string; message?: string } };

export interface Secrets {
  access_token?: string;
  token_type?: string;
  pickup_code?: string;
}

/** Whom to believe. */
export interface Trusted {
  service: string;
  popup: unknown;
  /** Undefined until the first message or status has told it. */
  flow: string | undefined;
}

export const isText = (value: unknown): value is string => typeof value === "string" && value !== "";

/**
 * Reads what a window has posted.
 *
 * Any page with a reference to this window can post to it, and a popup of an earlier attempt is of the right origin
 * too. So origin, window, version, shape and flow must all fit; of a hello the caller compares the flow.
 * @returns `"ignored"` for what pretends to be ours, null for what has nothing to do with us
 */
export function read(event: Pick<MessageEvent, "origin" | "source" | "data">, trusted: Trusted): Message | "ignored" | null {
  const { origin, source, data } = event;
  const { type, flow } = data ?? {};
  const fits = type === "hubspot_auth_error"
    // An error can come from a page that does not know which attempt it belongs to; the window does.
    ? isText(data.error?.code) && (flow === null || belongs(flow, trusted))
    // Another flow in this popup's hello is no stray message: the attempt must not go on.
    : type === "hubspot_auth_hello" ? isText(flow)
    : type === "hubspot_auth_success" && isText(data.connection_id) && belongs(flow, trusted);
  if (fits && origin === trusted.service && source === trusted.popup && data.version === 1) return data;
  return origin === trusted.service || (isText(type) && type.startsWith("hubspot_auth_")) ? "ignored" : null;
}

function belongs(flow: unknown, trusted: Trusted): boolean {
  return isText(flow) && flow === (trusted.flow ?? flow);
}

import { createHmac, timingSafeEqual } from "node:crypto";
import type { ConnectionStatus, ConnectSessionStatus, EventType } from "./types.js";

interface Message<Type extends EventType, Data> {
  readonly type: Type;
  /** The time of the event, RFC 3339 in UTC. */
  readonly timestamp: string;
  readonly data: Data;
}

/** A connection as of the time of an event. */
export interface ConnectionEventData {
  readonly connection_id: string;
  /** The position of the event among those of the connection. Ignore one below the highest that you have seen. */
  readonly sequence: number;
  /** Your id of the user; null if a browser session owns the connection. */
  readonly external_user_id: string | null;
  readonly portal_id: number | null;
  readonly hub_domain: string | null;
  readonly status: ConnectionStatus | "disconnected";
  /** The granted scopes; null until HubSpot has named them. */
  readonly scopes: readonly string[] | null;
  /** The reason, as a stable code. */
  readonly reason: string | null;
}
/** A connect session with a link for another user. */
export interface ConnectSessionEventData {
  readonly connect_session_id: string;
  /** Your id of the user for whom you created it. */
  readonly external_user_id: string;
  readonly status: ConnectSessionStatus;
  /** The connection that was created, or that was to be reconnected. */
  readonly connection_id: string | null;
  /** The failure reason, as a stable code. */
  readonly reason: string | null;
}
/** An unclaimed install from HubSpot's Marketplace. */
export interface InstallEventData {
  readonly install_id: string;
  readonly portal_id: number;
  readonly expires_at: string;
}
export interface AppEventData {
  readonly client_id: string;
  readonly reason: string;
}
export interface TestEventData {
  readonly webhook_id: string;
}

export interface ConnectionEvent extends Message<Extract<EventType, `connection.${string}`>, ConnectionEventData> {}
export interface ConnectSessionEvent extends Message<Extract<EventType, `connect_session.${string}`>, ConnectSessionEventData> {}
export interface InstallEvent extends Message<"install.unclaimed", InstallEventData> {}
export interface AppEvent extends Message<"app.credentials_invalid", AppEventData> {}
export interface TestEvent extends Message<"webhook.test", TestEventData> {}
/** The body of a webhook. `type` determines the shape of `data`. */
export type WebhookEvent = ConnectionEvent | ConnectSessionEvent | InstallEvent | AppEvent | TestEvent;

/** A message that does not come from the service, or is too old. */
export class WebhookVerificationError extends Error {
  override readonly name = "WebhookVerificationError";
}

/** The maximum difference between the clocks, in seconds. */
const TOLERANCE = 300;

/** The header fields of a request. Names may be in any case; a repeated field may be an array. */
export type HeadersLike =
  | { get(name: string): string | null | undefined }
  | Readonly<Record<string, string | readonly string[] | undefined>>;

/**
 * Verifies a message by Standard Webhooks 1.0.0 and returns its event. `body` is the raw body, byte for byte. `secrets` is
 * the endpoint's secret (`whsec_…`), or several, one of which has to match.
 *
 * Throws `WebhookVerificationError` for a message that is not the service's, and `TypeError` for wrong arguments.
 */
export function verifyWebhook(
  body: string | Uint8Array | ArrayBuffer,
  headers: HeadersLike,
  secrets: string | readonly string[],
  now = Date.now(),
): WebhookEvent {
  const raw = bytes(body);
  const keys = (Array.isArray(secrets) ? secrets : [secrets]).map(keyOf);
  if (keys.length === 0) throw new TypeError(MISSING_SECRET);
  const [id, timestamp, signatures] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map((name) => header(headers, name));
  if (!id || !timestamp || !signatures) throw new WebhookVerificationError("A header of the signature is missing");
  if (!/^\d{1,12}$/.test(timestamp) || Math.abs(now / 1000 - Number(timestamp)) > TOLERANCE) {
    throw new WebhookVerificationError("The message is too old, or from the future");
  }
  const shown = signatures.split(" ").filter((one) => one.startsWith("v1,")).map((one) => Buffer.from(one.slice(3), "base64"));
  let matches = false;
  for (const key of keys) {
    const expected = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(raw).digest();
    // Each is compared, and in constant time.
    for (const one of shown) matches = (one.length === expected.length && timingSafeEqual(one, expected)) || matches;
  }
  if (!matches) throw new WebhookVerificationError("No signature matches");
  return JSON.parse(new TextDecoder().decode(raw)) as WebhookEvent;
}

function bytes(body: unknown): Uint8Array {
  if (typeof body === "string") return Buffer.from(body);
  if (body instanceof ArrayBuffer) return new Uint8Array(body);
  if (body instanceof Uint8Array) return body;
  throw new TypeError(
    "The body of the webhook was already parsed. Pass the raw body, as a string or bytes: a parsed one cannot be verified. "
      + "In Express, use express.raw({ type: \"application/json\" }) for this route; with fetch requests, await request.text().",
  );
}

const MISSING_SECRET =
  "The webhook secret is missing. Pass the `secret` that webhooks.create() returned (whsec_…); is its environment variable set?";

function keyOf(secret: unknown): Buffer {
  if (typeof secret !== "string") throw new TypeError(MISSING_SECRET);
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  // An empty key is known to everyone.
  if (key.length === 0) throw new TypeError("The webhook secret is empty. Pass the `secret` that webhooks.create() returned (whsec_…).");
  return key;
}

/** Returns the value of a header. Several values are joined by a space, which only the signature may contain. */
function header(headers: HeadersLike, name: string): string | undefined {
  // Not by class: each fetch library has its own.
  if (typeof headers.get === "function") return headers.get(name) ?? undefined;
  const found = Object.entries(headers).filter(([key]) => key.toLowerCase() === name);
  return found.flatMap(([, value]) => value ?? []).join(" ");
}

import { createHmac, timingSafeEqual } from "node:crypto";

/** What a webhook tells. */
export interface WebhookEvent {
  /** Such as `connection.created`. */
  readonly type: string;
  /** When it happened, RFC 3339 in UTC. */
  readonly timestamp: string;
  readonly data: Record<string, unknown>;
}

/** A message is not the service's, or is too old. */
export class WebhookVerificationError extends Error {
  override readonly name = "WebhookVerificationError";
}

/** How far the clocks may be apart, in seconds. */
const TOLERANCE = 300;

/** Header names may be in any case; a header that came more than once may be an array. */
export type HeadersLike =
  | { get(name: string): string | null | undefined }
  | Readonly<Record<string, string | readonly string[] | undefined>>;

/**
 * Checks a message by Standard Webhooks 1.0.0 and reads it. `body` is the body as it came, byte for byte.
 * `secrets` are `whsec_…`; of several, one has to fit.
 */
export function verifyWebhook(body: string | Uint8Array, headers: HeadersLike, secrets: string | readonly string[], now = Date.now()): WebhookEvent {
  const text = typeof body === "string" ? body : new TextDecoder("utf-8", { fatal: true }).decode(body);
  const [id, timestamp, signatures] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map((name) => header(headers, name));
  if (!id || !timestamp || !signatures) throw new WebhookVerificationError("A header of the signature is missing");
  if (!/^\d{1,12}$/.test(timestamp) || Math.abs(now / 1000 - Number(timestamp)) > TOLERANCE) {
    throw new WebhookVerificationError("The message is too old, or from the future");
  }
  const shown = signatures.split(" ").filter((one) => one.startsWith("v1,")).map((one) => Buffer.from(one.slice(3), "base64"));
  let good = false;
  for (const secret of typeof secrets === "string" ? [secrets] : secrets) {
    const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
    const expected = createHmac("sha256", key).update(`${id}.${timestamp}.${text}`).digest();
    // Each is compared, and in constant time.
    for (const one of shown) good = (key.length > 0 && one.length === expected.length && timingSafeEqual(one, expected)) || good;
  }
  if (!good) throw new WebhookVerificationError("No signature fits");
  return JSON.parse(text) as WebhookEvent;
}

/** Returns the value of a header. Several values are joined by a space, which only the signature may contain. */
function header(headers: HeadersLike, name: string): string | undefined {
  // Not by class: each fetch library has its own.
  if (typeof headers.get === "function") return headers.get(name) ?? undefined;
  const found = Object.entries(headers).filter(([key]) => key.toLowerCase() === name);
  return found.flatMap(([, value]) => value ?? []).join(" ");
}

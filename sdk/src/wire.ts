/** The HTTP calls to the service. None of them throws: a network failure is returned as a response. */
import type { ConnectionStatus } from "./api";

/** A connection in a message or in a status of the service. */
export interface WireConnection {
  id: string;
  /** Missing in a message. */
  status?: ConnectionStatus;
  portal_id?: number | null;
  hub_domain?: string | null;
  scopes?: string[] | null;
  missing_scopes?: string[];
  expires_at?: string | null;
}

/** The bodies of all responses in one type: each field is present if the route has it. */
export interface Body {
  flow?: string | null;
  status?: string;
  expires_at?: string | null;
  connection?: WireConnection;
  pickup_code?: string;
  withheld?: boolean;
  awaiting_confirmation?: boolean;
  /** Both are present while the host's backend must confirm. */
  connect_session_id?: string;
  connection_id?: string;
  error?: { code?: string; message?: string };
  /** The code of a problem (RFC 9457). */
  code?: string;
  detail?: string;
  access_token?: string;
  token_type?: string;
  /** Part of the status on a page of the service. */
  connections?: readonly WireConnection[];
}

export interface Answer {
  /** The HTTP status; 0 without a response. */
  status: number;
  body: Body;
  etag: string | null;
  /** The value of `Retry-After`, in milliseconds. */
  rest: number;
}

export const noAnswer: Answer = { status: 0, body: {}, etag: null, rest: 0 };

/** Returns a signal that aborts after so many milliseconds. `AbortSignal.timeout` is younger than some supported browsers. */
export function timeLimit(ms: number): AbortSignal {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), ms);
  return controller.signal;
}

export async function call(url: string, init: RequestInit): Promise<Answer> {
  try {
    const response = await fetch(url, { cache: "no-store", credentials: "omit", ...init });
    const { status, headers } = response;
    const text = await response.text();
    return {
      status,
      body: text ? JSON.parse(text) : {},
      etag: headers.get("etag"),
      rest: +headers.get("retry-after")! * 1_000 || 0,
    };
  } catch {
    return noAnswer;
  }
}

/** Returns the credentials of a request: a verifier or a read token; without either, the cookies of a page of the service. */
function caller(secret: string | null | undefined, headers: Record<string, string>): RequestInit {
  if (!secret) return { headers, credentials: "same-origin" };
  return { headers: { [`hubspot-connect-${secret.startsWith("hsc_read_") ? "read-token" : "verifier"}`]: secret, ...headers } };
}

/**
 * Requests the status. The service delays its response until the status differs from `etag`.
 *
 * The URL is always the same, because browsers cache preflights by URL.
 */
export function ask(
  service: string,
  secret: string | null | undefined,
  etag: string | null,
  signal: AbortSignal | null = null,
): Promise<Answer> {
  return call(`${service}/api/hubspot/status?wait=25`, {
    ...caller(secret, etag ? { "if-none-match": etag } : {}),
    signal,
  });
}

/** `keepalive` lets the call outlive the page: a cancel is often the last thing that a page does. */
export function post(
  service: string,
  route: string,
  verifier: string | null | undefined,
  body: object,
  headers: Record<string, string> = {},
): Promise<Answer> {
  return call(`${service}/api/hubspot/${route}`, {
    method: "POST",
    ...caller(verifier, { "content-type": "application/json", ...headers }),
    body: JSON.stringify(body),
    keepalive: true,
    signal: timeLimit(10_000),
  });
}

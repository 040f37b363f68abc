import { HubSpotConnectError, type Problem } from "./error.js";

export interface Options {
  /** The address of the service, such as `https://connect.example.com`. */
  service: string;
  /** The key from `hubspot-connect api-keys create`. For backends only: never ship it to a browser. */
  apiKey: string;
  /** The number of retries of a request after a retryable response, or after none. 2 if omitted. */
  retries?: number | undefined;
  /** The timeout of one attempt, in milliseconds. 30000 if omitted. */
  timeout?: number | undefined;
  /** A replacement for `fetch`. */
  fetch?: typeof globalThis.fetch | undefined;
}

export interface Ask {
  method: "GET" | "POST" | "PATCH" | "PUT" | "DELETE";
  /** Below `/api/hubspot`. */
  path: string;
  query?: object | undefined;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
  /** The idempotency key; a random one if omitted. */
  idempotencyKey?: string | undefined;
}

export const API = "/api/hubspot";
/** A longer wait is left to the caller, in seconds. */
const LONGEST_WAIT = 30;
/** The parameters of a query that are left out if they have no value. */
const OPTIONAL = ["cursor", "limit", "order", "min_ttl"];

/** Sends requests, retries them if that may help, and turns problems into errors. */
export class Transport {
  readonly #origin: string;
  readonly #apiKey: string;
  readonly #retries: number;
  readonly #timeout: number;
  readonly #fetch: typeof globalThis.fetch;

  constructor(options: Options) {
    const url = new URL(options.service);
    const loopback = ["localhost", "127.0.0.1", "[::1]"].includes(url.hostname);
    // The key would be readable in transit.
    if (url.protocol !== "https:" && !loopback) throw new TypeError("The service must be https.");
    if (!options.apiKey) throw new TypeError("The API key is missing: pass `apiKey`.");
    this.#origin = url.origin;
    this.#apiKey = options.apiKey;
    this.#retries = options.retries ?? 2;
    this.#timeout = options.timeout ?? 30_000;
    this.#fetch = options.fetch ?? globalThis.fetch;
  }

  /** Returns a response with JSON, or 304. */
  async ask(ask: Ask): Promise<{ status: number; headers: Headers; body: unknown }> {
    const headers = new Headers(ask.headers);
    if (ask.body !== undefined) headers.set("content-type", "application/json");
    // The same key for all attempts: the service executes the first one and repeats its response.
    if (ask.method === "POST") headers.set("idempotency-key", ask.idempotencyKey ?? crypto.randomUUID());
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(ask.query ?? {})) {
      if (value !== undefined && value !== null) query.set(name, String(value));
      else if (!OPTIONAL.includes(name)) throw emptyFilter(name);
    }
    const path = query.size > 0 ? `${ask.path}?${query}` : ask.path;
    const init: RequestInit = { method: ask.method, headers };
    if (ask.body !== undefined) init.body = JSON.stringify(ask.body);
    if (ask.signal) init.signal = ask.signal;
    for (let attempt = 0; ; attempt += 1) {
      try {
        const response = await this.send(API, path, init);
        if (!response.ok && response.status !== 304) throw await problemOf(response);
        return { status: response.status, headers: response.headers, body: read(response.status, await response.text()) };
      } catch (why) {
        if (ask.signal?.aborted) throw why;
        const error = asError(why);
        const wait = pause(error, attempt);
        if (attempt >= this.#retries || wait === undefined) throw error;
        await sleep(wait, ask.signal);
      }
    }
  }

  /** Sends one request with the key to a path below `prefix`. */
  async send(prefix: string, path: string, init: RequestInit): Promise<Response> {
    const url = new URL(this.#origin + prefix + path);
    // `..` would lead to another operation of the service.
    if (!url.pathname.startsWith(prefix)) throw new TypeError("The path must not contain the segments `.` and `..`.");
    const headers = new Headers(init.headers);
    headers.set("authorization", `Bearer ${this.#apiKey}`);
    const limit = AbortSignal.timeout(this.#timeout);
    const signal = init.signal ? AbortSignal.any([init.signal, limit]) : limit;
    try {
      // A redirect would carry the key elsewhere.
      return await this.#fetch(url.href, { ...init, headers, signal, redirect: "manual" });
    } catch (why) {
      throw init.signal?.aborted ? why : asError(why);
    }
  }
}

/** Returns the error for a filter without a value. If it were left out, the request would be about everything. */
export function emptyFilter(name: string): TypeError {
  return new TypeError(`The filter \`${name}\` has no value.`);
}

/** Returns the error of a response. */
export async function problemOf(response: Response): Promise<HubSpotConnectError> {
  const isProblem = response.headers.get("content-type")?.startsWith("application/problem+json") ?? false;
  const problem: Partial<Problem> = isProblem ? await response.json().catch(() => ({})) : {};
  const requestId = response.headers.get("x-request-id");
  if (requestId !== null) problem.request_id = requestId;
  const seconds = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
  return new HubSpotConnectError(response.status, problem, { retryAfter: Number.isNaN(seconds) ? undefined : seconds });
}

function read(status: number, text: string): unknown {
  try {
    return status === 304 ? undefined : JSON.parse(text);
  } catch (why) {
    throw new HubSpotConnectError(status, {}, { cause: why });
  }
}

function asError(why: unknown): HubSpotConnectError {
  if (why instanceof HubSpotConnectError) return why;
  return new HubSpotConnectError(0, { title: "The service cannot be reached" }, { cause: why });
}

/** Returns the number of seconds after which to retry; undefined if that does not help. */
function pause(error: HubSpotConnectError, attempt: number): number | undefined {
  const again = error.status === 0 || error.status === 429 || error.status >= 502 || error.code === "idempotency_in_progress";
  if (!again) return undefined;
  const wait = error.retryAfter ?? 0.25 * 2 ** attempt * (0.5 + Math.random());
  return wait <= LONGEST_WAIT ? wait : undefined;
}

function sleep(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}

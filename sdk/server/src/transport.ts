import { HubSpotConnectError, type Problem } from "./error.js";

export interface Options {
  /** The address of the service, such as `https://connect.example.com`. */
  service: string;
  /** The key that `hubspot-connect api-keys create` has printed. For a backend alone: never ship it to a browser. */
  apiKey: string;
  /** How often a request is sent again after an answer that says so, or after none. */
  retries?: number;
  /** How long one attempt may take, in milliseconds. */
  timeout?: number;
  /** Another `fetch`. */
  fetch?: typeof globalThis.fetch;
}

export interface Ask {
  method: "GET" | "POST" | "PATCH" | "DELETE";
  path: string;
  query?: Record<string, string | number | undefined>;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
  /** The name under which a POST is done once; a fresh one if left out. */
  idempotencyKey?: string | undefined;
}

/** Longer than this is not waited for: the caller is told instead. */
const LONGEST_WAIT = 30;

/** Sends requests, again where that helps, and turns problems into errors. */
export class Transport {
  readonly #options: Required<Options>;
  readonly #origin: string;

  constructor(options: Options) {
    const url = new URL(options.service);
    const loopback = ["localhost", "127.0.0.1", "[::1]"].includes(url.hostname);
    // The key would be read on the way.
    if (url.protocol !== "https:" && !loopback) throw new TypeError("The service must be https.");
    if (!options.apiKey) throw new TypeError("An API key is needed.");
    this.#origin = url.origin;
    this.#options = { retries: 2, timeout: 30_000, fetch: globalThis.fetch, ...options };
  }

  /** An answer with JSON, or 304. */
  async ask(ask: Ask): Promise<{ status: number; headers: Headers; body: unknown }> {
    const headers = new Headers(ask.headers);
    if (ask.body !== undefined) headers.set("content-type", "application/json");
    // One name for all attempts: the service does the first and tells its answer again.
    if (ask.method === "POST") headers.set("idempotency-key", ask.idempotencyKey ?? crypto.randomUUID());
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(ask.query ?? {})) if (value !== undefined) query.set(name, String(value));
    const path = query.size > 0 ? `${ask.path}?${query}` : ask.path;
    const init: RequestInit = { method: ask.method, headers };
    if (ask.body !== undefined) init.body = JSON.stringify(ask.body);
    if (ask.signal) init.signal = ask.signal;
    for (let attempt = 0; ; attempt += 1) {
      try {
        const answer = await this.send(path, init);
        if (answer.ok || answer.status === 304) {
          const text = await answer.text();
          return { status: answer.status, headers: answer.headers, body: text === "" ? undefined : JSON.parse(text) };
        }
        throw await problemOf(answer);
      } catch (why) {
        if (ask.signal?.aborted) throw why;
        const error = why instanceof HubSpotConnectError ? why : new HubSpotConnectError(0, { title: "The service cannot be reached" }, { cause: why });
        const wait = pause(error, attempt);
        if (attempt >= this.#options.retries || wait === undefined) throw error;
        await sleep(wait, ask.signal);
      }
    }
  }

  /** One request, as it is, with the key. */
  send(path: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers);
    headers.set("authorization", `Bearer ${this.#options.apiKey}`);
    const limit = AbortSignal.timeout(this.#options.timeout);
    const signal = init.signal ? AbortSignal.any([init.signal, limit]) : limit;
    // A redirect would carry the key elsewhere.
    return this.#options.fetch(this.#origin + path, { ...init, headers, signal, redirect: "error" });
  }
}

/** The error that a problem stands for. */
export async function problemOf(answer: Response): Promise<HubSpotConnectError> {
  const isProblem = answer.headers.get("content-type")?.startsWith("application/problem+json") ?? false;
  const problem: Partial<Problem> = isProblem ? await answer.json().catch(() => ({})) : {};
  const seconds = Number.parseInt(answer.headers.get("retry-after") ?? "", 10);
  return new HubSpotConnectError(answer.status, problem, { retryAfter: Number.isNaN(seconds) ? undefined : seconds });
}

/** How long to wait before the same request is sent again, in seconds; not at all if that does not help. */
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

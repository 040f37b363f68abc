import type { Transport } from "./transport.js";
import type { AccessToken } from "./types.js";

interface Kept {
  readonly token: AccessToken;
  readonly etag: string | null;
  /** Until when it is returned without a request, by the monotonic clock. */
  readonly freshUntil: number;
}

/** A cache of access tokens, each kept for as long as the service allows (`Cache-Control: max-age`). */
export class Tokens {
  readonly #transport: Transport;
  readonly #kept = new Map<string, Kept>();
  readonly #asked = new Map<string, Promise<AccessToken>>();

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Returns a token. Callers at the same time share one request. */
  get(id: string, minTtl: number | undefined): Promise<AccessToken> {
    const name = `${id} ${minTtl ?? ""}`;
    const kept = this.#kept.get(name);
    if (kept && performance.now() < kept.freshUntil) return Promise.resolve(kept.token);
    const asked = this.#asked.get(name);
    if (asked) return asked;
    const asking = this.#ask(name, id, minTtl, kept).finally(() => this.#asked.delete(name));
    this.#asked.set(name, asking);
    return asking;
  }

  /** Removes the tokens of a connection: HubSpot has refused them, or they are about to be replaced. */
  forget(id: string): void {
    for (const name of this.#kept.keys()) if (name.startsWith(`${id} `)) this.#kept.delete(name);
  }

  async #ask(name: string, id: string, minTtl: number | undefined, kept: Kept | undefined): Promise<AccessToken> {
    const begun = performance.now();
    const path = `/connections/${encodeURIComponent(id)}/token`;
    const headers: Record<string, string> = kept?.etag ? { "if-none-match": kept.etag } : {};
    const answer = await this.#transport.ask({ method: "GET", path, query: { min_ttl: minTtl }, headers });
    const token = answer.status === 304 && kept ? kept.token : (answer.body as AccessToken);
    const seconds = Number.parseInt(/max-age=(\d+)/.exec(answer.headers.get("cache-control") ?? "")?.[1] ?? "0", 10);
    this.#kept.set(name, { token, etag: answer.headers.get("etag"), freshUntil: begun + seconds * 1000 });
    return token;
  }
}

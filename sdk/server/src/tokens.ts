import type { Transport } from "./transport.js";
import type { AccessToken } from "./types.js";

interface Kept {
  readonly token: AccessToken;
  readonly etag: string | null;
  /** The time until which it is returned without a request, on the monotonic clock. */
  readonly freshUntil: number;
}

/** A cache of access tokens, each kept for as long as the service allows (`Cache-Control: max-age`). */
export class Tokens {
  readonly #transport: Transport;
  readonly #kept = new Map<string, Kept>();
  readonly #asked = new Map<string, Promise<AccessToken>>();
  /** The number of times the tokens of a connection were removed. */
  readonly #epochs = new Map<string, number>();

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
    const asking: Promise<AccessToken> = this.#ask(name, id, minTtl, kept).finally(() => {
      if (this.#asked.get(name) === asking) this.#asked.delete(name);
    });
    this.#asked.set(name, asking);
    return asking;
  }

  /** Removes the tokens of a connection. A pending request still resolves for its callers, but its token is not kept. */
  forget(id: string): void {
    this.#epochs.set(id, this.#epochOf(id) + 1);
    for (const map of [this.#kept, this.#asked]) {
      for (const name of map.keys()) if (name.startsWith(`${id} `)) map.delete(name);
    }
  }

  /** Runs a call that replaces or revokes the tokens of a connection. A token requested during the call may be the old one. */
  async replace<T>(id: string, request: () => Promise<T>): Promise<T> {
    this.forget(id);
    try {
      return await request();
    } finally {
      this.forget(id);
    }
  }

  #epochOf(id: string): number {
    return this.#epochs.get(id) ?? 0;
  }

  async #ask(name: string, id: string, minTtl: number | undefined, kept: Kept | undefined): Promise<AccessToken> {
    const begun = performance.now();
    const epoch = this.#epochOf(id);
    const path = `/connections/${encodeURIComponent(id)}/token`;
    const headers: Record<string, string> = kept?.etag ? { "if-none-match": kept.etag } : {};
    const answer = await this.#transport.ask({ method: "GET", path, query: { min_ttl: minTtl }, headers });
    const token = answer.status === 304 && kept ? kept.token : (answer.body as AccessToken);
    const seconds = Number.parseInt(/max-age=(\d+)/.exec(answer.headers.get("cache-control") ?? "")?.[1] ?? "0", 10);
    if (epoch === this.#epochOf(id)) this.#kept.set(name, { token, etag: answer.headers.get("etag"), freshUntil: begun + seconds * 1000 });
    return token;
  }
}

import type { components } from "./schema.js";
import type { Transport } from "./transport.js";

export type AccessToken = components["schemas"]["TokenBody"];

interface Kept {
  readonly token: AccessToken;
  readonly etag: string | null;
  /** Until when it is given without asking, by this process's own clock that only moves forward. */
  readonly freshUntil: number;
}

/** Access tokens, for as long as the service says that they may be kept (`Cache-Control: max-age`). */
export class Tokens {
  readonly #transport: Transport;
  readonly #kept = new Map<string, Kept>();
  readonly #asked = new Map<string, Promise<AccessToken>>();

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Whoever asks while the same token is being asked for waits for that answer. */
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

  /** Forgets what is kept of a connection: HubSpot has refused its token, or it has ended. */
  forget(id: string): void {
    for (const name of this.#kept.keys()) if (name.startsWith(`${id} `)) this.#kept.delete(name);
  }

  async #ask(name: string, id: string, minTtl: number | undefined, kept: Kept | undefined): Promise<AccessToken> {
    const begun = performance.now();
    const path = `/api/hubspot/connections/${encodeURIComponent(id)}/token`;
    const headers: Record<string, string> = kept?.etag ? { "if-none-match": kept.etag } : {};
    const answer = await this.#transport.ask({ method: "GET", path, query: { min_ttl: minTtl }, headers });
    const token = answer.status === 304 && kept ? kept.token : (answer.body as AccessToken);
    const seconds = Number.parseInt(/max-age=(\d+)/.exec(answer.headers.get("cache-control") ?? "")?.[1] ?? "0", 10);
    this.#kept.set(name, { token, etag: answer.headers.get("etag"), freshUntil: begun + seconds * 1000 });
    return token;
  }
}

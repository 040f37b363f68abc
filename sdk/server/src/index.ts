/** hubspot-connect for a host's backend. */
import type { components, operations } from "./schema.js";
import { Tokens, type AccessToken } from "./tokens.js";
import { Transport, type Ask, type Options } from "./transport.js";

export { HubSpotConnectError, type Problem, type ProblemCode } from "./error.js";
export { verifyWebhook, WebhookVerificationError, type WebhookEvent } from "./webhook.js";
export type { AccessToken, Options };

type Schemas = components["schemas"];
export type CreateConnectSession = Schemas["CreateConnectSession"];
export type ConnectSession = Schemas["ConnectSessionBody"];
export type NewConnectSession = Schemas["NewConnectSession"];
export type Connection = Schemas["ConnectionBody"];
export type ExplainedConnection = Schemas["ExplainedConnection"];
export type HistoryEvent = Schemas["HistoryEvent"];
export type Refreshed = Schemas["RefreshBody"];
export type Disconnected = Schemas["Disconnected"];
export type Webhook = Schemas["WebhookBody"];
export type NewWebhook = Schemas["NewWebhook"];
export type WebhookChanges = Schemas["WebhookChanges"];
export type ListConnections = NonNullable<operations["list_connections"]["parameters"]["query"]>;
export type ListHistory = NonNullable<operations["get_connection_history"]["parameters"]["query"]>;
export type ListWebhooks = NonNullable<operations["list_webhooks"]["parameters"]["query"]>;

/** A page of a list. Pass `next_cursor` as `cursor` for the next page; it is null on the last one. */
export interface Page<T> {
  data: T[];
  next_cursor: string | null;
}

/** What any call may say beside what it is about. */
export interface CallOptions {
  signal?: AbortSignal;
  /** The name under which a POST is done once, however often it is sent. A fresh one if left out. */
  idempotencyKey?: string;
}

const API = "/api/hubspot";

/** The service, as a host's backend sees it. */
export class HubSpotConnect {
  readonly #transport: Transport;
  readonly #tokens: Tokens;

  constructor(options: Options) {
    this.#transport = new Transport(options);
    this.#tokens = new Tokens(this.#transport);
  }

  /** Which of your users is connecting. */
  readonly connectSessions = {
    /** Makes a session. Give its `token` to your page, or its `link` to whoever is to approve. */
    create: (session: CreateConnectSession, options?: CallOptions) =>
      this.#ask<NewConnectSession>("POST", "/connect-sessions", { body: session, ...options }),
    get: (id: string, options?: CallOptions) =>
      this.#ask<ConnectSession>("GET", `/connect-sessions/${encodeURIComponent(id)}`, options),
    /** Confirms that this user is in front of your page now, by your own session with the browser. */
    complete: (id: string, externalUserId: string, options?: CallOptions) =>
      this.#ask<ConnectSession>("POST", `/connect-sessions/${encodeURIComponent(id)}/complete`, {
        body: { external_user_id: externalUserId },
        ...options,
      }),
    cancel: (id: string, options?: CallOptions) =>
      this.#ask<ConnectSession>("DELETE", `/connect-sessions/${encodeURIComponent(id)}`, options),
  };

  /** What your users have connected. */
  readonly connections = {
    list: (query: ListConnections = {}, options?: CallOptions) => this.#list<Connection>("/connections", query, options),
    /** The events of a connection, the oldest first. */
    history: (id: string, query: ListHistory = {}, options?: CallOptions) =>
      this.#list<HistoryEvent>(`/connections/${encodeURIComponent(id)}/history`, query, options),
    get: (id: string, options?: CallOptions) =>
      this.#ask<ExplainedConnection>("GET", `/connections/${encodeURIComponent(id)}`, options),
    /** An access token that lives for `minTtl` seconds at least (60 if left out). It is kept for as long as the service allows. */
    token: (id: string, options?: { minTtl?: number }): Promise<AccessToken> => this.#tokens.get(id, options?.minTtl),
    /** To be called when HubSpot has refused a token: the next one is asked for anew. */
    forgetToken: (id: string): void => this.#tokens.forget(id),
    refresh: (id: string, options?: CallOptions) => {
      this.#tokens.forget(id);
      return this.#ask<Refreshed>("POST", `/connections/${encodeURIComponent(id)}/refresh`, options);
    },
    disconnect: (id: string, options?: CallOptions) => {
      this.#tokens.forget(id);
      return this.#ask<Disconnected>("DELETE", `/connections/${encodeURIComponent(id)}`, options);
    },
  };

  /** Who is told what happens. */
  readonly webhooks = {
    /** `secret` is told this once: keep it for `verifyWebhook`. */
    create: (webhook: NewWebhook, options?: CallOptions) => this.#ask<Webhook>("POST", "/webhooks", { body: webhook, ...options }),
    list: (query: ListWebhooks = {}, options?: CallOptions) => this.#list<Webhook>("/webhooks", query, options),
    get: (id: string, options?: CallOptions) => this.#ask<Webhook>("GET", `/webhooks/${encodeURIComponent(id)}`, options),
    update: (id: string, changes: WebhookChanges, options?: CallOptions) =>
      this.#ask<Webhook>("PATCH", `/webhooks/${encodeURIComponent(id)}`, { body: changes, ...options }),
    rotateSecret: (id: string, overlapSeconds?: number, options?: CallOptions) =>
      this.#ask<Webhook>("POST", `/webhooks/${encodeURIComponent(id)}/rotate-secret`, {
        body: overlapSeconds === undefined ? {} : { overlap_seconds: overlapSeconds },
        ...options,
      }),
    delete: (id: string, options?: CallOptions) => this.#ask<Webhook>("DELETE", `/webhooks/${encodeURIComponent(id)}`, options),
  };

  /**
   * Calls HubSpot's API through the service with the token of a connection: `path` is HubSpot's own, such as
   * `/crm/v3/objects/contacts?limit=1`. The answer is HubSpot's, whatever its status, with the header
   * `hubspot-connect-origin: hubspot`; without it, it is a problem of the service's. It is sent once.
   */
  proxy(connectionId: string, path: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    headers.set("hubspot-connect-connection", connectionId);
    return this.#transport.send(`${API}/proxy/${path.replace(/^\/+/, "")}`, { ...init, headers });
  }

  #list<T>(path: string, query: object, options?: CallOptions): Promise<Page<T>> {
    return this.#ask<Page<T>>("GET", path, { query: { ...query } as Record<string, string | number>, ...options });
  }

  async #ask<T>(method: Ask["method"], path: string, rest: Omit<Ask, "method" | "path"> = {}): Promise<T> {
    const answer = await this.#transport.ask({ method, path: API + path, ...rest });
    return answer.body as T;
  }
}

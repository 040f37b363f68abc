/** hubspot-connect for a host's backend. */
import type * as types from "./types.js";
import { Tokens } from "./tokens.js";
import { API, emptyFilter, problemOf, Transport, type Ask, type Options } from "./transport.js";

export { HubSpotConnectError, type Problem, type ProblemCode } from "./error.js";
export {
  verifyWebhook, WebhookVerificationError, type AppEvent, type ConnectionEvent, type ConnectSessionEvent, type HeadersLike, type InstallEvent,
  type TestEvent, type WebhookEvent,
} from "./webhook.js";
export type * from "./types.js";
export type { Options };

/** The options of any call. */
export interface CallOptions {
  signal?: AbortSignal;
  /** The idempotency key: the service executes a POST once, however often it is sent. A random one if omitted. */
  idempotencyKey?: string;
}

/** The request that `proxy` sends to HubSpot: the options of `fetch`, or `json` as the body. */
export interface ProxyInit extends RequestInit {
  /** The body, sent as JSON. */
  json?: unknown;
}

/** A client of the service for the backend of an application. */
export class HubSpotConnect {
  readonly #transport: Transport;
  readonly #tokens: Tokens;

  constructor(options: Options) {
    this.#transport = new Transport(options);
    this.#tokens = new Tokens(this.#transport);
  }

  /** The API key of this client. */
  readonly apiKey = {
    /** Returns the key's name and scopes. */
    get: (options?: CallOptions): Promise<types.ApiKey> => this.#ask("GET", "/api-key", options),
  };

  /** The user who is connecting. */
  readonly connectSessions = {
    /** Creates a session. Pass its `token` to your page. */
    create: (session: types.CreateConnectSession, options?: CallOptions): Promise<types.NewConnectSession> =>
      this.#ask("POST", "/connect-sessions", { body: session, ...options }),
    /** Creates a session with a `link` for another user, such as an administrator. Nothing is connected until you complete it. */
    createLink: (session: types.CreateConnectLink, options?: CallOptions): Promise<types.NewConnectLink> =>
      this.#ask("POST", "/connect-sessions", { body: { ...session, hosted: true }, ...options }),
    /** Lists sessions, the newest first. */
    list: (query?: types.ListConnectSessions, options?: CallOptions): Promise<types.Page<types.ConnectSession>> =>
      this.#ask("GET", "/connect-sessions", { query, ...options }),
    get: (id: string, options?: CallOptions): Promise<types.ConnectSession> =>
      this.#ask("GET", `/connect-sessions/${part(id)}`, options),
    /** Confirms that the user who is logged in to the current request is the one who authorized. */
    complete: (id: string, externalUserId: string, options?: CallOptions): Promise<types.ConnectSession> =>
      this.#ask("POST", `/connect-sessions/${part(id)}/complete`, { body: { external_user_id: externalUserId }, ...options }),
    cancel: (id: string, options?: CallOptions): Promise<types.ConnectSession> =>
      this.#ask("DELETE", `/connect-sessions/${part(id)}`, options),
  };

  /** Tokens with which a page reads what its user has connected, after a reload for example. */
  readonly readTokens = {
    /** Creates a token for the page of this user. It cannot be revoked before it expires. */
    create: (token: types.CreateReadToken, options?: CallOptions): Promise<types.NewReadToken> =>
      this.#ask("POST", "/read-tokens", { body: token, ...options }),
  };

  /** The HubSpot accounts that your users have connected. */
  readonly connections = {
    list: (query?: types.ListConnections, options?: CallOptions): Promise<types.Page<types.Connection>> =>
      this.#ask("GET", "/connections", { query, ...options }),
    get: (id: string, options?: CallOptions): Promise<types.ExplainedConnection> =>
      this.#ask("GET", `/connections/${part(id)}`, options),
    /** Imports a refresh token that was obtained elsewhere for the same HubSpot app. */
    importToken: (connection: types.ImportConnection, options?: CallOptions): Promise<types.Connection> =>
      this.#ask("POST", "/connections", { body: connection, ...options }),
    /** Replaces the metadata of a connection. */
    update: (id: string, changes: types.ConnectionChanges, options?: CallOptions): Promise<types.Connection> =>
      this.#ask("PATCH", `/connections/${part(id)}`, { body: changes, ...options }),
    /** Lists the events of a connection, oldest first. */
    history: (id: string, query?: types.ListHistory, options?: CallOptions): Promise<types.Page<types.HistoryEvent>> =>
      this.#ask("GET", `/connections/${part(id)}/history`, { query, ...options }),
    /** Returns an access token that is valid for at least `minTtl` seconds (60 if omitted), from memory for as long as the service allows. */
    token: (id: string, options?: { minTtl?: number }): Promise<types.AccessToken> => this.#tokens.get(id, options?.minTtl),
    /** Removes a token that HubSpot rejected from memory. The service may return the same one: if that is rejected too, call `refresh`. */
    forgetToken: (id: string): void => this.#tokens.forget(id),
    /** Refreshes the tokens now. */
    refresh: (id: string, options?: CallOptions): Promise<types.RefreshedConnection> =>
      this.#tokens.replace(id, () => this.#ask("POST", `/connections/${part(id)}/refresh`, options)),
    disconnect: (id: string, options?: CallOptions): Promise<types.Disconnected> =>
      this.#tokens.replace(id, () => this.#ask("DELETE", `/connections/${part(id)}`, options)),
    /** Uninstalls the app from the whole HubSpot account, and deletes the connection. */
    uninstall: (id: string, options?: CallOptions): Promise<types.Uninstalled> =>
      this.#tokens.replace(id, () => this.#ask("POST", `/connections/${part(id)}/uninstall`, { body: { confirm: true }, ...options })),
  };

  /** Installs from HubSpot's Marketplace that belong to no user yet. */
  readonly installs = {
    list: (query?: types.ListInstalls, options?: CallOptions): Promise<types.Page<types.Install>> =>
      this.#ask("GET", "/installs", { query, ...options }),
    claim: (id: string, claim: types.ClaimInstall, options?: CallOptions): Promise<types.ClaimedInstall> =>
      this.#ask("POST", `/installs/${part(id)}/claim`, { body: claim, ...options }),
  };

  /** The endpoints that are notified of events. */
  readonly webhooks = {
    create: (webhook: types.NewWebhook, options?: CallOptions): Promise<types.WebhookWithSecret> =>
      this.#ask("POST", "/webhooks", { body: webhook, ...options }),
    list: (query?: types.ListWebhooks, options?: CallOptions): Promise<types.Page<types.Webhook>> =>
      this.#ask("GET", "/webhooks", { query, ...options }),
    get: (id: string, options?: CallOptions): Promise<types.Webhook> => this.#ask("GET", `/webhooks/${part(id)}`, options),
    update: (id: string, changes: types.WebhookChanges, options?: CallOptions): Promise<types.Webhook> =>
      this.#ask("PATCH", `/webhooks/${part(id)}`, { body: changes, ...options }),
    /** Rotates the secret. The previous one also signs for `overlapSeconds` (a day if omitted). */
    rotateSecret: (id: string, overlapSeconds?: number, options?: CallOptions): Promise<types.WebhookWithSecret> =>
      this.#ask("POST", `/webhooks/${part(id)}/rotate-secret`, { body: { overlap_seconds: overlapSeconds }, ...options }),
    /** Deletes the endpoint and returns it as it was. */
    delete: (id: string, options?: CallOptions): Promise<types.Webhook> => this.#ask("DELETE", `/webhooks/${part(id)}`, options),
    /** Sends `webhook.test` to the endpoint. */
    test: (id: string, options?: CallOptions): Promise<types.Delivery> => this.#ask("POST", `/webhooks/${part(id)}/test`, options),
    /** Lists the deliveries to an endpoint, newest first. */
    listDeliveries: (id: string, query?: types.ListDeliveries, options?: CallOptions): Promise<types.Page<types.Delivery>> =>
      this.#ask("GET", `/webhooks/${part(id)}/deliveries`, { query, ...options }),
    /** Returns a delivery with its message. */
    getDelivery: (id: string, deliveryId: string, options?: CallOptions): Promise<types.DeliveryWithPayload> =>
      this.#ask("GET", `/webhooks/${part(id)}/deliveries/${part(deliveryId)}`, options),
    /** Queues up to 1000 failed deliveries again, the oldest first. Repeat it while `has_more` is true. */
    replayFailed: async (id: string, filter: types.ReplayFilter = {}, options?: CallOptions): Promise<types.ReplayedDeliveries> => {
      for (const [name, value] of Object.entries(filter)) if (value == null) throw emptyFilter(name);
      return this.#ask("POST", `/webhooks/${part(id)}/deliveries/replay`, { body: filter, ...options });
    },
    /** Sends a delivery again. */
    replayDelivery: (id: string, deliveryId: string, options?: CallOptions): Promise<types.Delivery> =>
      this.#ask("POST", `/webhooks/${part(id)}/deliveries/${part(deliveryId)}/replay`, options),
  };

  /** The events that webhooks report. */
  readonly events = {
    /** Lists the events of the project, oldest first. An event is listed a minute after it occurred. */
    list: (query?: types.ListEvents, options?: CallOptions): Promise<types.Page<types.Event>> =>
      this.#ask("GET", "/events", { query, ...options }),
  };

  /**
   * Calls HubSpot's API with the access token of a connection, which stays in the service. `path` is HubSpot's own, such as
   * `/crm/v3/objects/contacts?limit=1`. The request is sent once.
   *
   * Resolves to HubSpot's response, whatever its status. Rejects with `HubSpotConnectError` if the service rejected
   * the call or did not get a response.
   */
  async proxy(connectionId: string, path: string, { json, ...init }: ProxyInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    if (json !== undefined) {
      init.body = JSON.stringify(json);
      if (!headers.has("content-type")) headers.set("content-type", "application/json");
    }
    const response = await this.#transport.send(`${API}/connections/${part(connectionId)}/proxy/`, path.replace(/^\/+/, ""), { ...init, headers });
    if (response.headers.get("hubspot-connect-origin") !== "hubspot") throw await problemOf(response);
    return response;
  }

  async #ask<T>(method: Ask["method"], path: string, rest: Omit<Ask, "method" | "path"> = {}): Promise<T> {
    const answer = await this.#transport.ask({ method, path, ...rest });
    return answer.body as T;
  }
}

/** Encodes an id as one segment of a path. */
function part(id: string): string {
  return encodeURIComponent(id);
}

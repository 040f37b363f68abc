/**
 * The browser SDK of hubspot-connect. This file is its whole public face.
 */

/** `needs_reauth`, `integrity_error`: the user has to connect again. */
export type ConnectionStatus = "active" | "degraded" | "needs_reauth" | "integrity_error";

/** A connection, in every answer. */
export interface Connection {
  /**
   * Its id, which a reconnect of the same account keeps. Do not let your backend trust an id that a page sends: it learns
   * of connections from the service.
   */
  readonly connectionId: string;
  /** The authorization request that made it: what the operator finds in the log. Null on the service's own pages. */
  readonly flow: string | null;
  /** The HubSpot account; null if HubSpot has not told it yet. */
  readonly portalId: number | null;
  /** The account's website. Somebody has typed it: show it as text, never as HTML. */
  readonly hubDomain: string | null;
  readonly status: ConnectionStatus;
  /** The granted scopes; null as long as HubSpot has not named them. */
  readonly scopes: readonly string[] | null;
  /** Scopes that were requested, optional ones included, and not granted; empty as long as `scopes` is null. */
  readonly missingScopes: readonly string[];
  /** When the access token expires, RFC 3339 in UTC. */
  readonly expiresAt: string | null;
  /** Only from `connect()` and `resume()`, if the operator has set `TOKEN_DELIVERY` to give tokens to pages. Given out once. */
  readonly accessToken?: string;
  /** `"bearer"`, beside an access token. */
  readonly tokenType?: string;
}

/** What a page's own server may know of a connection. */
export type KnownConnection = Pick<Connection, "portalId" | "hubDomain"> & Partial<Connection>;

export type ErrorCode =
  | "popup_blocked"
  | "closed"
  | "cancelled"
  | "timeout"
  | "origin_not_allowed"
  | "user_denied"
  | "flow_expired"
  | "provider_error"
  | "scopes_missing"
  | "wrong_account"
  | "sandboxed_iframe"
  | "csp_blocked"
  | "flow_mismatch"
  | "service_unavailable"
  | "invalid_option"
  | "connect_session_failed"
  | "connect_session_ended"
  | "confirm_failed"
  | "connection_unknown"
  | "read_token_invalid"
  | "external_user_mismatch";

export declare class HubSpotConnectError extends Error {
  constructor(code: ErrorCode, message?: string, details?: { flow?: string | undefined; reason?: string | undefined; cause?: unknown });
  readonly name: "HubSpotConnectError";
  readonly code: ErrorCode;
  /** The attempt, where it is known: what the operator finds in the log. */
  readonly flow?: string;
  /** The service's own code, where it is another one than `code`. */
  readonly reason?: string;
  /** What your `connectSession` or `onConfirm` has thrown, of `connect_session_failed` and `confirm_failed`. */
  readonly cause?: unknown;
  /** Whether the same click may succeed the next time. */
  readonly retryable: boolean;
}

/**
 * How far `connect()` is. `opening`: the popup is open, and waits for your connect session. `waiting`: the user is in the
 * popup. `perhaps_closed`: the popup is out of this page's reach; the user has closed it, or a page in it has cut it off
 * with a Cross-Origin-Opener-Policy. A page cannot tell the two apart, so the promise stays pending and the user may
 * still finish; another `connect()` in a click takes over. `completing`: the user has come back from HubSpot.
 */
export type ConnectState = "opening" | "waiting" | "perhaps_closed" | "completing";

/** What your backend must confirm. */
export interface Confirmation {
  /** The connect session to complete: the `id` that your backend got when it created the session. */
  readonly connectSessionId: string;
  /** The connection that the session reconnects; null for a new connection, which has no id yet. */
  readonly connectionId: string | null;
  readonly flow: string;
}

export interface HubSpotConnectOptions {
  /** The address of the service, such as `https://connect.example.com`. */
  service: string;
  /**
   * A read token that your backend has created for the user of this page, or a function that fetches one: `status()` and
   * `watch()` then report the connections of that user. The function is called again when a token has expired.
   */
  readToken?: string | (() => string | Promise<string>) | undefined;
}

export interface ConnectOptions {
  /** Gives the attempt up: the popup is closed and the promise rejects with `cancelled`. */
  signal?: AbortSignal;
  /** `"redirect"` leaves this page for HubSpot where popups are blocked; `resume()` takes it up on return. */
  fallback?: "redirect";
  /** `"redirect"` does so without trying a popup. */
  mode?: "popup" | "redirect";
  /** `text`: what the popup says while it waits for your connect session. */
  popup?: { width?: number; height?: number; text?: string };
  /** Where to come back to. The service must know it. For a redirect it is this page if left out. */
  returnUrl?: string;
  /** The HubSpot account that the person is expected to choose. */
  portalId?: number;
  /**
   * The token of a connect session that your backend has made, or a function that fetches one: the connection becomes
   * that of your user. The popup opens in the click and waits for the function. If it rejects or returns no token,
   * `connect()` rejects with `connect_session_failed`. If the session has ended meanwhile, it is called once more.
   *
   * The token goes by a form alone, so the page's policy has to allow it (`form-action`), or the attempt ends with
   * `csp_blocked`.
   */
  connectSession?: string | (() => string | Promise<string>);
  /**
   * Called once, when your backend must confirm the connection: have it complete the session. If it throws or rejects,
   * `connect()` rejects with `confirm_failed`.
   */
  onConfirm?: (confirmation: Confirmation) => unknown;
  /** Called with the state at the start, and with each other one. Enable your button in `perhaps_closed` at the latest. */
  onState?: (state: ConnectState) => void;
  /** `false` cuts the popup off from this page: it cannot reach this window, and the result comes by asking alone. */
  opener?: boolean;
}

export interface Status {
  readonly connections: readonly Connection[];
}

/** One line of `diagnose()`. */
export interface Finding {
  readonly check:
    | "secure_context"
    | "service_reachable"
    | "origin_listed"
    | "connect_src"
    | "form_action"
    | "opener_policy"
    | "sandbox"
    | "private_address"
    | "local_network_permission"
    | "third_party_storage"
    | "web_view"
    | "cookies"
    | "clock";
  /** null: cannot be told from here. */
  readonly ok: boolean | null;
  readonly detail: string;
  readonly remedy?: string;
}

export declare class HubSpotConnect {
  /** Throws a HubSpotConnectError with `invalid_option` if `service` is no address of a service. */
  constructor(options: HubSpotConnectOptions);
  /** Messages that came while an attempt was waiting and were not believed. */
  readonly ignoredMessages: number;
  /**
   * Opens the popup. Call it in the click itself, before anything is awaited, or browsers block the popup.
   *
   * Called again while the popup is open, it brings the popup to the front and returns the same promise. Called again
   * when the popup is closed or out of reach (`perhaps_closed`), it opens another popup and the earlier promise rejects with `closed`.
   */
  connect(options?: ConnectOptions): Promise<Connection>;
  /** Takes up what a reload or a redirect has interrupted. Null if there is nothing to take up. */
  resume(options?: Pick<ConnectOptions, "onConfirm" | "onState">): Promise<Connection | null>;
  /**
   * With a read token the connections of its user. On the service's own pages those of this browser. Elsewhere what this page has connected last, until it is
   * reloaded, for as long as the service remembers the authorization request: ten minutes after it would have expired.
   */
  status(): Promise<Status>;
  /** Tells the status now and after every change, until the returned function is called. */
  watch(onChange: (status: Status) => void): () => void;
  /** Ends a connection that this page has made since it was loaded. Rejects with `connection_unknown` for another one. */
  disconnect(connectionId: string): Promise<void>;
  /** Looks for what would keep `connect()` from working here. Opens and changes nothing. */
  diagnose(): Promise<Finding[]>;
}

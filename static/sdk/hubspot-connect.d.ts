/**
 * The browser SDK of hubspot-connect. This file is its whole public API.
 */

/** `needs_reauth`, `integrity_error`: the user has to connect again. */
export type ConnectionStatus = "active" | "degraded" | "needs_reauth" | "integrity_error";

/** A connection, in every response. */
export interface Connection {
  /**
   * The id, which a reconnect of the same account keeps. Your backend must not trust an id that a page sends: it gets
   * connections from the service.
   */
  readonly connectionId: string;
  /** The id of the authorization request, by which the operator finds it in the log. Null on the service's own pages. */
  readonly flow: string | null;
  /** The HubSpot account; null if HubSpot has not named it yet. */
  readonly portalId: number | null;
  /** The account's website. It is user input: show it as text, never as HTML. */
  readonly hubDomain: string | null;
  readonly status: ConnectionStatus;
  /** The granted scopes; null until HubSpot has named them. */
  readonly scopes: readonly string[] | null;
  /** Scopes that were requested, including optional ones, and not granted; empty while `scopes` is null. */
  readonly missingScopes: readonly string[];
  /** The expiry time of the access token, RFC 3339 in UTC. */
  readonly expiresAt: string | null;
  /** The access token. Only from `connect()` and `resume()`, if `TOKEN_DELIVERY` allows tokens in pages. Handed off once. */
  readonly accessToken?: string;
  /** `"bearer"`, with an access token. */
  readonly tokenType?: string;
}

/** A connection as known to a page's own server. */
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
  /** The id of the authorization request, if known, by which the operator finds it in the log. */
  readonly flow?: string;
  /** The service's own code, if it differs from `code`. */
  readonly reason?: string;
  /** The error that your `connectSession` or `onConfirm` threw, for `connect_session_failed` and `confirm_failed`. */
  readonly cause?: unknown;
  /** Whether another click may succeed. */
  readonly retryable: boolean;
}

/**
 * The progress of `connect()`. `opening`: the popup is open and waits for your connect session. `waiting`: the user
 * is in the popup. `perhaps_closed`: the popup is out of reach; either the user has closed it, or a page in it has
 * severed it with a Cross-Origin-Opener-Policy. A page cannot distinguish the two, so the promise stays pending and
 * the user may still finish; another `connect()` in a click replaces it. `completing`: the user has returned from
 * HubSpot.
 */
export type ConnectState = "opening" | "waiting" | "perhaps_closed" | "completing";

/** A connection that your backend must confirm. */
export interface Confirmation {
  /** The id of the connect session to complete, as returned to your backend when it created the session. */
  readonly connectSessionId: string;
  /** The connection that the session reconnects; null for a new connection, which has no id yet. */
  readonly connectionId: string | null;
  readonly flow: string;
}

export interface HubSpotConnectOptions {
  /** The address of the service, such as `https://connect.example.com`. */
  service: string;
  /**
   * A read token that your backend created for the user of this page, or a function that fetches one: `status()` and
   * `watch()` then report the connections of that user. The function is called again when a token has expired.
   */
  readToken?: string | (() => string | Promise<string>) | undefined;
}

export interface ConnectOptions {
  /** Cancels the authorization request: the popup is closed and the promise rejects with `cancelled`. */
  signal?: AbortSignal;
  /** `"redirect"` navigates this page to HubSpot if popups are blocked; `resume()` continues on return. */
  fallback?: "redirect";
  /** `"redirect"` navigates this page without trying a popup. */
  mode?: "popup" | "redirect";
  /** `text`: the text in the popup while it waits for your connect session. */
  popup?: { width?: number; height?: number; text?: string };
  /** The URL to return to. The service must allow it. For a redirect, this page if omitted. */
  returnUrl?: string;
  /** The HubSpot account that the user is expected to choose. */
  portalId?: number;
  /**
   * The token of a connect session that your backend created, or a function that fetches one: the connection will
   * belong to your user. The popup opens in the click and waits for the function. If it rejects or returns no token,
   * `connect()` rejects with `connect_session_failed`. If the session has already ended, the function is called once
   * more.
   *
   * The token is sent only by a form, so the page's policy must allow it (`form-action`); otherwise `connect()`
   * rejects with `csp_blocked`.
   */
  connectSession?: string | (() => string | Promise<string>);
  /**
   * Called once, when your backend must confirm the connection: let it complete the session. If the callback throws
   * or rejects, `connect()` rejects with `confirm_failed`.
   */
  onConfirm?: (confirmation: Confirmation) => unknown;
  /** Called with the initial state and after every change. Enable your button in `perhaps_closed` at the latest. */
  onState?: (state: ConnectState) => void;
  /** `false` severs the popup from this page: it cannot reach this window, and the result comes only by polling. */
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
  /** null: unknown. */
  readonly ok: boolean | null;
  readonly detail: string;
  readonly remedy?: string;
}

export declare class HubSpotConnect {
  /** Throws a HubSpotConnectError with `invalid_option` if `service` is not a valid address. */
  constructor(options: HubSpotConnectOptions);
  /** The number of messages that were received while waiting and were not trusted. */
  readonly ignoredMessages: number;
  /**
   * Opens the popup. Call it in the click handler, before any `await`; otherwise browsers block the popup.
   *
   * Called again while the popup is open, it brings the popup to the front and returns the same promise. Called again
   * when the popup is closed or out of reach (`perhaps_closed`), it opens another popup, and the earlier promise
   * rejects with `closed`.
   */
  connect(options?: ConnectOptions): Promise<Connection>;
  /** Resumes an authorization request after a reload or a redirect. Null if there is none. */
  resume(options?: Pick<ConnectOptions, "onConfirm" | "onState">): Promise<Connection | null>;
  /**
   * Returns the connections of the read token's user. Without a read token: on the service's own pages, the
   * connections of this browser; elsewhere, the last connection of this page until it is reloaded, for as long as the
   * service keeps the authorization request: ten minutes after its expiry.
   */
  status(): Promise<Status>;
  /** Reports the status now and after every change, until the returned function is called. */
  watch(onChange: (status: Status) => void): () => void;
  /** Disconnects a connection that this page created since it was loaded. Rejects with `connection_unknown` for any other. */
  disconnect(connectionId: string): Promise<void>;
  /** Checks what would prevent `connect()` from working here. Opens and changes nothing. */
  diagnose(): Promise<Finding[]>;
}

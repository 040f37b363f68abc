import type { Connection, ErrorCode, HubSpotConnectError, KnownConnection } from "./api";
import type { ViewState } from "./view_api";

export type ElementState = ViewState | "stalled";

/** The texts of the button by the state, and the sentences by the state or the error's code. */
type Texts = { [State in ElementState as `label-${State}`]?: string } & { [Key in ElementState | ErrorCode | "popup" as `text-${Key}`]?: string };

/** The attributes of `<hubspot-connect>`. One that is present and invalid is an error (`invalid_option`). */
export interface HubSpotConnectAttributes extends Texts {
  /** The address of the service. */
  service?: string;
  /** The text of the button, instead of "Connect to HubSpot". */
  label?: string;
  /** The HubSpot account that the user is expected to choose; with `state="connected"`, the connected one. */
  "portal-id"?: number | string;
  /** With `state="connected"`: the account's website. */
  "hub-domain"?: string;
  /** The state that your server knows when it renders the page. The element updates it from then on. */
  state?: "connected" | "needs_reauth";
  /** A read token of the user: the element shows the user's connection, and every change of it. */
  "read-token"?: string;
  /** A route of your own server, which creates a connect session and answers with JSON that has its `token`. */
  "session-url"?: string;
  /** A route of your own server, which completes the connect session. */
  "confirm-url"?: string;
  "return-url"?: string;
  fallback?: "redirect";
  /** The requested scopes; they are shown if HubSpot does not send the user back. */
  scopes?: string;
}

export interface HubSpotConnectElementEventMap {
  connected: CustomEvent<Connection>;
  reconnected: CustomEvent<Connection>;
  disconnected: CustomEvent<KnownConnection>;
  failed: CustomEvent<HubSpotConnectError>;
  statechange: CustomEvent<ElementState>;
}

/**
 * `<hubspot-connect service="https://connect.example.com"></hubspot-connect>`
 *
 * Reflects `state`. Events: `connected`, `reconnected` (the account that was connected before), `disconnected`, `failed`
 * (detail: HubSpotConnectError), and `statechange` (detail: the new state); all bubble.
 * Parts: `button`, `status`, `error`.
 */
export interface HubSpotConnectElement extends HTMLElement {
  readonly state: ElementState;
  /** The connection. Set it to the one that your server knows. */
  connection: KnownConnection | null;
  addEventListener<K extends keyof HubSpotConnectElementEventMap>(
    type: K, listener: (this: HubSpotConnectElement, event: HubSpotConnectElementEventMap[K]) => void, options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
}

declare global {
  interface HTMLElementTagNameMap {
    "hubspot-connect": HubSpotConnectElement;
  }
}

import type { Connection, ConnectState, HubSpotConnectError } from "./api";

export type ElementState = "idle" | ConnectState | "stalled" | "connected" | "needs_reauth" | "error";

/** The attributes of `<hubspot-connect>`. One that is present and invalid is an error (`invalid_option`). */
export interface HubSpotConnectAttributes {
  /** The address of the service. */
  service?: string;
  /** The text of the button, instead of "Connect to HubSpot". */
  label?: string;
  /** The HubSpot account that the user is expected to choose. */
  "portal-id"?: number | string;
  "return-url"?: string;
  fallback?: "redirect";
  /** The scopes that are requested; they are named where HubSpot does not come back. */
  scopes?: string;
}

export interface HubSpotConnectElementEventMap {
  connected: CustomEvent<Connection>;
  failed: CustomEvent<HubSpotConnectError>;
  statechange: CustomEvent<ElementState>;
}

/**
 * `<hubspot-connect service="https://connect.example.com"></hubspot-connect>`
 *
 * Reflects `state`. Events: `connected` (detail: Connection), `failed` (detail: HubSpotConnectError), and
 * `statechange` (detail: the new state); all bubble.
 * Parts: `button`, `status`, `error`.
 */
export interface HubSpotConnectElement extends HTMLElement {
  readonly state: ElementState;
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

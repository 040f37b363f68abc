import type { Connection, ConnectOptions, ConnectState, HubSpotConnectError, HubSpotConnectOptions, KnownConnection } from "./hubspot-connect.js";

export type ViewState = "idle" | ConnectState | "connected" | "needs_reauth" | "error";

/** The view of a page. */
export interface View {
  readonly state: ViewState;
  /** The connection, also while the user reconnects and after an error. */
  readonly connection: KnownConnection | null;
  /** The error, in the state `error`. */
  readonly error: HubSpotConnectError | null;
}

export interface UseHubSpotConnectOptions extends Omit<ConnectOptions, "signal" | "onState"> {
  /** The address of the service. It is read once, when the component is created. */
  service: string;
  /** The connection that your server knows, so that the page shows it after a reload. It is read once. */
  connection?: KnownConnection | null;
  /** A read token, which reports all changes of the connection, including those by other pages. It is read once. */
  readToken?: HubSpotConnectOptions["readToken"];
}

export interface Calls {
  /** Opens the popup; call it in the click. Resolves with null, and never rejects, if it fails: see `error`. */
  connect(options?: Omit<ConnectOptions, "onState">): Promise<Connection | null>;
  /** Disconnects. Rejects with `connection_unknown` if this page did not create the connection since it was loaded. */
  disconnect(): Promise<void>;
}

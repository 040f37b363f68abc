import type { Connection, ConnectOptions, ConnectState, HubSpotConnectError, HubSpotConnectOptions, KnownConnection } from "./api";

export type ViewState = "idle" | ConnectState | "connected" | "needs_reauth" | "error";

/** What a page shows. */
export interface View {
  readonly state: ViewState;
  /** What is connected, also while the user connects again and after an error. */
  readonly connection: KnownConnection | null;
  /** Of the state `error`. */
  readonly error: HubSpotConnectError | null;
}

export interface UseHubSpotConnectOptions extends Omit<ConnectOptions, "signal" | "onState"> {
  /** The address of the service. It is read once, when the component is made. */
  service: string;
  /** What your server knows to be connected, so that the page shows it after a reload. It is read once. */
  connection?: KnownConnection | null;
  /** Reports changes of the connection, also those that this page has not made. It is read once. */
  readToken?: HubSpotConnectOptions["readToken"];
}

export interface Calls {
  /** Opens the popup; call it in the click. Resolves with null, and never rejects, if it fails: see `error`. */
  connect(options?: Omit<ConnectOptions, "onState">): Promise<Connection | null>;
  /** Ends the connection. Rejects with `connection_unknown` if this page has not made it since it was loaded. */
  disconnect(): Promise<void>;
}

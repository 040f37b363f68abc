/** The view of the element, the React hook and the Vue composable: the progress of connecting, and the connection. */
import type * as api from "./api";
import { HubSpotConnect } from "./hubspot-connect.js";
import type { View, ViewState } from "./view_api";

export const PENDING = /ing$|perhaps/;

const restingState = (connection: api.KnownConnection | null): ViewState =>
  !connection ? "idle" : /^(needs_reauth|integrity_error)$/.test(connection.status ?? "") ? "needs_reauth" : "connected";

/** Returns the view of a page without an authorization request. */
export const resting = (connection: api.KnownConnection | null): View => ({ state: restingState(connection), connection, error: null });

export class Controller {
  view: View;
  #sdk: HubSpotConnect;
  /** Whether the service reports all connections. Without a read token it does so only to its own pages. */
  #isTold: boolean;
  #listeners = new Set<() => void>();
  /** Shows what was reported while the user was connecting. */
  #missed: (() => void) | undefined;
  /** The authorization request on display. */
  #result: Promise<unknown> | undefined;

  /** @param connection the one that the page's server knows */
  constructor(service: string, connection: api.KnownConnection | null, readToken: api.HubSpotConnectOptions["readToken"]) {
    this.#sdk = new HubSpotConnect({ service, readToken });
    this.#isTold = !!readToken || globalThis.location?.origin === new URL(service).origin;
    this.view = resting(connection);
  }

  // Properties, because frameworks call them without the object.
  read = (): View => this.view;

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Resumes an authorization request after a reload, and watches the connection, until the returned function is called. */
  start(options: api.ConnectOptions): () => void {
    if (!PENDING.test(this.view.state)) void this.#follow((onState) => this.#sdk.resume({ ...options, onState }));
    // A component that was unmounted may have connected before.
    let adopt = this.#isTold || !this.view.connection;
    return this.#sdk.watch(({ connections }) => {
      const compare = () => {
        const wanted = options.portalId ?? this.view.connection?.portalId;
        this.#compare(connections, adopt ? connections.find(({ portalId }) => portalId === (wanted ?? portalId)) : undefined);
        adopt = this.#isTold;
      };
      this.#missed = PENDING.test(this.view.state) ? compare : undefined;
      if (!this.#missed) compare();
    });
  }

  /** Never rejects: an error is shown. */
  connect(options: api.ConnectOptions): Promise<api.Connection | null> {
    return this.#follow((onState) => this.#sdk.connect({ ...options, onState }), "opening");
  }

  async disconnect(): Promise<void> {
    const { connection } = this.view;
    if (!connection) return;
    await this.#sdk.disconnect(connection.connectionId ?? "");
    this.show(connection === this.view.connection ? null : this.view.connection);
  }

  show(connection: api.KnownConnection | null): void {
    this.#set(resting(connection));
  }

  #set(changes: Partial<View>): void {
    this.view = { ...this.view, ...changes };
    this.#listeners.forEach((listener) => listener());
  }

  /** Shows the result of a request, unless another one replaces it. */
  async #follow(
    begin: (onState: (state: api.ConnectState) => void) => Promise<api.Connection | null>,
    first?: api.ConnectState,
  ): Promise<api.Connection | null> {
    const isShown = () => this.#result === result;
    const result = begin((state) => { if (isShown()) this.#set({ state, error: null }); });
    // The click has joined what is shown already.
    if (!isShown()) {
      this.#result = result;
      if (first) this.#set({ state: first, error: null });
    }
    try {
      const connection = await result;
      if (isShown()) {
        if (connection) this.show(connection);
        else {
          if (PENDING.test(this.view.state)) this.show(this.view.connection);
          this.#missed?.();
        }
        // The service reports the new connection.
        this.#missed = undefined;
      }
      return connection;
    } catch (error) {
      if (isShown()) {
        this.#set({ state: "error", error: error as api.HubSpotConnectError });
        this.#missed?.();
        this.#missed = undefined;
      }
      return null;
    }
  }

  /** @param other the connection to show if the current one is not among them */
  #compare(connections: readonly api.Connection[], other: api.Connection | undefined): void {
    const { connection: shown } = this.view;
    const one = connections.find(({ connectionId }) => connectionId === shown?.connectionId) ?? other;
    // The service does not report connections that this page did not create since it was loaded.
    if (!one && !this.#isTold && !shown?.flow) return;
    const now = one ? { ...(one.connectionId === shown?.connectionId && shown), ...one } : null;
    // An error stays as long as nothing has changed.
    if (JSON.stringify(now) !== JSON.stringify(shown)) this.show(now);
  }
}

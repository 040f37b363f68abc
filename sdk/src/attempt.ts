import type { Connection, ConnectOptions, ErrorCode } from "./api";
import { read } from "./channel.ts";
import { withToken } from "./connection.ts";
import type { Seen } from "./diagnose.ts";
import { fromServer, HubSpotConnectError } from "./errors.ts";
import { launch, startFields, whenForbidden } from "./launch.ts";
import { forget, type Memo, news, remember } from "./memory.ts";
import { notify } from "./notify.ts";
import { pauseAfter } from "./poll_pacing.ts";
import { Clock, initial, next, type PopupEvent, type PopupState, silenceCode, stateOf } from "./popup_state.ts";
import { secret } from "./secrets.ts";
import { sleep } from "./sleep.ts";
import { ask, type Body, post } from "./wire.ts";

/** In milliseconds. */
const enum Span {
  FirstPoll = 1_000,
  /** The interval between two checks for the empty page. */
  Empty = 50,
  /** A response that takes longer is lost: the service delays it by at most 25 seconds. */
  Lost = 40_000,
}

/** The number of consecutive responses withheld by the browser after which the page's origin counts as not allowed. */
const enum Limit {
  Withheld = 3,
}

/** The state that all instances for one service share: a second button of a page joins the request of the first. */
export interface Shared {
  attempt?: Attempt | undefined;
  /** The promise that `connect()` returned, while a redirect waits for its connect session. */
  leaving?: Promise<Connection> | undefined;
  ignored: number;
  /** The last request that connected, with whose secret the status is polled. */
  connected?: Memo;
  /** Wakes each `watch()`. */
  watchers: Set<() => void>;
  /** Observations about the last `connect()`, for `diagnose()`. */
  seen: Seen;
  /** The secret of the request that created each connection, which is required to disconnect it. */
  makers: Record<string, string>;
}

/**
 * One authorization request, from the opening of the popup until the first result.
 *
 * The result can come by a message or by polling, and the first one wins. Messages alone are not enough: a
 * Cross-Origin-Opener-Policy on any page in between severs the popup permanently, and its `closed` is true from then
 * on although the window is open.
 */
export class Attempt {
  /** The `onState` of each `connect()` that has joined. */
  #callbacks = new Set<ConnectOptions["onState"]>();
  #resolve!: (connection: Promise<Connection>) => void;
  readonly result = new Promise<Connection>((resolve) => { this.#resolve = resolve; });
  ended = false;
  #end = new AbortController();
  #service: string;
  #shared: Shared;
  #memo: Memo;
  #popup: Window | null;
  #options: ConnectOptions;
  #state: PopupState;
  /** The key that the popup's first page may request, to verify its opener. */
  #openerKey: string | undefined;
  /** The authorization request that was refused because its connect session had ended, if this is the second one. */
  #refused: string | undefined;
  /** Interrupts the pending response or pause. */
  #bell = new AbortController();
  /** The time at which the popup was sent to the service. */
  #sentAt = 0;
  /** The time at which the pending poll was sent. */
  #askedAt = Infinity;
  #unavailable = false;

  constructor(service: string, shared: Shared, memo: Memo, options: ConnectOptions, popup: Window | null = null) {
    this.#service = service;
    this.#shared = shared;
    this.#memo = memo;
    this.#popup = popup;
    this.#options = { ...options };
    this.#state = initial(popup ? "open" : "none", options.opener !== false, Date.now() - memo.startedAt, memo.mode === "redirect");
    shared.attempt = this;
    this.#listen();
    if (popup) void this.#start(popup);
    void this.#poll();
  }

  /** Lets one more `connect()` join: reports the state and its changes to it, and heeds its signal. */
  follow({ signal, onState }: ConnectOptions): Promise<Connection> {
    signal?.addEventListener("abort", () => this.cancel("cancelled"));
    this.#callbacks.add(onState);
    // The caller has no promise yet.
    queueMicrotask(() => this.ended || notify(onState, stateOf(this.#state)));
    return this.result;
  }

  /** Sends the popup to the service as soon as the page has the connect session. */
  async #start(popup: Window): Promise<void> {
    this.#sentAt = Infinity;
    while (!this.#prepare(popup)) {
      await sleep(Span.Empty);
      if (this.ended) return;
    }
    let fields;
    try {
      fields = await startFields(this.#memo, this.#openerKey = secret(), this.#options);
    } catch (error) {
      return this.#reject(error as HubSpotConnectError);
    }
    this.#look();
    // The user may have navigated the popup elsewhere in the meantime.
    if (!this.#prepare(popup)) this.#fail("closed");
    this.#note("sent");
    // A callback may have ended it.
    if (this.ended) return;
    this.#sentAt = Date.now();
    remember(this.#service, this.#memo);
    launch(this.#service, fields, popup, () => this.cancel("csp_blocked"));
  }

  /** Shows in the popup that it waits. @returns false as long as it shows another page, in which a form would be lost */
  #prepare(popup: Window): boolean {
    try {
      popup.document.body.textContent = this.#options.popup?.text ?? "Preparing the connection…";
      return true;
    } catch {
      return false;
    }
  }

  /**
   * Starts again in the same popup, once, where the page can give another connect session.
   *
   * @returns false if it cannot, or if this page has no hold on the popup
   */
  #startAgain(): boolean {
    if (typeof this.#options.connectSession !== "function" || this.#refused || !this.#state.canHear || !this.focus() || this.ended) return false;
    const memo = this.#memo;
    const popup = this.#popup!;
    this.#refused = memo.flow ?? "unknown";
    forget(this.#service, memo.verifier);
    memo.verifier = secret();
    delete memo.flow;
    this.#change({ ...initial("open", true), muted: this.#state.muted });
    if (this.ended) return false;
    // Leave the error page, which would close the popup.
    popup.location.replace("about:blank");
    void this.#start(popup);
    return true;
  }

  /** Brings the popup to the front. @returns false if this page can reach no popup */
  focus(): boolean {
    this.#look();
    const open = this.#state.window === "open";
    if (open) this.#popup?.focus();
    return open;
  }

  /**
   * Cancels the request immediately, closes its popup, and notifies the service in the background. Only for decisions
   * of the user or the page. A guess is not enough: the user may be signing in.
   */
  cancel(code: ErrorCode): void {
    if (this.ended) return;
    const { flow, verifier } = this.#memo;
    this.#popup?.close();
    if (flow || this.#state.sent) void post(this.#service, "cancel", verifier, flow ? { flow } : {});
    this.#fail(code);
  }

  /** Handles a status of the authorization request, from the popup or from the service. */
  #take(body: Body): void {
    const { flow, status, connection, error } = body;
    const memo = this.#memo;
    // The popup and the service may both still report on the request that this one replaced.
    if (flow && flow === this.#refused) return;
    // The popup and the service name one flow. If they differ, another program has used the challenge of this page.
    if (flow) {
      if (flow !== (memo.flow ??= flow)) this.cancel("flow_mismatch");
      else remember(this.#service, memo);
    }
    if (status === "exchanging") this.#note("completing");
    if (this.ended) return;
    if (body.awaiting_confirmation) void this.#confirm(body);
    // The opener was not verified to be this page, so polling gives no result, and there is no popup to send one.
    if (body.withheld && memo.mode !== "popup") this.#fail("csp_blocked");
    if (status === "connected" && connection) this.#finish(() => withToken(this.#service, memo, connection, body), connection.id);
    else if (error) {
      if (error.code !== "connect_session_ended" || !this.#startAgain()) this.#fail(error.code, error.message);
    }
    // The service gives no reason to a page that was not verified.
    else if (status === "expired") this.#fail("flow_expired");
  }

  /** Has the page's backend confirm the connection, once. */
  async #confirm({ connect_session_id, connection_id }: Body): Promise<void> {
    const { onConfirm } = this.#options;
    const flow = this.#memo.flow!;
    delete this.#options.onConfirm;
    try {
      await onConfirm?.({ connectSessionId: connect_session_id!, connectionId: connection_id ?? null, flow });
    } catch (cause) {
      this.#popup?.close();
      this.#reject(new HubSpotConnectError("confirm_failed", "", { flow, cause }));
    }
  }

  #note(event: PopupEvent): void {
    if (this.ended) return;
    const [state, action] = next(this.#state, event);
    this.#change(state);
    if (action === "ask") this.#wake();
    else if (action) this.#fail(action.fail);
  }

  #change(state: PopupState): void {
    const before = stateOf(this.#state);
    const now = stateOf(this.#state = state);
    if (now !== before) this.#callbacks.forEach((callback) => notify(callback, now));
  }

  #look(): void {
    this.#note(this.#popup?.closed === false ? "reads_open" : "reads_closed");
  }

  /** Polls until the request ends, or until the page's policy forbids it. */
  async #poll(): Promise<void> {
    let etag: string | null = null;
    let failures = 0;
    let withheld = 0;
    while (!this.ended && !this.#state.muted) {
      const { signal } = this.#bell = new AbortController();
      // Before the popup has reached the service, there is nothing to poll.
      const early = this.#sentAt + Span.FirstPoll - Date.now();
      if (early > 0) {
        await sleep(Math.min(early, Span.FirstPoll), signal);
        continue;
      }
      const began = this.#askedAt = Date.now();
      const answer = await ask(this.#service, this.#memo.verifier, etag, signal);
      this.#askedAt = Infinity;
      const { status, body } = answer;
      // A response that arrived before the interruption counts.
      if (this.ended || (signal.aborted && !status)) continue;
      this.#unavailable = !status || status >= 500;
      failures += 1;
      if (status === 200) etag = answer.etag;
      if (status === 200 || status === 304) {
        failures = 0;
        this.#note("known");
        this.#take(body);
      } else if (status === 404) {
        failures = 0;
      } else {
        // No status from a reachable service: the browser withholds the response.
        withheld = !status && !this.#state.heard && !this.#state.known && (await isReachable(this.#service)) ? withheld + 1 : 0;
        if (withheld >= Limit.Withheld || body.code === "origin_not_allowed") this.#fail("origin_not_allowed");
      }
      await sleep(pauseAfter(answer, failures, etag, Date.now() - began), signal);
    }
  }

  /** Polls now. A property, because it is a listener too. */
  #wake = (): void => this.#bell.abort();

  #fail(code?: string, message?: string): void {
    this.#reject(fromServer({ code, message }, this.#memo.flow));
  }

  #reject(error: HubSpotConnectError): void {
    this.#finish(() => Promise.reject(error));
  }

  /** Settles the request with this result, unless it already has one. */
  #finish(result: () => Promise<Connection>, connectionId?: string): void {
    if (this.ended) return;
    this.ended = true;
    this.#end.abort();
    this.#wake();
    forget(this.#service, this.#memo.verifier);
    // Nothing else would close the empty page, or the page to which the user navigated it.
    if (!this.#state.sent) this.#popup?.close();
    const shared = this.#shared;
    if (shared.attempt === this) shared.attempt = undefined;
    if (connectionId) {
      shared.makers[connectionId] = this.#memo.verifier;
      shared.connected = this.#memo;
      shared.watchers.forEach((wake) => wake());
    }
    this.#resolve(result());
  }

  /** Listens to the page, until the end. */
  #listen(): void {
    const { signal } = this.#end;
    const timer = setInterval(() => {
      this.#look();
      // A page that was frozen returns to a poll that never gets a response.
      if (Date.now() - this.#askedAt > Span.Lost) this.#wake();
      this.#note("tick");
      if (this.#state.patience < 0) this.#fail(silenceCode(this.#state, window !== top, this.#unavailable));
    }, Clock.Tick);
    const others = news();
    // For any authorization request: one more poll is cheap and reveals nothing.
    if (others) others.onmessage = this.#wake;
    signal.addEventListener("abort", () => {
      clearInterval(timer);
      others?.close();
    });
    if (this.#popup) addEventListener("message", (event) => this.#onMessage(event), { signal });
    addEventListener("pageshow", this.#wake, { signal });
    document.addEventListener("visibilitychange", this.#wake, { signal });
    whenForbidden(document, "connect-src", this.#service, signal, () => {
      this.#note("muted");
      this.#wake();
    });
  }

  #onMessage(event: MessageEvent): void {
    const message = read(event, { service: this.#service, popup: this.#popup, flow: this.#memo.flow });
    if (message === "ignored") return void (this.#shared.ignored += 1);
    if (!message) return;
    this.#take(message.type === "hubspot_auth_success"
      ? { ...message, status: "connected", connection: { ...message, id: message.connection_id } }
      : message);
    if (message.type !== "hubspot_auth_hello") return;
    // Once, and only to the service's own page.
    if (!this.#state.heard && message.needs_key) {
      this.#popup?.postMessage({ type: "hubspot_auth_key", version: 1, flow: message.flow, opener_key: this.#openerKey }, this.#service);
    }
    this.#note("heard");
  }
}

/** Returns whether the service responds at all. The response is opaque, so every page may request it. */
function isReachable(service: string): Promise<boolean> {
  return fetch(`${service}/livez`, { mode: "no-cors", cache: "no-store" }).then(() => true, () => false);
}

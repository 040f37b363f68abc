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
  /** Between two looks for the empty page. */
  Empty = 50,
  /** An answer that takes longer is lost: the service waits 25 seconds with it at most. */
  Lost = 40_000,
}

/** Answers in a row that the browser withholds from this page, before the page counts as one that may not connect. */
const enum Limit {
  Withheld = 3,
}

/** What all instances for one service have in common: a second button of a page takes up what the first has begun. */
export interface Shared {
  attempt?: Attempt | undefined;
  /** What `connect()` has returned, while a redirect waits for its connect session. */
  leaving?: Promise<Connection> | undefined;
  ignored: number;
  /** The last request that has connected: what the status is asked with. */
  connected?: Memo;
  /** Wakes each `watch()`. */
  watchers: Set<() => void>;
  /** What `diagnose()` reports of the last `connect()`. */
  seen: Seen;
  /** Which attempt has made which connection: it alone may end it. */
  makers: Record<string, string>;
}

/**
 * One authorization request, from the moment the popup is on its way until the first result.
 *
 * The result can come by a message or by polling, and the first one wins. Messages alone would not do: a
 * Cross-Origin-Opener-Policy on any page in between cuts the popup off for good, and its `closed` reads true from then
 * on while the window is open.
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
  /** What the popup's first page may ask for, to verify its opener. */
  #openerKey: string | undefined;
  /** The authorization request that was refused because its connect session had ended, if this is the second one. */
  #refused: string | undefined;
  /** Interrupts the answer or the pause that is being waited for. */
  #bell = new AbortController();
  /** When the popup was sent to the service. */
  #sentAt = 0;
  /** When the poll was sent that has no answer yet. */
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
    // The user may have led the popup elsewhere meanwhile.
    if (!this.#prepare(popup)) this.#fail("closed");
    this.#note("sent");
    // A callback may have ended it.
    if (this.ended) return;
    this.#sentAt = Date.now();
    remember(this.#service, this.#memo);
    launch(this.#service, fields, popup, () => this.cancel("csp_blocked"));
  }

  /** Says in the popup that it waits. @returns false as long as it shows another page, in which a form would be lost */
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
    // Away from the page that says why, which would close the popup.
    popup.location.replace("about:blank");
    void this.#start(popup);
    return true;
  }

  /** Brings the popup to the front. @returns false if there is none within reach of this page */
  focus(): boolean {
    this.#look();
    const open = this.#state.window === "open";
    if (open) this.#popup?.focus();
    return open;
  }

  /**
   * Ends it at once, with its popup, and notifies the service in the background. Only for what the user or the page has
   * decided. A guess is no reason: the user may be signing in.
   */
  cancel(code: ErrorCode): void {
    if (this.ended) return;
    const { flow, verifier } = this.#memo;
    this.#popup?.close();
    if (flow || this.#state.sent) void post(this.#service, "cancel", verifier, flow ? { flow } : {});
    this.#fail(code);
  }

  /** Takes in what the popup or the service says about the authorization request. */
  #take(body: Body): void {
    const { flow, status, connection, error } = body;
    const memo = this.#memo;
    // The popup and the service may both have something to say of the request that this one has replaced.
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

  /** Polls until the end, or until the page's policy turns out to forbid it. */
  async #poll(): Promise<void> {
    let etag: string | null = null;
    let failures = 0;
    let withheld = 0;
    while (!this.ended && !this.#state.muted) {
      const { signal } = this.#bell = new AbortController();
      // Before the popup is at the service, there is nothing to ask for.
      const early = this.#sentAt + Span.FirstPoll - Date.now();
      if (early > 0) {
        await sleep(Math.min(early, Span.FirstPoll), signal);
        continue;
      }
      const began = this.#askedAt = Date.now();
      const answer = await ask(this.#service, this.#memo.verifier, etag, signal);
      this.#askedAt = Infinity;
      const { status, body } = answer;
      // An answer that came before the interruption counts.
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
        // Without a status, of a service that can be reached: the browser withholds the answer.
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

  /** Ends it with this result, unless it has one already. */
  #finish(result: () => Promise<Connection>, connectionId?: string): void {
    if (this.ended) return;
    this.ended = true;
    this.#end.abort();
    this.#wake();
    forget(this.#service, this.#memo.verifier);
    // Nothing else would close the empty page, or the one that the user has led it to.
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
      // A page that was frozen comes back to a poll that will never be answered.
      if (Date.now() - this.#askedAt > Span.Lost) this.#wake();
      this.#note("tick");
      if (this.#state.patience < 0) this.#fail(silenceCode(this.#state, window !== top, this.#unavailable));
    }, Clock.Tick);
    const others = news();
    // Whichever authorization request is meant: one more poll costs nothing and gives nothing away.
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

/** Returns whether the service answers at all: nothing of such an answer can be read, so every page may ask for it. */
function isReachable(service: string): Promise<boolean> {
  return fetch(`${service}/livez`, { mode: "no-cors", cache: "no-store" }).then(() => true, () => false);
}

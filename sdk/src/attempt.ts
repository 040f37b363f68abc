import type { Connection, ConnectOptions, ErrorCode } from "./api";
import { read } from "./channel.ts";
import { toConnection } from "./connection.ts";
import { fromServer } from "./errors.ts";
import { whenForbidden } from "./launch.ts";
import { forget, type Memo, news, remember } from "./memory.ts";
import { notify } from "./notify.ts";
import { pauseAfter } from "./poll_pacing.ts";
import { Clock, initial, next, type PopupEvent, type PopupState, silenceCode } from "./popup_state.ts";
import { sleep } from "./sleep.ts";
import { ask, type Body, post } from "./wire.ts";

/** In milliseconds. */
const enum Span {
  FirstPoll = 1_500,
  /** An answer that takes longer is lost: the service waits 25 seconds with it at most. */
  Lost = 40_000,
}

/** Answers in a row that the browser withholds from this page, before the page counts as one that may not connect. */
const enum Limit {
  Withheld = 3,
}

/**
 * One authorization request, from the moment the popup is on its way until the first result.
 *
 * The result can come by a message or by polling, and the first one wins. Messages alone would not do: a
 * Cross-Origin-Opener-Policy on any page in between cuts the popup off for good, and its `closed` reads true from then
 * on while the window is open.
 */
export class Attempt {
  /** Called when the popup is lost: by each `connect()` that has joined. */
  readonly onLost = new Set<() => void>();
  #resolve!: (connection: Promise<Connection>) => void;
  readonly result = new Promise<Connection>((resolve) => { this.#resolve = resolve; });
  ended = false;
  #end = new AbortController();
  #service: string;
  #memo: Memo;
  #popup: Window | null;
  #onConfirm: ConnectOptions["onConfirm"];
  #onEnd: (connectionId?: string) => void;
  #state: PopupState;
  /** Interrupts the answer or the pause that is being waited for. */
  #bell = new AbortController();
  /** When the poll was sent that has no answer yet. */
  #askedAt = Infinity;
  #unavailable = false;

  /**
   * @param openerKey what the popup's first page may ask for, to verify its opener
   * @param onIgnored called for every message that was not believed
   * @param options `onConfirm` is called once, if the host's backend must confirm
   */
  constructor(
    service: string,
    memo: Memo,
    popup: Window | null,
    openerKey: string,
    onIgnored: () => void,
    options: ConnectOptions,
    onEnd: (connectionId?: string) => void,
  ) {
    this.#service = service;
    this.#memo = memo;
    this.#popup = popup;
    this.#onConfirm = options.onConfirm;
    this.#onEnd = onEnd;
    this.#state = initial(popup ? "open" : "none", options.opener !== false, Date.now() - memo.startedAt);
    this.#listen(openerKey, onIgnored);
    void this.#poll(popup ? Span.FirstPoll : 0);
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
    if (flow) void post(this.#service, "cancel", verifier, { flow });
    this.#fail(code);
  }

  /** Takes in what the popup or the service says about the authorization request. */
  #take(body: Body): void {
    const { flow, status, connection, error } = body;
    const memo = this.#memo;
    // The popup and the service name one flow. If they differ, another program has used the challenge of this page.
    if (flow) {
      if (flow !== (memo.flow ??= flow)) this.cancel("flow_mismatch");
      else remember(this.#service, memo);
    }
    if (body.awaiting_confirmation) {
      notify(this.#onConfirm, memo.flow!);
      this.#onConfirm = undefined;
    }
    // The opener was not verified to be this page, so polling gives no result, and there is no popup to send one.
    if (body.withheld && memo.mode !== "popup") this.#fail("csp_blocked");
    if (status === "connected" && connection) this.#finish(() => toConnection(this.#service, memo, connection, body), connection.id);
    else if (error) this.#fail(error.code, error.message);
    // The service gives no reason to a page that was not verified.
    else if (status === "expired") this.#fail("flow_expired");
  }

  #note(event: PopupEvent): void {
    if (this.ended) return;
    const [state, action] = next(this.#state, event);
    this.#state = state;
    if (action === "ask") this.#wake();
    else if (action === "report") this.onLost.forEach((callback) => notify(callback));
    else if (action) this.#fail(action.fail);
  }

  #look(): void {
    this.#note(this.#popup?.closed === false ? "reads_open" : "reads_closed");
  }

  /** Polls until the end, or until the page's policy turns out to forbid it. */
  async #poll(pause: number): Promise<void> {
    let etag: string | null = null;
    let failures = 0;
    let withheld = 0;
    if (pause) await sleep(pause, this.#bell.signal);
    while (!this.ended && !this.#state.muted) {
      const { signal } = this.#bell = new AbortController();
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
    this.#finish(() => Promise.reject(fromServer({ code, message }, this.#memo.flow)));
  }

  /** Ends it with this result, unless it has one already. */
  #finish(result: () => Promise<Connection>, connectionId?: string): void {
    if (this.ended) return;
    this.ended = true;
    this.#end.abort();
    this.#wake();
    forget(this.#service, this.#memo.verifier);
    this.#onEnd(connectionId);
    this.#resolve(result());
  }

  /** Listens to the page, until the end. */
  #listen(openerKey: string, onIgnored: () => void): void {
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
    if (this.#popup) addEventListener("message", (event) => this.#onMessage(event, openerKey, onIgnored), { signal });
    addEventListener("pageshow", this.#wake, { signal });
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.#wake();
    }, { signal });
    whenForbidden("connect-src", this.#service, signal, () => {
      this.#note("muted");
      this.#wake();
    });
  }

  #onMessage(event: MessageEvent, openerKey: string, onIgnored: () => void): void {
    const message = read(event, { service: this.#service, popup: this.#popup, flow: this.#memo.flow });
    if (message === "ignored") return onIgnored();
    if (!message) return;
    this.#take(message.type === "hubspot_auth_success"
      ? { ...message, status: "connected", connection: { ...message, id: message.connection_id } }
      : message);
    if (message.type !== "hubspot_auth_hello") return;
    // Once, and only to the service's own page.
    if (!this.#state.heard && message.needs_key) {
      this.#popup?.postMessage({ type: "hubspot_auth_key", version: 1, flow: message.flow, opener_key: openerKey }, this.#service);
    }
    this.#note("heard");
  }
}

/** Returns whether the service answers at all: nothing of such an answer can be read, so every page may ask for it. */
function isReachable(service: string): Promise<boolean> {
  return fetch(`${service}/livez`, { mode: "no-cors", cache: "no-store" }).then(() => true, () => false);
}

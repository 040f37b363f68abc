/**
 * One attempt, from the moment the window is on its way until the first result.
 *
 * The result can come by a message or by asking, and the first one wins. Messages alone would not do: a
 * Cross-Origin-Opener-Policy on any page in between cuts the popup off for good, and its `closed` reads true from then
 * on while the window is open.
 */
import type { Connection, ConnectOptions, ErrorCode } from "./api";
import { read, type Secrets } from "./channel.ts";
import { fromServer, HubSpotConnectError } from "./errors.ts";
import { whenForbidden } from "./launch.ts";
import { forget, type Memo, news, remember } from "./memory.ts";
import { notify } from "./notify.ts";
import { Clock, initial, next, type PopupEvent, silenceCode } from "./popup_state.ts";
import { sleep } from "./sleep.ts";
import { type Answer, ask, post, type WireConnection } from "./wire.ts";

/** In milliseconds. */
const enum Span {
  FirstAsk = 1_500,
  /** Between two questions, so that a service that answers at once is not asked without a pause. */
  Pace = 500,
  Pause = 1_000,
  LongestPause = 10_000,
  /** An answer that takes longer is lost: the service waits 25 seconds with it at most. */
  Lost = 40_000,
}

export interface Attempt {
  readonly result: Promise<Connection>;
  readonly ended: boolean;
  /** Called when the popup is lost: by each `connect()` that has joined. */
  readonly onLost: Set<() => void>;
  /** Brings the popup to the front. @returns false if there is none within reach of this page */
  focus(): boolean;
  /** Ends it at once, with its popup, and tells the service in the background. */
  cancel(code: ErrorCode): void;
}

/**
 * @param openerKey what the popup's first page may ask for, to know who has opened it
 * @param options `onConfirm` is called once, if the host's backend must confirm
 * @param onIgnored told of every message that was not believed
 */
export function follow(
  service: string,
  memo: Memo,
  popup: Window | null,
  openerKey: string,
  onIgnored: () => void,
  options: ConnectOptions,
  onEnd: (connectionId?: string) => void,
): Attempt {
  const { verifier, startedAt } = memo;
  let { onConfirm } = options;
  const end = new AbortController();
  const { signal } = end;
  let resolve: (connection: Connection) => void;
  let reject: (error: HubSpotConnectError) => void;
  const result = new Promise<Connection>((yes, no) => [resolve, reject] = [yes, no]);

  const onLost = new Set<() => void>();
  let state = initial(popup ? "open" : "none", options.opener !== false, Date.now() - startedAt);
  let unavailable = false;
  /** When the question was asked that is open now. */
  let askedAt = Infinity;

  /** Interrupts the answer or the pause that is being waited for. */
  let bell = new AbortController();
  const wake = () => bell.abort();

  /** @returns whether it was open until now: whoever ends it settles it. */
  const finish = (connectionId?: string) => {
    if (signal.aborted) return false;
    end.abort();
    wake();
    clearInterval(timer);
    others?.close();
    forget(service, verifier);
    onEnd(connectionId);
    return true;
  };

  const fail = (error: ErrorCode | HubSpotConnectError) => {
    if (finish()) reject(typeof error === "string" ? new HubSpotConnectError(error, "", { flow: memo.flow }) : error);
  };

  const succeed = async (connectionId: string, wire: WireConnection, secrets: Secrets & WireConnection) => {
    if (!finish(connectionId)) return;
    // From here on nothing can fail: what is connected is connected, with or without a token for this page.
    const token: typeof secrets = secrets.claim ? (await redeem(service, memo, secrets.claim)).body : secrets;
    resolve({
      connectionId,
      flow: memo.flow ?? "",
      portalId: wire.portal_id ?? null,
      hubDomain: wire.hub_domain ?? null,
      scopes: wire.scopes ?? null,
      missingScopes: wire.missing_scopes ?? [],
      expiresAt: (token.access_token && token.expires_at) ?? wire.expires_at ?? null,
      ...(token.access_token && { accessToken: token.access_token, tokenType: token.token_type ?? "bearer" }),
    });
  };

  /** For what the user or the page has decided, and for nothing that is guessed: the user may be signing in. */
  const cancel = (code: ErrorCode) => {
    if (signal.aborted) return;
    popup?.close();
    if (memo.flow) void post(service, "cancel", verifier, { flow: memo.flow });
    fail(code);
  };

  const note = (event: PopupEvent) => {
    if (signal.aborted) return;
    const [after, action] = next(state, event);
    state = after;
    if (action === "ask") wake();
    else if (action === "report") onLost.forEach((callback) => notify(callback));
    else if (action) fail(action.fail);
  };
  const look = () => note(popup?.closed === false ? "reads_open" : "reads_closed");

  /** The popup and the service name one flow. If they differ, the challenge of this page was used by another program. */
  const learn = (flow: string | null | undefined) => {
    if (!flow) return;
    if (flow !== (memo.flow ??= flow)) cancel("flow_mismatch");
    else remember(service, memo);
  };

  /** Takes what the service says about the authorization request. */
  const take = ({ body }: Answer): void => {
    learn(body.flow);
    const { status, connection } = body;
    if (body.awaiting_confirmation) {
      const callback = onConfirm;
      onConfirm = undefined;
      notify(callback, memo.flow!);
    }
    // Nobody has proven that this page began it, so it will hear nothing, and has no popup to hear it from.
    if (body.withheld && memo.mode !== "popup") fail("csp_blocked");
    if (status === "connected" && connection) void succeed(connection.id, connection, body);
    else if (body.error) fail(fromServer(body.error, memo.flow));
    // So it looks, without a reason, to whoever has no proof.
    else if (status === "expired") fail("flow_expired");
  };

  const poll = async () => {
    let etag: string | null = null;
    let backoff: number = Span.Pause;
    let strangers = 0;
    if (popup) await sleep(Span.FirstAsk, bell.signal);
    while (!signal.aborted && !state.muted) {
      const { signal: heardIt } = bell = new AbortController();
      const began = askedAt = Date.now();
      const answer: Answer = await ask(service, verifier, etag, heardIt);
      askedAt = Infinity;
      const { status } = answer;
      if (signal.aborted) return;
      if (heardIt.aborted && !status) continue;

      unavailable = !status || status >= 500;
      let rest: number = Span.Pause;
      if (status === 200 || status === 304) {
        note("known");
        backoff = rest;
        if (status === 200) {
          etag = answer.etag;
          take(answer);
        }
        // A tag that the browser hides from us leaves every answer to come at once.
        if (etag) rest = began + Span.Pace - Date.now();
      } else if (status === 404) {
        backoff = rest;
      } else {
        // An answer that the browser withholds from this page, by a service that can be reached.
        strangers = !status && !state.heard && !state.known && (await reachable(service)) ? strangers + 1 : 0;
        if (strangers > 2 || answer.body.code === "origin_not_allowed") fail("origin_not_allowed");
        rest = backoff;
        backoff = Math.min(backoff * 2, Span.LongestPause);
      }
      await sleep(Math.max(answer.rest, rest), heardIt);
    }
  };

  const tick = () => {
    look();
    // A page that was frozen comes back to a question that nobody will answer any more.
    if (Date.now() - askedAt > Span.Lost) wake();
    note("tick");
    if (state.patience < 0) fail(silenceCode(state, window !== top, unavailable));
  };

  const onMessage = (event: MessageEvent) => {
    const message = read(event, { service, popup, flow: memo.flow });
    if (message === "ignored") return onIgnored();
    if (!message) return;
    learn(message.flow);
    if (message.type === "hubspot_auth_success") {
      void succeed(message.connection_id, message, message);
    } else if (message.type === "hubspot_auth_error") {
      fail(fromServer(message.error, message.flow ?? memo.flow));
    } else {
      // Once, and to nobody but the service's own page.
      if (!state.heard && message.needs_key) {
        popup?.postMessage({ type: "hubspot_auth_key", version: 1, flow: message.flow, opener_key: openerKey }, service);
      }
      note("heard");
    }
  };

  const timer = setInterval(tick, Clock.Tick);
  const others = news();
  // Whichever attempt is meant: asking once more costs nothing and gives nothing away.
  if (others) others.onmessage = wake;
  if (popup) addEventListener("message", onMessage, { signal });
  addEventListener("pageshow", wake, { signal });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) wake();
  }, { signal });
  whenForbidden("connect-src", service, signal, () => {
    note("muted");
    wake();
  });
  void poll();

  return {
    result,
    onLost,
    get ended() {
      return signal.aborted;
    },
    focus() {
      look();
      if (state.window !== "open") return false;
      popup?.focus();
      return true;
    },
    cancel,
  };
}

/** Whether the service answers at all: of such an answer nothing can be read, and so nobody forbids it. */
function reachable(service: string): Promise<boolean> {
  return fetch(`${service}/livez`, { mode: "no-cors", cache: "no-store" }).then(() => true, () => false);
}

/** Changes the claim into the token. It is given out once: a second time the answer is 410. */
async function redeem(service: string, { verifier, flow }: Memo, claim: string): Promise<Answer> {
  for (let tries = 1; ; tries += 1) {
    const answer = await post(service, "token", verifier, { flow, claim });
    if (answer.status === 200 || answer.status === 410 || tries > 2) return answer;
    await sleep(tries * Span.Pause);
  }
}

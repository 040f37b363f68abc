import type * as api from "./api";
import { Attempt, type Shared } from "./attempt.ts";
import { isText } from "./channel.ts";
import { toConnection } from "./connection.ts";
import type { Seen } from "./diagnose.ts";
import { fromServer, HubSpotConnectError } from "./errors.ts";
import { popupFeatures } from "./geometry.ts";
import { launch, startFields } from "./launch.ts";
import { forget, type Memo, news, recall, remember } from "./memory.ts";
import { notify } from "./notify.ts";
import { invalidOption, serviceOrigin } from "./options.ts";
import { Clock, Patience } from "./popup_state.ts";
import { secret } from "./secrets.ts";
import { sleep } from "./sleep.ts";
import { type Answer, ask, type Body, noAnswer, post, timeLimit } from "./wire.ts";

/** In milliseconds. */
const enum Watch {
  Pause = 1_000,
  LongestPause = 30_000,
}

/** The status of the connections from the service. 404: the authorization request is unknown or deleted. */
interface Heard extends Answer {
  connections: api.Connection[];
}

const nothing = (status: number): Heard => ({ ...noAnswer, status, connections: [] });

const fromProblem = ({ code, detail }: Body) => code ? fromServer({ code, message: detail }) : new HubSpotConnectError("service_unavailable");

const services: Record<string, Shared> = {};

export class HubSpotConnect implements api.HubSpotConnect {
  #service: string;
  #shared: Shared;
  #readToken: api.HubSpotConnectOptions["readToken"];
  /** The read token in use, until the service rejects it. */
  #token: string | undefined;

  constructor({ service, readToken }: api.HubSpotConnectOptions) {
    this.#service = serviceOrigin(service);
    this.#readToken = readToken;
    this.#shared = services[this.#service] ??= { ignored: 0, seen: { lostFocus: false }, makers: {}, watchers: new Set() };
  }

  get ignoredMessages(): number {
    return this.#shared.ignored;
  }

  // Not an async function: everything up to the opening of the window must happen in the click.
  connect(options: api.ConnectOptions = {}): Promise<api.Connection> {
    // A new object: the listener of an earlier call may still write to its own.
    const seen: Seen = this.#shared.seen = { lostFocus: false };
    const invalid = invalidOption(options);
    if (invalid) return Promise.reject(invalid);
    const refuse = (code: api.ErrorCode) => Promise.reject(new HubSpotConnectError(code));
    if (options.signal?.aborted) return refuse("cancelled");
    const { attempt: running, leaving } = this.#shared;
    if (leaving) return leaving;
    if (running?.focus()) return running.follow(options);
    // Unencrypted origins are never allowed, and browsers offer no hashes there.
    if (!isSecureContext) return refuse("origin_not_allowed");
    // An opaque origin cannot be allowed, and no message would reach it.
    if (origin === "null") return refuse("sandboxed_iframe");
    if (options.mode === "redirect") return this.#leave(options);
    // The popup gets a copy of this tab's session storage.
    const kept = recall(this.#service);
    forget(this.#service);

    // Without a name, by which another page could reach the window.
    const popup = open("", "_blank", popupFeatures(window, options.popup));
    if (!popup) {
      // Some web views open a window and return none.
      addEventListener("blur", () => { seen.lostFocus = true; }, { once: true, signal: timeLimit(1_000) });
      if (options.fallback) return this.#leave(options);
      // Nothing was started, so the earlier request continues.
      if (kept) remember(this.#service, kept);
      return refuse("popup_blocked");
    }
    running?.cancel("closed");
    if (options.opener === false) popup.opener = null;

    const memo: Memo = { verifier: secret(), startedAt: Date.now(), mode: "popup" };
    return new Attempt(this.#service, this.#shared, memo, options, popup).follow(options);
  }

  /** Starts a redirect. Until the page is left, `connect()` returns the same promise. */
  #leave(options: api.ConnectOptions): Promise<api.Connection> {
    const shared = this.#shared;
    const free = () => { if (shared.leaving === leaving) shared.leaving = undefined; };
    const leaving: Promise<api.Connection> = shared.leaving = this.#redirect(options, free);
    options.signal?.addEventListener("abort", free);
    return leaving;
  }

  async #redirect(options: api.ConnectOptions, ready: () => void): Promise<api.Connection> {
    this.#shared.attempt?.cancel("closed");
    const memo: Memo = { verifier: secret(), startedAt: Date.now(), mode: "redirect" };
    // The page's function may take forever.
    const fields = await Promise.race([startFields(memo, secret(), options), sleep(Patience.Unheard * Clock.Tick, options.signal)])
      .finally(ready);
    if (!fields) throw new HubSpotConnectError(options.signal?.aborted ? "cancelled" : "timeout");
    // Without the verifier the result could not be resumed.
    if (!remember(this.#service, memo)) throw new HubSpotConnectError("popup_blocked");
    // The page is left here. A browser that cached it may show it again as it was.
    await new Promise<void>((again, refuse) => {
      launch(this.#service, fields, window, () => refuse(new HubSpotConnectError("csp_blocked")));
      addEventListener("pageshow", (event) => event.persisted && again());
    });
    const connection = await this.resume(options);
    if (connection) return connection;
    throw new HubSpotConnectError("closed");
  }

  async resume(options: api.ConnectOptions = {}): Promise<api.Connection | null> {
    if (this.#shared.attempt) return this.#shared.attempt.follow(options);
    const memo = recall(this.#service);
    const flow = /^#hsc=([\w-]+)$/.exec(location.hash)?.[1];
    if (flow) {
      history.replaceState(history.state, "", location.href.split("#")[0]);
      if (memo?.mode !== "redirect") {
        // The popup has returned to a page of the service; another tab waits, and needs no secret to poll.
        news()?.postMessage(flow);
        close();
        return null;
      }
    }
    if (!memo) return null;
    // The user came back with the browser's Back button, and may go forward again.
    if (memo.mode === "redirect" && !flow) {
      const { status, body } = await ask(this.#service, memo.verifier, null);
      if (status !== 200 || body.status === "awaiting_user") return null;
    }
    // A click may have started another request in the meantime.
    return (this.#shared.attempt ?? new Attempt(this.#service, this.#shared, memo, options)).follow(options).catch((error: HubSpotConnectError) => {
      if (error.code === "timeout") return null;
      throw error;
    });
  }

  get #ownPage(): boolean {
    return this.#service === location.origin;
  }

  async #ask(etag: string | null, signal?: AbortSignal): Promise<Heard> {
    const readToken = this.#readToken;
    const memo = readToken || this.#ownPage ? null : this.#shared.connected;
    if (memo === undefined) return nothing(404);
    if (readToken) {
      const token = this.#token ??= typeof readToken === "function" ? await readToken() : readToken;
      // Without a secret the request would concern a page of the service.
      if (!isText(token)) throw new HubSpotConnectError("read_token_invalid");
    }
    const answer = await ask(this.#service, memo ? memo.verifier : this.#token, etag, signal);
    if (answer.status === 401) this.#token = undefined;
    const { flow = null, connection, connections = connection ? [connection] : [] } = answer.body;
    // Once the service has deleted the request, another program can start one with its challenge.
    if (memo?.flow && flow && flow !== memo.flow) return { ...answer, status: 404, connections: [] };
    return { ...answer, connections: connections.map((one) => toConnection(one, flow)) };
  }

  async status(): Promise<api.Status> {
    const { status, connections, body } = await this.#ask(null);
    if (status === 200 || status === 404) return { connections };
    throw fromProblem(body);
  }

  watch(onChange: (status: api.Status) => void): () => void {
    const { watchers } = this.#shared;
    let bell = new AbortController();
    let etag: string | null = null;
    const wake = () => {
      // It belongs to the previous authorization request.
      etag = null;
      bell.abort();
    };
    const run = async () => {
      let last = "";
      let pause: number = Watch.Pause;
      while (watchers.has(wake)) {
        const { signal } = bell = new AbortController();
        // The page's function may fail, and is called again.
        const answer = await this.#ask(etag, signal).catch(() => nothing(0));
        if (signal.aborted) continue;
        const { status, connections } = answer;
        etag = answer.etag;
        // Not found may mean not yet or no longer, and the service responds without waiting.
        pause = status === 200 || status === 304 ? Watch.Pause : Math.min(pause * 2, Watch.LongestPause);
        const now = JSON.stringify(connections);
        // A connection whose request the service has deleted still exists.
        if ((status === 200 || (status === 404 && !last)) && now !== last) {
          last = now;
          notify(onChange, { connections });
        }
        await sleep(Math.max(answer.rest, pause), signal);
      }
    };
    watchers.add(wake);
    void run();
    return () => {
      watchers.delete(wake);
      bell.abort();
    };
  }

  async disconnect(connectionId: string): Promise<void> {
    const verifier = this.#ownPage ? null : this.#shared.makers[connectionId];
    if (verifier === undefined) throw new HubSpotConnectError("connection_unknown");
    const answer = await post(this.#service, "disconnect", verifier, { connection_id: connectionId },
      // The verifier is sufficient, and other origins may not send this header.
      verifier ? {} : { "hubspot-connect-csrf": document.body.dataset.csrf ?? "" });
    if (answer.status === 200) return;
    // The service has deleted the request of the verifier, or the connection no longer exists.
    throw answer.status === 404 ? new HubSpotConnectError("connection_unknown") : fromProblem(answer.body);
  }

  async diagnose(): Promise<api.Finding[]> {
    // Rarely needed, so it is a separate file.
    const { diagnose } = await import("./diagnose.js");
    return diagnose(this.#service, this.#shared.seen);
  }
}

import type * as api from "./api";
import { HubSpotConnect } from "./client.ts";
import { HubSpotConnectError } from "./errors.ts";
import { make } from "./make.ts";
import { recall } from "./memory.ts";

/** In milliseconds: by then somebody has chosen an account, or HubSpot has shown an error. */
const enum Span {
  Stalled = 90_000,
}

// `light-dark()` follows the page's `color-scheme`; texts have the page's own colour. The transparent border is what
// forced colours draw the button's edge with.
const STYLE = `:host{display:inline-block;max-width:100%}
:host([hidden]),:empty{display:none}
button{font:inherit;font-weight:600;max-width:100%;padding:.6em 1.1em;border:1px solid transparent;border-radius:.5em;color:light-dark(#fff,#2a1006);background:light-dark(#c2410c,#ff8f5f);cursor:pointer}
:host([state=connected]) button{color:inherit;background:none;border-color:currentcolor}
div div{margin-top:.5em;overflow-wrap:anywhere}
[part=error]{border-inline-start:3px solid #d33;padding-inline-start:.6em}`;

export function defineElement(): void {
  // A server that renders pages knows no elements; importing this there must not fail.
  if (typeof customElements === "undefined" || customElements.get("hubspot-connect")) return;
  const style = new CSSStyleSheet();
  style.replaceSync(STYLE);

  class Element extends HTMLElement implements api.HubSpotConnectElement {
    static observedAttributes = ["label", "service"];
    #button = make("button", { type: "button", part: "button", onclick: () => this.#connect() });
    #status = make("div", { part: "status" });
    #error = make("div", { part: "error" });
    #sdk: HubSpotConnect | undefined;
    #result: Promise<api.Connection | null> | undefined;
    #abort: AbortController | undefined;
    #timer: ReturnType<typeof setTimeout> | undefined;
    #stop: (() => void) | undefined;
    /** The connection that is shown. */
    #id: string | undefined;
    /** Whether the page is one of the service, whose cookies tell what is connected. */
    #own = false;

    constructor() {
      super();
      const live = make("div", { role: "status", ariaLive: "polite" });
      live.append(this.#status, this.#error);
      const root = this.attachShadow({ mode: "open" });
      root.adoptedStyleSheets = [style];
      root.append(this.#button, live);
    }

    get state(): api.ElementState {
      return (this.#get("state") || "idle") as api.ElementState;
    }

    #get(attribute: string): string {
      return this.getAttribute(attribute) ?? "";
    }

    connectedCallback(): void {
      const service = this.#get("service");
      this.#show(this.state, this.#status.textContent ?? "");
      if (service && !this.#sdk) {
        this.#sdk = new HubSpotConnect({ service });
        const { origin } = new URL(service);
        this.#own = origin === location.origin;
        const pending = !!recall(origin);
        void this.#settle(this.#sdk.resume(), pending);
      }
      if (this.#id || this.#own) this.#watch();
    }

    disconnectedCallback(): void {
      this.#stop?.();
      this.#stop = undefined;
    }

    attributeChangedCallback(): void {
      if (this.isConnected) this.connectedCallback();
    }

    #connect(): void {
      // After a long silence a click begins anew. Before, it brings the popup to the front.
      if (this.state === "stalled") this.#abort?.abort();
      const abort = new AbortController();
      const result: Promise<api.Connection> | undefined = this.#sdk?.connect({
        signal: abort.signal,
        onPopupLost: () => this.#wait(result),
        hubId: Number(this.#get("hub-id")),
        returnUrl: this.#get("return-url"),
        fallback: this.#get("fallback") as "redirect",
      });
      if (!result || result === this.#result) return;
      this.#abort = abort;
      void this.#settle(result, true);
    }

    async #settle(result: Promise<api.Connection | null>, waits: boolean): Promise<void> {
      this.#result = result;
      if (waits) {
        this.#show("waiting", "Continue in the popup.");
        this.#timer = setTimeout(() => this.#stall(), Span.Stalled);
      }
      try {
        const connection = await result;
        if (this.#result !== result) return;
        if (connection) {
          this.#id = connection.connectionId;
          this.#connected(connection.hubDomain, connection.portalId);
          this.#watch();
          this.#tell("connected", connection);
        } else if (waits) {
          this.#show("idle");
        }
      } catch (error) {
        // A click has begun another attempt meanwhile, and the end of this one is no news.
        if (this.#result !== result || !(error instanceof HubSpotConnectError)) return;
        const { code, reason = code, flow } = error;
        this.#show("error");
        this.#error.textContent = `${error.message} (${[reason, flow].filter(Boolean).join(", ")})`;
        this.#tell("error", error);
      }
    }

    /** Says that the popup may be closed: only the user knows whether it is. A click opens another. */
    #wait(result: Promise<api.Connection> | undefined): void {
      if (this.#result === result && this.state === "waiting") {
        this.#status.textContent = "Continue in the popup. If you have closed it, press the button again.";
      }
    }

    #watch(): void {
      this.#stop ??= this.#sdk?.watch(({ connections }) => {
        const { state } = this;
        if (state === "waiting" || state === "stalled") return;
        const one = connections.find(({ id }) => id === this.#id) ?? (this.#own ? connections[0] : undefined);
        if (one?.state === "needs_reauth" || one?.state === "integrity_error") {
          this.#show("needs_reauth", "HubSpot has ended this connection.");
        } else if (one && state !== "connected") {
          this.#connected(one.hub_domain, one.portal_id);
        } else if (!one && this.#own && state !== "error") {
          this.#show("idle");
        }
      });
    }

    #connected(domain: string | null | undefined, account: number | null | undefined): void {
      this.#show("connected", `Connected${domain ? ` as ${domain}` : ""}${account ? ` (account ${account})` : ""}.`);
    }

    /** Says why HubSpot does not send a person back: in none of the three cases does it do so by itself. */
    #stall(): void {
      const scopes = this.#get("scopes");
      this.#show("stalled", "HubSpot has not come back. It does not if");
      const list = make("ul");
      for (const textContent of [
        "you are no super admin there,",
        `the account lacks what is asked for${scopes && `: ${scopes}`},`,
        "or it showed an error, or the popup was closed.",
      ]) {
        list.append(make("li", { textContent }));
      }
      this.#status.append(list);
    }

    #show(state: api.ElementState, sentence = ""): void {
      this.#button.textContent = state === "stalled" ? "Start again"
        : state === "connected" || state === "needs_reauth" ? "Reconnect"
        : this.#get("label") || "Connect to HubSpot";
      // Said already, and a screen reader would say it again.
      if (this.#get("state") === state && this.#status.textContent === sentence) return;
      clearTimeout(this.#timer);
      this.setAttribute("state", state);
      this.#status.textContent = sentence;
      this.#error.textContent = "";
    }

    #tell(name: string, detail: unknown): void {
      this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
    }
  }
  customElements.define("hubspot-connect", Element);
}

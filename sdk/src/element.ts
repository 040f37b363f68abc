/** Defines `<hubspot-connect>`. Importing this module registers the element where there is a browser. */
import type * as api from "./api";
import type { ElementState, HubSpotConnectElement } from "./element_api";
import { HubSpotConnect } from "./client.ts";
import { HubSpotConnectError } from "./errors.ts";
import { make } from "./make.ts";
import { recall } from "./memory.ts";

/** In milliseconds: by then the user has chosen an account, or HubSpot has shown an error. */
const enum Span {
  Stalled = 90_000,
}

const WAITING = "Continue in the popup.";
/** The user alone knows whether the popup is closed. */
const LOST = `${WAITING} If you have closed it, press the button again.`;
/** The states of a request. */
const PENDING = /ing$|perhaps|stalled/;

// `light-dark()` follows the page's `color-scheme`; browsers without it take the colours before it. Texts have the
// page's own colour. The transparent border is what forced colours draw the button's edge with.
const STYLE = `:host{display:inline-block;max-width:100%}
:host([hidden]),:empty{display:none}
button{font:inherit;font-weight:600;max-width:100%;padding:.6em 1.1em;border:1px solid transparent;border-radius:.5em;color:#fff;background:#c2410c;color:light-dark(#fff,#2a1006);background:light-dark(#c2410c,#ff8f5f);cursor:pointer}
:host([state=connected]) button{color:inherit;background:none;border-color:currentcolor}
div div{margin-top:.5em;overflow-wrap:anywhere}
[part=error]{border-inline-start:3px solid #d33;padding-inline-start:.6em}`;

let sheet: CSSStyleSheet | undefined;

/** Styles the element by a constructed style sheet, which no policy of the page forbids, or else by a style element. */
function paint(root: ShadowRoot): void {
  try {
    if (!sheet) {
      const made = new CSSStyleSheet();
      made.replaceSync(STYLE);
      sheet = made;
    }
    // Fails as well where there is no such property.
    root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
  } catch {
    root.append(make("style", { textContent: STYLE }));
  }
}

function define(): void {
  class Element extends HTMLElement implements HubSpotConnectElement {
    static observedAttributes = ["label", "service"];
    #button = make("button", { type: "button", onclick: () => this.#connect() }, { part: "button" });
    #status = make("div", {}, { part: "status" });
    #error = make("div", {}, { part: "error" });
    #sdk: HubSpotConnect | undefined;
    /** The value of `service` that was read last. */
    #service: string | undefined;
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
      // As attributes: the properties are younger than some supported browsers.
      const live = make("div", {}, { role: "status", "aria-live": "polite" });
      live.append(this.#status, this.#error);
      const root = this.attachShadow({ mode: "open" });
      paint(root);
      root.append(this.#button, live);
    }

    get state(): ElementState {
      return (this.#get("state") || "idle") as ElementState;
    }

    #get(attribute: string): string | undefined {
      return this.getAttribute(attribute) ?? undefined;
    }

    connectedCallback(): void {
      this.#show(this.state, this.#status.textContent ?? "");
      const service = this.#get("service");
      if (!this.#sdk && service !== this.#service) {
        this.#service = service;
        try {
          this.#start();
        } catch (error) {
          this.#fail(error as HubSpotConnectError);
        }
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

    /** Reads `service`, and resumes what a reload has interrupted. */
    #start(): HubSpotConnect {
      const service = this.#get("service")!;
      const sdk = this.#sdk = new HubSpotConnect({ service });
      const { origin } = new URL(service);
      this.#own = origin === location.origin;
      // After a reload this page has no hold on the popup.
      const result: Promise<api.Connection | null> = sdk.resume({ onState: (state) => this.#progress(state, result) });
      void this.#settle(result, recall(origin) ? "perhaps_closed" : undefined);
      return sdk;
    }

    #connect(): void {
      // After a long silence a click begins again. Before, it brings the popup to the front.
      if (this.state === "stalled") this.#abort?.abort();
      const abort = new AbortController();
      const portal = this.#get("portal-id");
      const options: Record<string, unknown> = {
        signal: abort.signal,
        onState: (state: api.ConnectState) => this.#progress(state, result),
        returnUrl: this.#get("return-url"),
        fallback: this.#get("fallback"),
        // An empty text is invalid as it is.
        portalId: portal && (/^\d+$/.test(portal) ? Number(portal) : NaN),
      };
      let result: Promise<api.Connection> | undefined;
      try {
        result = (this.#sdk ?? this.#start()).connect(options);
      } catch (error) {
        // Without a valid `service` nothing can begin.
        return this.#fail(error as HubSpotConnectError);
      }
      if (result === this.#result) return;
      this.#abort = abort;
      void this.#settle(result, "opening");
    }

    /** Shows what comes of a request, and until then this state if there is one. */
    async #settle(result: Promise<api.Connection | null>, state?: api.ConnectState): Promise<void> {
      this.#result = result;
      if (state) {
        this.removeAttribute("state");
        this.#progress(state, result);
        clearTimeout(this.#timer);
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
        } else if (state) {
          this.#show("idle");
        }
      } catch (error) {
        // A click has begun another request meanwhile, and the end of this one is no news.
        if (this.#result === result && error instanceof HubSpotConnectError) this.#fail(error);
      }
    }

    /** Shows how far a request is, unless another one has taken its place, or it has been silent for too long. */
    #progress(state: api.ConnectState, result: unknown): void {
      if (this.#result !== result || this.state === "stalled") return;
      this.#show(state, state === "perhaps_closed" ? LOST : state === "completing" ? "Finishing the connection." : WAITING);
    }

    #fail(error: HubSpotConnectError): void {
      const { code, reason = code, flow } = error;
      this.#show("error");
      this.#error.textContent = `${error.message} (${flow ? `${reason}, ${flow}` : reason})`;
      this.#tell("failed", error);
    }

    #watch(): void {
      this.#stop ??= this.#sdk?.watch(({ connections }) => {
        const { state } = this;
        if (PENDING.test(state)) return;
        const one = connections.find(({ id }) => id === this.#id) ?? (this.#own ? connections[0] : undefined);
        if (one?.status === "needs_reauth" || one?.status === "integrity_error") {
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

    /** Says why HubSpot does not send a user back: in none of the three cases does it do so by itself. */
    #stall(): void {
      if (this.state === "completing") return;
      this.#show("stalled", "HubSpot has not come back.");
      // Rarely needed, and so in a file of its own. A site that does not serve it says no more than this.
      import("./diagnose.js").then(({ reasons }) => {
        if (this.state === "stalled") this.#status.append(reasons(this.#get("scopes")));
      }, () => {});
    }

    #show(state: ElementState, sentence = ""): void {
      this.#button.textContent = state === "stalled" ? "Start again"
        : state === "connected" || state === "needs_reauth" ? "Reconnect"
        : this.#get("label") || "Connect to HubSpot";
      // Said already, and a screen reader would say it again.
      if (this.#get("state") === state && this.#status.textContent === sentence) return;
      if (!PENDING.test(state)) clearTimeout(this.#timer);
      const before = this.state;
      this.setAttribute("state", state);
      this.#status.textContent = sentence;
      this.#error.textContent = "";
      if (state !== before) this.#tell("statechange", state);
    }

    #tell(name: string, detail: unknown): void {
      this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
    }
  }
  customElements.define("hubspot-connect", Element);
}

// A server that renders pages knows no elements; importing this there must not fail.
if (typeof customElements !== "undefined" && !customElements.get("hubspot-connect")) define();

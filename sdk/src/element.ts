/** Defines `<hubspot-connect>`. Importing this module registers the element where there is a browser. */
import type { Confirmation, ConnectOptions, HubSpotConnectError, KnownConnection } from "./api";
import { Controller, PENDING, resting } from "./controller.ts";
import type { ElementState, HubSpotConnectElement } from "./element_api";
import { make } from "./make.ts";
import type { View } from "./view_api";

/** In milliseconds: by then the user has chosen an account, or HubSpot has shown an error. */
const enum Span {
  Stalled = 90_000,
}

const WAITING = "Continue in the popup.";

/** The texts of the button, if they differ from that for the first connection. */
const LABELS: Partial<Record<ElementState, string>> = { stalled: "Start again", connected: "Reconnect", needs_reauth: "Reconnect" };

const SENTENCES: Partial<Record<ElementState, string>> = {
  opening: WAITING,
  waiting: WAITING,
  // Only the user knows whether the popup is closed.
  perhaps_closed: `${WAITING} If you have closed it, press the button again.`,
  stalled: "Still waiting for HubSpot.",
  completing: "Finishing the connection.",
  needs_reauth: "HubSpot revoked this connection.",
};

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

/** Posts to a route of the page's own server, and to no other. */
async function postToHost(url: string, body: object): Promise<Response> {
  const response = await fetch(url, {
    method: "POST",
    mode: "same-origin",
    // A redirect to a login page is not a response.
    redirect: "error",
    // Another site's page cannot send it without a preflight request.
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${url} answered ${response.status}.`);
  return response;
}

function define(): void {
  class Element extends HTMLElement implements HubSpotConnectElement {
    static observedAttributes = ["label", "service"];
    #button = make("button", { type: "button", onclick: () => this.#connect() }, { part: "button" });
    #status = make("div", {}, { part: "status" });
    #error = make("div", {}, { part: "error" });
    #controller: Controller | undefined;
    #view = resting(null);
    /** The last value of `service`. */
    #service: string | undefined;
    #abort: AbortController | undefined;
    #timer: ReturnType<typeof setTimeout> | undefined;
    #stop: (() => void) | undefined;
    /** The request has made no progress for a long time. */
    #stalled = false;

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

    get connection(): KnownConnection | null {
      return this.#view.connection;
    }

    set connection(connection: KnownConnection | null) {
      if (this.#controller) this.#controller.show(connection);
      else this.#change(resting(connection));
    }

    #get(attribute: string): string | undefined {
      return this.getAttribute(attribute) ?? undefined;
    }

    connectedCallback(): void {
      const service = this.#get("service");
      if (!this.#controller && service !== this.#service) {
        this.#read();
        this.#service = service;
        try {
          this.#start();
        } catch (error) {
          this.#change({ ...this.#view, state: "error", error: error as HubSpotConnectError });
        }
      }
      if (!this.#stalled) this.#render();
      this.#stop ??= this.#controller?.start(this.#options());
    }

    disconnectedCallback(): void {
      this.#stop?.();
      this.#stop = undefined;
    }

    attributeChangedCallback(): void {
      if (this.isConnected) this.connectedCallback();
    }

    /** Reads the state that the page's server rendered, or that a script set before the element was defined. */
    #read(): void {
      const { state } = this;
      if (state === "connected" || state === "needs_reauth") {
        const portalId = Number(this.#get("portal-id")) || null;
        this.#view = resting({ portalId, hubDomain: this.#get("hub-domain") || null, status: state === "connected" ? "active" : state });
      }
      const early = Object.getOwnPropertyDescriptor(this, "connection");
      if (!early) return;
      delete (this as Partial<HubSpotConnectElement>).connection;
      this.#view = resting(early.value);
    }

    #start(): Controller {
      const controller = this.#controller = new Controller(
        this.#get("service")!,
        this.#view.connection,
        // Read when it is needed: the page may have replaced one that has expired.
        this.hasAttribute("read-token") ? () => this.#get("read-token")! : undefined,
      );
      controller.subscribe(() => this.#change(controller.view));
      return controller;
    }

    #options(): ConnectOptions {
      const portal = this.#get("portal-id");
      const session = this.#get("session-url");
      const confirm = this.#get("confirm-url");
      // An empty text is invalid as it is.
      const options: Record<string, unknown> = {
        portalId: portal && (/^\d+$/.test(portal) ? Number(portal) : NaN),
        returnUrl: this.#get("return-url"),
        fallback: this.#get("fallback"),
        popup: { text: this.#get("text-popup") },
        connectSession: session && (() => postToHost(session, {}).then((response) => response.json()).then(({ token }) => token)),
        onConfirm: confirm && (({ connectSessionId, connectionId, flow }: Confirmation) =>
          postToHost(confirm, { connect_session_id: connectSessionId, connection_id: connectionId, flow })),
      };
      return options;
    }

    #connect(): void {
      // After a long silence a click starts again. Before that, it brings the popup to the front.
      if (this.#stalled) this.#abort?.abort();
      const abort = new AbortController();
      try {
        void (this.#controller ?? this.#start()).connect({ ...this.#options(), signal: abort.signal });
        this.#abort = abort;
      } catch (error) {
        // Without a valid `service` nothing can start.
        this.#change({ ...this.#view, state: "error", error: error as HubSpotConnectError });
      }
    }

    #change(view: View): void {
      const before = this.#view;
      this.#view = view;
      const { state, connection, error } = view;
      const pending = PENDING.test(state);
      this.#stalled &&= pending && state !== "opening";
      if (state === "opening" || pending !== PENDING.test(before.state)) {
        clearTimeout(this.#timer);
        if (pending) this.#timer = setTimeout(() => this.#stall(), Span.Stalled);
      }
      if (!this.#stalled) this.#render();
      if (error && error !== before.error) this.#tell("failed", error);
      if (before.connection && !connection) this.#tell("disconnected", before.connection);
      if (state === "connected" && connection !== before.connection && (PENDING.test(before.state) || before.state === "needs_reauth")) {
        this.#tell(before.connection?.portalId === connection!.portalId ? "reconnected" : "connected", connection);
      }
    }

    /** Shows why HubSpot may not have sent the user back: in none of these three cases does it do so on its own. */
    #stall(): void {
      if (this.#view.state === "completing") return;
      this.#stalled = true;
      this.#render("stalled");
      if (this.#get("text-stalled")) return;
      // Rarely needed, so it is a separate file. A site that does not serve it shows only this sentence.
      import("./diagnose.js").then(({ reasons }) => {
        if (this.#stalled) this.#status.append(reasons(this.#get("scopes")));
      }, () => {});
    }

    /** Returns the sentence of a state: the page's own, or else ours. */
    #sentence(state: ElementState): string {
      const { hubDomain, portalId } = this.#view.connection ?? {};
      const text = this.#get(`text-${state}`);
      if (state !== "connected") return text ?? SENTENCES[state] ?? "";
      return text?.replace(/\{hubDomain\}/g, () => hubDomain ?? "").replace(/\{portalId\}/g, `${portalId ?? ""}`)
        ?? `Connected${hubDomain ? ` as ${hubDomain}` : ""}${portalId ? ` (account ${portalId})` : ""}.`;
    }

    /** Returns the error with what the operator needs to find it. */
    #errorText({ code, reason = code, flow, message }: HubSpotConnectError): string {
      return `${this.#get(`text-${code}`) ?? message} (${flow ? `${reason}, ${flow}` : reason})`;
    }

    #render(state: ElementState = this.#view.state): void {
      this.#button.textContent = this.#get(`label-${state}`) ?? LABELS[state] ?? (this.#get("label") || "Connect to HubSpot");
      const { error } = this.#view;
      const sentence = this.#sentence(state);
      const alert = error ? this.#errorText(error) : "";
      // A screen reader would repeat an unchanged text.
      if (this.#status.textContent !== sentence) this.#status.textContent = sentence;
      if (this.#error.textContent !== alert) this.#error.textContent = alert;
      const before = this.#get("state");
      if (state === before) return;
      this.setAttribute("state", state);
      if (before) this.#tell("statechange", state);
    }

    #tell(name: string, detail: unknown): void {
      this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
    }
  }
  customElements.define("hubspot-connect", Element);
}

// A server that renders pages knows no elements; importing this there must not fail.
if (typeof customElements !== "undefined" && !customElements.get("hubspot-connect")) define();

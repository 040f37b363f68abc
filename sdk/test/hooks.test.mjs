// The React hook and the Vue composable, from the package, in jsdom and against a stub of the service.
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { after, afterEach, before, describe, test } from "node:test";
import { JSDOM } from "jsdom";
import { CONNECTION, until } from "./stage.mjs";

const KNOWN = { portalId: 7, hubDomain: "known.example" };
const RESULT = {
  connectionId: "c1", flow: "flow-1", portalId: 1234567, hubDomain: "acme.example", status: "active", scopes: ["oauth"], missingScopes: ["crm"],
  expiresAt: "2026-11-21T00:37:38Z",
};

/** The stub's status of every authorization request. */
let answer;
/** Requests that wait for a change. */
let waiting = [];
let ended = [];
const change = (state) => {
  answer = { flow: "flow-1", ...state };
  for (const go of waiting.splice(0)) go();
};
const server = http.createServer((request, response) => {
  const end = () => {
    response.writeHead(200, { "content-type": "application/json", etag: `"${answer.status}${answer.connection?.status}"` });
    response.end(JSON.stringify(answer));
  };
  if (!request.url.startsWith("/api/hubspot/status")) {
    ended.push(request.url);
    response.end("{}");
  } else if (request.headers["if-none-match"]) {
    waiting.push(end);
    response.on("close", () => { waiting = waiting.filter((one) => one !== end); });
  } else {
    end();
  }
});

const { window } = new JSDOM("<body></body>", { url: "https://app.example.com/", pretendToBeVisual: true });
let service;
before(async () => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  service = `http://127.0.0.1:${server.address().port}`;
  for (const name of ["window", "document", "location", "history", "sessionStorage", "HTMLElement", "HTMLIFrameElement", "Element", "SVGElement", "Node", "MathMLElement", "ShadowRoot", "screenX", "screenY", "outerWidth", "outerHeight", "navigator"]) {
    // Newer versions of Node have a navigator that cannot be assigned.
    Object.defineProperty(globalThis, name, { value: window[name], configurable: true, writable: true });
  }
  Object.assign(globalThis, { origin: window.origin, top: window, isSecureContext: true, IS_REACT_ACT_ENVIRONMENT: true, addEventListener: window.addEventListener.bind(window) });
  // jsdom's events require its own signals, and Node's fetch those of Node.
  const { AbortController: Controller, fetch } = globalThis;
  globalThis.AbortController = window.AbortController;
  globalThis.fetch = (url, init) => {
    const controller = new Controller();
    init.signal?.addEventListener("abort", () => controller.abort());
    return fetch(url, { ...init, signal: controller.signal });
  };
  // jsdom opens no windows and sends no forms.
  window.HTMLFormElement.prototype.submit = () => {};
  globalThis.open = () => ({ closed: false, document: document.implementation.createHTMLDocument(), location: {}, focus() {}, close() { this.closed = true; } });
});
after(() => {
  window.close();
  server.closeAllConnections();
  server.close();
});
afterEach(() => {
  document.body.replaceChildren();
  sessionStorage.clear();
  ended = [];
});

/** Renders the values of a hook: each text by its class, and a button for each call. */
const react = async () => {
  const { act, createElement: h } = await import("react");
  const { createRoot } = await import("react-dom/client");
  const { renderToString } = await import("react-dom/server");
  const { useHubSpotConnect } = await import("hubspot-connect/react");
  const Page = ({ options, calls }) => {
    const { state, connection, error, ...rest } = useHubSpotConnect(options);
    Object.assign(calls, rest);
    return h("p", {}, [state, connection?.hubDomain, error?.code].join(" "));
  };
  return {
    async mount(options) {
      const calls = {};
      const root = createRoot(document.body.appendChild(document.createElement("main")));
      await act(async () => root.render(h(Page, { options, calls })));
      return { calls, run: (body) => act(body), unmount: () => act(async () => root.unmount()) };
    },
    render: async (options) => renderToString(h(Page, { options, calls: {} })),
  };
};

const vue = async () => {
  const { createApp, createSSRApp, h } = await import("vue");
  const { useHubSpotConnect } = await import("hubspot-connect/vue");
  const page = (options, calls) => ({
    setup() {
      const { state, connection, error, ...rest } = useHubSpotConnect(options);
      Object.assign(calls, rest);
      return () => h("p", [state.value, connection.value?.hubDomain, error.value?.code].join(" "));
    },
  });
  return {
    async mount(options) {
      const calls = {};
      const app = createApp(page(options, calls));
      app.mount(document.body.appendChild(document.createElement("main")));
      return { calls, run: (body) => body(), unmount: async () => app.unmount() };
    },
    async render(options) {
      const { renderToString } = await import("vue/server-renderer");
      return renderToString(createSSRApp(page(options, {})));
    },
  };
};

for (const [name, load] of Object.entries({ react, vue })) {
  describe(name, () => {
    let framework;
    before(async () => { framework = await load(); });
    const shown = (text) => until(`the page says "${text}"`, () => document.querySelector("p").textContent.trim() === text);

    test("a server renders a known connection", async () => {
      assert.equal(await framework.render({ service, connection: KNOWN }), "<p>connected known.example </p>");
      assert.equal(await framework.render({ service }), "<p>idle  </p>");
    });

    test("connects, watches the connection, and stops when unmounted", async () => {
      change({ status: "awaiting_user" });
      const { calls, run, unmount } = await framework.mount({ service, connection: KNOWN });
      await shown("connected known.example");
      let result;
      await run(async () => { result = calls.connect(); });
      await run(() => shown("waiting known.example"));
      await run(async () => {
        change({ status: "connected", connection: CONNECTION });
        assert.deepEqual(await result, RESULT);
      });
      await shown("connected acme.example");
      await run(() => until("the page watches it", () => waiting.length === 1));
      await run(async () => {
        change({ status: "connected", connection: { ...CONNECTION, status: "needs_reauth" } });
        await shown("needs_reauth acme.example");
      });
      await run(() => until("the page watches it again", () => waiting.length === 1));
      await unmount();
      await until("the page asks no more", () => waiting.length === 0);
    });

    test("a component mounted later shows the page's connection, if it has the expected account", async () => {
      change({ status: "awaiting_user" });
      const first = await framework.mount({ service });
      let made;
      await first.run(async () => { made = first.calls.connect(); });
      await first.run(() => shown("waiting"));
      await first.run(async () => {
        change({ status: "connected", connection: CONNECTION });
        await made;
      });
      await first.unmount();
      for (const [portalId, text] of [[7, "idle"], [1234567, "connected acme.example"], [undefined, "connected acme.example"]]) {
        document.body.replaceChildren();
        const later = await framework.mount({ service, portalId });
        await later.run(() => until("the page watches it", () => waiting.length === 1));
        await later.run(() => shown(text));
        await later.unmount();
        await until("the page asks no more", () => waiting.length === 0);
      }
    });

    test("errors are shown, not thrown, and the next try clears them", async () => {
      change({ status: "failed", error: { code: "user_denied", message: "No." } });
      const { calls, run, unmount } = await framework.mount({ service });
      await shown("idle");
      await run(async () => assert.equal(await calls.connect(), null));
      await shown("error  user_denied");
      change({ status: "awaiting_user" });
      let second;
      await run(async () => { second = calls.connect(); });
      await run(() => shown("waiting"));
      await run(async () => {
        change({ status: "connected", connection: CONNECTION });
        await second;
      });
      await shown("connected acme.example");
      await run(() => calls.disconnect());
      await shown("idle");
      assert.deepEqual(ended, ["/api/hubspot/disconnect"]);
      await unmount();
    });

    test("the page cannot disconnect a connection set by its server", async () => {
      const { calls, run, unmount } = await framework.mount({ service, connection: { ...KNOWN, connectionId: "c7" } });
      await run(() => assert.rejects(calls.disconnect(), { code: "connection_unknown" }));
      await shown("connected known.example");
      await unmount();
    });

    test("a component mounted later joins the flow in progress", async () => {
      change({ status: "awaiting_user" });
      const first = await framework.mount({ service });
      await first.run(async () => { first.calls.connect(); });
      await first.run(() => shown("waiting"));
      await first.unmount();
      document.body.replaceChildren();
      const second = await framework.mount({ service });
      await second.run(() => shown("waiting"));
      await second.run(async () => {
        change({ status: "connected", connection: CONNECTION });
        await shown("connected acme.example");
      });
      await second.unmount();
    });
  });
}

// A page without a framework, with the npm package.
import { HubSpotConnect, HubSpotConnectError, type Connection } from "hubspot-connect";
import type { ElementState } from "hubspot-connect/element";

const element = document.createElement("hubspot-connect");
element.addEventListener("connected", ({ detail }) => { const connection: Connection = detail; console.log(connection.flow); });
element.addEventListener("failed", ({ detail }) => console.log(detail instanceof HubSpotConnectError && detail.code));
element.addEventListener("statechange", ({ detail }) => { const reached: ElementState = detail; console.log(reached === "perhaps_closed"); });
element.addEventListener("disconnected", ({ detail }) => console.log(detail.hubDomain, detail.connectionId?.length));
element.connection = { portalId: 1234567, hubDomain: null, status: "needs_reauth" };
export const state: ElementState = element.state;
export const hubspot = new HubSpotConnect({ service: "https://connect.example.com" });
// @ts-expect-error the event has another name, because error trackers listen to `error`
element.addEventListener("error", ({ detail }) => console.log(detail));

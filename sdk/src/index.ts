/** The module that a page imports. `api.d.ts` is what it promises; the last lines hold it to that. */
import type * as api from "./api";
import { HubSpotConnect } from "./client.ts";
import { defineElement } from "./element.ts";
import { HubSpotConnectError } from "./errors.ts";

export { HubSpotConnect, HubSpotConnectError };

defineElement();

({ HubSpotConnect, HubSpotConnectError }) satisfies {
  HubSpotConnect: typeof api.HubSpotConnect;
  HubSpotConnectError: typeof api.HubSpotConnectError;
};

/** The module `hubspot-connect`. `api.d.ts` is what it promises; the last lines hold it to that. */
import type * as api from "./api";
import { HubSpotConnect } from "./client.ts";
import { HubSpotConnectError } from "./errors.ts";

export { HubSpotConnect, HubSpotConnectError };

({ HubSpotConnect, HubSpotConnectError }) satisfies {
  HubSpotConnect: typeof api.HubSpotConnect;
  HubSpotConnectError: typeof api.HubSpotConnectError;
};

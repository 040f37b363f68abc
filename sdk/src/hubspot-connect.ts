/** The module `hubspot-connect`. `api.d.ts` is its contract; the last lines check it. */
import type * as api from "./api";
import { HubSpotConnect } from "./client.ts";
import { HubSpotConnectError } from "./errors.ts";

export { HubSpotConnect, HubSpotConnectError };

({ HubSpotConnect, HubSpotConnectError }) satisfies {
  HubSpotConnect: typeof api.HubSpotConnect;
  HubSpotConnectError: typeof api.HubSpotConnectError;
};

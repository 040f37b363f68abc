/** `<hubspot-connect>` in templates of Vue 3: `import type {} from "hubspot-connect/vue"`. */
import type { HTMLAttributes } from "vue";
import type { HubSpotConnectAttributes, HubSpotConnectElement, HubSpotConnectElementEventMap } from "./element_api";

declare module "vue" {
  interface GlobalComponents {
    "hubspot-connect": new () => HubSpotConnectElement & {
      $props: HTMLAttributes & HubSpotConnectAttributes & {
        onConnected?: (event: HubSpotConnectElementEventMap["connected"]) => void;
        onFailed?: (event: HubSpotConnectElementEventMap["failed"]) => void;
        onStatechange?: (event: HubSpotConnectElementEventMap["statechange"]) => void;
      };
    };
  }
}

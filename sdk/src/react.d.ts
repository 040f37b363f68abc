/** `<hubspot-connect>` in JSX of React 19: `import type {} from "hubspot-connect/react"`. */
import type { DetailedHTMLProps, HTMLAttributes } from "react";
import type { HubSpotConnectAttributes, HubSpotConnectElement, HubSpotConnectElementEventMap } from "./element_api";

declare module "react" {
  namespace JSX {
    interface IntrinsicElements {
      "hubspot-connect": DetailedHTMLProps<HTMLAttributes<HubSpotConnectElement>, HubSpotConnectElement> & HubSpotConnectAttributes & {
        onconnected?: (event: HubSpotConnectElementEventMap["connected"]) => void;
        onfailed?: (event: HubSpotConnectElementEventMap["failed"]) => void;
        onstatechange?: (event: HubSpotConnectElementEventMap["statechange"]) => void;
      };
    }
  }
}

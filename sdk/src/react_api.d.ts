/** `useHubSpotConnect`, and `<hubspot-connect>` in JSX of React 19. */
import type { DetailedHTMLProps, HTMLAttributes } from "react";
import type { HubSpotConnectAttributes, HubSpotConnectElement, HubSpotConnectElementEventMap } from "./element_api";
import type { Calls, UseHubSpotConnectOptions, View } from "./view_api";

export type { UseHubSpotConnectOptions };

/**
 * Returns what to show and what to call. Resumes what a reload has interrupted; an unmounted component ends nothing.
 */
export declare function useHubSpotConnect(options: UseHubSpotConnectOptions): View & Calls;

type Events = { [Name in keyof HubSpotConnectElementEventMap as `on${Name}`]?: (event: HubSpotConnectElementEventMap[Name]) => void };

declare module "react" {
  namespace JSX {
    interface IntrinsicElements {
      "hubspot-connect": DetailedHTMLProps<HTMLAttributes<HubSpotConnectElement>, HubSpotConnectElement> & HubSpotConnectAttributes & Events & Partial<Pick<HubSpotConnectElement, "connection">>;
    }
  }
}

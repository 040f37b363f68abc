/** `useHubSpotConnect`, and `<hubspot-connect>` in JSX of React 19. */
import type { DetailedHTMLProps, HTMLAttributes } from "react";
import type { HubSpotConnectAttributes, HubSpotConnectElement, HubSpotConnectElementEventMap } from "./element_api";
import type { Calls, UseHubSpotConnectOptions, View } from "./view_api";

export type { UseHubSpotConnectOptions };

/**
 * Returns the view and the calls. Resumes an authorization request after a reload; unmounting a component cancels
 * nothing.
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

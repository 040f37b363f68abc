/** `useHubSpotConnect`, and `<hubspot-connect>` in templates of Vue 3. */
import type { ComputedRef, HTMLAttributes } from "vue";
import type { HubSpotConnectAttributes, HubSpotConnectElement, HubSpotConnectElementEventMap } from "./element_api";
import type { Calls, UseHubSpotConnectOptions, View } from "./view_api";

export type { UseHubSpotConnectOptions };

/**
 * Returns what to show and what to call, for `setup`. Resumes what a reload has interrupted; an unmounted component ends
 * nothing.
 */
export declare function useHubSpotConnect(options: UseHubSpotConnectOptions): { readonly [Name in keyof View]: ComputedRef<View[Name]> } & Calls;

type Events = { [Name in keyof HubSpotConnectElementEventMap as `on${Capitalize<Name>}`]?: (event: HubSpotConnectElementEventMap[Name]) => void };

declare module "vue" {
  interface GlobalComponents {
    "hubspot-connect": new () => HubSpotConnectElement & {
      $props: HTMLAttributes & HubSpotConnectAttributes & Events & Partial<Pick<HubSpotConnectElement, "connection">>;
    };
  }
}

/** `useHubSpotConnect`, and `<hubspot-connect>` in templates of Vue 3. */
import type { ComputedRef, HTMLAttributes } from "vue";
import type { HubSpotConnectAttributes, HubSpotConnectElement, HubSpotConnectElementEventMap } from "./element_api";
import type { Calls, UseHubSpotConnectOptions, View } from "./view_api";

export type { UseHubSpotConnectOptions };

/**
 * Returns the view and the calls, for `setup`. Resumes an authorization request after a reload; unmounting a
 * component cancels nothing.
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

// What a template compiler for Vue 3 looks up.
import type { GlobalComponents } from "vue";
import type {} from "hubspot-connect/vue";
import "hubspot-connect/element";

type Props = InstanceType<GlobalComponents["hubspot-connect"]>["$props"];

export const props: Props = {
  class: "wide",
  service: "https://connect.example.com",
  "portal-id": 1234567,
  onConnected: ({ detail }) => console.log(detail.hubDomain),
  onStatechange: ({ detail }) => console.log(detail === "waiting"),
  onFailed: ({ detail }) => console.log(detail.code === "invalid_option"),
};
// @ts-expect-error there is no such fallback
export const wrong: Props = { fallback: "popup" };
